"""Writing a streamed answer for a client, as an event stream."""

from __future__ import annotations

import base64
from typing import Any, Final, Literal

import msgspec

from control_plane.dialects.api import IdSource
from control_plane.dialects.bedrock_converse import errors
from control_plane.dialects.bedrock_converse.usage import write_usage
from control_plane.dialects.bedrock_converse.vocabulary import NAME, STOP_TO_CANON, STOP_TO_WIRE
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
from control_plane.dialects.eventstream import CONTENT_TYPE, encode_event

_encode: Final = msgspec.json.Encoder().encode


def stop_reason(stop: Stop) -> str:
    """The provider's own word where it is one of this dialect's, else the mapped one."""
    return stop.native if stop.native in STOP_TO_CANON and stop.native is not None else STOP_TO_WIRE[stop.reason]


def signature_for_client(signature: str, origin: str | None) -> str:
    """This dialect's own signatures as they are; others sealed with their origin, so that they never reach Bedrock."""
    return signature if origin == NAME else seal_signature(signature, origin)


def redacted_for_client(item: RedactedReasoning) -> str:
    """As `signature_for_client`, for encrypted reasoning: a blob, so a seal goes as base64."""
    if item.origin == NAME:
        return item.data
    return base64.b64encode(seal_redacted(item.data, item.origin, item.id).encode()).decode()


def metrics(began: int, ids: IdSource) -> dict[str, int]:
    """How long the answer took, to the second: SDKs' users expect the field."""
    return {"latencyMs": max(0, ids.now() - began) * 1000}


class StreamWriter(BlockStreamWriter):
    """messageStart, the blocks, messageStop with the stop reason, metadata with the usage."""

    content_type = CONTENT_TYPE

    def __init__(self, request: Request, ids: IdSource) -> None:
        super().__init__(request, ids)
        self._began = ids.now()

    def _event(self, name: str, fields: dict[str, Any]) -> bytes:
        return encode_event(name, _encode({"contentBlockIndex": self._index, **fields}))

    def _message_start(self) -> bytes:
        return encode_event("messageStart", b'{"role":"assistant"}')

    def _block_start(self, kind: Literal["text", "thinking"]) -> bytes:
        return b""  # such a block begins with its first delta

    def _call_block(self, start: ToolCallStart) -> bytes:
        use = {"toolUseId": start.id or self._ids.new("tooluse_"), "name": start.name}
        return self._event("contentBlockStart", {"start": {"toolUse": use}})

    def _delta(self, text: str) -> bytes:
        if self._open == "text":
            return self._event("contentBlockDelta", {"delta": {"text": text}})
        if self._open == "thinking":
            return self._event("contentBlockDelta", {"delta": {"reasoningContent": {"text": text}}})
        return self._event("contentBlockDelta", {"delta": {"toolUse": {"input": text}}})

    def _late_arguments(self, block: int, text: str) -> bytes:
        return self._event("contentBlockDelta", {"contentBlockIndex": block, "delta": {"toolUse": {"input": text}}})

    def _signature(self, item: ReasoningSignature) -> bytes:
        signature = signature_for_client(item.signature, item.origin)
        return self._event("contentBlockDelta", {"delta": {"reasoningContent": {"signature": signature}}})

    def _redacted(self, item: RedactedReasoning) -> bytes:
        opening = self._begin_block("foreign")
        return opening + self._event("contentBlockDelta", {"delta": {"reasoningContent": {"redactedContent": redacted_for_client(item)}}})

    def _signed_call(self, start: ToolCallStart) -> bytes:
        """This dialect signs thinking only, so a signed call has thinking without a text in front, if the client wants thinking."""
        if start.signature is None or not signs_calls(self._request):
            return b""
        opening = self._begin_block("foreign")
        signed = self._event("contentBlockDelta", {"delta": {"reasoningContent": {"text": ""}}})
        return opening + signed + self._signature(ReasoningSignature(start.signature, start.origin or "")) + self._close_block()

    def _block_stop(self) -> bytes:
        return self._event("contentBlockStop", {})

    def _own(self, item: Citation | ForeignEvent) -> bytes:
        if item.origin != NAME:
            return b""
        if isinstance(item, Citation):
            opening = b"" if self._open == "text" else self._switch("text")
            return opening + self._event("contentBlockDelta", {"delta": {"citation": item.raw}})
        return self._foreign(item)

    def _foreign(self, item: ForeignEvent) -> bytes:
        """A block that only this dialect has, under our own numbering."""
        for name in ("contentBlockStart", "contentBlockDelta"):
            raw: Any = item.raw.get(name)
            if raw is None:
                continue
            opening = b"" if self._open == "foreign" and name == "contentBlockDelta" else self._close() + self._begin_block("foreign")
            return opening + encode_event(name, _encode({**raw, "contentBlockIndex": self._index}))
        return self._close() if self._open == "foreign" else b""

    def _message_stop(self, stop: Stop) -> bytes:
        closing = encode_event("messageStop", _encode({"stopReason": stop_reason(stop)}))
        measured = {"usage": write_usage(self._usage), "metrics": metrics(self._began, self._ids)}
        return closing + encode_event("metadata", _encode(measured))

    def _failed(self, failure: Failure) -> bytes:
        return errors.write_exception(failure)


def signs_calls(request: Request) -> bool:
    """Whether a client can be given the signature of a call: only when it asked for thinking, as others do not expect it."""
    return request.reasoning is not None and request.reasoning.enabled is True
