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
from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP2Settings
from granian.server.embed import Server

from control_plane.dialects.registry import DIALECTS
from control_plane.extproc.facts import FactsReader
from control_plane.extproc.server import Translator
from control_plane.kit.errors import SpecError

log = logging.getLogger(__name__)

SOCKET_PATH_BYTES: Final = 107  # what a Unix address holds besides its terminating zero (Linux: sun_path, 108)
STREAMS: Final = 1_000_000  # concurrent streams of one connection: Envoy's own limits bound them, never this
BACKLOG: Final = 1024  # connections not yet accepted; Envoy opens one per worker thread
STREAM_WINDOW_BYTES: Final = 16 * 1024 * 1024  # unread bytes of one stream: a whole ordinary body without a round trip
CONNECTION_WINDOW_BYTES: Final = 256 * 1024 * 1024  # of all streams of a connection: one large body must not stop the others
FRAME_BYTES: Final = 256 * 1024  # HTTP/2 frames: the default of 16 KiB costs one wake-up of Python each
DRAIN_SECONDS: Final = 30.0
_POLL_SECONDS: Final = 0.05
_CLOSE_SECONDS: Final = 0.5  # for the server to close its connections; it would wait for ever for streams that outlive the drain


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
    translator = Translator(FactsReader(DIALECTS))
    server = Server(
        translator,
        uds=path,
        interface=Interfaces.ASGINL,
        http=HTTPModes.http2,
        websockets=False,
        backlog=BACKLOG,
        backpressure=STREAMS,
        http2_settings=HTTP2Settings(
            initial_connection_window_size=CONNECTION_WINDOW_BYTES,
            initial_stream_window_size=STREAM_WINDOW_BYTES,
            max_concurrent_streams=STREAMS,
            max_frame_size=FRAME_BYTES,
        ),
        log_enabled=False,
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    serving = loop.create_task(server.serve())
    stopping = loop.create_task(stop.wait())
    try:
        await _listening(path, serving)
        gc.collect()
        gc.freeze()  # modules and constants live for ever: keep the collector from walking them
        ready()
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if not serving.done():
            await _drained(translator, drain_seconds)
            server.stop()  # type: ignore[no-untyped-call]
            await asyncio.wait({serving}, timeout=_CLOSE_SECONDS)
        if serving.done():
            serving.result()
    finally:
        stopping.cancel()
        path.unlink(missing_ok=True)


async def _listening(path: Path, serving: asyncio.Task[None]) -> None:
    while not path.exists():
        if serving.done():
            serving.result()
            raise SpecError(f"the translator stopped before it listened on {path}")
        await asyncio.sleep(0.005)


async def _drained(translator: Translator, seconds: float) -> None:
    translator.draining = True
    loop = asyncio.get_running_loop()
    deadline = loop.time() + seconds
    while translator.tally.open and loop.time() < deadline:
        await asyncio.sleep(_POLL_SECONDS)
    if translator.tally.open:
        log.warning("draining took longer than %g s: %d streams are cut", seconds, translator.tally.open)


def run(path: Path, drain_seconds: float = DRAIN_SECONDS, ready: Callable[[], None] = lambda: None) -> None:
    """`serve` in a new event loop."""
    uvloop.run(serve(path, drain_seconds, ready))
