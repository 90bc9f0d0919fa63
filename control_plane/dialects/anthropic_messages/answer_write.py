"""Writing a streamed message for a client.

Blocks never interleave: each has its start, its deltas and its stop before the next one starts. A provider of another
dialect may mix the argument fragments of parallel tool calls; those of later calls wait until the call in front is complete.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from control_plane.dialects.anthropic_messages import errors
from control_plane.dialects.anthropic_messages.usage import write_usage
from control_plane.dialects.anthropic_messages.vocabulary import NAME, STOP_TO_CANON, STOP_TO_WIRE
from control_plane.dialects.api import IdSource
from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
    Failure,
    ForeignEvent,
    InStreamError,
    PartBreak,
    ReasoningDelta,
    ReasoningSignature,
    RedactedReasoning,
    RefusalDelta,
    Request,
    Start,
    Stop,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
    seal_redacted,
    seal_signature,
)

_encode: Final = msgspec.json.Encoder().encode
_encode_event: Final = b"event: %b\ndata: %b\n\n"

CALL_KEPT_CHARS: Final = 8 * 1024 * 1024
"""Arguments of one call kept to see where they end; longer ones simply end with the answer."""

COMPLETE_TRIES: Final = 64
"""Looks at whether a call is complete, each as long as its arguments; after that it ends with the answer."""

_Open = Literal["", "text", "thinking", "tool", "foreign"]


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


class _Call:
    """The tool call whose block is open: what it has so far, to see whether it is complete."""

    __slots__ = ("_fragments", "_size", "_tries", "index")

    def __init__(self, index: int) -> None:
        self.index = index
        self._fragments: list[str] = []
        self._size = 0
        self._tries = 0

    def add(self, text: str) -> None:
        self._size += len(text)
        if self._size <= CALL_KEPT_CHARS:
            self._fragments.append(text)

    def complete(self) -> bool:
        """Whether the arguments are a whole JSON value. Asked often only when calls interleave, so the number of tries is bounded."""
        if self._size > CALL_KEPT_CHARS or self._tries >= COMPLETE_TRIES or not self._fragments or self._fragments[-1][-1:] not in "}] \n":
            return False
        self._tries += 1
        try:
            msgspec.json.decode("".join(self._fragments))
        except (ValueError, RecursionError):
            return False
        return True


class StreamWriter:
    """message_start, the blocks, message_delta with the stop reason and all usage, message_stop."""

    content_type = "text/event-stream"

    def __init__(self, request: Request, ids: IdSource) -> None:
        self._request = request
        self._ids = ids
        self._start = Start()
        self._usage = Usage()
        self._stop: Stop | None = None
        self._begun = False
        self._done = False
        self._index = -1
        self._open: _Open = ""
        self._sealed = False  # the open thinking block has its signature
        self._refused = False
        self._head = b""  # what precedes the text of a delta of the open block
        self._call: _Call | None = None
        self._block_of: dict[int, int] = {}  # call to block
        self._waiting: dict[int, tuple[ToolCallStart, list[str]]] = {}

    def emit(self, event: Event) -> bytes:
        if self._done or getattr(event, "choice", False):  # this dialect has one choice, and its clients cannot ask for more
            return b""
        kind = type(event)
        if kind is TextDelta:
            if self._open == "text":
                return b"%b%b}}\n\n" % (self._head, _encode(event.text))  # type: ignore[union-attr]
            return self._switch("text") + self.emit(event)
        if kind is ToolArgumentsDelta:
            return self._arguments(event)  # type: ignore[arg-type]
        if kind is ReasoningDelta:
            if self._open == "thinking" and not self._sealed:
                return b"%b%b}}\n\n" % (self._head, _encode(event.text))  # type: ignore[union-attr]
            return self._switch("thinking") + self.emit(event)
        return self._other(event)

    def _other(self, item: Event) -> bytes:
        match item:
            case Start():
                self._start = item
            case UsageUpdate():
                self._usage = self._usage.updated(item.usage)
            case ToolCallStart():
                return self._call_start(item)
            case ToolCallEnd():
                return self._call_end(item)
            case RefusalDelta():
                self._refused = True
                return self.emit(TextDelta(item.text))
            case ReasoningSignature():
                opening = b"" if self._open == "thinking" and not self._sealed else self._switch("thinking")
                self._sealed = True
                delta = {"type": "signature_delta", "signature": signature_for_client(item.signature, item.origin)}
                return opening + event({"type": "content_block_delta", "index": self._index, "delta": delta})
            case RedactedReasoning():
                block = {"type": "redacted_thinking", "data": redacted_for_client(item)}
                return self._close() + self._begin_block(block, "foreign") + self._close()
            case PartBreak():
                return self._close()
            case Citation() if item.origin == NAME:
                opening = b"" if self._open == "text" else self._switch("text")
                cited = {"type": "citations_delta", "citation": item.raw}
                return opening + event({"type": "content_block_delta", "index": self._index, "delta": cited})
            case ForeignEvent() if item.origin == NAME:
                return self._foreign(item)
            case Stop():
                self._stop = item
                return self._close()
            case End():
                return self.finish()
            case InStreamError():
                return self.fail(item.failure)
            case _:
                pass
        return b""

    # ------------------------------------------------------------------------------------------------ blocks

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
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

    def _begin_block(self, block: dict[str, Any], kind: _Open) -> bytes:
        opening = self._begin()
        self._index += 1
        self._open = kind
        return opening + event({"type": "content_block_start", "index": self._index, "content_block": block})

    def _switch(self, kind: Literal["text", "thinking"]) -> bytes:
        closing = self._close()
        if kind == "text":
            block, delta = {"type": "text", "text": ""}, b'"text_delta","text":'
        else:
            block, delta = {"type": "thinking", "thinking": "", "signature": ""}, b'"thinking_delta","thinking":'
        self._sealed = False
        opening = self._begin_block(block, kind)
        self._set_head(delta)
        return closing + opening

    def _set_head(self, delta: bytes) -> None:
        self._head = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":%b' % (self._index, delta)

    def _close(self) -> bytes:
        """Ends the open block, and every tool call that waits behind it."""
        if not self._open:
            return b""
        return self._advance(final=True) + self._close_block() if self._waiting else self._close_block()

    def _close_block(self) -> bytes:
        self._open = ""
        self._call = None
        return b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n' % self._index

    # ------------------------------------------------------------------------------------------------- calls

    def _open_call(self, start: ToolCallStart) -> bytes:
        signed = b""
        if start.signature is not None and signs_calls(self._request):  # this dialect signs thinking only, so one without a text
            signature = signature_for_client(start.signature, start.origin)
            signed = self._begin_block({"type": "thinking", "thinking": "", "signature": ""}, "foreign")
            signed += event(
                {"type": "content_block_delta", "index": self._index, "delta": {"type": "signature_delta", "signature": signature}}
            )
            signed += self._close_block()
        block = {"type": "tool_use", "id": start.id or self._ids.new("toolu_"), "name": start.name, "input": {}}
        opening = self._begin_block(block, "tool")
        self._call = _Call(start.index)
        self._block_of[start.index] = self._index
        self._set_head(b'"input_json_delta","partial_json":')
        return signed + opening

    def _advance(self, final: bool) -> bytes:
        """Ends the open call and opens the next that waits; goes on while that one is complete too (or, at the end, in any case)."""
        out = self._close_block()
        while self._waiting:
            start, texts = self._waiting.pop(next(iter(self._waiting)))
            out += self._open_call(start)
            for text in texts:
                out += self._fragment(text)
            if not self._waiting or not (final or (self._call is not None and self._call.complete())):
                break
            out += self._close_block()
        return out

    def _call_start(self, start: ToolCallStart) -> bytes:
        if self._waiting or (self._call is not None and not self._call.complete()):
            self._waiting[start.index] = (start, [])
            return b""
        closing = self._close()
        return closing + self._open_call(start)

    def _call_end(self, end: ToolCallEnd) -> bytes:
        if self._call is None or self._call.index != end.index:
            return b""
        return self._advance(final=False) if self._waiting else self._close_block()

    def _fragment(self, text: str) -> bytes:
        if self._call is not None:
            self._call.add(text)
        return b"%b%b}}\n\n" % (self._head, _encode(text))

    def _arguments(self, item: ToolArgumentsDelta) -> bytes:
        call = self._call
        if call is not None and call.index == item.index:
            out = self._fragment(item.text)
            if self._waiting and call.complete():
                out += self._advance(final=False)
            return out
        if (waiting := self._waiting.get(item.index)) is not None:
            waiting[1].append(item.text)
            return b""
        # More text for a call that was complete: readers join fragments by block number, so it still arrives.
        block = self._block_of.get(item.index)
        delta = {"type": "input_json_delta", "partial_json": item.text}
        return b"" if block is None else event({"type": "content_block_delta", "index": block, "delta": delta})

    def _foreign(self, item: ForeignEvent) -> bytes:
        """A block that only this dialect has, under our own numbering."""
        kind = item.raw.get("type")
        if kind == "content_block_start":
            closing = self._close()
            return closing + self._begin_block(item.raw["content_block"], "foreign")  # type: ignore[arg-type]
        if kind == "content_block_delta":
            return event({**item.raw, "index": self._index})
        return self._close() if self._open == "foreign" else b""

    # --------------------------------------------------------------------------------------------------- end

    def finish(self) -> bytes:
        if self._done:
            return b""
        out = self._begin() + self._close()
        self._done = True
        stop = self._stop or Stop("other")
        if self._refused and stop.reason == "end":
            stop = Stop("refusal")
        out += event({"type": "message_delta", "delta": stop_fields(stop), "usage": write_usage(self._usage)})
        return out + b'event: message_stop\ndata: {"type":"message_stop"}\n\n'

    def fail(self, failure: Failure) -> bytes:
        if self._done:
            return b""
        self._done = True
        return _encode_event % (b"error", errors.write_error(failure))
