"""OpenAI's embeddings (https://platform.openai.com/docs/api-reference/embeddings).

`input_type` is understood as several compatible vendors have it (NVIDIA, Voyage): "query", "passage" or "document", or Cohere's words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects import quirks
from control_plane.dialects.api import Call, ProviderRequest, TargetFacts
from control_plane.dialects.body_reader import unreadable
from control_plane.dialects.canon import Start, Usage
from control_plane.dialects.document_reader import count
from control_plane.dialects.embeddings.answer import EmbeddingsReader, EmbeddingsWriter
from control_plane.dialects.embeddings.canon import EmbedRequest, Encoding, Purpose
from control_plane.dialects.vectors import Vector
from control_plane.kit.errors import ProviderProtocolError

NAME: Final = "openai-chat"
INPUTS_LIMIT: Final = 2048
_MAPPED: Final = frozenset(("model", "input", "dimensions", "encoding_format", "user", "input_type"))
_PURPOSES: Final[Mapping[str, Purpose]] = {
    "query": "query",
    "search_query": "query",
    "passage": "document",
    "document": "document",
    "search_document": "document",
    "classification": "classification",
    "clustering": "clustering",
}
_encode: Final = msgspec.json.Encoder().encode


def read_request(body: bytes, call: Call | None) -> EmbedRequest:
    """Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    model = j.model_of(raw)
    texts, tokens = _inputs(raw)
    lost = list(j.unknown_fields(raw, _MAPPED, ""))
    said = j.string(raw, "input_type", "")
    if said is not None and said not in _PURPOSES:
        lost.append("input_type")
    encoding = j.string(raw, "encoding_format", "") or "float"
    if encoding not in ("float", "base64"):
        j.reject("encoding_format", "expected float or base64")
    return EmbedRequest(
        dialect=NAME,
        model=model,
        messages=(),
        texts=texts,
        tokens=tokens,
        dimensions=j.integer(raw, "dimensions", ""),
        encodings=("base64" if encoding == "base64" else "float",),
        purpose=_PURPOSES.get(said or ""),
        user=j.string(raw, "user", ""),
        unmapped=tuple(lost),
        raw=raw,
    )


def _inputs(raw: j.Object) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    value = raw.get("input")
    if value is None:
        j.reject("input", "is required", "missing_field")
    if type(value) is str:
        return (value,), ()
    if type(value) is not list:
        j.wrong_type("input", "a string or an array", value)
    if not value:
        j.reject("input", "must not be empty")
    if len(value) > INPUTS_LIMIT and type(value[0]) is not int:
        j.reject("input", f"holds more than {INPUTS_LIMIT} inputs")
    if all(type(item) is str for item in value):
        return tuple(value), ()
    if all(type(item) is int for item in value):
        return (), (tuple(value),)
    for index, item in enumerate(value):
        if type(item) is not list or not item or not all(type(number) is int for number in item):
            j.reject(f"input.{index}", "expected texts only, or arrays of token numbers only", "invalid_type")
    return (), tuple(tuple(item) for item in value)


def write_request(request: EmbedRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit when a feature cannot be expressed in this dialect."""
    dropped = list(request.lost_to(NAME))
    body: dict[str, Any] = {"model": target.model, "input": list(request.texts or request.tokens), "encoding_format": "float"}
    if request.dimensions is not None:
        body["dimensions"] = request.dimensions
    if request.purpose is not None:
        dropped.append("input_type")
    if request.truncate:
        dropped.append("truncate")
    if request.user is not None:
        body["user"] = request.user
    dropped.extend(quirks.apply(body, target.options))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))


class _Item(msgspec.Struct):
    embedding: msgspec.Raw
    index: int | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int | float | None = None
    total_tokens: int | float | None = None


class _Answer(msgspec.Struct):
    data: list[_Item] | None = None
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class AnswerReader(EmbeddingsReader):
    def _vectors(self, body: bytes) -> tuple[Start, Sequence[Vector], Usage]:
        try:
            answer = _decode(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if answer.data is None:
            raise ProviderProtocolError("the answer has no embeddings")
        placed = {place if item.index is None else item.index: item for place, item in enumerate(answer.data)}
        if sorted(placed) != list(range(len(answer.data))):
            raise ProviderProtocolError("the embeddings are not numbered from 0")
        usage = answer.usage or _Usage()
        read = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens
        counted = Usage(input=count(read))
        return Start(answer.id, answer.model), [Vector.of(bytes(placed[place].embedding)) for place in range(len(placed))], counted


class AnswerWriter(EmbeddingsWriter):
    def _document(self) -> bytes:
        packed = self._encoding == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": vector.as_base64() if packed else msgspec.Raw(vector.as_json())}
            for index, vector in enumerate(self._vectors)
        ]
        read = self._usage.input or 0
        usage = {"prompt_tokens": read, "total_tokens": read}
        return _encode({"object": "list", "data": data, "model": self._start.model or self._request.model, "usage": usage})

    @property
    def _encoding(self) -> Encoding:
        return self._request.encodings[0]
