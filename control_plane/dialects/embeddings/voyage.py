"""Voyage AI's embeddings (https://docs.voyageai.com/reference/embeddings-api): OpenAI's answers, to requests in other words."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.canon import Unfit
from control_plane.dialects.embeddings.canon import EmbedRequest
from control_plane.dialects.embeddings.openai import AnswerReader

__all__ = ["NAME", "AnswerReader", "write_request"]

NAME: Final = "voyage"
_encode: Final = msgspec.json.Encoder().encode


def write_request(request: EmbedRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit when a feature cannot be expressed in this dialect."""
    dropped = list(request.lost_to(NAME))
    if request.tokens:
        raise Unfit(request.field, "Voyage takes texts, not numbers of another vendor's tokenizer")
    body: dict[str, Any] = {"model": target.model, "input": request.texts}
    if request.dimensions is not None:
        body["output_dimension"] = request.dimensions
    if request.purpose in ("query", "document"):
        body["input_type"] = request.purpose
    elif request.purpose is not None:
        dropped.append("input_type")
    if request.truncate is not None:
        body["truncation"] = request.truncate
    if request.user is not None:
        dropped.append("user")
    dropped.extend(quirks.apply(body, target.options))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))
