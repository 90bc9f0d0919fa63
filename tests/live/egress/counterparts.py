"""What stands on the other side: a CONNECT proxy, and a vendor that speaks HTTP/2."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable
from typing import Self

import h2.config
import h2.connection
import h2.events


class ConnectProxy:
    """An HTTP CONNECT proxy that resolves every name to 127.0.0.1. `login` is what it asks for, `refuse` a status to answer instead.

    `asked` holds the authority of each CONNECT, `logins` what each one signed in with, `sent` the bytes from the client side.
    """

    def __init__(self, login: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        self.login = login
        self.refuse: int | None = None
        self.asked: list[str] = []
        self.logins: list[str | None] = []
        self.seen = bytearray()
        self.open = 0
        self.port = 0
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.down()

    async def up(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def down(self) -> None:
        """Stop listening and cut what runs."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.open += 1
        try:
            await self._tunnel(reader, writer)
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self.open -= 1
            writer.close()
            self._tasks.discard(task)

    async def _tunnel(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        method, authority, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        assert method == "CONNECT", head[0]
        self.asked.append(authority)
        scheme, _, value = headers.get("proxy-authorization", "").partition(" ")
        self.logins.append(base64.b64decode(value).decode() if scheme == "Basic" else None)
        status = self.refuse or (407 if self.login is not None and self.logins[-1] != self.login else 200)
        if status != 200:
            writer.write(f"HTTP/1.1 {status} No\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n".encode())
            await writer.drain()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", int(authority.rpartition(":")[2]))
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            await asyncio.gather(self._pump(reader, far_writer, keep=True), self._pump(far_reader, writer))
        finally:
            far_writer.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, keep: bool = False) -> None:
        while data := await reader.read(65536):
            if keep and len(self.seen) < 1 << 20:
                self.seen += data
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.close()


Handler = Callable[[int], Awaitable[None]]


class Http2Vendor(asyncio.Protocol):
    """Chat completions over HTTP/2 only. `answer_after_s` keeps streams open; `most` is how many were open at once on a connection."""

    def __init__(self, tls: ssl.SSLContext | None = None, answer_after_s: float = 0.0) -> None:
        self._tls, self.answer_after_s = tls, answer_after_s
        self.port = self.connections = self.most = self.requests = self.pings = 0
        self._live: set[_Http2Connection] = set()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Http2Connection(self), "127.0.0.1", 0, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for connection in list(self._live):
            connection.transport.close()
        await asyncio.sleep(0.05)


class _Http2Connection(asyncio.Protocol):
    def __init__(self, vendor: Http2Vendor) -> None:
        self.vendor = vendor
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
        self.open: set[int] = set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.vendor.connections += 1
        self.vendor._live.add(self)
        self.state.initiate_connection()
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self.vendor._live.discard(self)

    def data_received(self, data: bytes) -> None:
        for event in self.state.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                self.open.add(event.stream_id)
                self.vendor.requests += 1
                self.vendor.most = max(self.vendor.most, len(self.open))
            elif isinstance(event, h2.events.DataReceived):
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, h2.events.StreamEnded):
                asyncio.get_running_loop().call_later(self.vendor.answer_after_s, self._answer, event.stream_id)
            elif isinstance(event, h2.events.PingReceived):
                self.vendor.pings += 1
        self._flush()

    def _answer(self, stream: int) -> None:
        if self.transport.is_closing() or stream not in self.open:
            return
        self.open.discard(stream)
        message = {"role": "assistant", "content": "heard: hello"}
        body = json.dumps(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "m",
                "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
            }
        ).encode()
        self.state.send_headers(stream, [(":status", "200"), ("content-type", "application/json")])
        self.state.send_data(stream, body, end_stream=True)
        self._flush()

    def _flush(self) -> None:
        self.transport.write(self.state.data_to_send())
