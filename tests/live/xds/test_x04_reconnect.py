"""X4, X8, X9: the control plane dies and comes back, with or without changes, under load."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from control_plane.xds import lkg
from control_plane.xds.ads import AdsOptions
from control_plane.xds.publisher import PublishOptions
from control_plane.xds.resource import SDS, SRDS, Resource
from control_plane.xds.snapshot import Snapshot
from tests.live.xds.harness import (
    Answer,
    ControlPlane,
    Envoy,
    Vendor,
    ask,
    discovered_provider,
    listener,
    plan,
    scope,
    scoped_routing,
    secret,
    streams,
    target,
    until,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")


def world(port: int, version: int, *, extra: bool = False) -> list[Resource]:
    """One model on one provider by EDS; every version changes the cluster, the target and the plan."""
    out = [listener(scoped_routing(), [(SRDS, "m")]), scope("m"), secret("key", "sk-1")]
    out += discovered_provider("provider", port, connect_timeout=f"{version}s")
    out += [target("target", "provider", secret="key", stamped=str(version))]
    if extra:  # the plan moves to another target, and the old one is gone
        out = [r for r in out if r.name != "target"]
        return [*out, target("target-2", "provider", secret="key", stamped=str(version)), plan("m", {"target-2": version})]
    return [*out, plan("m", {"target": version})]


@pytest.mark.parametrize("delta", [True, False], ids=["delta", "sotw"])
async def test_x4_restarts_of_the_control_plane_leave_no_cluster_warming(folder: Path, delta: bool) -> None:
    """Killed and restarted with changed clusters under load: endpoints come after clusters, nothing warms, nothing is cut."""
    stop, answers = asyncio.Event(), list[Answer]()
    async with Vendor("a", chunks=4, gap_s=0.05) as a:
        first = ControlPlane(folder)
        async with first:
            await first.publish(world(a.port, 1))
            envoy = await Envoy(folder, first.socket, delta=delta).__aenter__()
            port = await envoy.ready()
            load = asyncio.create_task(streams(port, stop, answers, ["m"], 8))
            await asyncio.sleep(0.2)
        try:
            for number in (2, 3, 4):
                async with ControlPlane(folder, options=PublishOptions(min_drain_s=0.2)) as plane:
                    await plane.publisher.submit(Snapshot.of(world(a.port, number, extra=number % 2 == 1)), reason="test", urgent=True)
                    await until(lambda plane=plane: len(plane.nodes) == 1)
                    assert await plane.publisher.converged(5)
                    await until(lambda: warm(envoy), 5)
                    await until(lambda number=number: a.seen("x-stamp")[-1] == str(number))
            stop.set()
            await load
        finally:
            await envoy.__aexit__()
    assert len(answers) > 20
    assert [answer for answer in answers if answer.status != 200 or not answer.whole] == []


async def warm(envoy: Envoy) -> bool:
    return await envoy.stat("cluster_manager.warming_clusters") == 0


async def test_x8_x9_a_restart_without_its_source_serves_what_was_known_good(folder: Path) -> None:
    """Before anything is known streams are refused; with the file on disk a fresh Envoy is served although no spec came."""
    path = folder / "snapshot.lkg"
    async with Vendor("a") as a:
        async with ControlPlane(folder, lkg_path=path, options=PublishOptions(save_after_s=0.05)) as plane:
            await plane.publish(world(a.port, 1))
            await until(path.exists)
        stored = lkg.load(path)
        assert stored is not None
        assert stored.secret_names == {"key"}
        async with ControlPlane(folder, lkg_path=path, ads=AdsOptions(removal_delay_s=0.5)) as plane, Envoy(folder, plane.socket) as envoy:
            await asyncio.sleep(0.5)
            assert len(plane.nodes) == 0  # refused: UNAVAILABLE
            assert await envoy.stat("cluster_manager.cds.update_success") == 0
            plane.publisher.restore(stored, [secret("key", "sk-2")])
            port = await envoy.ready()
            assert (await ask(port)).who == "a"
            assert a.seen("authorization") == ["sk-2"]
            assert plane.publisher.report().from_disk
            assert plane.publisher.live.of_type(SDS).keys() == {"key"}
