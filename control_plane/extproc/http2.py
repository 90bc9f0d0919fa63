"""HTTP/2 for one trusted peer: Envoy on a Unix socket, prior knowledge, every answer given while its request is being read.

Written for the translator, because what serves the world does not serve Envoy: servers guard against clients that open and reset
streams quickly (hyper closes the connection after 20 unaccepted resets), and here that is what a crowd of impatient clients looks
like, and closing the connection would cut everyone else's answers. It also costs a third of the alternatives, since nothing crosses a
thread, no task is made, and what one read brings is answered by one write.

Rules (RFC 9113): the peer is a client; no push, no priorities, no upgrade. The header table is set to size 0, so a header block means
the same on every connection and is decoded once. Received data is consumed at once, so windows are as large as they may be and the
socket itself is the back-pressure; data to send waits for the peer's windows. A broken frame ends the connection with GOAWAY.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final, Protocol, cast

import hpack

from control_plane.kit.errors import ProtocolError

log = logging.getLogger(__name__)

Header = tuple[bytes, bytes]

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD_BYTES: Final = 9
MAX_FRAME_BYTES: Final = 16_384  # what we accept and send: the protocol's initial value, never raised
WINDOW_BYTES: Final = 2**30  # of a stream and of the connection, received
HEADER_BLOCK_BYTES: Final = 64 * 1024  # of one request
CACHED_BLOCKS: Final = 4096  # decoded header blocks; in practice one for each target and what is asked of it

DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4
PADDED: Final = 0x8
WITH_PRIORITY: Final = 0x20

NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, _, STREAM_CLOSED, FRAME_SIZE_ERROR = range(7)
COMPRESSION_ERROR: Final = 9
MAX_WINDOW: Final = 2**31 - 1
SETTING_TABLE, SETTING_PUSH, SETTING_STREAMS, SETTING_WINDOW, SETTING_FRAME = range(1, 6)


class ConnectionFault(ProtocolError):
    """The peer broke the protocol; the connection ends with `code`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Call(Protocol):
    """What serves one stream. Each is called while bytes are being read; answers go through the stream at once."""

    def received(self, data: bytes) -> None: ...

    def half_closed(self) -> None:
        """The peer has no more to say."""
        ...

    def reset(self) -> None:
        """The peer, or the connection, is gone; nothing can be sent any more."""
        ...


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return b"".join((len(payload).to_bytes(3, "big"), bytes((kind, flags)), stream.to_bytes(4, "big"), payload))


def _string(text: bytes) -> bytes:
    if len(text) < 0x7F:
        return bytes((len(text),)) + text
    rest, out = len(text) - 0x7F, bytearray(b"\x7f")
    while rest > 0x7F:
        out.append(rest & 0x7F | 0x80)
        rest >>= 7
    out.append(rest)
    return bytes(out) + text


def encoded(headers: list[Header]) -> bytes:
    """A header block of plain literals (RFC 7541, 6.2.2): no state, no compression; ours are few and short."""
    return b"".join(b"\0" + _string(name) + _string(value) for name, value in headers)


class Stream:
    """The sending half of one stream. `send` and `end` keep their order and wait for the peer's windows."""

    __slots__ = ("_connection", "_ended", "_pending", "_tail", "call", "number", "peer_ended", "received_bytes", "window")

    def __init__(self, connection: Connection, number: int, window: int) -> None:
        self._connection = connection
        self._pending = bytearray()
        self._tail: bytes | None = None
        self._ended = False
        self.number = number
        self.window = window
        self.received_bytes = 0
        self.peer_ended = False
        self.call: Call | None = None

    def head(self, block: bytes) -> None:
        """Send response headers (a block of `encoded`)."""
        self._connection.write(frame(HEADERS, END_HEADERS, self.number, block))

    def send(self, data: bytes) -> None:
        size = len(data)
        connection = self._connection
        if not self._pending and size <= self.window and size <= connection.window and size <= MAX_FRAME_BYTES:
            self.window -= size
            connection.window -= size
            connection.write(frame(DATA, 0, self.number, data))
            return
        self._pending += data
        self.flush()

    def end(self, trailers: bytes | None = None) -> None:
        """End the stream, with trailers (a block of `encoded`) if given. The call hears of nothing more once all is sent."""
        if self._ended:
            return
        self._ended = True
        ending = (DATA, END_STREAM, b"") if trailers is None else (HEADERS, END_HEADERS | END_STREAM, trailers)
        self._tail = frame(ending[0], ending[1], self.number, ending[2])
        self.flush()

    def flush(self) -> None:
        """Send what the windows allow now."""
        connection, pending, at = self._connection, self._pending, 0
        while at < len(pending):
            size = min(len(pending) - at, self.window, connection.window, MAX_FRAME_BYTES)
            if size <= 0:
                break
            connection.write(frame(DATA, 0, self.number, bytes(pending[at : at + size])))
            self.window -= size
            connection.window -= size
            at += size
        if at:
            del pending[:at]
        if self._tail is not None and not pending:
            connection.write(self._tail)
            self._tail = None
            if not self.peer_ended:  # nobody reads what the peer may still send
                connection.write(frame(RST_STREAM, 0, self.number, NO_ERROR.to_bytes(4, "big")))
            connection.forget(self)

    def push(self) -> None:
        """Write now what was sent: only needed outside a read of the connection, which ends with that."""
        self._connection.push()

    @property
    def waiting(self) -> bool:
        """Whether something could not be sent for want of a window."""
        return bool(self._pending)


Open = Callable[[list[Header], Stream], Call]


class HeaderBlocks:
    """Decoded header blocks of all connections. Valid for blocks that use no dynamic table."""

    def __init__(self) -> None:
        self._known: dict[bytes, list[Header]] = {}

    def get(self, block: bytes) -> list[Header] | None:
        return self._known.get(block)

    def put(self, block: bytes, headers: list[Header]) -> None:
        if len(self._known) >= CACHED_BLOCKS:
            self._known.clear()
        self._known[block] = headers


class Connection(asyncio.Protocol):
    """One connection. `opened` makes the call that serves a new stream."""

    def __init__(self, opened: Open, blocks: HeaderBlocks, living: set[Connection]) -> None:
        self._opened = opened
        self._blocks = blocks
        self._living = living
        self._transport: asyncio.Transport | None = None
        self._rest = b""
        self._preface = True
        self._streams: dict[int, Stream] = {}
        self._last = 0
        self._decoder = hpack.Decoder()
        self._confirmed = False  # the peer has our settings
        self._stateless = False  # and has shrunk its header table to nothing
        self._block: tuple[int, int, bytearray] | None = None  # stream, flags, a header block that continues
        self._peer_window = 65_535
        self._received_bytes = 0
        self._out: list[bytes] = []
        self.window = 65_535

    # ------------------------------------------------------------------------------------------------------- asyncio
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but its class
        self._living.add(self)
        settings = ((SETTING_TABLE, 0), (SETTING_WINDOW, WINDOW_BYTES))
        self.write(frame(SETTINGS, 0, 0, b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in settings)))
        self.write(frame(WINDOW_UPDATE, 0, 0, (WINDOW_BYTES - 65_535).to_bytes(4, "big")))
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        self._living.discard(self)
        self._transport = None
        for stream in list(self._streams.values()):
            self.forget(stream)
            if stream.call is not None:
                stream.call.reset()

    def data_received(self, data: bytes) -> None:
        try:
            self._read(self._rest + data if self._rest else data)
        except ConnectionFault as fault:
            log.warning("closing a connection: %s", fault)
            self.close(fault.code)
            return
        self._send()

    def pause_writing(self) -> None:
        """The peer does not read: answer nothing more, so read nothing more."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    # ------------------------------------------------------------------------------------------------------- sending
    def write(self, data: bytes) -> None:
        self._out.append(data)

    def _send(self) -> None:
        if self._out:
            if self._transport is not None:
                self._transport.write(b"".join(self._out))
            self._out.clear()

    def push(self) -> None:
        """Write what was collected outside a read."""
        self._send()

    def close(self, code: int = NO_ERROR) -> None:
        """GOAWAY, then close once it is written."""
        self.write(frame(GOAWAY, 0, 0, self._last.to_bytes(4, "big") + code.to_bytes(4, "big")))
        self._send()
        if self._transport is not None:
            self._transport.close()

    def forget(self, stream: Stream) -> None:
        self._streams.pop(stream.number, None)

    # ------------------------------------------------------------------------------------------------------- reading
    def _read(self, data: bytes) -> None:
        at, size = 0, len(data)
        if self._preface:
            if not PREFACE.startswith(data[: len(PREFACE)]):
                raise ConnectionFault(PROTOCOL_ERROR, "the peer does not speak HTTP/2")
            if size < len(PREFACE):
                self._rest = data
                return
            at, self._preface = len(PREFACE), False
        while size - at >= HEAD_BYTES:
            length = data[at] << 16 | data[at + 1] << 8 | data[at + 2]
            if length > MAX_FRAME_BYTES:
                raise ConnectionFault(FRAME_SIZE_ERROR, f"a frame of {length} bytes")
            start = at + HEAD_BYTES
            end = start + length
            if end > size:
                break
            number = int.from_bytes(data[at + 5 : start], "big") & MAX_WINDOW
            self._frame(data[at + 3], data[at + 4], number, data[start:end])
            at = end
        self._rest = data[at:]

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if self._block is not None and kind != CONTINUATION:
            raise ConnectionFault(PROTOCOL_ERROR, "a header block is interrupted")
        if kind == DATA:
            self._data(flags, number, payload)
        elif kind == HEADERS:
            self._begin_block(flags, number, payload)
        elif kind == CONTINUATION:
            self._continue_block(flags, number, payload)
        elif kind == WINDOW_UPDATE:
            self._window_update(number, payload)
        elif kind == RST_STREAM:
            stream = self._streams.pop(number, None)
            if stream is not None and stream.call is not None:
                stream.call.reset()
        elif kind == SETTINGS:
            self._settings(flags, payload)
        elif kind == PING:
            if len(payload) != 8:
                raise ConnectionFault(FRAME_SIZE_ERROR, "a ping of the wrong size")
            if not flags & ACK:
                self.write(frame(PING, ACK, 0, payload))
        elif kind == PUSH_PROMISE:
            raise ConnectionFault(PROTOCOL_ERROR, "a client pushed")

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size = len(payload)
        self._received_bytes += size
        if self._received_bytes >= WINDOW_BYTES // 2:
            self.write(frame(WINDOW_UPDATE, 0, 0, self._received_bytes.to_bytes(4, "big")))
            self._received_bytes = 0
        stream = self._streams.get(number)
        if stream is None:
            if number > self._last or number % 2 == 0:
                raise ConnectionFault(PROTOCOL_ERROR, f"data on stream {number}, which was never opened")
            return  # of a stream that has just ended here
        if stream.peer_ended:
            raise ConnectionFault(STREAM_CLOSED, f"data after the end of stream {number}")
        stream.received_bytes += size
        if stream.received_bytes >= WINDOW_BYTES // 2:
            self.write(frame(WINDOW_UPDATE, 0, number, stream.received_bytes.to_bytes(4, "big")))
            stream.received_bytes = 0
        call = stream.call
        assert call is not None
        if flags & PADDED:
            payload = _unpadded(payload)
        if payload:
            call.received(payload)
        if flags & END_STREAM:
            stream.peer_ended = True
            if number in self._streams:
                call.half_closed()

    def _begin_block(self, flags: int, number: int, payload: bytes) -> None:
        if flags & PADDED:
            payload = _unpadded(payload)
        if flags & WITH_PRIORITY:
            payload = payload[5:]
        if flags & END_HEADERS:
            self._headers(flags, number, payload)
        else:
            self._block = (number, flags, bytearray(payload))

    def _continue_block(self, flags: int, number: int, payload: bytes) -> None:
        if self._block is None or self._block[0] != number:
            raise ConnectionFault(PROTOCOL_ERROR, "a continuation of nothing")
        block = self._block[2]
        block += payload
        if len(block) > HEADER_BLOCK_BYTES:
            raise ConnectionFault(PROTOCOL_ERROR, f"a header block of more than {HEADER_BLOCK_BYTES} bytes")
        if flags & END_HEADERS:
            first_flags, self._block = self._block[1], None
            self._headers(first_flags, number, bytes(block))

    def _headers(self, flags: int, number: int, block: bytes) -> None:
        headers = self._decoded(block)
        stream = self._streams.get(number)
        if stream is not None:  # trailers
            stream.peer_ended = True
            if stream.call is not None:
                stream.call.half_closed()
            return
        if number % 2 == 0:
            raise ConnectionFault(PROTOCOL_ERROR, f"a client opened stream {number}")
        if number <= self._last:
            return  # trailers of a stream that has just ended here
        self._last = number
        stream = self._streams[number] = Stream(self, number, self._peer_window)
        call = stream.call = self._opened(headers, stream)
        if flags & END_STREAM:
            stream.peer_ended = True
            if number in self._streams:
                call.half_closed()

    def _decoded(self, block: bytes) -> list[Header]:
        if self._stateless and (known := self._blocks.get(block)) is not None:
            return known
        decoder = self._decoder
        try:
            headers = [(bytes(name), bytes(value)) for name, value, *_ in decoder.decode(block, raw=True)]
        except hpack.HPACKError as error:
            raise ConnectionFault(COMPRESSION_ERROR, f"a header block that cannot be decoded: {error}") from None
        if self._stateless:
            self._blocks.put(block, headers)
        elif self._confirmed and decoder.header_table_size == 0:  # this block shrank the table; those that follow use none
            self._stateless = True
            decoder.max_allowed_table_size = 0
        return headers

    def _settings(self, flags: int, payload: bytes) -> None:
        if flags & ACK:
            self._confirmed = True
            return
        if len(payload) % 6:
            raise ConnectionFault(FRAME_SIZE_ERROR, "settings of the wrong size")
        for at in range(0, len(payload), 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == SETTING_WINDOW:
                if value > MAX_WINDOW:
                    raise ConnectionFault(FLOW_CONTROL_ERROR, f"a window of {value} bytes")
                for stream in self._streams.values():
                    stream.window += value - self._peer_window
                self._peer_window = value
        self.write(frame(SETTINGS, ACK, 0))
        self._flush_all()

    def _window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise ConnectionFault(FRAME_SIZE_ERROR, "a window update of the wrong size")
        more = int.from_bytes(payload, "big") & MAX_WINDOW
        if number:
            if (stream := self._streams.get(number)) is not None:
                stream.window += more
                stream.flush()
            return
        self.window += more
        if self.window > MAX_WINDOW:
            raise ConnectionFault(FLOW_CONTROL_ERROR, "the connection's window is too large")
        self._flush_all()

    def _flush_all(self) -> None:
        for stream in [stream for stream in self._streams.values() if stream.waiting]:
            stream.flush()


def _unpadded(payload: bytes) -> bytes:
    if not payload or payload[0] >= len(payload):
        raise ConnectionFault(PROTOCOL_ERROR, "more padding than frame")
    return payload[1 : len(payload) - payload[0]]
