"""The proxy: a port in front of a server, its connections, and the trouble they have; see `trouble.py`."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from typing import Final, Self

from control_plane.demo.fault_proxy.trouble import CLEAR, Trouble, Way
from control_plane.demo.reset import reset
from control_plane.demo.simulators.listening import Port

PIECE_BYTES: Final = 16_384
WAITING_PIECES: Final = 32  # on their way, delayed; half a megabyte in each direction
SLICES_PER_S: Final = 20  # how finely a slow rate is cut
SLOW_BUFFER_BYTES: Final = 8_192  # of the kernel, for connections that shall be read slowly
FLUSH_S: Final = 0.03  # an RST throws away what the peer has not read: give it time to read what was sent


class FaultProxy:
    """`async with FaultProxy(host, port) as proxy:` → `proxy.port`, `proxy.url`, `proxy.way = Way(down=Trouble(ends="reset", at=300))`.

    It forwards to `host:port` and changes no byte. With `tls` it is the server of TLS; what goes on is plain. `certificate` gives new
    handshakes another one. `seen` counts connections.
    """

    def __init__(self, host: str, port: int, *, tls: ssl.SSLContext | None = None) -> None:
        self.seen = 0
        self._server = (host, port)
        self._tls = tls
        self._way = CLEAR
        self._connections: set[_Connection] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = Port("127.0.0.1", 0, self._protocol, tls)

    async def __aenter__(self) -> Self:
        await self._port.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._port.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def port(self) -> int:
        return self._port.number

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def way(self) -> Way:
        return self._way

    @way.setter
    def way(self, way: Way) -> None:
        """In force from now on, for open connections too; what was stalled goes on if nothing stalls it any more."""
        if way.listens == "no" and self._port.state != "refusing":
            self._port.refuse()
        elif way.listens == "full" and self._port.state != "full":
            self._port.fill()
        elif way.listens in ("yes", "reset") and self._port.state in ("refusing", "full"):
            self._keep(self._port.open())
        self._way = way
        for connection in list(self._connections):
            connection.changed.set()

    def certificate(self, chain: str, key: str) -> None:
        """What new handshakes present (paths of PEM files). Sessions are not resumed, so that every new connection sees it."""
        assert self._tls is not None, "a proxy without TLS presents no certificate"
        self._tls.load_cert_chain(chain, key)

    def cut(self) -> None:
        """Reset every connection."""
        for connection in list(self._connections):
            connection.reset()

    def _keep(self, work: object) -> None:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(work)  # type: ignore[arg-type]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _protocol(self) -> asyncio.Protocol:
        reader = asyncio.StreamReader(limit=PIECE_BYTES)
        return asyncio.StreamReaderProtocol(reader, lambda near, writer: self._keep(self._serve(near, writer)))

    async def _serve(self, near: asyncio.StreamReader, to_near: asyncio.StreamWriter) -> None:
        self.seen += 1
        if self._way.listens == "reset":
            reset(to_near.transport)
            return
        try:
            far, to_far = await asyncio.open_connection(*self._server, limit=PIECE_BYTES)
        except OSError:
            reset(to_near.transport)
            return
        connection = _Connection(self, (near, to_near), (far, to_far))
        self._connections.add(connection)
        try:
            await connection.run()
        finally:
            self._connections.discard(connection)


class _Connection:
    """A client's connection and the one to the server that belongs to it."""

    def __init__(
        self,
        proxy: FaultProxy,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self.proxy = proxy
        self.changed = asyncio.Event()
        self._writers = (near[1], far[1])
        self.up = _Direction(self, "up", near[0], far[1])
        self.down = _Direction(self, "down", far[0], near[1])
        for writer, trouble in ((near[1], proxy.way.up), (far[1], proxy.way.down)):
            if trouble.bytes_per_s:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SLOW_BUFFER_BYTES)

    async def run(self) -> None:
        tasks = [asyncio.ensure_future(work) for way in (self.up, self.down) for work in (way.read(), way.write())]
        try:
            await asyncio.gather(*tasks)
        except (OSError, _Over):
            pass
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for writer in self._writers:
                writer.close()

    def reset(self) -> None:
        for writer in self._writers:
            reset(writer.transport)


class _Over(Exception):
    """The proxy itself ended the connection."""


class _Direction:
    """Bytes of one direction: read, held for the latency, written at the rate, until their end."""

    def __init__(self, connection: _Connection, name: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.carried = 0  # of the message under way
        self._connection, self._name, self._reader, self._writer = connection, name, reader, writer
        self._waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(WAITING_PIECES)
        self._silent = False  # after a half-close: what still comes is thrown away

    @property
    def trouble(self) -> Trouble:
        way = self._connection.proxy.way
        return way.up if self._name == "up" else way.down

    async def read(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            trouble = self.trouble
            size = max(trouble.bytes_per_s // SLICES_PER_S, 1) if trouble.bytes_per_s else PIECE_BYTES
            data = await self._reader.read(size)
            if data and trouble.bytes_per_s:
                await asyncio.sleep(len(data) / trouble.bytes_per_s)
            await self._waiting.put((loop.time() + trouble.latency_ms / 1000, data))
            if not data:
                return

    async def write(self) -> None:
        loop, connection = asyncio.get_running_loop(), self._connection
        opposite = connection.down if self._name == "up" else connection.up
        while True:
            due, data = await self._waiting.get()
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            if not data:
                self._finish()
                return
            opposite.carried = 0
            while data:
                data = data[await self._pass(data) :]

    async def _pass(self, data: bytes) -> int:
        """Send what may go, let happen what happens at its end. Returns how many bytes are dealt with."""
        if self._silent:
            return len(data)
        trouble = self.trouble
        if trouble.ends is None or self.carried + len(data) <= trouble.at:
            self._writer.write(data)
            await self._writer.drain()
            self.carried += len(data)
            return len(data)
        room = max(trouble.at - self.carried, 0)
        if room:
            self._writer.write(data[:room])
            await self._writer.drain()
            self.carried += room
            return room
        await self._end(trouble)
        return 0

    async def _end(self, trouble: Trouble) -> None:
        if trouble.ends == "stall":
            self._connection.changed.clear()
            await self._connection.changed.wait()
        elif trouble.ends == "half_close":
            self._finish()
            self._silent = True
        else:
            await asyncio.sleep(FLUSH_S)
            if trouble.ends == "reset":
                self._connection.reset()
            raise _Over  # `close`: both writers are closed by whoever runs the connection

    def _finish(self) -> None:
        """FIN in this direction; TLS has no half-close, there it ends the connection."""
        with contextlib.suppress(OSError, RuntimeError):
            if self._writer.can_write_eof():
                self._writer.write_eof()
            else:
                self._writer.close()
