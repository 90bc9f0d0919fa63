"""HTTP/1.1 as a server, by hand: drills send thousands of requests a second here, and h11 alone costs 75 µs of each (this: 4 µs).

States of a connection: HEAD (waiting for a request head) → BODY (waiting for its body) → BUSY (being answered) → HEAD. Bytes that
arrive while BUSY are kept (pipelining) up to a limit and then not read. A protocol error is answered with a bare 400 and a close.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from email.utils import formatdate
from http import HTTPStatus
from typing import Any, Final, Protocol, cast

from control_plane.demo.reset import reset

HEAD_LIMIT_BYTES: Final = 65_536  # request line and headers; vendors' edges stop at 8 to 64 KiB
BODY_LIMIT_BYTES: Final = 64 * 1024 * 1024  # above the gateway's own limit, so that the gateway's is the one that is tested
PIPELINE_LIMIT_BYTES: Final = 1024 * 1024  # read ahead of a request that is being answered

REASONS: Final[dict[int, bytes]] = {int(s): s.phrase.encode() for s in HTTPStatus} | {529: b"Overloaded"}


@dataclass(slots=True)
class HttpRequest:
    """One request. Header names in lower case, repeated headers joined by ", ". `body` is whole and decoded from chunks."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool = True


class Handler(Protocol):
    """What a server does with its connections; every call is on the event loop and must not block."""

    def connected(self, connection: Connection) -> bool:
        """A new connection; False means that it was dealt with and must not be read."""
        ...

    def disconnected(self, connection: Connection) -> None: ...

    def head(self, connection: Connection, request: HttpRequest) -> bool:
        """The head is there and the body is not; True when the request was answered already."""
        ...

    def request(self, connection: Connection, request: HttpRequest) -> None:
        """A complete request; answer now with `reply`, or later from a task given to `spawn`."""
        ...


class BadRequest(Exception):
    """Bytes that are not HTTP/1.1, or over a limit; the text is safe to send back."""


class ChunkedBody:
    """Decodes a chunked request body; `take` consumes complete chunks from the buffer and says whether the body ended."""

    def __init__(self) -> None:
        self.data = bytearray()
        self._trailers = False

    def take(self, buffer: bytearray) -> bool:
        """Move what is complete from `buffer` into `data`. Raises BadRequest on bad framing or a body over the limit."""
        position = 0
        try:
            while True:
                end = buffer.find(b"\r\n", position)
                if end < 0:
                    if len(buffer) - position > HEAD_LIMIT_BYTES:
                        raise BadRequest("chunk header too long")
                    return False
                if self._trailers:
                    empty = end == position
                    position = end + 2
                    if empty:
                        return True
                    continue
                size = _chunk_size(bytes(buffer[position:end]))
                if size == 0:
                    self._trailers = True
                    position = end + 2
                    continue
                if len(self.data) + size > BODY_LIMIT_BYTES:
                    raise BadRequest("body too large")
                if len(buffer) < end + 2 + size + 2:
                    return False
                self.data += buffer[end + 2 : end + 2 + size]
                position = end + 2 + size + 2
        finally:
            del buffer[:position]


def _chunk_size(line: bytes) -> int:
    digits = line.split(b";", 1)[0].strip()
    try:
        return int(digits, 16)
    except ValueError:
        raise BadRequest("bad chunk size") from None


def parse_head(head: bytes) -> HttpRequest:
    """A request head without its final blank line. Raises BadRequest."""
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise BadRequest("bad request line")
    headers: dict[str, str] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if not colon or not name or name != name.strip():
            raise BadRequest("bad header line")
        name = name.lower()
        value = value.strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path, _, query = parts[1].partition("?")
    connection = headers.get("connection", "").lower()
    keep_alive = "close" not in connection if parts[2] == "HTTP/1.1" else "keep-alive" in connection
    return HttpRequest(parts[0], path, query, headers, b"", keep_alive)


class _Date:
    """The Date header, made once a second."""

    second = 0
    line = b""


def date_header() -> bytes:
    now = int(time.time())
    if now != _Date.second:
        _Date.second = now
        _Date.line = b"date: " + formatdate(now, usegmt=True).encode() + b"\r\n"
    return _Date.line


def head_bytes(status: int, content_type: str, headers: bytes, length: int | None, *, close: bool = False) -> bytes:
    """A response head; `headers` are complete lines with CRLF, `length` None means chunked."""
    framing = b"transfer-encoding: chunked\r\n" if length is None else b"content-length: %d\r\n" % length
    return b"HTTP/1.1 %d %s\r\n%scontent-type: %s\r\n%s%s%s\r\n" % (
        status,
        REASONS.get(status, b"Unknown"),
        date_header(),
        content_type.encode(),
        framing,
        headers,
        b"connection: close\r\n" if close else b"",
    )


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"


class Connection(asyncio.Protocol):
    """One client connection: feeds requests to the handler one at a time and writes its answers."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._buffer = bytearray()
        self._request: HttpRequest | None = None
        self._missing = 0  # bytes that the buffer must reach before looking at it again is worth it
        self._chunked: ChunkedBody | None = None
        self._paused = False
        self._writable = asyncio.Event()
        self._writable.set()
        self._task: asyncio.Task[None] | None = None
        self._close_after = False
        self.transport: asyncio.Transport | None = None
        self.busy = False
        self.answered_early = False
        self.read_rate = 0  # bytes per second, 0 = as fast as they come

    # what asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's transport is not asyncio's class
        if self._handler.connected(self):
            raw = transport.get_extra_info("socket")
            if raw is not None:
                with contextlib.suppress(OSError):
                    raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        self._writable.set()
        if self._task is not None:
            self._task.cancel()
        self._handler.disconnected(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self.read_rate:
            self.pause_reading()
            asyncio.get_running_loop().call_later(len(data) / self.read_rate, self.resume_reading)
        if self.busy:
            if len(self._buffer) > PIPELINE_LIMIT_BYTES and not self._paused:
                self.pause_reading()
            return
        if len(self._buffer) >= self._missing:
            self._advance()

    # reading

    def pause_reading(self) -> None:
        """Stop reading from the socket (the peer's writes then block)."""
        self._paused = True
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self) -> None:
        self._paused = False
        if self.transport is not None:
            self.transport.resume_reading()

    def _advance(self) -> None:
        try:
            while not self.busy and self.transport is not None and self._next():
                pass
        except BadRequest as error:
            self.busy = True
            body = f"{error}\n".encode()
            self.write(head_bytes(400, "text/plain", b"", len(body), close=True) + body)
            self.finish()

    def _next(self) -> bool:
        """One step of the state machine; False when more bytes are needed."""
        request = self._request
        if request is None:
            if not self._buffer:
                return False
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > HEAD_LIMIT_BYTES:
                    raise BadRequest("request head too large")
                return False
            request = self._request = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
            self._start_body(request)
        if self._chunked is not None:
            if not self._chunked.take(self._buffer):
                return False
            request.body = bytes(self._chunked.data)
        elif len(self._buffer) < self._missing:
            return False
        elif self._missing:
            request.body = bytes(self._buffer[: self._missing])
            del self._buffer[: self._missing]
        self._request, self._chunked, self._missing = None, None, 0
        if self.answered_early:  # the body of a request that was answered on its head
            self.answered_early = False
            return True
        self.busy = True
        self._close_after = self._close_after or not request.keep_alive
        self._handler.request(self, request)
        return True

    def _start_body(self, request: HttpRequest) -> None:
        if "transfer-encoding" in request.headers:
            self._chunked = ChunkedBody()
        else:
            length = request.headers.get("content-length", "0")
            if not length.isdecimal():
                raise BadRequest("bad content-length")
            self._missing = int(length)
            if self._missing > BODY_LIMIT_BYTES:
                raise BadRequest("body too large")
        if self._chunked is None and len(self._buffer) >= self._missing:
            return
        self.answered_early = self._handler.head(self, request)
        if not self.answered_early and request.headers.get("expect", "").lower() == "100-continue":
            self.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    # writing

    @property
    def closed(self) -> bool:
        return self.transport is None or self.transport.is_closing()

    def write(self, data: bytes) -> None:
        """Send bytes; a connection that is gone swallows them (its task is being cancelled)."""
        if self.transport is not None:
            self.transport.write(data)

    async def drain(self) -> None:
        """Wait until the peer takes data again."""
        if not self._writable.is_set():
            await self._writable.wait()

    def finish(self) -> None:
        """The answer is complete: take the next request, or close if either side wants that."""
        self.busy = False
        if self._close_after:
            self.close()
            return
        if self._paused:
            self.resume_reading()

    def close_when_idle(self) -> None:
        """Close now if nothing is being answered, else after the answer."""
        self._close_after = True
        if not self.busy:
            self.close()

    def close(self) -> None:
        """Flush and send FIN."""
        if self.transport is not None:
            self.transport.close()

    def reset(self) -> None:
        """Send RST: nothing more is flushed."""
        if self.transport is not None:
            reset(self.transport)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Answer from a task; it is cancelled when the client goes away, and `finish` follows when it ends normally."""
        self._task = asyncio.get_running_loop().create_task(self._run(work))

    async def _run(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except asyncio.CancelledError:
            if not self.closed:
                self.reset()
            return
        except Exception:
            self.reset()
            raise
        finally:
            self._task = None
        self.finish()
        self._advance()

    def stop(self) -> asyncio.Task[None] | None:
        """Cut whatever is going on; returns the task to wait for, if there is one."""
        task = self._task
        if task is not None:
            task.cancel()
        self.reset()
        return task
