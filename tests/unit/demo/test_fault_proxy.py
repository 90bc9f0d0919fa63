"""The fault proxy: each trouble does what it says, in its direction, and can be switched while traffic runs."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from control_plane.demo.fault_proxy import FaultProxy, Trouble, Way
from control_plane.demo.fault_proxy.certificates import authority, certificate, self_signed, server

LINE = b"0123456789" * 10


class Echo:
    """A server that sends back what it gets, and counts it."""

    def __init__(self) -> None:
        self.got = 0
        self.ended = asyncio.Event()
        self.port = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                self.got += len(data)
                writer.write(data)
                await writer.drain()
            self.ended.set()
            await asyncio.sleep(0.1)
            writer.write(b"after the end")
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()


@pytest.fixture
async def echo() -> AsyncIterator[Echo]:
    found = Echo()
    listening = await asyncio.start_server(found.serve, "127.0.0.1", 0)
    found.port = listening.sockets[0].getsockname()[1]
    yield found
    listening.close()


@pytest.fixture
async def proxy(echo: Echo) -> AsyncIterator[FaultProxy]:
    async with FaultProxy("127.0.0.1", echo.port) as found:
        yield found


Connect = Callable[[FaultProxy], Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]]


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """A client's connection, closed at the end."""
    writers = []

    async def to(proxy: FaultProxy) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writers.append(writer)
        return reader, writer

    yield to
    for writer in writers:
        writer.transport.abort()
    await asyncio.sleep(0.05)


async def said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes = LINE) -> bytes:
    writer.write(data)
    await writer.drain()
    return await asyncio.wait_for(reader.readexactly(len(data)), 2)


async def test_it_changes_nothing_by_itself(connect: Connect, proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy)
    data = LINE * 20_000
    writer.write(data)
    assert await asyncio.wait_for(reader.readexactly(len(data)), 5) == data
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 2) == b"after the end"


async def test_a_reset_at_a_byte_of_every_answer(connect: Connect, proxy: FaultProxy) -> None:
    reader, writer = await connect(proxy)
    assert await said(reader, writer) == LINE
    assert await said(reader, writer) == LINE
    proxy.way = Way(down=Trouble(ends="reset", at=37))
    writer.write(LINE)
    assert await reader.readexactly(37) == LINE[:37]
    with pytest.raises(ConnectionResetError):
        await reader.read()


async def test_a_message_begins_when_the_other_side_has_spoken(connect: Connect, proxy: FaultProxy) -> None:
    proxy.way = Way(down=Trouble(ends="close", at=150))
    reader, writer = await connect(proxy)
    for _ in range(3):
        assert await said(reader, writer) == LINE
    writer.write(LINE * 2)
    assert await asyncio.wait_for(reader.read(), 2) == (LINE * 2)[:150]


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_half_close_ends_one_direction(connect: Connect, proxy: FaultProxy, echo: Echo, way: str) -> None:
    cut = Trouble(ends="half_close", at=40)
    proxy.way = Way(up=cut) if way == "up" else Way(down=cut)
    reader, writer = await connect(proxy)
    writer.write(LINE)
    if way == "up":
        await asyncio.wait_for(echo.ended.wait(), 2)
        assert await asyncio.wait_for(reader.read(), 2) == LINE[:40] + b"after the end"
        assert echo.got == 40
    else:
        assert await asyncio.wait_for(reader.read(), 2) == LINE[:40]
        writer.write(LINE)
        while echo.got < 200:
            await asyncio.sleep(0.01)


async def test_a_stall_ends_when_the_trouble_does(connect: Connect, proxy: FaultProxy) -> None:
    proxy.way = Way(down=Trouble(ends="stall", at=10))
    reader, writer = await connect(proxy)
    writer.write(LINE)
    assert await asyncio.wait_for(reader.readexactly(10), 2) == LINE[:10]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.2)
    proxy.way = Way()
    assert await asyncio.wait_for(reader.readexactly(90), 2) == LINE[10:]


async def test_latency_delays_and_keeps_the_rate(connect: Connect, proxy: FaultProxy) -> None:
    proxy.way = Way(up=Trouble(latency_ms=100), down=Trouble(latency_ms=100))
    reader, writer = await connect(proxy)
    data = LINE * 2000
    began = time.monotonic()
    writer.write(data)
    assert await asyncio.wait_for(reader.readexactly(len(data)), 5) == data
    assert 0.2 <= time.monotonic() - began < 1.5, "thirteen pieces, 0.1 s each way, all on their way at once"


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_slow_reader_holds_the_sender_back(connect: Connect, proxy: FaultProxy, echo: Echo, way: str) -> None:
    slow = Trouble(bytes_per_s=50_000)
    proxy.way = Way(up=slow) if way == "up" else Way(down=slow)
    reader, writer = await connect(proxy)
    began = time.monotonic()
    data = LINE * 200
    writer.write(data)
    assert await asyncio.wait_for(reader.readexactly(len(data)), 5) == data
    assert time.monotonic() - began > 0.3, "20 KB at 50 KB/s"
    writer.write(LINE * 200_000)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(writer.drain() if way == "up" else asyncio.sleep(9), 0.3)


async def test_a_port_that_refuses_hangs_or_resets_and_opens_again(connect: Connect, proxy: FaultProxy) -> None:
    port = proxy.port
    proxy.way = Way(listens="no")
    with pytest.raises(ConnectionRefusedError):
        await connect(proxy)
    proxy.way = Way(listens="full")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(connect(proxy), 0.3)
    proxy.way = Way(listens="reset")
    await asyncio.sleep(0.05)
    reader, writer = await connect(proxy)
    writer.write(LINE)
    with pytest.raises(ConnectionResetError):
        await reader.readexactly(1)
    proxy.way = Way()
    reader, writer = await connect(proxy)
    assert await said(reader, writer) == LINE
    assert proxy.port == port


async def test_a_server_that_is_gone_is_a_reset(connect: Connect, proxy: FaultProxy, echo: Echo) -> None:
    async with FaultProxy("127.0.0.1", 1) as nowhere:
        reader, _ = await connect(nowhere)
        with pytest.raises(ConnectionResetError):
            await reader.readexactly(1)


async def test_certificates_change_with_the_next_connection(echo: Echo, tmp_path: Path) -> None:
    def make() -> None:
        authority(tmp_path)
        certificate(tmp_path, "valid", "vendor.drill")
        certificate(tmp_path, "expired", "vendor.drill", days=-1)
        certificate(tmp_path, "wrong", "another.drill")
        self_signed(tmp_path, "own", "vendor.drill")

    await asyncio.to_thread(make)
    trusting = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

    async def shake(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="vendor.drill")
        assert await said(reader, writer) == LINE
        writer.transport.abort()

    async with FaultProxy("127.0.0.1", echo.port, tls=server(tmp_path, "valid", resumes=False)) as proxy:
        await shake(proxy.port)
        for name, words in (("expired", "expired"), ("wrong", "mismatch"), ("own", "self-signed")):
            proxy.certificate(str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key"))
            with pytest.raises(ssl.SSLCertVerificationError, match=words):
                await shake(proxy.port)
        proxy.certificate(str(tmp_path / "valid.pem"), str(tmp_path / "valid.key"))
        await shake(proxy.port)
