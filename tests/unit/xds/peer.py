"""A scripted node: speaks to a stream's state machine in protocol messages, without a transport."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from control_plane.pb import core_pb2
from control_plane.pb.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse
from control_plane.xds.delta import DeltaStream
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.resource import CDS, EDS, LDS, RDS, SDS, SRDS, Ref, Resource, short
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.sotw import SotwStream
from control_plane.xds.subscription import Ack, Nack, Push


def res(type_url: str, name: str, body: str = "1", *refs: Ref) -> Resource:
    return Resource(type_url, name, body.encode(), frozenset(refs))


def snap(*resources: Resource, number: int = 1) -> Snapshot:
    return Snapshot.of(resources, number=number)


def edge(weights: str = "1", *, targets: Sequence[str] = ("t",)) -> list[Resource]:
    """A listener, a scope, its routes to `targets`, and what they need."""
    out = [res(LDS, "edge", "1", (SRDS, "m")), res(SRDS, "m", "1", (RDS, "m")), res(RDS, "m", weights, *((CDS, t) for t in targets))]
    for name in targets:
        member = f"p-{name}"
        out += [res(CDS, name, "1", (CDS, member), (SDS, "key")), res(CDS, member, "1", (EDS, member)), res(EDS, member)]
    return [*out, res(SDS, "key")]


@dataclass
class DeltaPeer:
    """A node on the incremental variant."""

    stream: DeltaStream = field(default_factory=lambda: DeltaStream(ack_patience_s=1.0, removal_delay_s=5.0))
    now: float = 100.0
    got: list[DeltaDiscoveryResponse] = field(default_factory=list)

    def ask(self, type_url: str, *names: str, drop: Sequence[str] = (), have: Mapping[str, str] | None = None) -> Ack | Nack | None:
        request = DeltaDiscoveryRequest(
            type_url=type_url, resource_names_subscribe=names, resource_names_unsubscribe=drop, initial_resource_versions=have or {}
        )
        return self.stream.on_request(request, self.now)

    def pull(self) -> list[DeltaDiscoveryResponse]:
        """Everything that the server writes now."""
        fresh = []
        while push := self.stream.next_push(self.now):
            response = DeltaDiscoveryResponse.FromString(push.payload)
            check(push, [r.name for r in response.resources], response.nonce, response.type_url)
            fresh.append(response)
        self.got += fresh
        return fresh

    def answer(self, response: DeltaDiscoveryResponse, error: str | None = None) -> Ack | Nack | None:
        request = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if error is not None:
            request.error_detail.message = error
        return self.stream.on_request(request, self.now)

    def run(self) -> list[str]:
        """Pull and ACK until nothing is owed; what came, in order, as `CDS+a,b-c`."""
        return settle(self)


@dataclass
class SotwPeer:
    """A node on the state-of-the-world variant."""

    stream: SotwStream = field(default_factory=lambda: SotwStream(ack_patience_s=1.0))
    now: float = 100.0
    names: dict[str, list[str]] = field(default_factory=dict)
    nonces: dict[str, str] = field(default_factory=dict)
    version: dict[str, str] = field(default_factory=dict)

    def ask(self, type_url: str, *names: str) -> Ack | Nack | None:
        self.names[type_url] = list(names)
        return self._request(type_url, self.nonces.get(type_url, ""))

    def pull(self) -> list[DiscoveryResponse]:
        fresh = []
        while push := self.stream.next_push(self.now):
            response = DiscoveryResponse.FromString(push.payload)
            check(push, [""] * len(push.names), response.nonce, response.type_url)
            assert len(response.resources) == len(push.names)
            self.nonces[response.type_url] = response.nonce
            fresh.append(response)
            self.last = push
        return fresh

    def answer(self, response: DiscoveryResponse, error: str | None = None) -> Ack | Nack | None:
        if error is None:
            self.version[response.type_url] = response.version_info
        return self._request(response.type_url, response.nonce, error)

    def run(self) -> list[str]:
        return settle(self)

    def _request(self, type_url: str, nonce: str, error: str | None = None) -> Ack | Nack | None:
        request = DiscoveryRequest(
            type_url=type_url,
            response_nonce=nonce,
            resource_names=self.names.get(type_url, []),
            version_info=self.version.get(type_url, ""),
        )
        if error is not None:
            request.error_detail.message = error
        return self.stream.on_request(request, self.now)


def check(push: Push, names: list[str], nonce: str, type_url: str) -> None:
    """What the state machine says of a push is what is in it."""
    assert (nonce, type_url) == (push.nonce, push.type_url)
    assert not any(names) or tuple(names) == push.names


def settle(peer: DeltaPeer | SotwPeer) -> list[str]:
    """Pull and ACK until nothing is owed."""
    seen: list[str] = []
    while True:
        pushed = []
        while push := peer.stream.next_push(peer.now):
            pushed.append(push)
            seen.append(say(push))
            if isinstance(peer, SotwPeer):
                peer.nonces[push.type_url] = push.nonce
        if not pushed:
            return seen
        for push in pushed:
            if isinstance(peer, SotwPeer):
                peer.answer(DiscoveryResponse(type_url=push.type_url, nonce=push.nonce, version_info=push.version))
            else:
                peer.answer(DeltaDiscoveryResponse(type_url=push.type_url, nonce=push.nonce))


def subscribe_all(peer: DeltaPeer | SotwPeer, snapshot: Snapshot) -> None:
    """What Envoy asks for, all at once."""
    peer.stream.offer(snapshot)
    for type_url in (CDS, LDS, SRDS):
        peer.ask(type_url)
    for type_url in (EDS, SDS, RDS):
        peer.ask(type_url, *sorted(snapshot.of_type(type_url)))


def _identity(name: str) -> core_pb2.Node:
    node = core_pb2.Node(id=name, user_agent_name="envoy")
    node.user_agent_build_version.version.major_number = 1
    node.user_agent_build_version.version.minor_number = 40
    return node


def say(push: Push) -> str:
    """`RDS+m`, `CDS-t`, or both."""
    added = f"+{','.join(push.names)}" if push.names else ""
    removed = f"-{','.join(push.removed)}" if push.removed else ""
    return f"{short(push.type_url)}{added}{removed}"


class Node:
    """A node inside this process that answers by itself: connected to a feed and a registry, without a transport."""

    def __init__(self, feed: Feed, nodes: NodeRegistry, name: str = "n", refuse: Callable[[Push], str | None] = lambda push: None) -> None:
        self.feed, self.nodes, self.refuse = feed, nodes, refuse
        self.stream = DeltaStream(ack_patience_s=1.0, removal_delay_s=0.0)
        self.row = nodes.connect(self.stream, "delta", _identity(name))
        self.pushes: list[Push] = []
        self.answering = True
        self._wake = asyncio.Event()
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        self.feed.watch(self._wake)
        assert self.feed.current is not None
        self.stream.offer(self.feed.current)
        for type_url in (CDS, LDS, SRDS):
            self.stream.on_request(DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=["*"]), 0)
        for type_url in (EDS, SDS, RDS):
            self.stream.on_request(DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=["*"]), 0)
        while True:
            self._wake.clear()
            self.stream.offer(self.feed.current)
            while push := self.stream.next_push(time.monotonic()):
                self.pushes.append(push)
                self.nodes.sent(self.row, push)
                if self.answering:
                    self._answer(push)
                await asyncio.sleep(0)
            self.nodes.looked(self.row)
            await self._wake.wait()

    def _answer(self, push: Push) -> None:
        request = DeltaDiscoveryRequest(type_url=push.type_url, response_nonce=push.nonce)
        if text := self.refuse(push):
            request.error_detail.message = text
        answer = self.stream.on_request(request, 0)
        assert answer is not None
        self.nodes.answered(self.row, answer)

    def answer_all(self) -> None:
        """Answer what was left open."""
        self.answering = True
        for push in self.pushes:
            if push.nonce in self.stream.types[push.type_url].in_flight:
                self._answer(push)
        self._wake.set()

    def sent(self) -> list[str]:
        """Everything pushed so far, as `RDS+m` or `CDS-t`."""
        return [say(push) for push in self.pushes]

    async def leave(self) -> None:
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        self.feed.unwatch(self._wake)
        self.nodes.disconnect(self.row)
