"""Servers that answer with a bare list of places and scores: Hugging Face's TEI and SGLang.

TEI has a body of its own (https://huggingface.github.io/text-embeddings-inference), for the one model that it serves; SGLang
(https://docs.sglang.io/docs/supported-models/rerank_models) takes the usual one. Neither counts tokens in the answer's body.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.body_reader import unreadable
from control_plane.dialects.canon import Start, Usage
from control_plane.dialects.rerank.answer import RankedReader, Result
from control_plane.dialects.rerank.canon import RerankRequest
from control_plane.dialects.rerank.write import written

TEI: Final = "tei"
SGLANG: Final = "sglang-rerank"


def write_tei(request: RerankRequest, target: TargetFacts) -> ProviderRequest:
    """Long documents are cut, as clients' dialects have it; TEI would refuse them. Raises Unfit for features."""
    return written(request, target, TEI, {"query": request.query, "texts": request.documents, "truncate": True})


def write_sglang(request: RerankRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit when a feature cannot be expressed in this dialect."""
    body: dict[str, Any] = {"model": target.model, "query": request.query, "documents": request.documents}
    if request.top_n is not None:  # older releases do not know it and rank everything
        body["top_n"] = request.top_n
    return written(request, target, SGLANG, body)


class _Scored(Result):
    relevance_score: msgspec.Raw = msgspec.field(name="score")


_decode: Final = msgspec.json.Decoder(list[_Scored]).decode


class AnswerReader(RankedReader):
    def _results(self, body: bytes) -> tuple[Start, Sequence[Result], Usage]:
        try:
            return Start(), _decode(body), Usage()
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
