"""Clients that were made for Claude on a cloud (Anthropic's SDKs for Vertex AI and Bedrock, agents with their base URL turned here).

They ask for the same messages under a path that names the model, with the version in the body. What they get is this dialect's answer,
which Bedrock's clients want in an event stream of AWS, each event in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects.anthropic_messages.dialect import AnthropicMessages
from control_plane.dialects.anthropic_messages.request_read import read_object
from control_plane.dialects.anthropic_messages.vocabulary import BETA_HEADER
from control_plane.dialects.api import Call, IdSource, ResponseWriter
from control_plane.dialects.canon import Event, Failure, InStreamError, Request
from control_plane.dialects.eventstream import CONTENT_TYPE, encode_event, encode_exception
from control_plane.dialects.sse import SSEDecoder

_encode: Final = msgspec.json.Encoder().encode
_EXCEPTIONS: Final = {429: "throttlingException", 500: "internalServerException", 503: "serviceUnavailableException"}
"""By status; all others are errors of the model's stream."""


class VertexClient(AnthropicMessages):
    """See control_plane.dialects.api.ClientDialect. `:rawPredict` and `:streamRawPredict`."""

    def read_request(self, body: bytes, call: Call | None = None) -> Request:
        """Model and stream are what the path says. Raises ClientProtocolError naming the field at fault."""
        assert call is not None, "the path names the model"
        raw: dict[str, Any] = {**j.parse_object(body), "model": call.model, "stream": call.stream}
        j.string(raw, "anthropic_version", "")
        raw.pop("anthropic_version", None)
        betas = raw.pop("anthropic_beta", None)
        if betas is not None:
            call = msgspec.structs.replace(call, headers={**call.headers, BETA_HEADER: _joined(call, betas)})
        return read_object(raw, call)


class BedrockClient(VertexClient):
    """`/invoke` and `/invoke-with-response-stream`: the same, but for how a stream is framed."""

    def writer(self, request: Request, ids: IdSource) -> ResponseWriter:
        inner = super().writer(request, ids)
        return _FramedWriter(inner) if request.stream else inner


def _joined(call: Call, betas: object) -> str:
    """The previews of header and body as the header would name them."""
    if not isinstance(betas, list):
        j.wrong_type("anthropic_beta", "an array", betas)
    for index, name in enumerate(betas):
        if type(name) is not str:
            j.wrong_type(f"anthropic_beta.{index}", "a string", name)
    told: Sequence[str] = [*filter(None, [call.headers.get(BETA_HEADER, "")]), *betas]
    return ",".join(told)


class _FramedWriter:
    """See control_plane.dialects.api.ResponseWriter. Each event of the stream that `inner` writes, inside an event of AWS."""

    content_type = CONTENT_TYPE

    def __init__(self, inner: ResponseWriter) -> None:
        self._inner = inner
        self._events = SSEDecoder()
        self._done = False

    def emit(self, event: Event) -> bytes:
        if isinstance(event, InStreamError):
            return self.fail(event.failure)
        return b"" if self._done else self._framed(self._inner.emit(event))

    def finish(self) -> bytes:
        if self._done:
            return b""
        self._done = True
        return self._framed(self._inner.finish())

    def fail(self, failure: Failure) -> bytes:
        if self._done:
            return b""
        self._done = True
        name = _EXCEPTIONS.get(failure.status, "modelStreamErrorException")
        return encode_exception(name, _encode({"message": failure.message}))

    def _framed(self, data: bytes) -> bytes:
        if not data:
            return b""
        return b"".join(
            encode_event("chunk", _encode({"bytes": base64.b64encode(payload).decode()})) for _, payload in self._events.feed(data)
        )
