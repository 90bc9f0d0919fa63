"""What writers of streams made of content blocks share: blocks never interleave.

Each has its start, its deltas and its stop before the next one starts. A provider of another dialect may mix the argument
fragments of parallel tool calls; those of later calls wait until the call in front is complete.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Final, Literal

import msgspec

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
)

CALL_KEPT_CHARS: Final = 8 * 1024 * 1024
"""Arguments of one call kept to see where they end; longer ones simply end with the answer."""

COMPLETE_TRIES: Final = 64
"""Looks at whether a call is complete, each as long as its arguments; after that it ends with the answer."""

OpenBlock = Literal["", "text", "thinking", "tool", "foreign"]


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


class BlockStreamWriter(ABC):
    """See control_plane.dialects.api.ResponseWriter. A dialect says how each frame looks; `_index` is the number of its block."""

    content_type: str

    def __init__(self, request: Request, ids: IdSource) -> None:
        self._request = request
        self._ids = ids
        self._start = Start()
        self._usage = Usage()
        self._stop: Stop | None = None
        self._begun = False
        self._done = False
        self._index = -1
        self._open: OpenBlock = ""
        self._sealed = False  # the open thinking block has its signature
        self._refused = False
        self._call: _Call | None = None
        self._block_of: dict[int, int] = {}  # call to block
        self._waiting: dict[int, tuple[ToolCallStart, list[str]]] = {}

    # ------------------------------------------------------------------------------------------------ frames

    @abstractmethod
    def _message_start(self) -> bytes:
        """What begins the answer."""

    @abstractmethod
    def _block_start(self, kind: Literal["text", "thinking"]) -> bytes:
        """What begins a block of text or of thinking."""

    @abstractmethod
    def _call_block(self, start: ToolCallStart) -> bytes:
        """What begins the block of a call."""

    @abstractmethod
    def _delta(self, text: str) -> bytes:
        """A piece of the open block: its text, its thinking or its arguments."""

    @abstractmethod
    def _late_arguments(self, block: int, text: str) -> bytes:
        """A piece of the arguments of a block that has ended."""

    @abstractmethod
    def _signature(self, item: ReasoningSignature) -> bytes:
        """The signature of the open block of thinking."""

    @abstractmethod
    def _redacted(self, item: RedactedReasoning) -> bytes:
        """A whole block of encrypted reasoning, opened with `_begin_block`."""

    @abstractmethod
    def _signed_call(self, start: ToolCallStart) -> bytes:
        """What stands in front of a call that its vendor has signed; often nothing."""

    @abstractmethod
    def _block_stop(self) -> bytes:
        """What ends the open block."""

    @abstractmethod
    def _own(self, item: Citation | ForeignEvent) -> bytes:
        """What this dialect may be able to express."""

    @abstractmethod
    def _message_stop(self, stop: Stop) -> bytes:
        """What ends the answer, with its usage."""

    @abstractmethod
    def _failed(self, failure: Failure) -> bytes:
        """The error that ends the answer instead."""

    # ------------------------------------------------------------------------------------------------ events

    def emit(self, event: Event) -> bytes:
        if self._done or getattr(event, "choice", False):  # these dialects have one choice, and their clients cannot ask for more
            return b""
        kind = type(event)
        if kind is TextDelta:
            if self._open == "text":
                return self._delta(event.text)  # type: ignore[union-attr]
            return self._switch("text") + self.emit(event)
        if kind is ToolArgumentsDelta:
            return self._arguments(event)  # type: ignore[arg-type]
        if kind is ReasoningDelta:
            if self._open == "thinking" and not self._sealed:
                return self._delta(event.text)  # type: ignore[union-attr]
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
                return opening + self._signature(item)
            case RedactedReasoning():
                return self._close() + self._redacted(item) + self._close()
            case PartBreak():
                return self._close()
            case Citation() | ForeignEvent():
                return self._own(item)
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
        return self._message_start()

    def _begin_block(self, kind: OpenBlock) -> bytes:
        """The next block is open; its own first frame follows what this gives."""
        self._index += 1
        self._open = kind
        return self._begin()

    def _switch(self, kind: Literal["text", "thinking"]) -> bytes:
        closing = self._close()
        self._sealed = False
        return closing + self._begin_block(kind) + self._block_start(kind)

    def _close(self) -> bytes:
        """Ends the open block, and every tool call that waits behind it."""
        if not self._open:
            return b""
        return self._advance(final=True) + self._close_block() if self._waiting else self._close_block()

    def _close_block(self) -> bytes:
        self._open = ""
        self._call = None
        return self._block_stop()

    # ------------------------------------------------------------------------------------------------- calls

    def _open_call(self, start: ToolCallStart) -> bytes:
        signed = b"" if start.signature is None else self._signed_call(start)
        opening = self._begin_block("tool")
        self._call = _Call(start.index)
        self._block_of[start.index] = self._index
        return signed + opening + self._call_block(start)

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
        return self._delta(text)

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
        return b"" if block is None else self._late_arguments(block, item.text)

    # --------------------------------------------------------------------------------------------------- end

    def finish(self) -> bytes:
        if self._done:
            return b""
        out = self._begin() + self._close()
        self._done = True
        stop = self._stop or Stop("other")
        if self._refused and stop.reason == "end":
            stop = Stop("refusal")
        return out + self._message_stop(stop)

    def fail(self, failure: Failure) -> bytes:
        if self._done:
            return b""
        self._done = True
        return self._failed(failure)
