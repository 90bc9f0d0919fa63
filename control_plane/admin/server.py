"""Serves the admin API inside an event loop that is running already, on loopback, an address or a Unix socket."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import ipaddress
import socket
import stat
from collections.abc import AsyncIterator, Collection, Generator
from pathlib import Path
from typing import Final

import uvicorn
from starlette.types import ASGIApp

from control_plane.admin.guard import LOOPBACK_NAMES, MAX_HEADER_BYTES, Access, host_name
from control_plane.kit.errors import SpecError

MIN_TOKEN_CHARS: Final = 16
MAX_CONCURRENT: Final = 100
"""Requests at once; further ones get 503. Every answer comes from memory, so this many only wait behind a mistake."""
STOP_S: Final = 2


def read_token(path: Path) -> bytes:
    """The token in `path`, without white space around it. Raises SpecError naming the flag."""
    try:
        token = path.read_bytes().strip()
    except OSError as error:
        raise SpecError(
            f"--admin-token-file {path}: {error.strerror}; give a file with one token of at least {MIN_TOKEN_CHARS} characters"
        ) from None
    if len(token) < MIN_TOKEN_CHARS or any(byte <= 0x20 or byte > 0x7E for byte in token):
        fix = f"write one, for example with `openssl rand -hex 32 > {path}`"
        raise SpecError(f"--admin-token-file {path}: needs one line of at least {MIN_TOKEN_CHARS} visible ASCII characters; {fix}")
    return token


def access_for(host: str | None, token: bytes | None, names: Collection[str] = ()) -> Access:
    """Who may ask a server bound to `host` (None: a Unix socket). Raises SpecError when others could reach it without a token."""
    if host is None:
        return Access(frozenset(names), token, check_host=False)
    if token is None and not _is_loopback(host):
        raise SpecError(
            f"--admin {host}: other machines can reach this address; pass --admin-token-file FILE to ask for a token, or use 127.0.0.1"
        )
    known = {name for name in map(host_name, names) if name is not None}
    own = host_name(f"[{host}]" if ":" in host else host)
    return Access(frozenset(known | ({own} if own else set())), token)


def bind_tcp(host: str, port: int, flag: str = "--admin") -> socket.socket:
    """A listening socket. Raises SpecError naming `flag` when it cannot be had."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    except socket.gaierror as error:
        raise SpecError(f"{flag} {host}:{port}: not an address of this machine ({error.strerror}); use 127.0.0.1:{port}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise SpecError(f"{flag} {host}:{port}: {_why(error)}") from None
    listener.setblocking(False)
    return listener


def bind_unix(path: Path, flag: str = "--admin") -> socket.socket:
    """A listening Unix socket that only this user can open. A left-over socket file of a process that is gone is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists():
            if not stat.S_ISSOCK(path.stat().st_mode):
                raise SpecError(f"{flag} unix:{path}: exists and is no socket; choose another path")
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
                probe.settimeout(1)
                if probe.connect_ex(str(path)) == 0:
                    raise SpecError(f"{flag} unix:{path}: another process listens there; choose another path with {flag}, or stop it")
            path.unlink()
        listener.bind(str(path))
        path.chmod(0o600)
        listener.listen(128)
    except OSError as error:
        listener.close()
        raise SpecError(f"{flag} unix:{path}: {error.strerror or error}") from None
    except SpecError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket) -> AsyncIterator[str]:
    """Serve `app` on `listener` for the length of the block; yields the address, `host:port` or `unix:/path`."""
    config = uvicorn.Config(
        app,
        loop="none",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=MAX_CONCURRENT,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=STOP_S,
        h11_max_incomplete_event_size=MAX_HEADER_BYTES,
    )
    server = _EmbeddedServer(config)
    address = _address(listener)
    task = asyncio.create_task(server.serve(sockets=[listener]), name="admin")
    try:
        while not server.started and not task.done():
            await asyncio.sleep(0.005)
        if task.done():
            task.result()
        yield address
    finally:
        server.should_exit = True
        await asyncio.wait([task], timeout=STOP_S + 2)
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
        listener.close()
        if address.startswith("unix:"):
            Path(address.removeprefix("unix:")).unlink(missing_ok=True)


async def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serve on `host:port` until cancelled. Raises SpecError when the port is taken."""
    async with serving(app, bind_tcp(host, port)):
        await asyncio.Event().wait()


class _EmbeddedServer(uvicorn.Server):
    """Leaves signals to the process that embeds it."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def _address(listener: socket.socket) -> str:
    name = listener.getsockname()
    if isinstance(name, str):
        return f"unix:{name}"
    return f"[{name[0]}]:{name[1]}" if ":" in name[0] else f"{name[0]}:{name[1]}"


def _is_loopback(host: str) -> bool:
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _why(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "another process listens there; choose another port (0 takes a free one) or stop it"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "not permitted; choose a port of 1024 or above"
    if error.errno == errno.EADDRNOTAVAIL:
        return "not an address of this machine; use 127.0.0.1"
    return error.strerror or str(error)
