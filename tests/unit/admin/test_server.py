"""Starting and stopping inside a running loop, and the words for what cannot be had."""

from __future__ import annotations

import asyncio
import signal
import socket
from pathlib import Path
from typing import Any

import httpx
import pytest

from control_plane.admin.api import create_app
from control_plane.admin.server import access_for, bind_tcp, bind_unix, read_token, serve, serving
from control_plane.kit.errors import SpecError


def test_a_taken_port_names_the_flag() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SpecError, match=rf"^--admin 127\.0\.0\.1:{port}: another process listens there; choose another port"):
            bind_tcp("127.0.0.1", port)


@pytest.mark.parametrize("host", ["203.0.113.7", "no.such.host.invalid"])
def test_an_address_that_is_not_ours_names_the_flag(host: str) -> None:
    with pytest.raises(SpecError, match=r"^--admin .* use 127\.0\.0\.1"):
        bind_tcp(host, 0)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.5", "gate.internal"])
def test_an_address_that_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(SpecError, match="pass --admin-token-file FILE"):
        access_for(host, None)
    assert access_for(host, b"0123456789abcdef").token == b"0123456789abcdef"


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost", None])
def test_loopback_and_a_unix_socket_need_none(host: str | None) -> None:
    assert access_for(host, None).token is None


def test_names_are_what_a_host_header_may_say() -> None:
    access = access_for("10.0.0.5", b"0123456789abcdef", ["Gate.Internal", "10.9.9.9:8080"])
    assert [access.allows_host(host) for host in ("10.0.0.5:8080", "gate.internal", "10.9.9.9", "localhost", "10.0.0.6")] == [True] * 4 + [
        False
    ]
    # Bound to every address, the one that was connected to is ours.
    assert access_for("0.0.0.0", b"0123456789abcdef").allows_host("10.0.0.6:8080", "10.0.0.6")


@pytest.mark.parametrize(
    "content", [b"", b"short", b"two words are no token at all", b"line\nbreak-0123456789", "schlüssel-0123456789".encode()]
)
def test_a_bad_token_file_is_refused_without_saying_what_is_in_it(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(SpecError, match=r"^--admin-token-file .*openssl rand") as caught:
        read_token(path)
    assert not content or content.decode() not in str(caught.value)


def test_a_token_file_is_read_without_its_newline(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_bytes(b"0123456789abcdef\n")
    assert read_token(path) == b"0123456789abcdef"
    with pytest.raises(SpecError, match="No such file"):
        read_token(tmp_path / "missing")


async def test_a_unix_socket_is_private_and_goes_away(tmp_path: Path, gateway: Any) -> None:
    path = tmp_path / "admin.sock"
    async with serving(create_app(gateway, access_for(None, None)), bind_unix(path)) as address:
        assert address == f"unix:{path}"
        assert path.stat().st_mode & 0o777 == 0o600
        async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as http:
            assert (await http.get("http://any-name/healthz")).status_code == 200
        with pytest.raises(SpecError, match="another process listens there"):
            bind_unix(path)
    assert not path.exists()


def test_a_left_over_socket_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    bind_unix(path).close()
    path.unlink()
    path.write_text("mine")
    with pytest.raises(SpecError, match="exists and is no socket"):
        bind_unix(path)
    assert path.read_text() == "mine"


async def test_it_stops_with_the_block_and_leaves_signals_alone(gateway: Any) -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    async with serving(create_app(gateway), bind_tcp("127.0.0.1", 0)) as address:
        assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
        async with httpx.AsyncClient() as http:
            assert (await http.get(f"http://{address}/healthz")).status_code == 200
    with pytest.raises(httpx.ConnectError):
        async with httpx.AsyncClient() as http:
            await http.get(f"http://{address}/healthz")


async def test_serve_runs_until_cancelled(gateway: Any) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    task = asyncio.create_task(serve(create_app(gateway), "127.0.0.1", port))
    async with httpx.AsyncClient() as http, asyncio.timeout(10):
        while True:
            try:
                answer = await http.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.ConnectError:
                await asyncio.sleep(0.01)
    assert answer.status_code == 200
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
