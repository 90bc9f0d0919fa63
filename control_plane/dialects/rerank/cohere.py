"""Cohere's reranking, version 2 (https://docs.cohere.com/reference/rerank)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects.api import Call, ProviderRequest, TargetFacts
from control_plane.dialects.body_reader import unreadable
from control_plane.dialects.canon import Start, Usage
from control_plane.dialects.document_reader import count
from control_plane.dialects.rerank import read
from control_plane.dialects.rerank.answer import RankedReader, RankedWriter, Result
from control_plane.dialects.rerank.canon import RerankRequest
from control_plane.dialects.rerank.write import written
from control_plane.kit.errors import ProviderProtocolError

NAME: Final = "cohere-chat"
_MAPPED: Final = frozenset(("model", "query", "documents", "top_n", "max_tokens_per_doc", "relevant_spans"))
_encode: Final = msgspec.json.Encoder().encode


def read_request(body: bytes, call: Call | None) -> RerankRequest:
    """Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    model, top_n = read.head(raw)
    features: list[str] = []
    if raw.get("relevant_spans") is not None:
        features.append("relevant_spans")
    return RerankRequest(
        dialect=NAME,
        model=model,
        messages=(),
        query=read.query(raw, features),
        documents=read.documents(raw, features),
        top_n=top_n,
        document_tokens=j.integer(raw, "max_tokens_per_doc", ""),
        unmapped=tuple(j.unknown_fields(raw, _MAPPED, "")),
        features=tuple(features),
        raw=raw,
    )


def write_request(request: RerankRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit when a feature cannot be expressed in this dialect."""
    body: dict[str, Any] = {"model": target.model, "query": request.query, "documents": request.documents}
    if request.top_n is not None:
        body["top_n"] = request.top_n
    if request.document_tokens is not None:
        body["max_tokens_per_doc"] = request.document_tokens
    return written(request, target, NAME, body)


class _Units(msgspec.Struct):
    input_tokens: int | float | None = None


class _Meta(msgspec.Struct):
    tokens: _Units | None = None
    billed_units: _Units | None = None


class _Answer(msgspec.Struct):
    results: list[Result] | None = None
    id: str | None = None
    meta: _Meta | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class AnswerReader(RankedReader):
    """What is billed by searches has no tokens."""

    def _results(self, body: bytes) -> tuple[Start, Sequence[Result], Usage]:
        try:
            answer = _decode(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if answer.results is None:
            raise ProviderProtocolError("the answer has no results")
        meta = answer.meta or _Meta()
        counts = [units.input_tokens for units in (meta.tokens, meta.billed_units) if units is not None and units.input_tokens is not None]
        return Start(answer.id), answer.results, Usage(input=count(counts[0]) if counts else None)


class AnswerWriter(RankedWriter):
    def _document(self) -> bytes:
        billed = {} if self._usage.input is None else {"input_tokens": self._usage.input}
        return _encode(
            {
                "id": self._start.id or self._ids.new(""),
                "results": self._shown(),
                "meta": {"api_version": {"version": "2"}, "billed_units": billed},
            }
        )
