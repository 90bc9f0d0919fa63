"""One translator process on one Unix socket."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvloop

from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.extproc.facts import FactsReader
from control_plane.extproc.resume.http1 import HEAD_BYTES
from control_plane.extproc.resume.server import Resumer
from control_plane.extproc.server import SWEEP_S, ProcessIds, Translator
from control_plane.kit.errors import SpecError
from control_plane.kit.sockets import inner_socket, resumer_socket

log = logging.getLogger(__name__)

SOCKET_PATH_BYTES: Final = 107  # what a Unix address holds besides its terminating zero (Linux: sun_path, 108)
BACKLOG: Final = 1024  # connections not yet accepted; Envoy opens one or two per worker thread
DRAIN_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_NOTICED_SECONDS: Final = 0.8
"""Until Envoy has asked for /healthz (every 0.5 s): a worker that is idle and ends sooner is still sent new streams."""


def claim(path: Path) -> None:
    """Make `path` free to bind: a socket that nobody serves is removed. Raises SpecError when that cannot or must not be done."""
    if len(str(path).encode()) > SOCKET_PATH_BYTES:
        raise SpecError(f"socket path {path} has {len(str(path).encode())} bytes; at most {SOCKET_PATH_BYTES} fit: use a shorter directory")
    if not path.parent.is_dir():
        raise SpecError(f"socket directory {path.parent} does not exist: create it, or give another --socket")
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise SpecError(f"{path} exists and is not a socket: remove it, or give another --socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise SpecError(f"socket {path} cannot be used: {error.strerror or error}") from None
    raise SpecError(f"socket {path} is served by another live process: stop it, or give another --socket")


async def serve(path: Path, drain_seconds: float = DRAIN_SECONDS, ready: Callable[[], None] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT, then let open streams finish for up to `drain_seconds`. Raises SpecError as `claim` does.

    While draining, new streams are still served: Envoy stops sending them as soon as it has asked for /healthz.
    """
    claim(path)
    translator = Translator(FactsReader(DIALECTS, PROVIDERS))
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    beside = Path(resumer_socket(str(path)))
    claim(beside)
    resumer = Resumer(inner_socket(str(path)), ProcessIds())
    resuming = await asyncio.start_unix_server(resumer.connected, beside, backlog=BACKLOG, limit=HEAD_BYTES)
    server = await loop.create_unix_server(translator.connection, path, backlog=BACKLOG)
    sweeping = loop.create_task(_sweep(translator))
    try:
        gc.collect()
        gc.freeze()  # modules and constants live for ever: keep the collector from walking them
        ready()
        await stop.wait()
        resuming.close()  # new ones go to another worker, which the socket's refusal says at once
        await _drained(translator, resumer, drain_seconds)
    finally:
        sweeping.cancel()
        server.close()
        resuming.close()
        for socket_file in (path, beside):
            socket_file.unlink(missing_ok=True)
        for task in list(resumer.open):
            task.cancel()
        for connection in list(translator.connections):
            connection.close()
        await asyncio.sleep(0)  # for the last frames to be written


async def _sweep(translator: Translator) -> None:
    while True:
        await asyncio.sleep(SWEEP_S)
        translator.end_overdue()


async def _drained(translator: Translator, resumer: Resumer, seconds: float) -> None:
    translator.draining = True
    loop = asyncio.get_running_loop()
    deadline, noticed = loop.time() + seconds, loop.time() + min(_NOTICED_SECONDS, seconds)
    while ((translator.tally.open or resumer.open) and loop.time() < deadline) or (translator.connections and loop.time() < noticed):
        await asyncio.sleep(_POLL_SECONDS)
    if translator.tally.open:
        log.warning("draining took longer than %g s: %d streams are cut", seconds, translator.tally.open)


def run(path: Path, drain_seconds: float = DRAIN_SECONDS, ready: Callable[[], None] = lambda: None) -> None:
    """`serve` in a new event loop."""
    uvloop.run(serve(path, drain_seconds, ready))
