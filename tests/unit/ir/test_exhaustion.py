"""What becomes of a plan whose targets are all out."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.ir.build import build, resteered
from control_plane.ir.exhaustion import outlook
from control_plane.ir.model import Route
from control_plane.ir.steering import NO_STEERING, WHOLE, Planned, Steer, Steering
from control_plane.pb.route_pb2 import RouteConfiguration
from control_plane.spec.load import load
from control_plane.spec.models import SpecSet
from control_plane.xds.translate.routes import REFUSED, route

A, B = "a/m", "b/m"

SPECS = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: a}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:9/v1", allowInsecure: true}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: b}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:10/v1", allowInsecure: true, retryBudget: {percent: 10}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: r}
spec:
  models: [r]
  plan: [{targets: [{provider: a, model: m}]}, {targets: [{provider: b, model: m}]}]
  retry: {attempts: 3}
  onExhausted: POLICY
"""


def specs(tmp_path: Path, policy: str) -> SpecSet:
    (tmp_path / "s.yaml").write_text(SPECS.replace("POLICY", policy))
    loaded = load([tmp_path / "s.yaml"])
    assert loaded.ok, loaded.findings
    return loaded.specs


def out(back_at: float, percent: float = 0, *, dead: bool = False) -> Steer:
    return Steer(percent, "test", back_at=back_at, dead=dead)


def steered(tmp_path: Path, policy: str, a: Steer, b: Steer) -> Route:
    (one,) = build(specs(tmp_path, policy), steering=Steering(targets={A: a, B: b})).routes
    return one


def plan(one: Route) -> list[list[tuple[str, int]]]:
    (entry,) = [entry for entry in one.entries if (entry.dialect, entry.operation) == ("openai-chat", "chat")]
    return [[(choice.use.target, choice.admitted) for choice in group] for group in entry.groups]


def test_only_a_route_without_any_usable_target_has_an_outlook() -> None:
    groups = [[Planned(A, 1)], [Planned(B, 1)]]
    assert outlook("r", groups, Steering(targets={A: out(9)})) is None
    assert outlook("r", groups, Steering(targets={A: out(9), B: Steer(5, "it returns")})) is None
    assert outlook("r", groups, Steering(targets={A: Steer(0, "operator", out=True), B: Steer(0, "drained")})) is None
    found = outlook("r", groups, Steering(targets={A: out(9), B: out(7)}))
    assert found is not None
    assert found.back_at == 7, "the soonest"
    mixed = outlook("r", groups, Steering(targets={A: out(9), B: Steer(0, "operator", out=True)}))
    assert mixed is not None
    assert mixed.back_at == 9


def test_reject_asks_no_target_that_is_out(tmp_path: Path) -> None:
    one = steered(tmp_path, "reject", out(107.2), out(120))
    assert one.back_at == 108
    assert plan(one) == []
    assert {use.target for use in one.uses()} == {A, B}, "the way back is a change of the plan alone"
    table = RouteConfiguration.FromString(route(one).body)
    answers = [r.direct_response for r in table.virtual_hosts[0].routes if r.HasField("direct_response")]
    assert answers
    assert all(answer.status == 503 for answer in answers)


def test_reject_lets_probes_through(tmp_path: Path) -> None:
    one = steered(tmp_path, "reject", out(107, 0.5), out(120))
    assert plan(one) == [[(A, 50)]]
    body = route(one).body
    assert REFUSED.encode() in body
    assert REFUSED not in {name for _, name in route(one).refs}, "it is never to exist"


def test_least_bad_rations_retries_at_what_is_dead(tmp_path: Path) -> None:
    assert plan(steered(tmp_path, "leastBad", out(9), out(8))) == [[(A, WHOLE)], [(B, WHOLE)]], (
        "they may be better than their breakers think"
    )
    assert plan(steered(tmp_path, "leastBad", out(9, dead=True), out(8))) == [[(A, WHOLE)], [(B, WHOLE)]]
    assert plan(steered(tmp_path, "leastBad", out(9, dead=True), out(8, dead=True))) == [[(A, WHOLE)], [(B, WHOLE // 10)]]


@pytest.mark.parametrize("policy", ["leastBad", "reject"])
def test_nothing_is_refused_while_one_target_is_sound(tmp_path: Path, policy: str) -> None:
    one = steered(tmp_path, policy, out(9, dead=True), Steer(100, "sound"))
    assert one.back_at is None
    assert plan(one)[0] == [(B, WHOLE)]
    assert all(admitted == WHOLE for group in plan(one) for _, admitted in group)


@pytest.mark.parametrize("policy", ["leastBad", "reject"])
def test_a_later_return_is_a_change_of_the_route(tmp_path: Path, policy: str) -> None:
    known = specs(tmp_path, policy)
    first, later = (Steering(targets={A: out(at), B: out(at + 1, dead=True)}) for at in (10, 30))
    gateway = build(known, steering=first)
    again = resteered(gateway, known, {}, first, later)
    assert again == build(known, steering=later)
    assert again.routes[0].back_at == 30
    assert resteered(again, known, {}, later, NO_STEERING) == build(known)
