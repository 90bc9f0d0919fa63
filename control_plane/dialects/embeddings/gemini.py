"""Gemini's embeddings, batchEmbedContents, as a provider (https://ai.google.dev/api/embeddings). The model stands in the path too."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.body_reader import unreadable
from control_plane.dialects.canon import Start, Unfit, Usage
from control_plane.dialects.embeddings.answer import EmbeddingsReader
from control_plane.dialects.embeddings.canon import EmbedRequest, Purpose
from control_plane.dialects.model_path import filled
from control_plane.dialects.vectors import Vector
from control_plane.kit.errors import ProviderProtocolError

NAME: Final = "gemini-generate-content"
TEXTS_LIMIT: Final = 100
"""Contents of one request."""

_TASKS: Final[Mapping[Purpose, str]] = {
    "document": "RETRIEVAL_DOCUMENT",
    "query": "RETRIEVAL_QUERY",
    "classification": "CLASSIFICATION",
    "clustering": "CLUSTERING",
    "similarity": "SEMANTIC_SIMILARITY",
    "question": "QUESTION_ANSWERING",
    "fact": "FACT_VERIFICATION",
    "code_query": "CODE_RETRIEVAL_QUERY",
}
_ONE, _MANY = ":embedContent", ":batchEmbedContents"  # a preset names the method for one text, which clients call untranslated
_encode: Final = msgspec.json.Encoder().encode


def write_request(request: EmbedRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit when a feature cannot be expressed in this dialect."""
    dropped = list(request.lost_to(NAME))
    if request.tokens:
        raise Unfit(request.field, f"{NAME} embeds texts only, not numbers of another vendor's tokens")
    if request.count > TEXTS_LIMIT:
        raise Unfit(request.field, f"{NAME} embeds {TEXTS_LIMIT} texts at once at most")
    common: dict[str, Any] = {"model": f"models/{target.model.removeprefix('models/')}"}
    if request.purpose is not None:
        common["taskType"] = _TASKS[request.purpose]
    if request.dimensions is not None:
        common["outputDimensionality"] = request.dimensions
    if request.truncate is not None:
        dropped.append("truncate")
    if request.user is not None:
        dropped.append("user")
    body: dict[str, Any] = {"requests": [{**common, "content": {"parts": [{"text": text}]}} for text in request.texts]}
    dropped.extend(quirks.apply(body, target.options))
    path = filled(target.path, target.model.removeprefix("models/"))
    if path.endswith(_ONE):
        path = path.removesuffix(_ONE) + _MANY
    return ProviderRequest(body=_encode(body), path=path, dropped=quirks.unique(dropped))


class _Embedding(msgspec.Struct):
    values: msgspec.Raw


class _Counts(msgspec.Struct, rename="camel"):
    prompt_token_count: int | float | None = None


class _Answer(msgspec.Struct, rename="camel"):
    embeddings: list[_Embedding] | None = None
    usage_metadata: _Counts | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class AnswerReader(EmbeddingsReader):
    def _read(self, body: bytes) -> tuple[Start, Sequence[Vector], Usage]:
        try:
            answer = _decode(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if answer.embeddings is None:
            raise ProviderProtocolError("the answer has no embeddings")
        count = answer.usage_metadata.prompt_token_count if answer.usage_metadata is not None else None
        usage = Usage(input=int(count) if count is not None and 0 <= count < 1e15 else None)
        return Start(), [Vector.of(bytes(item.values)) for item in answer.embeddings], usage
