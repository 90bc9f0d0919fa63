"""How long connections live, how many there are, and how a quiet one is kept alive."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from tests.live.egress.counterparts import Http2Vendor
from tests.live.egress.serving import provider, route, serving
from tests.live.gateway import load


class Counting:
    """An HTTP/1.1 vendor that counts connections, and requests on each."""

    def __init__(self) -> None:
        self.requests: list[int] = []
        self.closed = 0
        self.port = 0

    async def __aenter__(self) -> Counting:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.requests)
        self.requests.append(0)
        body = b'{"object":"chat.completion","choices":[{"message":{"role":"assistant","content":"heard: hi"}}]}'
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                length = next((int(line.split(":")[1]) for line in head.split("\r\n") if line.startswith("content-length")), 0)
                await reader.readexactly(length)
                self.requests[number] += 1
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        except (OSError, asyncio.IncompleteReadError):
            self.closed += 1
        finally:
            writer.close()


async def one_by_one(url: str, model: str, count: int, pause_s: float = 0.02) -> None:
    client = load.Client(url)
    for _ in range(count):
        assert load.served(await client.post(*load.chat(model))) is None
        await asyncio.sleep(pause_s)
    client.close()


@pytest.mark.parametrize(
    ("connection", "pause_s", "expected"),
    [
        ("{}", 0.02, [8]),
        ("{maxRequests: 3}", 0.02, [3, 3, 2]),
        ("{idle: 1s}", 0.0, [8]),
    ],
)
async def test_requests_share_a_connection_up_to_its_limit(tmp_path: Path, connection: str, pause_s: float, expected: list[int]) -> None:
    async with Counting() as vendor:
        specs = provider("v", f"http://127.0.0.1:{vendor.port}", egress=f"{{connection: {connection}}}") + route("v", "v")
        async with serving(tmp_path, specs) as gateway:
            await one_by_one(gateway.url, "v", 8, pause_s)
            assert vendor.requests == expected
            if connection == "{idle: 1s}":
                await asyncio.sleep(1.6)
                assert vendor.closed == 1  # without it: five minutes


async def test_a_connection_ends_with_its_age(tmp_path: Path) -> None:
    async with Counting() as vendor:
        specs = provider("v", f"http://127.0.0.1:{vendor.port}", egress="{connection: {maxAge: 1s}}") + route("v", "v")
        async with serving(tmp_path, specs) as gateway:
            await one_by_one(gateway.url, "v", 30, 0.1)
            assert len(vendor.requests) >= 3
            assert sum(vendor.requests) == 30


async def test_preconnect_has_the_next_connection_ready(tmp_path: Path) -> None:
    async with Counting() as vendor:
        url = f"http://127.0.0.1:{vendor.port}"
        specs = provider("v", url, egress="{connection: {preconnect: 2}}") + route("v", "v")
        async with serving(tmp_path, specs) as gateway:
            await one_by_one(gateway.url, "v", 1)
            await asyncio.sleep(0.3)
            assert len(vendor.requests) == 2
            gateway.write(provider("v", url, egress="{connection: {preconnect: 1}}") + route("v", "v"))
            await asyncio.sleep(2)
            before = len(vendor.requests)
            await one_by_one(gateway.url, "v", 3)
            assert len(vendor.requests) == before + 1  # without: no more than requests need


async def test_http2_pings_keep_a_quiet_connection(tmp_path: Path) -> None:
    async with Http2Vendor() as pinged, Http2Vendor() as quiet:
        specs = provider("pinged", f"http://127.0.0.1:{pinged.port}", egress="{protocol: http2, connection: {ping: 1s, idle: 1h}}")
        specs += provider("quiet", f"http://127.0.0.1:{quiet.port}", egress="{protocol: http2}")
        specs += route("pinged", "pinged") + route("quiet", "quiet")
        async with serving(tmp_path, specs) as gateway:
            for model in ("pinged", "quiet"):
                assert load.served(await gateway.ask(model)) is None
            await asyncio.sleep(2.6)
            assert pinged.pings >= 2
            assert quiet.pings == 0
            assert load.served(await gateway.ask("pinged")) is None
            assert pinged.connections == 1
            shown = (await gateway.providers())["pinged"]["egress"]
            assert shown == ["http2", "idle=3600s", "ping=1s"]


def keepalive_timers(port: int) -> list[str]:
    """The timers of established connections to `port`, as the kernel shows them in /proc/net/tcp: 02 is keep-alive."""
    remote = f"{int.from_bytes(socket.inet_aton('127.0.0.1'), 'little'):08X}:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [row[5].partition(":")[0] for row in rows if row[2] == remote and row[3] == "01"]


async def test_tcp_keepalive_probes_are_on(tmp_path: Path) -> None:
    async with Counting() as probed, Counting() as usual:
        specs = provider("probed", f"http://127.0.0.1:{probed.port}", egress="{connection: {tcpKeepalive: {idle: 5s}}}")
        specs += provider("usual", f"http://127.0.0.1:{usual.port}") + route("probed", "probed") + route("usual", "usual")
        async with serving(tmp_path, specs) as gateway:
            for model in ("probed", "usual"):
                assert load.served(await gateway.ask(model)) is None
            await asyncio.sleep(0.5)
            assert keepalive_timers(probed.port) == ["02"]
            assert keepalive_timers(usual.port) == ["00"]
