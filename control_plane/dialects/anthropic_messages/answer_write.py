"""Writing a streamed message for a client."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from control_plane.dialects.anthropic_messages import errors
from control_plane.dialects.anthropic_messages.usage import write_usage
from control_plane.dialects.anthropic_messages.vocabulary import NAME, STOP_TO_CANON, STOP_TO_WIRE
from control_plane.dialects.block_stream import BlockStreamWriter
from control_plane.dialects.canon import (
    Citation,
    Failure,
    ForeignEvent,
    ReasoningSignature,
    RedactedReasoning,
    Request,
    Stop,
    ToolCallStart,
    seal_redacted,
    seal_signature,
)

_encode: Final = msgspec.json.Encoder().encode
_encode_event: Final = b"event: %b\ndata: %b\n\n"


def event(payload: dict[str, Any]) -> bytes:
    return _encode_event % (str(payload["type"]).encode(), _encode(payload))


def stop_fields(stop: Stop) -> dict[str, Any]:
    """`stop_reason` and its companions: the provider's own word where it is one of this dialect's, else the mapped one."""
    own = stop.native in STOP_TO_CANON
    fields: dict[str, Any] = {"stop_reason": stop.native if own else STOP_TO_WIRE[stop.reason], "stop_sequence": stop.sequence}
    if own and stop.detail is not None:
        fields["stop_details"] = stop.detail
    return fields


def signs_calls(request: Request) -> bool:
    """Whether a client can be given the signature of a call, as thinking in front of it: only when it asked for thinking.

    Others do not expect thinking, and would break a conversation that goes on at Anthropic itself, which refuses what it did not sign.
    """
    return request.reasoning is not None and request.reasoning.enabled is True


def signature_for_client(signature: str, origin: str | None) -> str:
    """Anthropic's own signatures as they are; others sealed with their origin, so that they never reach Anthropic."""
    return signature if origin == NAME else seal_signature(signature, origin)


def redacted_for_client(item: RedactedReasoning) -> str:
    """As `signature_for_client`, for encrypted reasoning."""
    return item.data if item.origin == NAME else seal_redacted(item.data, item.origin, item.id)


class StreamWriter(BlockStreamWriter):
    """message_start, the blocks, message_delta with the stop reason and all usage, message_stop."""

    content_type = "text/event-stream"

    _head = b""  # what precedes the text of a delta of the open block

    def _message_start(self) -> bytes:
        message: dict[str, Any] = {
            "id": self._start.id or self._ids.new("msg_"),
            "type": "message",
            "role": "assistant",
            "model": self._start.model or self._request.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(self._usage),
        }
        return event({"type": "message_start", "message": message})

    def _block(self, block: dict[str, Any]) -> bytes:
        return event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _block_delta(self, delta: dict[str, Any]) -> bytes:
        return event({"type": "content_block_delta", "index": self._index, "delta": delta})

    def _block_start(self, kind: Literal["text", "thinking"]) -> bytes:
        if kind == "text":
            self._set_head(b'"text_delta","text":')
            return self._block({"type": "text", "text": ""})
        self._set_head(b'"thinking_delta","thinking":')
        return self._block({"type": "thinking", "thinking": "", "signature": ""})

    def _call_block(self, start: ToolCallStart) -> bytes:
        self._set_head(b'"input_json_delta","partial_json":')
        return self._block({"type": "tool_use", "id": start.id or self._ids.new("toolu_"), "name": start.name, "input": {}})

    def _set_head(self, delta: bytes) -> None:
        self._head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b' % (self._index, delta)

    def _delta(self, text: str) -> bytes:
        return b"%b%b}}\n\n" % (self._head, _encode(text))

    def _late_arguments(self, block: int, text: str) -> bytes:
        return event({"type": "content_block_delta", "index": block, "delta": {"type": "input_json_delta", "partial_json": text}})

    def _signature(self, item: ReasoningSignature) -> bytes:
        return self._block_delta({"type": "signature_delta", "signature": signature_for_client(item.signature, item.origin)})

    def _redacted(self, item: RedactedReasoning) -> bytes:
        return self._begin_block("foreign") + self._block({"type": "redacted_thinking", "data": redacted_for_client(item)})

    def _signed_call(self, start: ToolCallStart) -> bytes:
        """This dialect signs thinking only, so a signed call has thinking without a text in front."""
        if start.signature is None or not signs_calls(self._request):
            return b""
        opening = self._begin_block("foreign") + self._block({"type": "thinking", "thinking": "", "signature": ""})
        signature = signature_for_client(start.signature, start.origin)
        return opening + self._block_delta({"type": "signature_delta", "signature": signature}) + self._close_block()

    def _block_stop(self) -> bytes:
        return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index

    def _own(self, item: Citation | ForeignEvent) -> bytes:
        if item.origin != NAME:
            return b""
        if isinstance(item, Citation):
            opening = b"" if self._open == "text" else self._switch("text")
            return opening + self._block_delta({"type": "citations_delta", "citation": item.raw})
        kind = item.raw.get("type")  # of a block that only this dialect has, under our own numbering
        if kind == "content_block_start":
            return self._close() + self._begin_block("foreign") + self._block(item.raw["content_block"])  # type: ignore[arg-type]
        if kind == "content_block_delta":
            return event({**item.raw, "index": self._index})
        return self._close() if self._open == "foreign" else b""

    def _message_stop(self, stop: Stop) -> bytes:
        out = event({"type": "message_delta", "delta": stop_fields(stop), "usage": write_usage(self._usage)})
        return out + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def _failed(self, failure: Failure) -> bytes:
        return _encode_event % (b"error", errors.write_error(failure))
