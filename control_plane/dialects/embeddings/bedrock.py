"""Embeddings of Amazon Bedrock, InvokeModel, as a provider: the body is the model's own, so its name decides.

Titan: https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-titan-embed-text.html, Cohere:
https://docs.aws.amazon.com/bedrock/latest/userguide/model-parameters-embed.html
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.body_reader import unreadable
from control_plane.dialects.canon import Start, Unfit, Usage
from control_plane.dialects.document_reader import count
from control_plane.dialects.embeddings import cohere_body
from control_plane.dialects.embeddings.answer import EmbeddingsReader
from control_plane.dialects.embeddings.canon import EmbedRequest
from control_plane.dialects.vectors import Vector
from control_plane.kit.errors import ProviderProtocolError

NAME: Final = "bedrock-converse"
_TITAN, _COHERE = "amazon.titan-embed-", "cohere.embed-"  # behind the region of an inference profile, or inside an ARN
_SIZED: Final = "amazon.titan-embed-text-v2"
_ONE_SIZE: Final = "-v3"
_encode: Final = msgspec.json.Encoder().encode


def write_request(request: EmbedRequest, target: TargetFacts) -> ProviderRequest:
    """Raises Unfit when a feature cannot be expressed in this dialect, or the model is none of those known."""
    dropped = list(request.lost_to(NAME))
    if _COHERE in target.model:
        body = cohere_body.body_of(request, NAME)
        if request.dimensions is not None and _ONE_SIZE in target.model:
            raise Unfit("dimensions", f"{target.model} has vectors of one length only")
    elif _TITAN in target.model:
        body = _titan(request, target.model, dropped)
    else:
        raise Unfit("model", f"{NAME} embeds with models named {_TITAN}* and {_COHERE}*, not with {target.model}")
    if request.user is not None:
        dropped.append("user")
    dropped.extend(quirks.apply(body, target.options))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))


def _titan(request: EmbedRequest, model: str, dropped: list[str]) -> dict[str, Any]:
    if request.tokens:
        raise Unfit(request.field, f"{NAME} embeds texts only, not numbers of another vendor's tokens")
    if request.count > 1:
        raise Unfit(request.field, f"{model} embeds one text at once; send a request for each")
    body: dict[str, Any] = {"inputText": request.texts[0]}
    if request.dimensions is not None:
        if _SIZED not in model:
            raise Unfit("dimensions", f"{model} has vectors of one length only")
        body["dimensions"] = request.dimensions
    if request.purpose is not None:
        dropped.append("input_type")
    if request.truncate:
        dropped.append("truncate")
    return body


class _Titan(msgspec.Struct, rename="camel"):
    embedding: msgspec.Raw = msgspec.Raw()
    input_text_token_count: int | float | None = None


_decode: Final = msgspec.json.Decoder(_Titan).decode


class AnswerReader(EmbeddingsReader):
    def _vectors(self, body: bytes) -> tuple[Start, Sequence[Vector], Usage]:
        try:
            titan = _decode(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        values = bytes(titan.embedding)
        if not values:
            return cohere_body.read_answer(body)
        if values[:1] != b"[":
            raise ProviderProtocolError("an embedding is not a list of numbers")
        return Start(), [Vector.of(values)], Usage(input=count(titan.input_text_token_count))
