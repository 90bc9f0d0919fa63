"""Reading a provider's answer, whole or streamed, into events (https://docs.cohere.com/v2/docs/streaming).

A stream ends with `message-end`; most servers add `[DONE]`. Its finish reason `ERROR` or `TIMEOUT` is the dialect's error in a stream.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from control_plane.dialects.body_reader import BodyReader, decode_any, unreadable
from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
    ForeignEvent,
    InStreamError,
    Logprobs,
    PartBreak,
    ReasoningDelta,
    Request,
    Start,
    Stop,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
)
from control_plane.dialects.cohere_chat import errors
from control_plane.dialects.cohere_chat.usage import WireUsage, read_usage
from control_plane.dialects.cohere_chat.vocabulary import FAILED_STOPS, NAME, STOP_TO_CANON
from control_plane.kit.errors import ProviderProtocolError

BLOCK_LIMIT: Final = 4096
"""Content blocks and tool calls in one answer; keeps a hostile provider from growing our tables without end."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _Call(msgspec.Struct):
    id: str | None = None
    function: _Function | None = None


class _Message(msgspec.Struct):
    """`message` of a whole answer."""

    content: list[dict[str, Any]] | None = None
    tool_plan: str | None = None
    tool_calls: list[_Call] | None = None
    citations: list[dict[str, Any]] | None = None


class _Answer(msgspec.Struct):
    id: str | None = None
    message: Any = None  # an error is a document with a message too, which is a text
    finish_reason: str | None = None
    usage: WireUsage | None = None
    logprobs: list[dict[str, Any]] | None = None
    error: str | None = None


class _Delta(msgspec.Struct):
    message: dict[str, Any] | None = None
    finish_reason: str | None = None
    error: str | None = None
    usage: WireUsage | None = None


class _WireEvent(msgspec.Struct):
    type: str
    id: str | None = None
    index: int | None = None
    delta: _Delta | None = None
    logprobs: dict[str, Any] | None = None


_decode_event: Final = msgspec.json.Decoder(_WireEvent).decode
_decode_answer: Final = msgspec.json.Decoder(_Answer).decode

_Kind = Literal["text", "thinking", "call", "foreign"]


class AnswerReader(BodyReader):
    """See control_plane.dialects.api.ResponseReader."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._started = False
        self._last: _Kind | None = None
        self._blocks: dict[int, _Kind] = {}
        self._calls: dict[int, int] = {}  # wire index to ours, of the calls that are open
        self._count = 0  # calls
        self._seen = 0  # blocks and calls

    # ------------------------------------------------------------------------------------------------ streamed

    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        if payload.strip() in (b"", b"[DONE]"):
            return
        try:
            wire = _decode_event(payload)
        except (ValueError, RecursionError) as error:
            value = decode_any(payload)
            if isinstance(value, dict) and "type" not in value and isinstance(value.get("message"), str):
                self._fail(value["message"], "ERROR", events)  # what hosts before the vendor write
                return
            raise unreadable(error) from error
        kind = wire.type
        if kind == "message-start":
            self._begin(wire.id, events)
        elif kind == "message-end":
            self._message_end(wire.delta or _Delta(), events)
        elif not self._started:
            raise ProviderProtocolError(f"a {kind[:40]} comes before message-start")
        elif kind.startswith("content-"):
            self._content(kind, wire, payload, events)
        elif kind == "tool-plan-delta":
            if plan := _text(_message(wire), "tool_plan"):
                self._switch("thinking", events, fresh=False)
                events.append(ReasoningDelta(plan))
        elif kind.startswith("tool-call-"):
            self._tool_call(kind, wire, events)
        elif kind == "citation-start":
            events.append(_citation(_message(wire).get("citations")))
        # citation-end says nothing, and anything else is new: clients ignore unknown events.

    def _begin(self, identity: str | None, events: list[Event]) -> None:
        if self._started:
            raise ProviderProtocolError("the stream begins twice")
        self._started = True
        events.append(Start(identity or None))

    def _content(self, kind: str, wire: _WireEvent, payload: bytes, events: list[Event]) -> None:
        index = 0 if wire.index is None else wire.index
        if kind == "content-end":
            if self._blocks.pop(index, None) == "foreign":
                events.append(ForeignEvent(NAME, decode_any(payload)))
            return
        block = _message(wire).get("content")
        if not isinstance(block, dict):
            raise ProviderProtocolError(f"a {kind[:40]} without content")
        if kind == "content-start":
            self._blocks[index] = self._open(block, events, _as_object(payload))
            return
        open_kind = self._blocks.get(index)
        if open_kind is None:
            raise ProviderProtocolError("a content-delta without an open block")
        if open_kind == "foreign":
            events.append(ForeignEvent(NAME, _as_object(payload)))
            return
        self._said(block, events)
        if wire.logprobs is not None:
            events.append(_logprobs([wire.logprobs]))

    def _open(self, block: dict[str, Any], events: list[Event], raw: dict[str, Any]) -> _Kind:
        self._one_more()
        kind = block.get("type")
        if kind is None:
            kind = "thinking" if isinstance(block.get("thinking"), str) else "text"
        if kind == "text":
            self._switch("text", events, fresh=True)
        elif kind == "thinking":
            self._switch("thinking", events, fresh=True)
        else:
            self._last = "foreign"
            events.append(ForeignEvent(NAME, raw))
            return "foreign"
        self._said(block, events)
        return "text" if kind == "text" else "thinking"

    def _said(self, block: dict[str, Any], events: list[Event]) -> None:
        if text := _text(block, "text"):
            events.append(TextDelta(text))
        if thought := _text(block, "thinking"):
            events.append(ReasoningDelta(thought))

    def _switch(self, kind: Literal["text", "thinking"], events: list[Event], *, fresh: bool) -> None:
        if fresh and self._last == kind:
            events.append(PartBreak())
        self._last = kind

    def _one_more(self) -> None:
        self._seen += 1
        if self._seen > BLOCK_LIMIT:
            raise ProviderProtocolError("the answer has too many content blocks and tool calls")

    def _tool_call(self, kind: str, wire: _WireEvent, events: list[Event]) -> None:
        index = 0 if wire.index is None else wire.index
        if kind == "tool-call-end":
            if (ours := self._calls.pop(index, None)) is not None:
                events.append(ToolCallEnd(ours))
            return
        call = _message(wire).get("tool_calls")
        if isinstance(call, list) and len(call) == 1:  # some servers
            call = call[0]
        try:
            found = msgspec.convert(call, _Call)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if kind == "tool-call-start":
            if index in self._calls:
                raise ProviderProtocolError("a tool call begins while one with its index is open")
            self._calls[index] = self._call_start(found, events)
            return
        ours = self._calls.get(index)
        if ours is None:
            raise ProviderProtocolError("a tool-call-delta without an open call")
        if found.function is not None and found.function.arguments:
            events.append(ToolArgumentsDelta(ours, found.function.arguments))

    def _call_start(self, call: _Call, events: list[Event]) -> int:
        self._one_more()
        function = call.function
        if function is None or not function.name:
            raise ProviderProtocolError("a tool call begins without a name")
        index = self._count
        self._count += 1
        self._last = "call"
        events.append(ToolCallStart(index, call.id or None, function.name))
        if function.arguments:
            events.append(ToolArgumentsDelta(index, function.arguments))
        return index

    def _message_end(self, delta: _Delta, events: list[Event]) -> None:
        if not self._started:
            raise ProviderProtocolError("the stream ends before it begins")
        self._end(delta.finish_reason, delta.error, delta.usage, events)

    # --------------------------------------------------------------------------------------------------- whole

    def _document(self, body: bytes, events: list[Event]) -> None:
        try:
            answer = _decode_answer(body)
            if isinstance(answer.message, str) and answer.finish_reason is None:
                self._fail(answer.message, "ERROR", events)
                return
            message = msgspec.convert(answer.message, _Message | None)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if message is None:
            raise ProviderProtocolError("the answer has neither a message nor an error")
        self._begin(answer.id, events)
        for block in message.content or ():
            self._open(block, events, {"type": "content", "content": block})
        if message.tool_plan:
            self._switch("thinking", events, fresh=True)
            events.append(ReasoningDelta(message.tool_plan))
        events.extend(_citation(citation) for citation in message.citations or ())
        for call in message.tool_calls or ():
            events.append(ToolCallEnd(self._call_start(call, events)))
        if answer.logprobs:
            events.append(_logprobs(answer.logprobs))
        self._end(answer.finish_reason, answer.error, answer.usage, events)

    # ----------------------------------------------------------------------------------------------------- end

    def _fail(self, message: str | None, reason: str, events: list[Event]) -> None:
        self._over = True
        events.append(InStreamError(errors.in_stream(message, reason)))

    def _end(self, native: str | None, error: str | None, usage: WireUsage | None, events: list[Event]) -> None:
        if usage is not None:
            events.append(UsageUpdate(read_usage(usage)))
        if native in FAILED_STOPS or (error and native is None):
            self._fail(error, native or "ERROR", events)
            return
        reason = STOP_TO_CANON.get(native or "", "other")
        if native is None and self._count:
            reason = "tool_use"
        events.append(Stop(reason, native))
        self._over = True
        events.append(End())


def _message(wire: _WireEvent) -> dict[str, Any]:
    return (wire.delta.message if wire.delta is not None else None) or {}


def _as_object(payload: bytes) -> dict[str, Any]:
    value: dict[str, Any] = decode_any(payload)  # it was read as an event before, so it is an object
    return value


def _text(block: dict[str, Any], key: str) -> str:
    value = block.get(key)
    if value is None or isinstance(value, str):
        return value or ""
    raise ProviderProtocolError(f"{key} of the answer is not a string")


def _citation(raw: object) -> Citation:
    """A span of the answer and its sources. Others can point at a span of the text only, not of thoughts and plans."""
    if isinstance(raw, list) and len(raw) == 1:
        raw = raw[0]
    if not isinstance(raw, dict):
        raise ProviderProtocolError("a citation is not an object")
    visible = raw.get("type") in (None, "TEXT_CONTENT")
    sources = raw.get("sources")
    places = [_place(source) for source in sources] if isinstance(sources, list) and visible else []
    url, title = next((place for place in places if place[0] is not None), (None, None))
    quote, start, end = raw.get("text"), raw.get("start"), raw.get("end")
    return Citation(
        NAME,
        raw,
        url=url,
        title=title,
        quote=quote if isinstance(quote, str) else None,
        start=start if type(start) is int else None,
        end=end if type(end) is int else None,
    )


def _place(source: object) -> tuple[str | None, str | None]:
    """(address, title) in the fields of a document or of what a tool found, where they have them."""
    if not isinstance(source, dict):
        return None, None
    fields = source.get("document") or source.get("tool_output")
    if not isinstance(fields, dict):
        return None, None
    url, title = fields.get("url"), fields.get("title")
    return url if isinstance(url, str) else None, title if isinstance(title, str) else None


def _logprobs(items: list[dict[str, Any]]) -> Logprobs:
    """Pieces of text with the probability of the whole piece: the product of those of its tokens, whose texts are not told."""
    tokens: list[object] = []
    for item in items:
        text, values = item.get("text"), item.get("logprobs")
        known = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)] if isinstance(values, list) else []
        text = text if isinstance(text, str) else ""
        tokens.append({"token": text, "logprob": sum(known) if known else -9999.0, "bytes": list(text.encode()), "top_logprobs": []})
    return Logprobs(tuple(tokens))
