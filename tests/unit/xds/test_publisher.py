"""X3, X6, X7, X8, X9, X10 and X15 at the publisher, with nodes inside this process."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from control_plane.kit.clock import SystemClock
from control_plane.xds import lkg
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.preflight import PreflightUnavailable, Rejection
from control_plane.xds.publisher import Publisher, PublishOptions
from control_plane.xds.resource import CDS, RDS, SDS, SRDS, Resource
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.subscription import Push
from tests.unit.xds.peer import Node, edge, res, snap


class Plane:
    def __init__(self, publisher: Publisher, feed: Feed, nodes: NodeRegistry) -> None:
        self.publisher, self.feed, self.nodes = publisher, feed, nodes

    async def publish(self, *resources: Resource, confirm: bool = False) -> None:
        outcome = await self.publisher.submit(Snapshot.of(resources), reason="test", urgent=True, confirm_mass_delete=confirm)
        assert outcome.accepted, outcome.problems


@contextlib.asynccontextmanager
async def plane(validate: object = None, lkg_path: Path | None = None, **options: float) -> AsyncIterator[Plane]:
    feed, nodes = Feed(), NodeRegistry(SystemClock())
    chosen = PublishOptions(**{"min_drain_s": 0.05, "save_after_s": 0.05, **options})  # type: ignore[arg-type]
    publisher = Publisher(feed, nodes, validate=validate, lkg_path=lkg_path, options=chosen)  # type: ignore[arg-type]
    task = asyncio.create_task(publisher.run())
    try:
        yield Plane(publisher, feed, nodes)
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: object, timeout_s: float = 5.0) -> None:
    async with asyncio.timeout(timeout_s):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.005)


# ---------------------------------------------------------------------------------------------- X3
async def test_x3_removals_wait_for_every_node_and_the_drain_time() -> None:
    async with plane(min_drain_s=0.2) as p:
        await p.publish(*edge("1", targets=("t",)))
        nodes = [Node(p.feed, p.nodes, f"n{i}") for i in range(2)]
        assert await p.publisher.converged(2)
        nodes[1].answering = False
        await p.publish(*edge("2", targets=("u",)))
        await asyncio.sleep(0.5)
        assert p.publisher.report().retired == 3  # t, its provider and the provider's endpoints
        assert not any(push.removed for node in nodes for push in node.pushes)
        nodes[1].answer_all()
        began = time.monotonic()
        await until(lambda: p.publisher.report().retired == 0)
        assert time.monotonic() - began >= 0.2
        assert await p.publisher.converged(2)
        assert nodes[0].sent()[-2:] == ["CDS-p-t,t", "EDS-p-t"]


async def test_x3_a_node_that_never_answers_delays_removals_only_for_a_bounded_time() -> None:
    async with plane(max_drain_s=0.4) as p:
        await p.publish(*edge("1", targets=("t",)))
        stuck, fine = Node(p.feed, p.nodes, "stuck"), Node(p.feed, p.nodes, "fine")
        assert await p.publisher.converged(2)
        stuck.answering = False
        await p.publish(*edge("2", targets=("u",)))
        await until(lambda: p.publisher.report().retired == 0)
        await until(lambda: fine.sent()[-2:] == ["CDS-p-t,t", "EDS-p-t"])
        assert not any(push.removed for push in stuck.pushes)  # its own stream keeps what it uses


async def test_x3_a_node_that_leaves_does_not_delay_removals() -> None:
    async with plane() as p:
        await p.publish(*edge("1", targets=("t",)))
        node = Node(p.feed, p.nodes)
        assert await p.publisher.converged(2)
        node.answering = False
        await p.publish(*edge("2", targets=("u",)))
        await asyncio.sleep(0.2)
        assert p.publisher.report().retired == 3
        await node.leave()
        await until(lambda: p.publisher.report().retired == 0)


async def test_x3_what_is_wanted_again_is_not_removed() -> None:
    async with plane(min_drain_s=0.1) as p:
        await p.publish(*edge("1", targets=("t",)))
        node = Node(p.feed, p.nodes)
        assert await p.publisher.converged(2)
        await p.publish(*edge("2", targets=("u",)))
        await p.publish(*edge("1", targets=("t",)))
        await asyncio.sleep(0.4)
        assert p.publisher.report().retired == 0
        assert not any("t" in push.removed for push in node.pushes)
        assert set(p.feed.current.of_type(CDS)) == {"t", "p-t"}  # type: ignore[union-attr]


# ---------------------------------------------------------------------------------------------- X5, X6
async def test_x5_a_snapshot_with_a_dangling_reference_is_refused_and_the_old_one_stays() -> None:
    async with plane() as p:
        await p.publish(*edge("1"))
        before = p.feed.current
        outcome = await p.publisher.submit(snap(*edge("2"), res(RDS, "x", "1", (CDS, "nowhere"))), reason="test")
        assert not outcome.accepted
        assert "CDS nowhere (named by RDS x)" in outcome.problems[0].text
        assert p.feed.current is before
        assert p.publisher.report().problems == outcome.problems


async def test_x6_a_bad_route_is_isolated_and_the_rest_is_published() -> None:
    seen: list[list[str]] = []

    async def validate(candidates: Sequence[Resource]) -> Rejection | None:
        seen.append([r.name for r in candidates])
        bad = [r for r in candidates if r.body == b"bad"]
        return Rejection("no", tuple((r.key, "weight must be 1 or more") for r in bad)) if bad else None

    async with plane(validate) as p:
        await p.publish(*edge("1"), res(SRDS, "n", "1", (RDS, "n")), res(RDS, "n", "1", (CDS, "t")))
        node = Node(p.feed, p.nodes)
        assert await p.publisher.converged(2)
        seen.clear()
        new = [*edge("bad"), res(SRDS, "n", "1", (RDS, "n")), res(RDS, "n", "2", (CDS, "t"))]
        outcome = await p.publisher.submit(Snapshot.of(new), reason="test")
        assert outcome.accepted
        (problem,) = outcome.problems
        assert (problem.source, problem.resource, problem.text) == ("preflight", (RDS, "m"), "weight must be 1 or more")
        assert seen == [["m", "n"], ["n"]]  # only what changed is asked about
        assert await p.publisher.converged(2)
        assert node.pushes[-1].names == ("n",)
        assert p.publisher.live.of_type(RDS)["m"].body == b"1"
        # The same bad version again is not asked about again; a better one is published.
        await p.publish(*new)
        assert seen == [["m", "n"], ["n"]]
        await p.publish(*edge("3"), *new[-2:])
        assert p.publisher.report().problems == ()
        assert p.publisher.live.of_type(RDS)["m"].body == b"3"


async def test_x6_what_cannot_be_told_apart_is_refused_whole() -> None:
    async def validate(candidates: Sequence[Resource]) -> Rejection | None:
        return Rejection("something")

    async with plane(validate) as p:
        outcome = await p.publisher.submit(snap(*edge("1")), reason="test")
        assert not outcome.accepted
        assert p.feed.current is None


async def test_x6_when_preflight_cannot_run_only_urgent_changes_pass() -> None:
    works = True

    async def validate(candidates: Sequence[Resource]) -> Rejection | None:
        if not works:
            raise PreflightUnavailable("cannot start envoy")
        return None

    async with plane(validate, retry_s=0.3) as p:
        await p.publish(*edge("1"))
        works = False
        outcome = await p.publisher.submit(snap(*edge("2")), reason="specs")
        assert not outcome.accepted
        assert "cannot start envoy; trying again" in outcome.problems[0].text
        works = True
        await until(lambda: p.publisher.live.of_type(RDS)["m"].body == b"2")
        works = False
        await p.publish(*edge("3"))
        assert p.publisher.live.of_type(RDS)["m"].body == b"3"


# ---------------------------------------------------------------------------------------------- X7
def refuse_bad(push: Push) -> str | None:
    return "Envoy says no to m" if b"bad" in push.payload else None


async def test_x7_a_refused_resource_returns_to_its_last_good_version_within_a_second() -> None:
    async with plane() as p:
        await p.publish(*edge("1"))
        node = Node(p.feed, p.nodes, refuse=refuse_bad)
        assert await p.publisher.converged(2)
        await until(lambda: p.publisher._proven_number == p.publisher._number)
        began = time.monotonic()
        await p.publish(*edge("bad"))
        await until(lambda: p.publisher.report().problems != ())
        assert time.monotonic() - began < 1
        (problem,) = p.publisher.report().problems
        assert (problem.source, problem.resource) == ("nack", (RDS, "m"))
        assert "RDS m refused by n: Envoy says no to m" in problem.text
        assert await p.publisher.converged(2)
        assert p.publisher.live.of_type(RDS)["m"].body == b"1"
        assert sum(b"bad" in push.payload for push in node.pushes) == 1  # never sent again
        await p.publish(*edge("2"))
        assert await p.publisher.converged(2)
        assert p.publisher.report().problems == ()


async def test_x7_a_new_resource_that_is_refused_is_withdrawn_with_what_names_it() -> None:
    async with plane() as p:
        await p.publish(*edge("1"))
        text = "Error adding/updating cluster(s) p-u: no"
        node = Node(p.feed, p.nodes, refuse=lambda push: text if push.type_url == CDS and "p-u" in push.names else None)
        assert await p.publisher.converged(2)
        await until(lambda: p.publisher._proven_number == p.publisher._number)
        await p.publish(*edge("2", targets=("t", "u")))
        await until(lambda: p.publisher.report().problems != ())
        assert await p.publisher.converged(2)
        assert set(p.publisher.live.of_type(CDS)) == {"t", "p-t"}
        assert p.publisher.live.of_type(RDS)["m"].body == b"1"
        assert "RDS+m" in node.sent()[:6]
        assert "RDS+m" not in node.sent()[6:]  # the plan with the refused target never went out


async def test_x7_one_of_many_nodes_does_not_take_a_change_back() -> None:
    async with plane() as p:
        await p.publish(*edge("1"))
        fine = [Node(p.feed, p.nodes, f"n{i}") for i in range(3)]
        odd = Node(p.feed, p.nodes, "odd", refuse=refuse_bad)
        assert await p.publisher.converged(2)
        await p.publish(*edge("bad"))
        assert await p.publisher.converged(2)
        await asyncio.sleep(0.1)
        assert p.publisher.live.of_type(RDS)["m"].body == b"bad"
        assert [n.stream.state_of(RDS) for n in (*fine, odd)] == ["SYNCED"] * 3 + ["NACK"]


# ---------------------------------------------------------------------------------------------- X8
async def test_x8_the_last_known_good_survives_a_restart_without_secrets(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.lkg"
    secret = res(SDS, "key", "sk-canary-value")
    wanted = [r for r in edge("7") if r.type_url != SDS] + [secret]
    async with plane(lkg_path=path) as p:
        await p.publish(*wanted)
        await until(path.exists)
        number = p.publisher.live.number
    assert b"sk-canary-value" not in path.read_bytes()
    assert path.stat().st_mode & 0o077 == 0
    stored = lkg.load(path)
    assert stored is not None
    assert stored.secret_names == {"key"}
    async with plane(lkg_path=path) as p:
        p.publisher.restore(stored, [secret])
        assert p.feed.current is not None
        assert p.feed.current.number > number
        assert {r.key: r.version for r in p.feed.current} == {r.key: r.version for r in wanted}
        report = p.publisher.report()
        assert report.from_disk
        assert report.accepted_at == stored.saved_at  # the staleness that metrics show counts from here
        # The source comes back with one route less than the guard allows: still refused against what is on disk.
        assert not (await p.publisher.submit(Snapshot.of([]), reason="specs")).accepted
        await p.publish(*wanted)
        assert not p.publisher.report().from_disk


async def test_x8_a_refused_version_is_not_what_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "snapshot.lkg"
    async with plane(lkg_path=path, save_after_s=0.3) as p:
        await p.publish(*edge("1"))
        Node(p.feed, p.nodes, refuse=refuse_bad)
        await until(path.exists)
        await p.publish(*edge("bad"))
        await until(lambda: p.publisher.report().problems != ())
        await asyncio.sleep(0.5)
        stored = lkg.load(path)
        assert stored is not None
        assert stored.snapshot.of_type(RDS)["m"].body == b"1"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda data: data[:-10], "damaged"),
        (lambda data: data.replace(b"lkg 1", b"lkg 9"), "format 9"),
        (lambda data: b"{}", "not a last known good"),
        (lambda data: b"", "not a last known good"),
        (lambda data: data[:90] + bytes([data[90] ^ 1]) + data[91:], "damaged"),
    ],
)
def test_x8_a_damaged_file_is_told_and_not_used(tmp_path: Path, damage: object, says: str) -> None:
    path = tmp_path / "snapshot.lkg"
    assert lkg.load(path) is None
    lkg.save(path, snap(*edge("1")), 0.0)
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    with pytest.raises(lkg.LkgError, match=says):
        lkg.load(path)


async def test_x8_a_disk_that_is_full_does_not_stop_publishing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("")
    async with plane(lkg_path=blocked / "snapshot.lkg", save_after_s=0.01) as p:
        await p.publish(*edge("1"))
        await asyncio.sleep(0.1)
        await p.publish(*edge("2"))
        assert p.publisher.live.of_type(RDS)["m"].body == b"2"


# ---------------------------------------------------------------------------------------------- X9, X10
async def test_x9_an_emptied_source_is_not_published_without_confirmation() -> None:
    async with plane() as p:
        await p.publish(*edge("1"))
        outcome = await p.publisher.submit(Snapshot.of([]), reason="specs")
        assert not outcome.accepted
        assert "1 of 1 routes would vanish" in outcome.problems[0].text
        assert p.publisher.live.of_type(RDS)
        await p.publish(confirm=True)
        assert not p.publisher.live.of_type(SRDS)


async def test_x10_quiet_changes_take_the_debounce_and_storms_one_second() -> None:
    async with plane() as p:
        await p.publish(*edge("0"))
        began, first = time.monotonic(), p.publisher.report().published
        await p.publisher.submit(snap(*edge("1")), reason="specs")
        assert 0.1 <= time.monotonic() - began < 0.25
        began, number = time.monotonic(), 1
        published = p.publisher.report().published
        assert published == first + 1
        times: list[float] = []
        while time.monotonic() - began < 2.3:  # 50 edits a second
            number += 1
            p.publisher.submit(snap(*edge(str(number))), reason="specs")
            await asyncio.sleep(0.02)
            if p.publisher.report().published != published:
                published = p.publisher.report().published
                times.append(time.monotonic() - began)
        assert len(times) == 2
        assert times[0] == pytest.approx(1.0, abs=0.15)
        await until(lambda: p.publisher.live.of_type(RDS)["m"].body == str(number).encode())


async def test_x10_a_weight_flip_bypasses_the_debounce() -> None:
    async with plane() as p:
        await p.publish(*edge("0"))
        waiting = p.publisher.submit(snap(*edge("1")), reason="specs")
        began = time.monotonic()
        await p.publisher.submit(snap(*edge("2")), reason="weights", urgent=True)
        assert time.monotonic() - began < 0.05
        assert waiting.done()  # both are in it
        assert p.nodes.push_reasons == {"test": 1, "specs": 1, "weights": 1}


async def test_the_same_snapshot_again_is_accepted_and_pushes_nothing() -> None:
    async with plane() as p:
        await p.publish(*edge("1"))
        published = p.publisher.report().published
        await p.publish(*edge("1"))
        assert p.publisher.report().published == published


# ---------------------------------------------------------------------------------------------- X15
async def test_x15_rows_convergence_and_reasons() -> None:
    async with plane() as p:
        await p.publish(*edge("1"))
        node = Node(p.feed, p.nodes, "edge-1", refuse=lambda push: "no weights, please" if b"bad" in push.payload else None)
        Node(p.feed, p.nodes, "edge-2")
        assert await p.publisher.converged(2)
        await p.publish(*edge("2"))
        assert await p.publisher.converged(2)
        counted = p.nodes.convergence.cumulative()
        assert counted[-1] == 2  # both nodes, for the one change since they connected
        assert counted[0] == 2
        node.answering = False
        await p.publish(*edge("3"))
        await until(lambda: p.nodes.to_dict()[0]["types"]["RDS"]["state"] == "STALE")
        stale = p.nodes.to_dict()[0]["types"]["RDS"]
        assert stale["since"] == pytest.approx(time.time(), abs=2)
        node.answer_all()
        assert await p.publisher.converged(2)
        row = p.nodes.to_dict()[0]
        assert (row["node"], row["version"], row["mode"], row["snapshot"]) == ("edge-1", "envoy 1.40.0", "delta", p.publisher.live.number)
        await p.publish(*edge("bad"))
        await until(lambda: p.nodes.to_dict()[0]["types"]["RDS"]["last_error"])
        assert p.nodes.to_dict()[0]["types"]["RDS"]["last_error"] == "no weights, please"
        assert p.nodes.nacks == {"RDS": 1}


async def test_x15_the_dump_names_everything_and_shows_no_secret() -> None:
    async with plane() as p:
        await p.publish(*edge("1"), res(SDS, "other", "sk-canary-value"))
        Node(p.feed, p.nodes)
        assert await p.publisher.converged(2)
        (dump,) = p.nodes.dump(render=lambda resource: resource.body.decode())
        entries = {(e["type"], e["name"]): e for e in dump["resources"]}
        assert entries["RDS", "m"]["status"] == "ACKED"
        assert entries["RDS", "m"]["body"] == "1"
        assert entries["SDS", "other"] == {"type": "SDS", "name": "other", "status": "ACKED", "body": "[redacted]"}
        assert "sk-canary-value" not in str(dump)
