"""Children, ports and places: the parts of the process tree that need no Envoy."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from control_plane.app.child import Child
from control_plane.app.ports import claim
from control_plane.app.settings import host_port, places
from control_plane.kit import probe
from control_plane.kit.errors import SpecError


async def until(condition: object) -> None:
    async with asyncio.timeout(10):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_a_child_that_dies_is_started_again_and_its_output_is_relayed() -> None:
    lines: list[str] = []
    child = Child("echo", [sys.executable, "-c", "import time; print('here', flush=True); time.sleep(60)"], lines.append)
    child.start()
    await until(lambda: lines == ["here"])
    first = child.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await until(lambda: lines == ["here", "here"])
    assert child.pid not in (None, first)
    assert child.started == 2
    await child.stop(5)
    assert child.pid is None


async def test_a_child_that_ignores_sigterm_is_killed() -> None:
    lines: list[str] = []
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    child = Child("deaf", [sys.executable, "-c", code], lines.append)
    child.start()
    await until(lambda: lines == ["up"])
    await child.stop(0.2)
    assert child.pid is None


async def test_a_child_that_takes_over_starts_again_on_its_own() -> None:
    lines: list[str] = []
    says = "import sys, time; print(sys.argv[1], flush=True); time.sleep(60)"
    child = Child("heir", [sys.executable, "-c", says, "after"], lines.append, again=[sys.executable, "-c", says, "alone"])
    child.start()
    await until(lambda: lines == ["after"])
    child.signal(signal.SIGKILL)
    await until(lambda: lines == ["after", "alone"])
    child.leave()
    child.signal(signal.SIGKILL)
    await until(lambda: child.pid is None)
    await asyncio.sleep(0.5)
    assert child.started == 2, "who leaves is not started again"
    child.start()
    await until(lambda: lines == ["after", "alone", "alone"])
    await child.stop(5)


async def test_restarts_back_off() -> None:
    child = Child("dying", [sys.executable, "-c", "raise SystemExit(3)"], lambda line: None)
    child.start()
    await asyncio.sleep(1.5)
    assert 2 <= child.started <= 8
    await child.stop(1)


async def test_a_child_may_write_lines_of_any_length() -> None:
    lines: list[str] = []
    child = Child(
        "long", [sys.executable, "-c", "print('x' * 5_000_000); print('after', flush=True); import time; time.sleep(60)"], lines.append
    )
    child.start()
    await until(lambda: "after" in lines)
    await child.stop(5)


def test_a_taken_port_names_its_flag() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(SpecError, match=f"--listen 127.0.0.1:{port} is taken"):
            claim(("127.0.0.1", port), "--listen")
    assert claim(("127.0.0.1", 0), "--listen")[1] > 0


def test_places_are_private_and_short_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory() as short:  # pytest's own folders are too long for sockets
        monkeypatch.setenv("XDG_RUNTIME_DIR", short)
        found = places(tmp_path / "state", 10000)
        assert found.sockets.stat().st_mode & 0o077 == 0
        assert found.translator(0).startswith(short)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / ("x" * 90)))
    with pytest.raises(SpecError, match="XDG_RUNTIME_DIR"):
        places(tmp_path / "state", 10000)


@pytest.mark.parametrize("text", ["10000", ":10000", "host:", "host:70000", "host:http"])
def test_bad_addresses_are_explained(text: str) -> None:
    with pytest.raises(SpecError, match="expected HOST:PORT"):
        host_port(text, "--listen")


async def test_probe_reads_whole_and_chunked_answers(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readline()
        if b"/rude" in line:
            writer.write(b"hello\r\n\r\n")
        elif b"/gone" in line:
            writer.write(b"HTTP/1.1 200")
        elif b"/chunked" in line:
            writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
        else:
            writer.write(b"HTTP/1.1 503 No\r\ncontent-length: 2\r\n\r\nno")
        await writer.drain()
        writer.close()

    path = str(tmp_path / "s.sock")
    async with await asyncio.start_unix_server(serve, path):
        assert await probe.http(path, "GET", "/chunked") == (200, "abcde")
        assert await probe.http(path, "GET", "/") == (503, "no")
        assert not await probe.answers(path, "/")
        with pytest.raises(ConnectionError, match="no HTTP answer"):
            await probe.http(path, "GET", "/rude")
        with pytest.raises(ConnectionError, match="without an answer"):
            await probe.http(path, "GET", "/gone")
    assert not await probe.answers(str(tmp_path / "gone.sock"), "/")
