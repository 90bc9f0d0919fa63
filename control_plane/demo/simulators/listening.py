"""A listening port that can be taken away and given back, always the same one."""

from __future__ import annotations

import asyncio
import contextlib
import select
import socket
import ssl
from collections.abc import Callable
from typing import Final

BACKLOG: Final = 4096  # drills connect a thousand clients at once
FILLERS_LIMIT: Final = 16  # connections that fill an accept queue of length 0; two are enough on Linux
FILLER_WAIT_S: Final = 0.05  # a loopback connect that takes longer than this hangs


class Port:
    """One TCP port on `host`. States: open (accepting), refusing (bound, not listening: RST), full (connects hang)."""

    def __init__(self, host: str, port: int, factory: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None) -> None:
        self._host = host
        self._factory = factory
        self._tls = tls
        self._server: asyncio.Server | None = None
        self._held: socket.socket | None = None  # keeps the port while no server does
        self._fillers: list[socket.socket] = []
        self.number = port
        self.state = "closed"

    async def open(self) -> None:
        """Accept connections; the first time this also picks the port. Raises OSError when the port is taken."""
        if self.state == "open":
            return
        self._drop_fillers()
        if self.state == "full":  # its queue holds dead connections: start with a fresh socket
            self._release()
        listening = self._held or self._bind()
        self._held = None
        self._server = await asyncio.get_running_loop().create_server(self._factory, sock=listening, backlog=BACKLOG, ssl=self._tls)
        self.state = "open"

    def refuse(self) -> None:
        """Refuse connections, keeping the port bound so that nobody else takes it."""
        self._release()
        self._held = self._bind()
        self.state = "refusing"

    def fill(self) -> None:
        """Let connects hang: listen with the shortest queue and fill it (Linux then drops further SYNs)."""
        self._release()
        self._held = self._bind()
        self._held.listen(0)
        for _ in range(FILLERS_LIMIT):
            filler = socket.socket()
            filler.setblocking(False)
            self._fillers.append(filler)
            with contextlib.suppress(BlockingIOError):
                filler.connect((self._host, self.number))
            if not select.select([], [filler], [], FILLER_WAIT_S)[1]:
                break
        self.state = "full"

    def close(self) -> None:
        self._release()
        self.state = "closed"

    def _bind(self) -> socket.socket:
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.setblocking(False)
        try:
            bound.bind((self._host, self.number))
        except BaseException:
            bound.close()
            raise
        self.number = bound.getsockname()[1]
        return bound

    def _drop_fillers(self) -> None:
        for filler in self._fillers:
            filler.close()
        self._fillers.clear()

    def _release(self) -> None:
        self._drop_fillers()
        if self._held is not None:
            self._held.close()
            self._held = None
        if self._server is not None:
            self._server.close()
            self._server = None
