"""Cohere's embeddings, version 2 (https://docs.cohere.com/reference/embed)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects import quirks
from control_plane.dialects.api import Call, ProviderRequest, TargetFacts
from control_plane.dialects.canon import Start, Usage
from control_plane.dialects.embeddings import cohere_body
from control_plane.dialects.embeddings.answer import EmbeddingsReader, EmbeddingsWriter
from control_plane.dialects.embeddings.canon import EmbedRequest, Encoding
from control_plane.dialects.vectors import Vector

NAME: Final = "cohere-chat"
_MAPPED: Final = frozenset(("model", "texts", "inputs", "images", "input_type", "output_dimension", "embedding_types", "truncate"))
_encode: Final = msgspec.json.Encoder().encode


def read_request(body: bytes, call: Call | None) -> EmbedRequest:
    """Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    model = j.model_of(raw)
    features: list[str] = []
    texts, field = _texts(raw, features)
    purpose = j.required_string(raw, "input_type", "")
    if purpose not in cohere_body.PURPOSES:
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
        purpose=cohere_body.PURPOSES.get(purpose),
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
    """Raises Unfit when a feature cannot be expressed in this dialect."""
    dropped = list(request.lost_to(NAME))
    body = {"model": target.model, **cohere_body.body_of(request, NAME)}
    if request.user is not None:
        dropped.append("user")
    dropped.extend(quirks.apply(body, target.options))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))


class AnswerReader(EmbeddingsReader):
    def _vectors(self, body: bytes) -> tuple[Start, Sequence[Vector], Usage]:
        return cohere_body.read_answer(body)


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
