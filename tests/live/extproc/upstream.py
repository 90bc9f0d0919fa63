"""A scripted HTTP/1.1 vendor on a real socket."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

MIB: Final = 1024 * 1024


@dataclass
class Seen:
    """One request as the upstream saw it."""

    line: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Answering:
    """What a script may do with the connection of one request."""

    writer: asyncio.StreamWriter
    seen: Seen

    async def head(
        self,
        status: int = 200,
        content_type: str = "text/event-stream",
        headers: Mapping[str, str] | None = None,
        length: int | None = None,
    ) -> None:
        """Send the response head: chunked unless `length` is given."""
        framing = "transfer-encoding: chunked" if length is None else f"content-length: {length}"
        lines = [f"HTTP/1.1 {status} X", f"content-type: {content_type}", framing, *(f"{k}: {v}" for k, v in (headers or {}).items())]
        self.writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        await self.writer.drain()

    async def chunk(self, data: bytes) -> None:
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    async def whole(
        self, status: int, body: bytes, content_type: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        await self.head(status, content_type, headers, len(body))
        self.writer.write(body)
        await self.writer.drain()

    def reset(self) -> None:
        """Cut the connection with a TCP reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.writer.transport.abort()


Script = Callable[[Answering], Awaitable[None]]


class Upstream:
    """A scripted HTTP/1.1 vendor on a port of its own. `script` answers each request; `seen` keeps what arrived."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.gone: list[float] = []  # monotonic times at which a client went away while its answer was being written
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", port, limit=64 * MIB)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            while (seen := await _read_request(reader)) is not None:
                self.seen.append(seen)
                await self._answer(reader, Answering(writer, seen))
        except (ConnectionError, asyncio.CancelledError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.transport.abort()

    async def _answer(self, reader: asyncio.StreamReader, answering: Answering) -> None:
        """Run the script, but stop it as soon as the client leaves: half of the tests are about that moment."""
        answer = asyncio.ensure_future(self.script(answering))
        leave = asyncio.ensure_future(reader.read(1))
        await asyncio.wait({answer, leave}, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            self.gone.append(time.monotonic())
            answer.cancel()
            raise ConnectionError("client left")
        leave.cancel()
        await asyncio.gather(leave, return_exceptions=True)
        answer.result()


async def _read_request(reader: asyncio.StreamReader) -> Seen | None:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
    except asyncio.IncompleteReadError:
        return None
    lines = head.split("\r\n")
    headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:] if line)}
    if headers.get("transfer-encoding") == "chunked":
        body = b""
        while size := int((await reader.readline()).strip(), 16):
            body += await reader.readexactly(size)
            await reader.readline()
        await reader.readline()
    else:
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Seen(lines[0], headers, body)
