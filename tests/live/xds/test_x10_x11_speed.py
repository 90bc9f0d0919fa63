"""X10: a flip is in effect quickly. X11: a frozen Envoy delays nobody."""

from __future__ import annotations

import asyncio
import statistics
import time
from pathlib import Path

import pytest

from control_plane.xds.resource import SRDS, Resource
from control_plane.xds.snapshot import Snapshot
from tests.live.xds.harness import ControlPlane, Envoy, Vendor, ask, listener, plan, preflight, provider, scope, scoped_routing, target

pytestmark = pytest.mark.asyncio(loop_scope="session")


def world(a: int, b: int, flip: bool) -> list[Resource]:
    out = [listener(scoped_routing(), [(SRDS, "m")]), scope("m"), provider("p:a", a), provider("p:b", b)]
    return [*out, target("t:a", "p:a"), target("t:b", "p:b"), plan("m", {"t:b": 1} if flip else {"t:a": 1})]


async def test_x10_from_submit_to_the_first_request_on_the_new_weights(folder: Path) -> None:
    """p99 ≤ 250 ms over 60 flips, pre-flight included.

    Where other work makes a bare pre-flight alone slow (45 ms on a free core), the bound is three times that instead.
    """
    took, bare = [], []
    check = preflight(folder)
    async with Vendor("a") as a, Vendor("b") as b, ControlPlane(folder, validate=check) as plane:
        await plane.publish(world(a.port, b.port, False))
        async with Envoy(folder, plane.socket) as envoy:
            port = await envoy.ready()
            for number in range(60):
                flip = number % 2 == 0
                wanted = world(a.port, b.port, flip)
                began = time.monotonic()
                plane.publisher.submit(Snapshot.of(wanted), reason="weights", urgent=True)
                while (await ask(port)).who != ("b" if flip else "a"):
                    await asyncio.sleep(0.005)
                took.append(time.monotonic() - began)
                began = time.monotonic()
                assert await check(wanted[-1:]) is None
                bare.append(time.monotonic() - began)
    p99, p99_bare = sorted(took)[int(len(took) * 0.99)], sorted(bare)[int(len(bare) * 0.99)]
    assert p99 <= max(0.25, 3 * p99_bare), (took, bare)
    assert statistics.median(took) <= max(0.15, 3 * statistics.median(bare)), (took, bare)


async def test_x11_a_frozen_envoy_delays_no_other(folder: Path) -> None:
    """One of three Envoys is stopped (SIGSTOP): the others get 20 changes as before, and the frozen one the last of them later."""
    async with Vendor("a") as a, Vendor("b") as b, ControlPlane(folder) as plane:
        await plane.publish(world(a.port, b.port, False))
        async with (
            Envoy(folder, plane.socket, node="n1") as one,
            Envoy(folder, plane.socket, node="n2") as two,
            Envoy(folder, plane.socket, node="n3") as frozen,
        ):
            ports = [await envoy.ready() for envoy in (one, two)]
            last = await frozen.ready()
            frozen.freeze()
            slowest = 0.0
            for number in range(20):
                flip = number % 2 == 0
                began = time.monotonic()
                await plane.publisher.submit(Snapshot.of(world(a.port, b.port, flip)), reason="weights", urgent=True)
                for port in ports:
                    while (await ask(port)).who != ("b" if flip else "a"):
                        await asyncio.sleep(0.005)
                slowest = max(slowest, time.monotonic() - began)
            assert slowest < 0.5
            states = {row["node"]: row["types"]["RDS"]["state"] for row in plane.nodes.to_dict()}
            assert states == {"n1": "SYNCED", "n2": "SYNCED", "n3": "STALE"}
            (row,) = [row for row in plane.nodes if row.node_id == "n3"]
            pushes = sum(entry.pushes for entry in row.types.values())
            assert pushes < 12  # at most one more per patience, not twenty
            frozen.thaw()
            assert await plane.publisher.converged(5)
            assert (await ask(last)).who == "a"
