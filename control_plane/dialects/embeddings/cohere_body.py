"""Bodies of Cohere's embedding models, which are the same at Cohere and on Amazon Bedrock."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects.body_reader import unreadable
from control_plane.dialects.canon import Start, Unfit, Usage
from control_plane.dialects.document_reader import count
from control_plane.dialects.embeddings.canon import EmbedRequest, Purpose
from control_plane.dialects.vectors import Vector
from control_plane.kit.errors import ProviderProtocolError

TEXTS_LIMIT: Final = 96
"""Texts of one request."""

PURPOSES: Final[Mapping[str, Purpose]] = {
    "search_document": "document",
    "search_query": "query",
    "classification": "classification",
    "clustering": "clustering",
}
_INPUT_TYPES: Final[Mapping[Purpose, str]] = {
    **{purpose: word for word, purpose in PURPOSES.items()},
    "similarity": "clustering",
    "question": "search_query",
    "fact": "search_query",
    "code_query": "search_query",
}


def body_of(request: EmbedRequest, dialect: str) -> dict[str, Any]:
    """The body without a model. Raises Unfit. The vendor must be told what the vectors are for; a document where the client does not
    say."""
    if request.tokens:
        raise Unfit(request.field, f"{dialect} embeds texts only, not numbers of another vendor's tokens")
    if request.count > TEXTS_LIMIT:
        raise Unfit(request.field, f"{dialect} embeds {TEXTS_LIMIT} texts at once at most")
    body: dict[str, Any] = {
        "texts": list(request.texts),
        "input_type": _INPUT_TYPES[request.purpose or "document"],
        "embedding_types": ["float"],
    }
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    if request.truncate is not None:
        body["truncate"] = "END" if request.truncate else "NONE"
    return body


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


def read_answer(body: bytes) -> tuple[Start, list[Vector], Usage]:
    """Raises ProviderProtocolError."""
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
    usage = Usage(input=count(counts[0]) if counts else None)
    return Start(answer.id), [Vector.of(bytes(vector)) for vector in vectors], usage
