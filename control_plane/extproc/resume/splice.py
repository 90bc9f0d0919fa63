"""One streamed answer out of several attempts. Sans-I/O: pieces of the attempts' bodies in, what the client gets out.

Attempts come back through Envoy in the client's own dialect. The first one's bytes go on as they are, event by event, and are read
beside; what goes on with it is read and written anew, in the state in which the first one's writer would be. An event that says
nothing of the text waits for the next that does, so that the end of a block is not seen by the client when the text goes on.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from control_plane.dialects.api import Dialect, IdSource, ResponseReader
from control_plane.dialects.canon import End, Event, Failure, InStreamError, Request, Start, TextDelta, Usage, UsageUpdate
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError

TEXT_CHARS: Final = 1 << 20
"""Of a text that can be gone on with: far above what models write in one answer."""

EVENT_BYTES: Final = 8 << 20
HELD_BYTES: Final = 64 << 10

CUT: Final = Failure("unreadable", 503, "the provider ended its answer early", code="provider_answer_cut")

_EVENT_END: Final = re.compile(rb"\r\n\r\n|\n\n|\r\r")
_HEARTBEAT: Final = (b":", b"event: ping")
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_encode: Final = msgspec.json.Encoder().encode


class Splice:
    """`begin` an attempt, `feed` it and `finish` it; then it is `complete`, or `broken`, and maybe `continuable`."""

    def __init__(self, dialect: Dialect, body: bytes, ids: IdSource) -> None:
        """Raises ClientProtocolError where the request cannot be read; then nothing is to be resumed."""
        self._body = body
        self._request = dialect.read_request(body)
        self._dialect = dialect
        self._writer = dialect.writer(self._request, ids)
        self._reader: ResponseReader = dialect.reader(self._request)
        self._eligible = _eligible(self._request)
        self._first = True
        self._buffer = bytearray()
        self._held = b""
        self._text: list[str] = []
        self._length = 0
        self._skip = ""  # white space that the client has, and a continuation may repeat
        self._before = Usage()  # of attempts that are over
        self._usage = Usage()
        self._error = b""  # how the attempt told the client that it has failed
        self.complete = False
        self.broken = False

    @property
    def continuable(self) -> bool:
        """Whether another target may go on: some text was sent, and nothing but text."""
        return self._eligible and self.broken and self._length > 0

    def continuation(self) -> bytes:
        """The client's request with what was written so far as the beginning of the answer."""
        document = _decode(self._body)
        written = "".join(self._text)
        begun = written.rstrip()  # vendors refuse white space at the end
        self._skip = written[len(begun) :]
        if begun:
            document["messages"] = [*document["messages"], {"role": "assistant", "content": begun}]
        return _encode(document)

    def begin(self, status: int, content_type: str) -> None:
        """The head of the next attempt's answer."""
        if self.broken:
            self._first = False
            self._before, self._usage = _sum(self._before, self._usage), Usage()
        self.broken = False
        self._buffer.clear()
        self._held = b""
        self._reader = self._dialect.reader(self._request)
        self._reader.start(status, content_type)

    def feed(self, data: bytes) -> bytes:
        """What the client gets now."""
        self._buffer += data
        out: list[bytes] = []
        at = 0
        for found in _EVENT_END.finditer(self._buffer):
            out.append(self._event(bytes(self._buffer[at : found.end()])))
            at = found.end()
            if self.broken or self.complete:
                break
        del self._buffer[:at]
        if len(self._buffer) > EVENT_BYTES:
            self.broken = True
        return b"".join(out)

    def finish(self) -> bytes:
        """The attempt's body has ended."""
        if self.complete or self.broken:
            return b""
        rest, self._buffer = bytes(self._buffer), bytearray()
        out = self._event(rest) if rest else b""
        if not self.complete and not self.broken:
            try:
                out += self._take(self._reader.finish(), b"")
            except ProviderProtocolError:
                self.broken = True
        self.broken = not self.complete
        return out

    def lost(self) -> None:
        """The attempt's connection is gone, or there was none."""
        self.broken = not self.complete

    def fail(self) -> bytes:
        """How the answer ends when nobody goes on with it: as the attempt itself said, or with the dialect's error event."""
        return self._error or self._writer.fail(CUT)

    def _event(self, raw: bytes) -> bytes:
        try:
            events = self._reader.feed(raw)
        except ProviderProtocolError:
            self.broken = True
            return b""
        return self._take(events, raw)

    def _take(self, events: list[Event], raw: bytes) -> bytes:
        written: list[bytes] = []
        for event in events:
            if isinstance(event, InStreamError):
                self.broken = True
                self._error = raw if self._first else self._writer.fail(event.failure)
                return b"" if self._first else b"".join(written)
            written.append(self._write(event))
            if self.complete:
                break
        if not self._first:
            return b"".join(written) if events else raw if raw.startswith(_HEARTBEAT) else b""
        if events or raw.startswith(_HEARTBEAT) or len(self._held) > HELD_BYTES:
            if events:
                raw, self._held = self._held + raw, b""
            return raw
        self._held += raw
        return b""

    def _write(self, event: Event) -> bytes:
        """The event as this answer's writer has it; notes what it means."""
        if isinstance(event, TextDelta):
            event = self._unrepeated(event)
            if not event.text:
                return b""
            self._text.append(event.text)
            self._length += len(event.text)
            self._eligible = self._eligible and self._length <= TEXT_CHARS and event.choice == 0
        elif isinstance(event, UsageUpdate):
            self._usage = self._usage.updated(event.usage)
            event = UsageUpdate(_sum(self._before, self._usage))
        elif isinstance(event, End):
            self.complete = True
            return self._writer.emit(event) + self._writer.finish()
        elif isinstance(event, Start):
            if not self._first:
                return b""
        else:
            self._eligible = False
        return self._writer.emit(event)

    def _unrepeated(self, event: TextDelta) -> TextDelta:
        if not self._skip:
            return event
        text, skip = event.text, self._skip
        shared = 0
        while shared < min(len(text), len(skip)) and text[shared] == skip[shared]:
            shared += 1
        self._skip = skip[shared:] if shared == len(text) else ""
        return TextDelta(text[shared:], event.choice)


def _eligible(request: Request) -> bool:
    """Whether the text of an answer is all that there is to go on with."""
    last = request.messages[-1].role if request.messages else ""
    plain = request.response_format is None or request.response_format.kind == "text"
    thinks = request.reasoning is not None and request.reasoning.enabled is not False and request.reasoning.effort != "none"
    return (
        request.stream and (request.sampling.n or 1) == 1 and not request.sampling.logprobs and plain and not thinks and last != "assistant"
    )


def _sum(one: Usage, other: Usage) -> Usage:
    def added(name: str) -> int | None:
        a: int | None = getattr(one, name)
        b: int | None = getattr(other, name)
        return b if a is None else a if b is None else a + b

    return Usage(added("input"), added("cached"), added("cache_write"), added("output"), added("reasoning"))


def splice(dialect: Dialect, body: bytes, ids: IdSource) -> Splice | None:
    """None for a request that cannot be read: its targets will say so."""
    try:
        return Splice(dialect, body, ids)
    except ClientProtocolError:
        return None
