"""A strict HTTP/2 client (the h2 library) wired to one of our connections, without sockets."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import h2.config
import h2.connection
import h2.events
import h2.settings

from control_plane.extproc.http2 import Connection


class Transport(asyncio.Transport):
    """Keeps what is written; remembers whether it was closed or reading is paused."""

    def __init__(self) -> None:
        super().__init__()
        self.written = bytearray()
        self.writes = 0
        self.closed = False
        self.reading = True

    def write(self, data: Any) -> None:
        self.written += data
        self.writes += 1

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Peer:
    """Events by stream as the client sees them; `data` joins bodies, `ended` and `resets` tell how streams ended."""

    def __init__(self, connection: Connection, window: int = 65_535, start: bool = True) -> None:
        self.connection = connection
        self.transport = Transport()
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.head: dict[int, dict[bytes, bytes]] = {}
        self.trailers: dict[int, dict[bytes, bytes]] = {}
        self.data: dict[int, bytes] = defaultdict(bytes)
        self.ended: set[int] = set()
        self.resets: dict[int, int] = {}
        self.goaway: int | None = None
        self.pings: list[bytes] = []
        self.auto_window = True
        connection.connection_made(self.transport)
        if start:
            self.client.local_settings = h2.settings.Settings(
                client=True, initial_values={h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window}
            )
            self.client.initiate_connection()
            self.pump()

    def pump(self) -> None:
        """Exchange bytes until both sides are quiet."""
        while True:
            if out := self.client.data_to_send():
                self.connection.data_received(out)
            answer = bytes(self.transport.written)
            self.transport.written.clear()
            if not answer:
                if not out:
                    return
                continue
            for event in self.client.receive_data(answer):
                self._note(event)

    def _note(self, event: Any) -> None:
        match event:
            case h2.events.ResponseReceived():
                self.head[event.stream_id] = dict(event.headers)
            case h2.events.TrailersReceived():
                self.trailers[event.stream_id] = dict(event.headers)
            case h2.events.DataReceived():
                self.data[event.stream_id] += event.data
                if self.auto_window:
                    self.client.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            case h2.events.StreamEnded():
                self.ended.add(event.stream_id)
            case h2.events.StreamReset():
                self.resets[event.stream_id] = event.error_code
            case h2.events.ConnectionTerminated():
                self.goaway = event.error_code
            case h2.events.PingAckReceived():
                self.pings.append(event.ping_data)

    def open(self, path: bytes = b"/p", headers: list[tuple[bytes, bytes]] | None = None, end: bool = False) -> int:
        number: int = self.client.get_next_available_stream_id()
        head = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"translator"), (b":path", path), *(headers or [])]
        self.client.send_headers(number, head, end_stream=end)
        self.pump()
        return number

    def send(self, number: int, data: bytes, end: bool = False) -> None:
        self.client.send_data(number, data, end_stream=end)
        self.pump()

    def raw(self, data: bytes) -> None:
        """Bytes that the h2 library would not send."""
        self.connection.data_received(data)
        self.pump()
