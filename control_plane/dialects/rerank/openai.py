"""Reranking as OpenAI-compatible servers and vendors have it at /rerank: Jina AI (https://jina.ai/reranker), vLLM, llama.cpp, Together AI,
OpenRouter. OpenAI itself has none, so there is no one document that says what it is; these agree on what is written here.
"""

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

NAME: Final = "openai-chat"
_MAPPED: Final = frozenset(("model", "query", "documents", "top_n", "return_documents", "max_tokens_per_doc", "user"))
_encode: Final = msgspec.json.Encoder().encode


def read_request(body: bytes, call: Call | None) -> RerankRequest:
    """Raises ClientProtocolError naming the field at fault. The answer repeats the documents unless the client says no."""
    raw = j.parse_object(body)
    model, top_n = read.head(raw)
    features: list[str] = []
    return RerankRequest(
        dialect=NAME,
        model=model,
        messages=(),
        query=read.query(raw, features),
        documents=read.documents(raw, features),
        top_n=top_n,
        document_tokens=j.integer(raw, "max_tokens_per_doc", ""),
        with_documents=j.boolean(raw, "return_documents", "") is not False,
        user=j.string(raw, "user", ""),
        unmapped=tuple(j.unknown_fields(raw, _MAPPED, "")),
        features=tuple(features),
        raw=raw,
    )


def write_request(request: RerankRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit when a feature cannot be expressed in this dialect."""
    body: dict[str, Any] = {"model": target.model, "query": request.query, "documents": request.documents}
    if request.top_n is not None:
        body["top_n"] = request.top_n
    if request.user is not None:
        body["user"] = request.user
    return written(request, target, NAME, body)


class _Usage(msgspec.Struct):
    prompt_tokens: int | float | None = None
    total_tokens: int | float | None = None


class _Answer(msgspec.Struct):
    results: list[Result] | None = None
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None


_decode: Final = msgspec.json.Decoder(_Answer).decode


class AnswerReader(RankedReader):
    def _results(self, body: bytes) -> tuple[Start, Sequence[Result], Usage]:
        try:
            answer = _decode(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if answer.results is None:
            raise ProviderProtocolError("the answer has no results")
        usage = answer.usage or _Usage()
        counted = Usage(input=count(usage.total_tokens if usage.prompt_tokens is None else usage.prompt_tokens))
        return Start(answer.id, answer.model), answer.results, counted


class AnswerWriter(RankedWriter):
    def _document(self) -> bytes:
        results = self._shown()
        if self._request.with_documents:
            for result, rank in zip(results, self._ranks, strict=True):
                result["document"] = {"text": self._request.documents[rank.index]}
        read_tokens = self._usage.input
        usage = {} if read_tokens is None else {"usage": {"prompt_tokens": read_tokens, "total_tokens": read_tokens}}
        name = self._start.model or self._request.model
        return _encode({"id": self._start.id or self._ids.new("rerank-"), "model": name, "results": results, **usage})
