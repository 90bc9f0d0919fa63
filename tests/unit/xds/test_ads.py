"""X1, X2, X9, X11 and X12 at the gRPC server, with a scripted client."""

from __future__ import annotations

import asyncio
import contextlib
import resource as limits
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, cast

import grpc
import pytest

from control_plane.kit.clock import FakeClock, SystemClock
from control_plane.kit.errors import SpecError
from control_plane.pb.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse
from control_plane.xds.ads import SERVICE, AdsOptions, AdsServer, TokenBucket
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.resource import CDS, EDS
from tests.unit.xds.peer import edge, res, snap

# One event loop for all: grpc.aio's poller is global and complains about loops that were closed.
pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="hg-", dir="/tmp") as name:
        yield Path(name)


class Server:
    def __init__(self, folder: Path, options: AdsOptions) -> None:
        self.address = f"unix:{folder / 'xds.sock'}"
        self.feed, self.nodes = Feed(), NodeRegistry(SystemClock())
        self.ads = AdsServer(self.feed, self.nodes, options)

    def channel(self, **options: int) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self.address, options=[*options.items(), ("grpc.use_local_subchannel_pool", 1)])


@contextlib.asynccontextmanager
async def serving(folder: Path, **options: Any) -> AsyncIterator[Server]:
    server = Server(folder, AdsOptions(**options))
    await server.ads.start(server.address)
    try:
        yield server
    finally:
        await server.ads.stop(0.1)


def delta(channel: grpc.aio.Channel) -> Any:
    method = f"/{SERVICE}/DeltaAggregatedResources"
    return cast(Any, channel.stream_stream(method, DeltaDiscoveryRequest.SerializeToString, DeltaDiscoveryResponse.FromString))()


def ask(type_url: str, **more: Any) -> DeltaDiscoveryRequest:
    request = DeltaDiscoveryRequest(type_url=type_url, **more)
    request.node.id = "scripted"
    return request


async def test_x1_both_variants_on_one_server(folder: Path) -> None:
    async with serving(folder) as server, server.channel() as channel:
        server.feed.set(snap(res(CDS, "a"), res(CDS, "b")))
        incremental = delta(channel)
        await incremental.write(ask(CDS))
        got = await incremental.read()
        assert {r.name: r.resource.value for r in got.resources} == {"a": b"1", "b": b"1"}
        assert {r.resource.type_url for r in got.resources} == {CDS}
        method = f"/{SERVICE}/StreamAggregatedResources"
        whole = cast(Any, channel.stream_stream(method, DiscoveryRequest.SerializeToString, DiscoveryResponse.FromString))()
        await whole.write(DiscoveryRequest(type_url=CDS))
        assert [r.value for r in (await whole.read()).resources] == [b"1", b"1"]
        assert {row.mode for row in server.nodes} == {"delta", "sotw"}
        incremental.cancel()
        whole.cancel()
        async with asyncio.timeout(2):
            while len(server.nodes):
                await asyncio.sleep(0.01)


async def test_x2_bytes_of_a_reconnect_and_of_one_change(folder: Path) -> None:
    """1,000 clusters of 1 kB: the first stream costs 1 MB, a reconnect nothing, one change one resource."""
    body = "x" * 1000
    clusters = [res(CDS, f"c{i}", body) for i in range(1000)]
    async with serving(folder) as server, server.channel(**{"grpc.max_receive_message_length": -1}) as channel:
        server.feed.set(snap(*clusters))
        first = delta(channel)
        await first.write(ask(CDS))
        got = await first.read()
        assert got.ByteSize() > 1_000_000
        have = {r.name: r.version for r in got.resources}
        first.cancel()
        again = delta(channel)
        await again.write(ask(CDS, initial_resource_versions=have))
        reading = asyncio.ensure_future(again.read())
        await asyncio.sleep(0.2)
        assert not reading.done()
        server.feed.set(snap(res(CDS, "c7", "y" + body), *(c for c in clusters if c.name != "c7"), number=2))
        async with asyncio.timeout(2):
            changed = await reading
        assert [r.name for r in changed.resources] == ["c7"]
        assert changed.ByteSize() < 1300
        again.cancel()


async def test_x9_no_configuration_means_unavailable_and_not_an_empty_one(folder: Path) -> None:
    async with serving(folder) as server, server.channel() as channel:
        call = delta(channel)
        assert await call.code() == grpc.StatusCode.UNAVAILABLE
        assert "no configuration yet" in await call.details()
        server.feed.set(snap())
        call = delta(channel)
        await call.write(ask(CDS))
        assert list((await call.read()).resources) == []
        call.cancel()


async def test_x11_a_node_that_does_not_read_loses_its_stream_and_delays_nobody(folder: Path) -> None:
    async with serving(folder, send_timeout_s=0.5) as server, server.channel(**{"grpc.max_receive_message_length": -1}) as quick:
        server.feed.set(snap(res(CDS, "a", "x")))
        # A peer that never reads: raw HTTP/2 with a window of 65,535 bytes and no WINDOW_UPDATE.
        _, writer = await asyncio.open_unix_connection(server.address[5:])
        await stuck_stream(writer)
        fine = delta(quick)
        await fine.write(ask(CDS))
        await fine.read()
        async with asyncio.timeout(2):
            while len(server.nodes) != 2:
                await asyncio.sleep(0.01)
        began = time.monotonic()
        nonce = "1"
        for number in range(2, 12):
            await fine.write(ask(CDS, response_nonce=nonce))
            server.feed.set(snap(res(CDS, "a", str(number) + "x" * 200_000), number=number))
            got = await fine.read()
            assert got.resources[0].resource.value.startswith(str(number).encode())
            nonce = got.nonce
        assert time.monotonic() - began < 0.5
        async with asyncio.timeout(5):
            while len(server.nodes) != 1:
                await asyncio.sleep(0.01)
        writer.close()
        fine.cancel()


async def stuck_stream(writer: asyncio.StreamWriter) -> None:
    """Open a delta stream by hand, subscribe to all clusters, and never read."""
    import h2.config
    import h2.connection

    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    connection.initiate_connection()
    path = f"/{SERVICE}/DeltaAggregatedResources"
    headers = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "x"), ("te", "trailers")]
    connection.send_headers(1, [*headers, ("content-type", "application/grpc")])
    message = ask(CDS).SerializeToString()
    connection.send_data(1, b"\0" + len(message).to_bytes(4, "big") + message)
    writer.write(connection.data_to_send())
    await writer.drain()


async def test_x12_a_reconnect_storm_is_let_in_over_time(folder: Path) -> None:
    """500 clients at once: the bucket admits its burst, tells the others to back off, and serves all of them in the end."""
    before = limits.getrusage(limits.RUSAGE_SELF).ru_maxrss
    async with serving(folder, new_streams_per_s=100.0, new_streams_burst=50) as server:
        server.feed.set(snap(*edge(), *(res(CDS, f"c{i}", "x" * 1000) for i in range(100))))
        channels = [server.channel() for _ in range(8)]
        refused = 0

        async def client(number: int) -> int:
            nonlocal refused
            pause = 0.1
            while True:
                call = delta(channels[number % len(channels)])
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    await call.write(ask(CDS))
                    got = await call.read()
                    call.cancel()
                    return len(got.resources)
                said = (await call.code(), await call.details())
                # The second is grpc.aio's own word, in the client, for a stream that was refused while it began to write.
                assert said[0] == grpc.StatusCode.RESOURCE_EXHAUSTED or said == (grpc.StatusCode.INTERNAL, "Internal error from Core"), said
                refused += 1
                await asyncio.sleep(pause)
                pause = min(pause * 2, 0.4)

        began = time.monotonic()
        got = await asyncio.gather(*(client(number) for number in range(500)))
        took = time.monotonic() - began
        for channel in channels:
            await channel.close(None)
        assert got == [102] * 500
        assert refused == server.ads.refused > 100
        assert 1.0 < took < 15
    grown_mib = (limits.getrusage(limits.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert grown_mib < 150


async def test_x12_the_bucket_refills_at_its_rate() -> None:
    clock = FakeClock()
    bucket = TokenBucket(10, 3, clock)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    clock.advance(0.1)
    assert [bucket.take() for _ in range(2)] == [True, False]
    clock.advance(100)
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]


async def test_x12_streams_end_at_a_jittered_age(folder: Path) -> None:
    async with serving(folder, max_stream_age_s=0.5) as server, server.channel() as channel:
        server.feed.set(snap(res(CDS, "a")))
        ages = []

        async def live() -> None:
            call = delta(channel)
            began = time.monotonic()
            await call.write(ask(CDS))
            while await call.read() is not cast(Any, grpc.aio).EOF:
                pass
            assert await call.code() == grpc.StatusCode.OK
            ages.append(time.monotonic() - began)

        await asyncio.gather(*(live() for _ in range(30)))
        assert 0.38 < min(ages) < 0.48
        assert 0.52 < max(ages) < 0.8


async def test_shutting_down_ends_streams_and_refuses_new_ones(folder: Path) -> None:
    async with serving(folder) as server, server.channel() as channel:
        server.feed.set(snap(res(CDS, "a")))
        call = delta(channel)
        await call.write(ask(CDS))
        await call.read()
        stopping = asyncio.create_task(server.ads.stop(1.0))
        assert await call.code() == grpc.StatusCode.UNAVAILABLE
        async with asyncio.timeout(2):
            await stopping


async def test_a_senseless_request_ends_the_stream(folder: Path) -> None:
    async with serving(folder, first_request_timeout_s=0.2) as server, server.channel() as channel:
        server.feed.set(snap(res(CDS, "a")))
        call = delta(channel)
        await call.write(DeltaDiscoveryRequest())
        assert await call.code() == grpc.StatusCode.INVALID_ARGUMENT
        silent = delta(channel)
        assert await silent.code() == grpc.StatusCode.DEADLINE_EXCEEDED


async def test_a_request_above_grpcs_own_limit_is_read(folder: Path) -> None:
    """A large node lists every resource when it reconnects: more than gRPC's 4 MiB default."""
    async with serving(folder) as server, server.channel() as channel:
        server.feed.set(snap(res(EDS, "a")))
        call = delta(channel)
        have = {f"{i}-{'x' * 100}": "v" for i in range(50_000)}
        await call.write(ask(EDS, resource_names_subscribe=["a"], initial_resource_versions=have))
        assert [r.name for r in (await call.read()).resources] == ["a"]
        call.cancel()


async def test_a_taken_address_is_told(folder: Path) -> None:
    async with serving(folder) as server:
        other = AdsServer(Feed(), NodeRegistry(SystemClock()))
        with pytest.raises(SpecError, match="another process already serves xDS"):
            await other.start(server.address)
        with pytest.raises(SpecError, match="longer than 100 bytes"):
            await other.start(f"unix:/tmp/{'x' * 120}/xds.sock")
        (port,) = await (first := AdsServer(Feed(), NodeRegistry(SystemClock()))).start("127.0.0.1:0")
        with pytest.raises(SpecError, match=f"cannot listen on 127.0.0.1:{port}"):
            await other.start(f"127.0.0.1:{port}")
        await first.stop(0)
        (folder / "file").write_text("")
        with pytest.raises(SpecError, match="not a socket"):
            await other.start(f"unix:{folder / 'file'}")


async def test_a_stale_socket_file_is_replaced_and_private(folder: Path) -> None:
    async with serving(folder) as server:
        path = Path(server.address[5:])
        assert path.stat().st_mode & 0o077 == 0
    async with serving(folder) as server, server.channel() as channel:
        server.feed.set(snap(res(CDS, "a")))
        call = delta(channel)
        await call.write(ask(CDS))
        assert (await call.read()).nonce == "1"
        call.cancel()
