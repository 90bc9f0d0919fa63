"""The desk of overrides over a real configurator and publisher, with a clock that is told the time."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.app.configure import Configurator
from control_plane.app.overrides import EFFECT_AFTER_S, OverrideDesk
from control_plane.ir.steering import Steer, Steering
from control_plane.kit.clock import FakeClock
from control_plane.overrides.asked import Refusal
from control_plane.overrides.store import Store
from control_plane.signals.traffic import Traffic
from control_plane.sources.reader import read_specs
from control_plane.telemetry.metrics import Metrics
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.publisher import Publisher
from tests.unit.app.test_configure import SPECS, configurator, settled

A, B = "a/m", "b/m"


class Office:
    """A desk, and what its decisions made of the plans."""

    def __init__(self, desk: OverrideDesk, clock: FakeClock) -> None:
        self.desk, self.clock = desk, clock

    def plan(self, route: str) -> list[list[tuple[str, int]]]:
        (found,) = (r for r in self.desk.configurator.gateway.routes if r.name == route)
        entry = next(e for e in found.entries if e.operation == "chat" and e.dialect == "openai-chat")
        return [[(choice.use.target, choice.weight) for choice in group] for group in entry.groups]

    async def make(self, kind: str = "drain", subject: str = "provider/a", **more: Any) -> dict[str, Any]:
        body = {"kind": kind, "subject": subject, "reason": "INC-1", "author": "alice", **more}
        return await self.desk.apply(json.dumps(body).encode(), "local")

    async def later(self, seconds: float) -> None:
        self.clock.advance(seconds)
        await self.desk.tick()

    def what(self, name: str) -> list[str]:
        return [e["what"] for e in self.desk.one(name)["events"] if e["what"] not in ("published", "effect")]


@pytest.fixture
async def office(tmp_path: Path) -> AsyncIterator[Office]:
    folder = tmp_path / "specs"
    folder.mkdir()
    (folder / "a.key").write_text("key-one\n")
    (folder / "s.yaml").write_text(SPECS)
    conf, publisher, task = await configurator(tmp_path)
    clock = FakeClock()
    desk = desk_over(conf, publisher, tmp_path, clock)
    await conf.apply(read_specs([folder / "s.yaml"]))
    await settled(publisher, 1)
    yield Office(desk, clock)
    task.cancel()
    desk.store.close()


def desk_over(conf: Configurator, publisher: Publisher, state: Path, clock: FakeClock, **more: Any) -> OverrideDesk:
    desk = OverrideDesk(Store(state), conf, Feed(), NodeRegistry(clock), Traffic(Metrics(), clock), clock, **more)
    conf.steering = desk.steering
    return desk


async def test_a_drain_from_its_beginning_to_its_end(office: Office) -> None:
    assert office.plan("chat") == [[(A, 80), (B, 20)]]
    made = await office.make(for_s=600, step_s=60)
    assert office.plan("chat") == [[(B, 1)]]
    assert made["published"]["accepted"]
    assert made["before"] == {"chat": [[{"target": A, "weight": 80}, {"target": B, "weight": 20}]]}
    await office.later(599)
    assert office.plan("chat") == [[(B, 1)]]
    await office.later(1)
    assert office.plan("chat") == [[(A, 1), (B, 24)]], "5 % of 80, and what it lost is with its sibling"
    await office.later(59)
    await office.later(1)
    assert office.what("ov-1") == ["created", "returning", "returning"]
    await office.later(60)
    assert office.plan("chat") == [[(A, 80), (B, 20)]]
    assert office.what("ov-1") == ["created", "returning", "returning", "ended"]
    assert office.desk.rows(everything=False) == []
    assert [row["state"] for row in office.desk.rows(everything=True)] == ["expired"]


async def test_the_last_target_is_refused_and_forced(office: Office) -> None:
    with pytest.raises(Refusal) as caught:
        await office.make(subject="provider/b")
    assert (caught.value.code, "route other would have no target left" in caught.value.message) == ("unsafe", True)
    assert caught.value.detail is not None
    assert caught.value.detail["after"]["other"] == []
    assert office.desk.audit(None, 10) == [], "a refusal leaves no override behind"
    made = await office.make(subject="provider/b", force=True)
    assert made["override"]["forced"] is True
    assert office.plan("other") == []
    assert {one["operation"] for one in made["closed"] if one["route"] == "other"} >= {"chat"}


async def test_a_dry_run_changes_nothing(office: Office) -> None:
    told = await office.make(dry_run=True)
    assert (told["accepted"], told["after"]) == (True, {"chat": [[{"target": B, "weight": 1}]]})
    assert (await office.make(subject="provider/b", dry_run=True))["accepted"] is False
    assert office.desk.audit(None, 10) == []
    assert office.plan("chat") == [[(A, 80), (B, 20)]]


async def test_a_repeated_request_is_the_same_override(office: Office) -> None:
    first = await office.make(key="k-1")
    again = await office.make(key="k-1")
    assert (again["repeated"], again["override"]["id"]) == (True, first["override"]["id"])
    with pytest.raises(Refusal) as caught:
        await office.make(key="k-2")
    assert caught.value.code == "conflict"
    replaced = await office.make("cordon", replace=True, key="k-3")
    rows = {row["id"]: row["state"] for row in office.desk.rows(everything=True)}
    assert rows == {first["override"]["id"]: "replaced", replaced["override"]["id"]: "active"}


async def test_undo_and_uncordon(office: Office) -> None:
    back = json.dumps({"author": "bob", "reason": "fixed"}).encode()
    name = (await office.make())["override"]["id"]
    undone = await office.desk.undo(name, back)
    assert (undone["ended"], office.plan("chat")) == ([name], [[(A, 80), (B, 20)]])
    again = await office.desk.undo(name, back)
    assert (again["ended"], again["override"]["ended_by"]) == ([], "bob")
    await office.make("cordon", route="chat")
    with pytest.raises(Refusal, match=r"out are: provider/a on route/chat \(ov-"):
        await office.desk.release("provider/a", None, back)
    await office.desk.release("provider/a", "chat", back)
    assert office.plan("chat") == [[(A, 80), (B, 20)]]
    with pytest.raises(Refusal, match="reason must say something"):
        await office.desk.release("provider/a", "chat", b'{"author": "bob"}')
    with pytest.raises(Refusal, match='no override "ov-77"'):
        await office.desk.undo("ov-77", back)


async def test_weights(office: Office) -> None:
    await office.make("weight", "route/chat", weights={A: 1, B: 3}, for_s=60)
    assert office.plan("chat") == [[(A, 1), (B, 3)]]
    await office.later(60)
    assert office.plan("chat") == [[(A, 80), (B, 20)]]


async def test_it_goes_on_after_a_restart_and_without_its_names(office: Office, tmp_path: Path) -> None:
    """Another control plane reads the same record: what was drained is so in its first configuration."""
    await office.make(for_s=600, step_s=60)
    conf, publisher, task = await configurator(tmp_path / "specs")
    desk = desk_over(conf, publisher, tmp_path, office.clock)
    specs = tmp_path / "specs" / "s.yaml"
    await conf.apply(read_specs([specs]))
    again = Office(desk, office.clock)
    assert again.plan("chat") == [[(B, 1)]]
    specs.write_text(SPECS.replace("{provider: a, model: m, weight: 80}, ", ""))
    await conf.apply(read_specs([specs]))
    assert [row["dangling"] for row in desk.rows(everything=False)] == [["provider/a"]]
    specs.write_text(SPECS)
    await conf.apply(read_specs([specs]))
    assert again.plan("chat") == [[(B, 1)]]
    await office.later(600)
    assert again.plan("chat") == [[(B, 1)]]
    await desk.tick()
    assert again.plan("chat") == [[(A, 1), (B, 24)]], "what one process did the other one sees"
    task.cancel()
    desk.store.close()


async def test_a_breaker_holds_a_return_down(office: Office) -> None:
    office.desk.breakers = lambda _: Steering(targets={A: Steer(0, "open since 14:02")})
    with pytest.raises(Refusal, match=r"would keep no healthy target \(a/m: open since 14:02\)"):
        await office.make(subject="provider/b", route="chat")
    await office.make(for_s=10, step_s=60)
    await office.later(10)
    assert office.plan("chat") == [[(B, 1)], [(A, 1)]], "5 % were its step, but its breaker is open"


async def test_the_effect_is_recorded(office: Office) -> None:
    for began in range(10):
        office.desk.traffic.shares.add("chat", A, began < 4, 1.0, office.clock.now() - began, office.clock.now())
    await office.make(for_s=600)
    office.clock.advance(EFFECT_AFTER_S)
    for _ in range(10):
        office.desk.traffic.shares.add("chat", B, False, 0.1, office.clock.now() - 1, office.clock.now())
    await office.desk.tick()
    (effect,) = [e for e in office.desk.one("ov-1")["events"] if e["what"] == "effect"]
    assert (effect["before"]["shares"], effect["before"]["success"]) == ({A: 1.0}, 0.6)
    assert (effect["after"]["shares"], effect["after"]["success"]) == ({B: 1.0}, 1.0)
    assert effect["after"]["ttft_ms_p95"] < 200 < 900 < effect["before"]["ttft_ms_p95"]
    await office.desk.tick()
    assert len([e for e in office.desk.one("ov-1")["events"] if e["what"] == "effect"]) == 1
