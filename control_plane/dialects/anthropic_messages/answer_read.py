"""Reading a provider's message, whole or streamed, into events (https://platform.claude.com/docs/en/build-with-claude/streaming)."""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from control_plane.dialects.anthropic_messages import errors
from control_plane.dialects.anthropic_messages.usage import UsageCounter, WireUsage
from control_plane.dialects.anthropic_messages.vocabulary import NAME, STOP_TO_CANON
from control_plane.dialects.body_reader import BodyReader, decode_any, unreadable
from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
    ForeignEvent,
    InStreamError,
    PartBreak,
    ReasoningDelta,
    ReasoningSignature,
    RedactedReasoning,
    Request,
    Start,
    Stop,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
)
from control_plane.kit.errors import ProviderProtocolError

BLOCK_LIMIT: Final = 4096
"""Content blocks in one answer; keeps a hostile provider from growing our tables without end."""


class _Delta(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    partial_json: str | None = None
    thinking: str | None = None
    signature: str | None = None
    citation: dict[str, Any] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None


class _Message(msgspec.Struct):
    """`message` of message_start, and the whole answer."""

    type: str | None = None
    id: str | None = None
    model: str | None = None
    content: list[dict[str, Any]] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: dict[str, Any] | None = None
    usage: WireUsage | None = None
    error: Any = None


class _WireEvent(msgspec.Struct):
    type: str
    index: int | None = None
    message: _Message | None = None
    content_block: dict[str, Any] | None = None
    delta: _Delta | None = None
    usage: WireUsage | None = None
    error: Any = None


_decode_event: Final = msgspec.json.Decoder(_WireEvent).decode
_decode_message: Final = msgspec.json.Decoder(_Message).decode

_Kind = Literal["text", "thinking", "redacted_thinking", "tool_use", "foreign"]


class _Block:
    """An open content block. `given`: arguments that came whole with the start, used when no fragment follows."""

    __slots__ = ("call", "given", "kind")

    def __init__(self, kind: _Kind, call: int = 0, given: str = "") -> None:
        self.kind = kind
        self.call = call
        self.given = given


class AnswerReader(BodyReader):
    """See control_plane.dialects.api.ResponseReader."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._blocks: dict[int, _Block] = {}
        self._seen = 0
        self._calls = 0
        self._last: _Kind | None = None
        self._counter = UsageCounter()
        self._started = False
        self._stopped = False

    # ------------------------------------------------------------------------------------------------ streamed

    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        if name == b"ping":
            return
        if payload == b"[DONE]":  # some gateways add the other dialect's end
            return
        try:
            wire = _decode_event(payload)
        except (ValueError, RecursionError) as error:
            if name == b"error":
                self._fail(payload[:2000].decode(errors="replace"), events)
                return
            raise unreadable(error) from error
        kind = wire.type
        if kind == "content_block_delta":
            self._delta(wire, payload, events)
        elif kind == "error" or name == b"error":
            self._fail(wire.error if wire.error is not None else decode_any(payload), events)
        elif kind == "content_block_start":
            self._block_start(wire, events)
        elif kind == "content_block_stop":
            self._block_stop(wire, payload, events)
        elif kind == "message_start":
            self._begin(wire.message or _Message(), events)
        elif kind == "message_delta":
            self._message_delta(wire, events)
        elif kind == "message_stop":
            if not self._started:
                raise ProviderProtocolError("the stream ends before it begins")
            if not self._stopped:
                events.append(Stop("tool_use" if self._calls else "other"))
            self._over = True
            events.append(End())
        # Anything else is new: Anthropic asks clients to ignore unknown events.

    def _begin(self, message: _Message, events: list[Event]) -> None:
        if self._started:
            raise ProviderProtocolError("the stream begins twice")
        self._started = True
        events.append(Start(message.id or None, message.model or None))
        if message.usage is not None:
            events.append(UsageUpdate(self._counter.add(message.usage)))

    def _fail(self, error: object, events: list[Event]) -> None:
        self._over = True
        events.append(InStreamError(errors.in_stream(error), error))

    def _message_delta(self, wire: _WireEvent, events: list[Event]) -> None:
        if wire.usage is not None:
            events.append(UsageUpdate(self._counter.add(wire.usage)))
        delta = wire.delta
        if delta is not None and delta.stop_reason is not None and not self._stopped:
            self._stopped = True
            events.append(_stop(delta.stop_reason, delta.stop_sequence, delta.stop_details))

    def _block_start(self, wire: _WireEvent, events: list[Event]) -> None:
        if not self._started:
            raise ProviderProtocolError("a content block comes before message_start")
        index, block = wire.index, wire.content_block
        if index is None or block is None or index in self._blocks:
            raise ProviderProtocolError("a content_block_start without a new index and a block")
        self._seen += 1
        if self._seen > BLOCK_LIMIT:
            raise ProviderProtocolError("the answer has too many content blocks")
        self._blocks[index] = self._open(block, events, index)

    def _open(self, block: dict[str, Any], events: list[Event], index: int) -> _Block:
        kind = block.get("type")
        if kind == self._last and kind in ("text", "thinking"):
            events.append(PartBreak())
        state = _Block("foreign")
        if kind == "text":
            state = _Block("text")
            if text := _text(block, "text"):
                events.append(TextDelta(text))
            citations = block.get("citations") or []
            if not isinstance(citations, list):
                raise ProviderProtocolError("citations of a content block are not a list")
            events.extend(_citation(citation) for citation in citations)
        elif kind == "thinking":
            state = _Block("thinking")
            if text := _text(block, "thinking"):
                events.append(ReasoningDelta(text))
            if signature := _text(block, "signature"):
                events.append(ReasoningSignature(signature, NAME))
        elif kind == "redacted_thinking":
            state = _Block("redacted_thinking")
            events.append(RedactedReasoning(_text(block, "data"), NAME))
        elif kind == "tool_use":
            name = _text(block, "name")
            if not name:
                raise ProviderProtocolError("a tool call begins without a name")
            given = block.get("input")
            state = _Block("tool_use", self._calls, msgspec.json.encode(given).decode() if given else "")
            self._calls += 1
            events.append(ToolCallStart(state.call, _text(block, "id") or None, name))
        else:
            events.append(ForeignEvent(NAME, {"type": "content_block_start", "index": index, "content_block": block}))
        self._last = state.kind
        return state

    def _delta(self, wire: _WireEvent, payload: bytes, events: list[Event]) -> None:
        delta = wire.delta
        block = self._blocks.get(wire.index if wire.index is not None else -1)
        if delta is None or block is None:
            raise ProviderProtocolError("a content_block_delta without an open block")
        kind = delta.type
        if block.kind == "foreign":
            events.append(ForeignEvent(NAME, decode_any(payload)))
        elif kind == "text_delta" and block.kind == "text":
            if delta.text:
                events.append(TextDelta(delta.text))
        elif kind == "input_json_delta" and block.kind == "tool_use":
            if delta.partial_json:
                block.given = ""
                events.append(ToolArgumentsDelta(block.call, delta.partial_json))
        elif kind == "thinking_delta" and block.kind == "thinking":
            if delta.thinking:
                events.append(ReasoningDelta(delta.thinking))
        elif kind == "signature_delta" and block.kind == "thinking":
            if delta.signature:
                events.append(ReasoningSignature(delta.signature, NAME))
        elif kind == "citations_delta" and block.kind == "text":
            if delta.citation is not None:
                events.append(_citation(delta.citation))
        elif kind in ("text_delta", "input_json_delta", "thinking_delta", "signature_delta"):
            raise ProviderProtocolError(f"a {kind} in a {block.kind} block")

    def _block_stop(self, wire: _WireEvent, payload: bytes, events: list[Event]) -> None:
        block = self._blocks.pop(wire.index if wire.index is not None else -1, None)
        if block is None:
            raise ProviderProtocolError("a content_block_stop without an open block")
        self._close(block, events, wire.index or 0)

    def _close(self, block: _Block, events: list[Event], index: int) -> None:
        if block.kind == "tool_use":
            if block.given:
                events.append(ToolArgumentsDelta(block.call, block.given))
            events.append(ToolCallEnd(block.call))
        elif block.kind == "foreign":
            events.append(ForeignEvent(NAME, {"type": "content_block_stop", "index": index}))

    # --------------------------------------------------------------------------------------------------- whole

    def _document(self, body: bytes, events: list[Event]) -> None:
        try:
            message = _decode_message(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if message.error is not None:
            self._fail(message.error, events)
            return
        if message.content is None:
            raise ProviderProtocolError("the answer has neither content nor an error")
        self._begin(message, events)
        if len(message.content) > BLOCK_LIMIT:
            raise ProviderProtocolError("the answer has too many content blocks")
        for index, block in enumerate(message.content):
            self._close(self._open(block, events, index), events, index)
        if message.stop_reason is not None:
            events.append(_stop(message.stop_reason, message.stop_sequence, message.stop_details))
        else:
            events.append(Stop("tool_use" if self._calls else "other"))
        self._over = True
        events.append(End())


def _stop(native: str, sequence: str | None, detail: dict[str, Any] | None) -> Stop:
    return Stop(STOP_TO_CANON.get(native, "other"), native, sequence, 0, detail)


def _text(block: dict[str, Any], key: str) -> str:
    value = block.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    raise ProviderProtocolError(f"{key} of a content block is not a string")


def _citation(raw: object) -> Citation:
    if not isinstance(raw, dict):
        raise ProviderProtocolError("a citation is not an object")
    url, quote = raw.get("url"), raw.get("cited_text")
    title = raw.get("title", raw.get("document_title"))
    return Citation(
        NAME,
        raw,
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        quote=quote if isinstance(quote, str) else None,
    )
