"""Cohere's embeddings, version 2 (https://docs.cohere.com/reference/embed)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects import quirks
from control_plane.dialects.api import Call, ProviderRequest, TargetFacts
from control_plane.dialects.body_reader import unreadable
from control_plane.dialects.canon import Start, Unfit, Usage
from control_plane.dialects.embeddings.answer import EmbeddingsReader, EmbeddingsWriter
from control_plane.dialects.embeddings.canon import EmbedRequest, Encoding, Purpose
from control_plane.dialects.vectors import Vector
from control_plane.kit.errors import ProviderProtocolError

NAME: Final = "cohere-chat"
TEXTS_LIMIT: Final = 96
"""Texts of one request."""

_MAPPED: Final = frozenset(("model", "texts", "inputs", "images", "input_type", "output_dimension", "embedding_types", "truncate"))
_PURPOSES: Final[Mapping[str, Purpose]] = {
    "search_document": "document",
    "search_query": "query",
    "classification": "classification",
    "clustering": "clustering",
}
_INPUT_TYPES: Final[Mapping[Purpose, str]] = {
    **{purpose: word for word, purpose in _PURPOSES.items()},
    "similarity": "clustering",
    "question": "search_query",
    "fact": "search_query",
    "code_query": "search_query",
}
_encode: Final = msgspec.json.Encoder().encode


def read_request(body: bytes, call: Call | None) -> EmbedRequest:
    """Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    model = j.required_string(raw, "model", "")
    if not model:
        j.reject("model", "must not be empty")
    features: list[str] = []
    texts, field = _texts(raw, features)
    purpose = j.required_string(raw, "input_type", "")
    if purpose not in _PURPOSES:
        features.append("input_type")  # "image", and what is new
    truncate = j.string(raw, "truncate", "")
    if truncate not in (None, "NONE", "START", "END"):
        j.reject("truncate", "expected NONE, START or END")
    return EmbedRequest(
        dialect=NAME,
        model=model,
        messages=(),
        texts=texts,
        dimensions=j.integer(raw, "output_dimension", ""),
        encodings=_encodings(raw, features),
        purpose=_PURPOSES.get(purpose),
        truncate=None if truncate is None else truncate != "NONE",
        field=field,
        unmapped=tuple(j.unknown_fields(raw, _MAPPED, "")),
        features=tuple(features),
        raw=raw,
        names={"input": field, "dimensions": "output_dimension"},
    )


def _texts(raw: j.Object, features: list[str]) -> tuple[tuple[str, ...], str]:
    if j.array(raw, "images", ""):
        features.append("images")
    texts = j.array(raw, "texts", "")
    for index, text in enumerate(texts):
        if type(text) is not str:
            j.wrong_type(f"texts.{index}", "a string", text)
    field = "texts" if texts else "inputs"
    joined: list[str] = []
    for index, item in enumerate(j.array(raw, "inputs", "")):
        path = f"inputs.{index}.content"
        parts = [j.as_obj(part, f"{path}.{i}") for i, part in enumerate(j.array(j.as_obj(item, f"inputs.{index}"), "content", path))]
        if any(j.required_string(part, "type", path) != "text" for part in parts):
            features.append(path)
        joined.append("\n".join(j.required_string(part, "text", path) for part in parts if part["type"] == "text"))
    if not texts and not joined and not features:
        j.reject("texts", "is required", "missing_field")
    return (*texts, *joined), field


def _encodings(raw: j.Object, features: list[str]) -> tuple[Encoding, ...]:
    found: list[Encoding] = []
    for index, word in enumerate(j.array(raw, "embedding_types", "")):
        if word in ("float", "base64"):
            found.append(cast("Encoding", word))
        elif type(word) is str:
            features.append(f"embedding_types.{index}")
        else:
            j.wrong_type(f"embedding_types.{index}", "a string", word)
    return tuple(dict.fromkeys(found)) or ("float",)


def write_request(request: EmbedRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit when a feature cannot be expressed in this dialect. The vendor must be told what the vectors are for; a document
    where the client does not say."""
    dropped = list(request.lost_to(NAME))
    if request.tokens:
        raise Unfit(request.field, f"{NAME} embeds texts only, not numbers of another vendor's tokens")
    if request.count > TEXTS_LIMIT:
        raise Unfit(request.field, f"{NAME} embeds {TEXTS_LIMIT} texts at once at most")
    body: dict[str, Any] = {
        "model": target.model,
        "texts": list(request.texts),
        "input_type": _INPUT_TYPES[request.purpose or "document"],
        "embedding_types": ["float"],
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    if request.truncate is not None:
        body["truncate"] = "END" if request.truncate else "NONE"
    if request.user is not None:
        dropped.append("user")
    dropped.extend(quirks.apply(body, target.options))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))


class _Vectors(msgspec.Struct):
    floats: list[msgspec.Raw] | None = msgspec.field(default=None, name="float")
    base64: list[msgspec.Raw] | None = None


class _Units(msgspec.Struct):
    input_tokens: int | float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Units | None = None
    tokens: _Units | None = None


class _Answer(msgspec.Struct):
    embeddings: _Vectors | None = None
    id: str | None = None
    meta: _Meta | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class AnswerReader(EmbeddingsReader):
    def _read(self, body: bytes) -> tuple[Start, Sequence[Vector], Usage]:
        try:
            answer = _decode(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        given = answer.embeddings or _Vectors()
        vectors = given.floats if given.floats is not None else given.base64
        if vectors is None:
            raise ProviderProtocolError("the answer has no embeddings")
        meta = answer.meta or _Meta()
        counts = [units.input_tokens for units in (meta.tokens, meta.billed_units) if units is not None and units.input_tokens is not None]
        usage = Usage(input=int(counts[0]) if counts and 0 <= counts[0] < 1e15 else None)
        return Start(answer.id), [Vector.of(bytes(vector)) for vector in vectors], usage


class AnswerWriter(EmbeddingsWriter):
    def _document(self) -> bytes:
        embeddings: dict[str, list[Any]] = {}
        for encoding in self._request.encodings:
            packed = encoding == "base64"
            embeddings[encoding] = [v.as_base64() if packed else msgspec.Raw(v.as_json()) for v in self._vectors]
        billed = {} if self._usage.input is None else {"input_tokens": self._usage.input}
        return _encode(
            {
                "id": self._start.id or self._ids.new(""),
                "embeddings": embeddings,
                "texts": self._request.texts,
                "meta": {"api_version": {"version": "2"}, "billed_units": billed},
                "response_type": "embeddings_by_type",
            }
        )
