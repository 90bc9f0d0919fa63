"""X7 and X15 with real Envoys and pre-flight switched off: a NACK is never answered, and the last good version returns."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from control_plane.xds.preflight import Rejection
from control_plane.xds.resource import CDS, RDS, SRDS, Resource
from control_plane.xds.snapshot import Snapshot
from tests.live.xds.harness import (
    ControlPlane,
    Envoy,
    Vendor,
    ask,
    listener,
    plan,
    preflight,
    provider,
    scope,
    scoped_routing,
    target,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


def world(port: int, *more: Resource) -> list[Resource]:
    out = [listener(scoped_routing(), [(SRDS, "m")]), scope("m"), scope("n"), provider("p:a", port), target("t:a", "p:a"), *more]
    names = {r.key for r in more}
    return [*out, *(plan(name, {"t:a": 1}) for name in "mn" if (RDS, name) not in names)]


class Overlooks:
    """A pre-flight that lets everything pass the first time it is asked about a change, and is right when asked again."""

    def __init__(self, folder: Path) -> None:
        self._real, self._asked = preflight(folder), False

    async def __call__(self, candidates: Sequence[Resource]) -> Rejection | None:
        self._asked = not self._asked
        return None if self._asked else await self._real(candidates)


async def test_x7_of_routes_refused_together_only_the_bad_one_returns(folder: Path) -> None:
    """Envoy's text about routes names none of them, and what it did with the others is not certain: pre-flight tells them apart."""
    async with Vendor("a") as a, ControlPlane(folder, validate=Overlooks(folder)) as plane:
        await plane.publish(world(a.port))
        async with Envoy(folder, plane.socket) as envoy:
            port = await envoy.ready()
            await until(lambda: plane.publisher._proven_number == plane.publisher._number)
            plane.publisher._validate._asked = False  # type: ignore[union-attr]
            changed = [plan("m", {"t:a": 0}), plan("n", {"t:a": 7})]
            await plane.publisher.submit(Snapshot.of(world(a.port, *changed)), reason="test", urgent=True)
            await until(lambda: plane.publisher.report().problems != ())
            assert await plane.publisher.converged(5)
            assert [problem.resource for problem in plane.publisher.report().problems] == [(RDS, "m")]
            assert plane.publisher.live.of_type(RDS)["n"].version == changed[1].version
            (row,) = plane.nodes
            assert row.stream.types[RDS].held["n"] == changed[1]
            assert sum(plane.nodes.nacks.values()) == 1
            assert (await ask(port, "m")).status == (await ask(port, "n")).status == 200


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_x7_envoys_refusals_are_taken_back_within_a_second(folder: Path, delta: bool) -> None:
    async with Vendor("a") as a, ControlPlane(folder) as plane:
        await plane.publish(world(a.port))
        async with Envoy(folder, plane.socket, delta=delta) as envoy:
            port = await envoy.ready()
            await until(lambda: plane.publisher._proven_number == plane.publisher._number)
            bad_host = {"cluster_name": "p:z", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _name("not-an-ip")}}]}]}
            cases = [
                # a changed route: its old version returns
                ([plan("m", {"t:a": 0})], (RDS, "m"), "value must be greater than or equal to 1"),
                # a new cluster that a plan names: the plan never goes out, a good new cluster does
                (
                    [provider("p:y", a.port), provider("p:z", 1, load_assignment=bad_host), target("t:z", "p:z"), plan("n", {"t:z": 1})],
                    (CDS, "p:z"),
                    "malformed IP address: not-an-ip",
                ),
            ]
            for more, culprit, text in cases:
                began = time.monotonic()
                nacks = sum(plane.nodes.nacks.values())
                await plane.publisher.submit(Snapshot.of(world(a.port, *more)), reason="test", urgent=True)
                await until(lambda: plane.publisher.report().problems != ())
                took = time.monotonic() - began
                assert took < 1
                (problem,) = plane.publisher.report().problems
                assert (problem.source, problem.resource) == ("nack", culprit)
                assert text in problem.text
                assert "n1" in problem.text
                assert await plane.publisher.converged(5)
                await asyncio.sleep(0.5)
                assert sum(plane.nodes.nacks.values()) == nacks + 1  # not one more: nothing was sent again
                assert (await ask(port, "m")).status == (await ask(port, "n")).status == 200
                row = plane.nodes.to_dict()[0]
                assert row["version"] == "envoy 1.40.0"
                states = {kind: entry["state"] for kind, entry in row["types"].items()}
                assert set(states.values()) == {"SYNCED"}
                last_error = row["types"][{RDS: "RDS", CDS: "CDS"}[culprit[0]]]["last_error"]
                assert text in last_error
            live = plane.publisher.live
            assert "p:y" in live.of_type(CDS)
            assert live.of_type(RDS)["n"].version == plan("n", {"t:a": 1}).version
            # The culprit is repaired: everything is as asked for.
            await plane.publish(world(a.port, provider("p:z", a.port), target("t:z", "p:z"), plan("n", {"t:z": 1})))
            assert plane.publisher.report().problems == ()
            assert (await ask(port, "n")).status == 200


def _name(host: str) -> dict[str, object]:
    return {"socket_address": {"address": host, "port_value": 1}}
