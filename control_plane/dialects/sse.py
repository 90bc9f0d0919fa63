"""Server-sent events, both ways, for any split of the bytes (WHATWG HTML, section 9.2).

Lines end with LF, CR or CRLF; a leading byte order mark is skipped; comment lines are skipped; the `data` lines of one
event are joined with LF. Two deviations, both seen in real traffic:
the last event counts even when the body ends without the blank line, as the vendors' own SDKs read it;
a bare `error: …` line (gpustack) is delivered as an event named "error".
"""

from __future__ import annotations

from typing import Final

from control_plane.kit.errors import ProviderProtocolError

EVENT_LIMIT_BYTES: Final = 8 * 1024 * 1024
"""One event, 8 MiB: above any real one (images in base64 reach a few MiB), far below what hurts a worker."""

_BOM: Final = b"\xef\xbb\xbf"

SSEvent = tuple[bytes | None, bytes]
"""(event name or None, data)."""


class SSEDecoder:
    """`feed` any slice of the body, get the events completed by it; `finish` gives what an unterminated body left."""

    __slots__ = ("_after_cr", "_buffer", "_head", "_limit")

    def __init__(self, limit: int = EVENT_LIMIT_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._head: bytes | None = b""  # first bytes until it is known whether they are a byte order mark, then None
        self._after_cr = False

    def feed(self, data: bytes) -> list[SSEvent]:
        if self._head is not None:
            data = self._head + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._head = data
                return []
            self._head = None
            if data.startswith(_BOM):
                data = data[len(_BOM) :]
        if self._after_cr or b"\r" in data:
            data = self._lf_only(data)
        buffer = self._buffer
        if not buffer and data.endswith(b"\n\n"):  # what vendors do nearly always: whole events
            return self._parse(data[:-2].split(b"\n\n"))
        searched = max(0, len(buffer) - 1)
        buffer += data
        last = buffer.rfind(b"\n\n", searched)
        events: list[SSEvent] = []
        if last >= 0:
            events = self._parse(bytes(buffer[:last]).split(b"\n\n"))
            del buffer[: last + 2]
        if len(buffer) > self._limit + 1:  # + 1: the first half of its blank line may be here
            raise self._too_long()
        return events

    def finish(self) -> list[SSEvent]:
        rest = (self._head or b"") + bytes(self._buffer)
        self._head, self._buffer = None, bytearray()
        return self._parse(rest.split(b"\n\n"))

    def _lf_only(self, data: bytes) -> bytes:
        if self._after_cr and data:
            self._after_cr = False
            if data[0] == 0x0A:
                data = data[1:]
        if data.endswith(b"\r"):
            self._after_cr = True
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _too_long(self) -> ProviderProtocolError:
        return ProviderProtocolError(f"an event of the stream is larger than {self._limit} bytes")

    def _parse(self, blocks: list[bytes]) -> list[SSEvent]:
        events: list[SSEvent] = []
        for block in blocks:
            if len(block) > self._limit:
                raise self._too_long()
            if b"\n" not in block:
                if block.startswith(b"data: "):
                    events.append((None, block[6:]))
                    continue
            elif block.startswith(b"event: "):
                name, _, rest = block[7:].partition(b"\n")
                if rest.startswith(b"data: ") and b"\n" not in rest:
                    events.append((name, rest[6:]))
                    continue
            event = _parse_lines(block)
            if event is not None:
                events.append(event)
        return events


def _parse_lines(block: bytes) -> SSEvent | None:
    name: bytes | None = None
    data: list[bytes] = []
    for line in block.split(b"\n"):
        if not line:
            continue  # an odd number of newlines leaves one in front
        field, colon, value = line.partition(b":")
        if value.startswith(b" "):
            value = value[1:]
        if field == b"data":
            data.append(value)
        elif field == b"event":
            name = value or None
        elif field == b"error" and colon:
            name = b"error"
            data.append(value)
    return (name, b"\n".join(data)) if data else None


def encode(data: bytes, event: bytes | None = None) -> bytes:
    """One event. `data` may hold LF (one `data` line each); CR is not representable inside data and JSON never holds it."""
    head = b"event: " + event + b"\n" if event is not None else b""
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    return head + b"data: " + data + b"\n\n"
