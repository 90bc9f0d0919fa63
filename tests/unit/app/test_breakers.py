"""The breaker loop: failing attempts in the journal become another plan, are told, and are remembered."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from control_plane.app.breakers import Breakers
from control_plane.app.configure import Configurator
from control_plane.ir.steering import NO_STEERING
from control_plane.kit.clock import SystemClock
from control_plane.signals.classify import AttemptClass
from control_plane.signals.ended import Ended
from control_plane.signals.traffic import Traffic
from control_plane.sources.reader import read_specs
from control_plane.telemetry.metrics import Metrics
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.publisher import Publisher
from control_plane.xds.resource import RDS
from control_plane.xds.translate.settings import EdgeSettings

SPECS = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: a}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:9/v1", allowInsecure: true}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: b}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:10/v1", allowInsecure: true, breaker: {enabled: false}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: chat}
spec: {models: [chat], plan: [{targets: [{provider: a, model: m}]}, {targets: [{provider: b, model: m}]}]}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: other}
spec: {models: [other], plan: [{targets: [{provider: b, model: m}]}]}
"""


class Gateway:
    """The parts that the loop needs, with specs in force."""

    def __init__(self, tmp_path: Path) -> None:
        self.metrics, self.state = Metrics(), tmp_path / "state"
        self.state.mkdir(exist_ok=True)
        self.traffic = Traffic(self.metrics)
        self.publisher = Publisher(Feed(), NodeRegistry(SystemClock()), validate=None)
        edge = EdgeSettings(listen=("127.0.0.1", 1), translators=("/t.sock",), journal="/j")
        self.configurator = Configurator(publisher=self.publisher, settings=edge, state=self.state)
        self.breakers = Breakers(self.traffic, self.metrics, state=self.state / "breakers.json")
        self.configurator.steering = self.breakers.steering
        self._specs = tmp_path / "s.yaml"
        self._specs.write_text(SPECS)
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Gateway:
        self._tasks = [asyncio.create_task(self.publisher.run()), asyncio.create_task(self.breakers.run(self.configurator))]
        await self.configurator.apply(read_specs([self._specs]))
        await asyncio.sleep(0.4)  # the loop has seen the specs
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def fail(self, provider: str, times: int, found: AttemptClass = AttemptClass.TRANSIENT) -> None:
        now = time.time()
        for _ in range(times):
            for observe in self.traffic.observers:
                observe(Ended(provider, f"{provider}/m", "chat", found, now - 0.6, now), now + 0.6)

    def plan(self) -> list[list[str]]:
        route = next(route for route in self.configurator.gateway.routes if route.name == "chat")
        return next([[c.use.target for c in group] for group in e.groups] for e in route.entries if e.operation == "chat")


async def until(true: object) -> None:
    async with asyncio.timeout(5):
        while not true():  # type: ignore[operator]
            await asyncio.sleep(0.01)


async def test_failures_become_another_plan_at_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with Gateway(tmp_path) as gateway:
        before = gateway.publisher.live
        began = time.monotonic()
        gateway.fail("a", 4)
        await until(lambda: gateway.plan() == [["b/m"], ["a/m"]])
        assert time.monotonic() - began < 1
        await until(lambda: gateway.publisher.live is not before)
        change = before.diff(gateway.publisher.live)
        assert change.changed == frozenset({(RDS, "route:chat")}), "one route configuration, and nothing else"
        assert not change.removed
        row = gateway.breakers.row("a/m")
        assert (row["state"], row["scope"], row["percent"]) == ("open", "a/m", 0.0)
        assert "4 in a row failed, class=transient" in str(row["reason"]) or "3 in a row failed" in str(row["reason"])
        assert gateway.metrics.value("headgate_breaker_share_ratio", provider="a", target="a/m") == 0
        assert gateway.metrics.value("headgate_breaker_transitions_total", provider="a", target="a/m", state="open") == 1
        assert "breaker of a/m is open" in caplog.text


async def test_nothing_is_published_while_nothing_changes(tmp_path: Path) -> None:
    async with Gateway(tmp_path) as gateway:
        published = gateway.publisher.report().published
        gateway.fail("a", 2)
        gateway.fail("b", 50)
        gateway.fail("a", 50, AttemptClass.CLIENT_FAULT)
        await asyncio.sleep(0.6)
        assert gateway.publisher.report().published == published
        assert gateway.plan() == [["a/m"], ["b/m"]]
        assert gateway.breakers.row("b/m")["state"] == "closed", "it is switched off for this provider"


async def test_the_next_process_remembers(tmp_path: Path) -> None:
    async with Gateway(tmp_path) as gateway:
        gateway.fail("a", 4, AttemptClass.CONNECT)
        await until((gateway.state / "breakers.json").exists)
        assert gateway.breakers.row("a/m")["scope"] == "a", "the provider as a whole"
    again = Gateway(tmp_path)
    async with again:
        assert again.plan() == [["b/m"], ["a/m"]]
        assert again.breakers.row("a/m")["state"] in ("open", "half-open")


@pytest.mark.parametrize("kept", [b"", b"{", b"[]", b'{"version": 1, "breakers": [1, {"key": 2}]}', b'{"version": 2, "breakers": []}'])
async def test_a_state_file_that_cannot_be_read_is_no_obstacle(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "breakers.json"
    path.write_bytes(kept)
    made = Breakers(Traffic(Metrics()), Metrics(), state=path)
    assert made.steering(read_specs([tmp_path]).specs) is NO_STEERING
