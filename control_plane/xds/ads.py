"""The aggregated discovery service on grpc.aio: one task per stream around a pure state machine."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, cast

import grpc

from control_plane.kit.clock import Clock, SystemClock
from control_plane.kit.errors import SpecError
from control_plane.pb.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest
from control_plane.xds.delta import DeltaStream
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry, NodeRow
from control_plane.xds.sotw import SotwStream
from control_plane.xds.subscription import PeerError

SERVICE: Final = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_MIB: Final = 1 << 20
_MAX_SOCKET_PATH: Final = 100  # bytes; the kernel's limit is 107 and gRPC adds nothing to it
_log = logging.getLogger(__name__)

_EOF: Final = cast(Any, grpc.aio).EOF  # missing in the stubs

Request = DeltaDiscoveryRequest | DiscoveryRequest
Stream = DeltaStream | SotwStream


@dataclass(frozen=True, slots=True)
class AdsOptions:
    """Limits of the server, each with its unit and reason."""

    new_streams_per_s: float = 100.0
    """Sustained rate of accepted streams: a fleet that reconnects at once is let in over seconds, not at once."""
    new_streams_burst: int = 200
    send_timeout_s: float = 20.0
    """A node that does not read for this long loses its stream, so that it holds no memory here."""
    first_request_timeout_s: float = 10.0
    max_stream_age_s: float | None = None
    """Ends streams at this age ±20 %, so that nodes spread over replicas again; None: never (one local Envoy)."""
    ack_patience_s: float = 1.0
    """After this long without an answer the next response of the type may follow (Envoy withholds ACKs while clusters warm)."""
    removal_delay_s: float = 5.0
    """A node that reconnects keeps what is no longer configured for this long: its routes may still name it."""
    max_request_mib: int = 64
    """A reconnecting node lists every resource it has; gRPC's own 4 MiB would refuse a large one."""


class _StuckPeer(Exception):
    """The node did not take a response in time."""


class TokenBucket:
    """At most `burst` at once and `rate_per_s` in the long run."""

    def __init__(self, rate_per_s: float, burst: int, clock: Clock) -> None:
        self._rate_per_s, self._burst, self._clock = rate_per_s, burst, clock
        self._tokens, self._at = float(burst), clock.monotonic()

    def take(self) -> bool:
        """Take one token; false when there is none."""
        now = self._clock.monotonic()
        self._tokens = min(float(self._burst), self._tokens + (now - self._at) * self._rate_per_s)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class AdsServer:
    """Serves `feed` to every node that connects and tells `nodes` what they answer."""

    def __init__(
        self,
        feed: Feed,
        nodes: NodeRegistry,
        options: AdsOptions | None = None,
        clock: Clock | None = None,
        services: Sequence[Callable[[grpc.aio.Server], None]] = (),
    ) -> None:
        """`services` add further gRPC services to the same server (the access log of remote Envoys)."""
        self._services = services
        self._feed, self._nodes = feed, nodes
        self._options = options or AdsOptions()
        self._clock = clock or SystemClock()
        self._bucket = TokenBucket(self._options.new_streams_per_s, self._options.new_streams_burst, self._clock)
        self._server: grpc.aio.Server | None = None
        self._draining = False
        self.refused = 0
        """Streams turned away because too many came at once."""

    async def start(self, *addresses: str) -> list[int]:
        """Listen on `unix:/path` or `host:port` (port 0: any); returns the ports (1 for a socket file).

        Raises SpecError when an address is taken or cannot be listened on.
        """
        server = self._server = grpc.aio.server(
            options=[
                ("grpc.max_receive_message_length", self._options.max_request_mib * _MIB),
                ("grpc.max_send_message_length", -1),
                ("grpc.so_reuseport", 0),
                # A frozen peer is found by pings; Envoys that ping us are not told off for it.
                ("grpc.keepalive_time_ms", 30_000),
                ("grpc.keepalive_timeout_ms", 10_000),
                ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
                ("grpc.http2.max_ping_strikes", 0),
            ]
        )
        methods = {
            "DeltaAggregatedResources": self._method(DeltaStream, "delta", DeltaDiscoveryRequest),
            "StreamAggregatedResources": self._method(SotwStream, "sotw", DiscoveryRequest),
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, methods),))
        ports = [_bind(server, address) for address in addresses]
        for add in self._services:
            add(server)
        await server.start()
        for address in addresses:
            if address.startswith("unix:"):
                Path(address[5:]).chmod(0o600)
        return ports

    async def stop(self, grace_s: float = 2.0) -> None:
        """Refuse new streams, end the open ones (nodes keep what they have and reconnect) and close the listeners."""
        self._draining = True
        self._feed.wake()
        if self._server is not None:
            await self._server.stop(grace_s)

    def _method(self, kind: type[Stream], mode: str, request: type[Request]) -> grpc.RpcMethodHandler[Request, bytes]:
        async def handle(_: object, context: Any) -> None:
            await self._admit(context)
            stream = kind(ack_patience_s=self._options.ack_patience_s, removal_delay_s=self._options.removal_delay_s)
            try:
                await self._serve(stream, mode, context)
            except PeerError as error:
                await _abort(context, grpc.StatusCode.INVALID_ARGUMENT, str(error))
            except _StuckPeer:
                # gRPC sends this only once the node reads again; the state is gone already, and pings find dead connections.
                with contextlib.suppress(grpc.aio.InternalError):
                    await _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, "the node does not read")

        # Responses are bytes already; the stubs only know handlers of the synchronous server.
        return grpc.stream_stream_rpc_method_handler(cast(Any, handle), request_deserializer=request.FromString, response_serializer=None)

    async def _admit(self, context: Any) -> None:
        if self._draining:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "the control plane is shutting down")
        if self._feed.current is None:
            await _abort(context, grpc.StatusCode.UNAVAILABLE, "the control plane has no configuration yet")
        if not self._bucket.take():
            self.refused += 1
            await _abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "too many new streams at once; back off and retry")

    async def _serve(self, stream: Stream, mode: str, context: Any) -> None:
        assert self._feed.current is not None
        try:
            async with asyncio.timeout(self._options.first_request_timeout_s):
                first = await context.read()
        except TimeoutError:
            await _abort(context, grpc.StatusCode.DEADLINE_EXCEEDED, "no request came on this stream")
        if first is _EOF:
            return
        # By itself: if it were part of the first response and that got stuck, the stream could not be ended (gRPC 1.85).
        await context.send_initial_metadata(())
        row = self._nodes.connect(stream, mode, first.node)
        wake = asyncio.Event()
        self._feed.watch(wake)
        stream.offer(self._feed.current)
        reader = asyncio.create_task(self._read(stream, row, first, context, wake))
        try:
            await self._write(stream, row, context, wake, reader)
        finally:
            reader.cancel()
            self._feed.unwatch(wake)
            self._nodes.disconnect(row)
            with contextlib.suppress(asyncio.CancelledError, PeerError):
                await reader

    async def _read(self, stream: Stream, row: NodeRow, request: Request, context: Any, wake: asyncio.Event) -> None:
        """Feed requests to the state machine until the node closes its side."""
        try:
            while request is not _EOF:
                answer = stream.on_request(cast(Any, request), self._clock.monotonic())
                if answer is not None:
                    self._nodes.answered(row, answer)
                wake.set()
                request = await context.read()
        finally:
            wake.set()

    async def _write(self, stream: Stream, row: NodeRow, context: Any, wake: asyncio.Event, reader: asyncio.Task[None]) -> None:
        """Write what is owed whenever something happened. While a write is stuck, newer snapshots replace one another."""
        age_s = self._options.max_stream_age_s
        expires = None if age_s is None else self._clock.monotonic() + age_s * random.uniform(0.8, 1.2)
        while not reader.done():
            now = self._clock.monotonic()
            if self._draining:
                await _abort(context, grpc.StatusCode.UNAVAILABLE, "the control plane is shutting down")
            if expires is not None and now >= expires:
                return
            wake.clear()
            assert self._feed.current is not None
            stream.offer(self._feed.current)
            if push := stream.next_push(now):
                try:
                    async with asyncio.timeout(self._options.send_timeout_s):
                        await context.write(push.payload)
                except TimeoutError:
                    _log.warning("node %s has not read for %g s: closing its stream", row.node_id, self._options.send_timeout_s)
                    raise _StuckPeer from None
                self._nodes.sent(row, push)
                continue
            self._nodes.looked(row)
            waits = [wait for wait in (stream.retry_in_s(now), None if expires is None else expires - now) if wait is not None]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min(waits, default=None)):
                    await wake.wait()
        reader.result()  # raises what ended the reading, if anything did


async def _abort(context: Any, code: grpc.StatusCode, text: str) -> NoReturn:
    await context.abort(code, text)
    raise AssertionError("abort raises")


def _bind(server: grpc.aio.Server, address: str) -> int:
    if address.startswith("unix:"):
        path = Path(address[5:])
        if len(str(path)) > _MAX_SOCKET_PATH:
            raise SpecError(f"the socket path {path} is longer than {_MAX_SOCKET_PATH} bytes; choose a shorter directory")
        _refuse_live_socket(path)
    try:
        return server.add_insecure_port(address)
    except RuntimeError as error:
        raise SpecError(f"cannot listen on {address} for xDS: it is taken or not an address of this machine") from error


def _refuse_live_socket(path: Path) -> None:
    """gRPC would silently take the socket file of a server that is alive."""
    try:
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise SpecError(f"{path} exists and is not a socket; choose another path for xDS")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(str(path)) == 0:
            raise SpecError(f"another process already serves xDS on {path}; stop it or choose another path")
