"""NVIDIA's ranking, hosted and in containers (https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest/using-reranking.html).

Scores are logits of any size, handed on as they come: what a model means by them is not for the gateway to change.
"""

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

NAME: Final = "nvidia-rerank"


def write_request(request: RerankRequest, target: TargetFacts) -> ProviderRequest:
    """Long documents are cut, as clients' dialects have it; NVIDIA would refuse them. Raises Unfit for features."""
    body: dict[str, Any] = {
        "model": target.model,
        "query": {"text": request.query},
        "passages": [{"text": text} for text in request.documents],
        "truncate": "END",
    }
    return written(request, target, NAME, body)


class _Ranking(Result):
    relevance_score: msgspec.Raw = msgspec.field(name="logit")


class _Usage(msgspec.Struct):
    prompt_tokens: int | float | None = None
    total_tokens: int | float | None = None


class _Answer(msgspec.Struct):
    rankings: list[_Ranking]
    usage: _Usage | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class AnswerReader(RankedReader):
    def _results(self, body: bytes) -> tuple[Start, Sequence[Result], Usage]:
        try:
            answer = _decode(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        usage = answer.usage or _Usage()
        read = usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens
        return Start(), answer.rankings, Usage(input=count(read))
