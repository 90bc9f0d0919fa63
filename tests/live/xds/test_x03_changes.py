"""X3: configuration changes of every kind under continuous streaming load cost no request and cut no stream."""

from __future__ import annotations

import asyncio
import os
import random
import socket
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control_plane.xds.publisher import PublishOptions
from control_plane.xds.resource import CDS, SRDS, Resource
from control_plane.xds.snapshot import Snapshot
from tests.live.xds.harness import (
    Answer,
    ControlPlane,
    Envoy,
    Vendor,
    address,
    ask,
    discovered_provider,
    extension,
    listener,
    plan,
    preflight,
    provider,
    resource,
    scope,
    scoped_routing,
    secret,
    streams,
    target,
)

CHANGES = int(os.environ.get("HEADGATE_TEST_CHANGES", "100"))
# One event loop for all: grpc.aio's poller is global and complains about loops that were closed.
pytestmark = pytest.mark.asyncio(loop_scope="session")

MODELS = ("m0", "m1", "m2", "m3")


@dataclass
class World:
    """A random configuration: the models under load always have a plan, everything else comes and goes."""

    ports: list[int]
    dice: random.Random
    made: int = 0
    plans: dict[str, list[dict[str, int]]] = field(default_factory=dict)
    targets: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    """target → (provider, stamp, secret)"""
    providers: dict[str, tuple[int, bool, str]] = field(default_factory=dict)
    """provider → (port, by EDS, connect timeout)"""
    secrets: dict[str, str] = field(default_factory=dict)

    def fresh(self, kind: str) -> str:
        self.made += 1
        return f"{kind}:{self.made}"

    def new_target(self) -> str:
        if not self.providers or self.dice.random() < 0.4:
            self.providers[self.fresh("provider")] = (self.dice.choice(self.ports), self.dice.random() < 0.5, "1s")
        name = self.fresh("target")
        key = ""
        if self.dice.random() < 0.5:
            key = self.fresh("key") if not self.secrets or self.dice.random() < 0.3 else self.dice.choice(list(self.secrets))
            self.secrets.setdefault(key, "sk-0")
        self.targets[name] = (self.dice.choice(list(self.providers)), str(self.made), key)
        return name

    def new_plan(self) -> list[dict[str, int]]:
        groups = range(self.dice.randint(1, 2))
        return [{self.new_target(): self.dice.randint(1, 100) for _ in range(self.dice.randint(1, 2))} for _ in groups]

    def change(self) -> str:
        """Change one thing at random; returns what."""
        what = self.dice.choice(("weights", "weights", "plan", "plan", "target", "provider", "secret", "model", "unmodel"))
        model = self.dice.choice(list(self.plans))
        if what == "weights":
            self.plans[model] = [dict.fromkeys(group, self.dice.randint(1, 100)) for group in self.plans[model]]
        elif what == "plan":
            self.plans[model] = self.new_plan()
        elif what == "target":
            name = self.dice.choice(list(self.targets))
            self.targets[name] = (self.dice.choice(list(self.providers)), self.fresh("stamp"), self.targets[name][2])
        elif what == "provider":
            name = self.dice.choice(list(self.providers))
            _, discovered, timeout = self.providers[name]
            self.providers[name] = (self.dice.choice(self.ports), discovered, "2s" if timeout == "1s" else "1s")
        elif what == "secret" and self.secrets:
            self.secrets[self.dice.choice(list(self.secrets))] = self.fresh("sk")
        elif what == "model":
            self.plans[self.fresh("extra")] = self.new_plan()
        elif what == "unmodel" and model not in MODELS:
            del self.plans[model]
        self.sweep()
        return what

    def sweep(self) -> None:
        """Drop what nothing names any more."""
        used = {name for groups in self.plans.values() for group in groups for name in group}
        self.targets = {name: value for name, value in self.targets.items() if name in used}
        self.providers = {name: value for name, value in self.providers.items() if any(t[0] == name for t in self.targets.values())}
        self.secrets = {name: value for name, value in self.secrets.items() if any(t[2] == name for t in self.targets.values())}

    def resources(self) -> list[Resource]:
        out = [listener(scoped_routing(), [(SRDS, "m0")])]
        for name, (port, discovered, timeout) in self.providers.items():
            if discovered:
                out += discovered_provider(name, port, connect_timeout=timeout)
            else:
                out.append(provider(name, port, connect_timeout=timeout))
        out += [target(name, member, stamped=stamped, secret=key) for name, (member, stamped, key) in self.targets.items()]
        out += [secret(name, value) for name, value in self.secrets.items()]
        for model, groups in self.plans.items():
            out += [plan(model, *groups), scope(model)]
        return out


@pytest.mark.long
@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_x3_random_changes_under_streaming_load(folder: Path, delta: bool) -> None:
    """Make before break: 100 random changes (HEADGATE_TEST_CHANGES for more), 0 non-2xx answers, 0 cut streams, 0 NACKs."""
    dice = random.Random(7)
    stop, answers = asyncio.Event(), list[Answer]()
    options = PublishOptions(min_drain_s=0.1, max_vanishing=1.0)
    async with (
        Vendor("a", chunks=6, gap_s=0.1) as a,
        Vendor("b", chunks=6, gap_s=0.1) as b,
        ControlPlane(folder, validate=preflight(folder), options=options) as plane,
    ):
        world = World([a.port, b.port], dice)
        for model in MODELS:
            world.plans[model] = world.new_plan()
        await plane.publish(world.resources())
        async with Envoy(folder, plane.socket, delta=delta) as envoy:
            port = await envoy.ready()
            load = asyncio.create_task(streams(port, stop, answers, MODELS, 24))
            kinds = Counter[str]()
            for number in range(CHANGES):
                kinds[world.change()] += 1
                if number % 3:  # mostly without waiting for the last one to arrive
                    outcome = await plane.publisher.submit(Snapshot.of(world.resources()), reason="test", urgent=True)
                    assert outcome.accepted, outcome.problems
                    await asyncio.sleep(dice.random() * 0.08)
                else:
                    await plane.publish(world.resources())
            await plane.publish(world.resources())
            stop.set()
            await load
            bad = [answer for answer in answers if answer.status != 200 or not answer.whole or answer.tokens != 6]
            assert not bad, f"{len(bad)} of {len(answers)}: {bad[:3]} {kinds}"
            assert len(answers) > 3 * len(kinds)
            assert plane.nodes.nacks == Counter(), plane.nodes.to_dict()
            assert not plane.publisher.report().problems
            # Phase 2: what is no longer configured does go.
            async with asyncio.timeout(5):
                while plane.publisher.report().retired or not await plane.publisher.converged(1):
                    await asyncio.sleep(0.02)
            wanted = {r.name for r in plane.publisher.live.of_type(CDS).values()}
            present = {line.partition("::")[0] for line in (await envoy.admin("/clusters")).splitlines() if "::observability_name" in line}
            assert present - {"xds"} == wanted
            assert await envoy.stat("cluster_manager.warming_clusters") == 0


async def test_x3_order_of_pushes_for_a_plan_with_new_targets(folder: Path) -> None:
    """A route to a new target is answered by it as soon as the route is there, never with 503."""
    async with Vendor("a") as a, Vendor("b") as b, ControlPlane(folder) as plane:
        base = [listener(scoped_routing(), [(SRDS, "m")]), scope("m"), provider("p:a", a.port), target("t:a", "p:a")]
        await plane.publish([*base, plan("m", {"t:a": 1})])
        async with Envoy(folder, plane.socket) as envoy:
            port = await envoy.ready()
            assert (await ask(port)).who == "a"
            for number in range(20):
                cluster, endpoints = discovered_provider(f"p:b{number}", b.port)
                new = [cluster, endpoints, target(f"t:b{number}", f"p:b{number}", secret=f"k{number}"), secret(f"k{number}", "sk")]
                await plane.publish([*base, *new, plan("m", {f"t:b{number}": 1})])
                assert [(await ask(port)).who for _ in range(3)] == ["b"] * 3


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_x3_a_plan_waits_until_its_new_cluster_is_warm(folder: Path, delta: bool) -> None:
    """A provider whose name does not resolve yet: its plan is held back (Envoy would answer 503), other routes are not."""
    silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    silent.bind(("127.0.0.1", 0))
    resolver = {"resolvers": [address(silent.getsockname()[1])], "dns_resolver_options": {"no_default_search_domain": True}}
    kind = "envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig"
    cares = extension("envoy.network.dns_resolver.cares", kind, **resolver)
    host = {"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "slow.example", "port_value": 1}}}}]}
    unresolved = resource(
        CDS,
        {
            "name": "p:slow",
            "type": "STRICT_DNS",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "p:slow", "endpoints": [host]},
            "typed_dns_resolver_config": cares,
        },
    )
    async with Vendor("a") as a, Vendor("b") as b, ControlPlane(folder, validate=preflight(folder)) as plane:
        base = [listener(scoped_routing(), [(SRDS, "m")]), scope("m"), scope("n"), provider("p:a", a.port), target("t:a", "p:a")]
        base += [provider("p:b", b.port), target("t:b", "p:b")]
        await plane.publish([*base, plan("m", {"t:a": 1}), plan("n", {"t:a": 1})])
        async with Envoy(folder, plane.socket, delta=delta) as envoy:
            port = await envoy.ready()
            wanted = [*base, unresolved, target("t:slow", "p:slow"), plan("m", {"t:slow": 1}), plan("n", {"t:b": 1})]
            await plane.publisher.submit(Snapshot.of(wanted), reason="test", urgent=True)
            for _ in range(40):
                assert (await ask(port, "m")).who == "a"
                await asyncio.sleep(0.02)
            assert await envoy.stat("cluster_manager.warming_clusters") == 1
            assert (await ask(port, "n")).who == "b"
            row = plane.nodes.to_dict()[0]["types"]
            assert row["CDS"]["state"] == row["RDS"]["state"] == "STALE"
            # It is taken out of the plan again: nobody has noticed anything.
            await plane.publish([*base, plan("m", {"t:b": 1}), plan("n", {"t:b": 1})], timeout_s=30)
            assert (await ask(port, "m")).who == "b"
    silent.close()
