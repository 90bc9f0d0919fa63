"""Voyage AI's reranking (https://docs.voyageai.com/reference/reranker-api)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.body_reader import unreadable
from control_plane.dialects.canon import Start, Usage
from control_plane.dialects.document_reader import count
from control_plane.dialects.rerank.answer import RankedReader, Result
from control_plane.dialects.rerank.canon import RerankRequest
from control_plane.dialects.rerank.write import written

NAME: Final = "voyage"


def write_request(request: RerankRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit when a feature cannot be expressed in this dialect."""
    body: dict[str, Any] = {"model": target.model, "query": request.query, "documents": request.documents}
    if request.top_n is not None:
        body["top_k"] = request.top_n
    return written(request, target, NAME, body)


class _Usage(msgspec.Struct):
    total_tokens: int | float | None = None


class _Answer(msgspec.Struct):
    data: list[Result]
    model: str | None = None
    usage: _Usage | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class AnswerReader(RankedReader):
    def _results(self, body: bytes) -> tuple[Start, Sequence[Result], Usage]:
        try:
            answer = _decode(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        return Start(model=answer.model), answer.data, Usage(input=count((answer.usage or _Usage()).total_tokens))
