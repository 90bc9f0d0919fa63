"""How breakers and overrides change plans."""

from __future__ import annotations

import tempfile
from math import gcd, isclose
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.ir.build import build, resteered
from control_plane.ir.model import Gateway
from control_plane.ir.steering import MAX_SUM, NO_STEERING, Planned, Steer, Steering, steered
from control_plane.spec.load import load

A, B, C = Planned("p/a", 80), Planned("p/b", 20), Planned("q/c", 100)


def to(percent: int, *targets: str, out: bool = False) -> Steering:
    return Steering(targets={target: Steer(percent, "test", out) for target in targets})


def test_nothing_changes_without_a_steer() -> None:
    assert steered("r", [[A, B], [C]], NO_STEERING) == ((A, B), (C,))
    assert steered("r", [[A, B], [C]], to(0, "p/else")) == ((A, B), (C,))
    assert steered("r", [[A, B], [C]], to(100, "p/a")) == ((A, B), (C,))


def test_a_target_without_a_share_is_the_last_resort() -> None:
    assert steered("r", [[A], [C]], to(0, "p/a")) == ((("q/c", 1),), (("p/a", 1),))
    assert steered("r", [[A, B], [C]], to(0, "p/a")) == ((("p/b", 1),), (("q/c", 1),), (("p/a", 1),))
    assert steered("r", [[A, B], [C]], to(0, "p/a", "p/b", "q/c")) == ((A, B), (C,)), "as it is written"


def test_a_target_that_is_out_is_not_tried() -> None:
    assert steered("r", [[A], [C]], to(0, "p/a", out=True)) == ((("q/c", 1),),)
    assert steered("r", [[A], [C]], to(0, "p/a", "q/c", out=True)) == ()


def test_a_sound_sibling_takes_what_another_loses() -> None:
    assert steered("r", [[A, B], [C]], to(25, "p/a")) == ((("p/a", 1), ("p/b", 4)), (("q/c", 1),)), "25 % of 80 %, and all the rest"


def test_without_a_sibling_the_next_group_takes_it() -> None:
    assert steered("r", [[A], [C]], to(5, "p/a")) == ((("p/a", 1), ("q/c", 19)), (("q/c", 1),))
    assert steered("r", [[A]], to(5, "p/a")) == ((("p/a", 1),),), "nobody else can take it"


def test_a_steer_of_one_route_beats_the_one_for_all() -> None:
    steering = Steering(targets={"p/a": Steer(0, "breaker")}, on_route={("r", "p/a"): Steer(100, "override")})
    assert steered("r", [[A], [C]], steering) == ((A,), (C,))
    assert steered("other", [[A], [C]], steering)[0] == (("q/c", 1),)


def test_weights_are_replaced_inside_their_group() -> None:
    assert steered("r", [[A, B], [C]], Steering(weights={("r", "p/a"): 20})) == ((("p/a", 1), ("p/b", 1)), (("q/c", 1),))
    assert steered("r", [[A, B], [C]], Steering(weights={("r", "p/a"): 0})) == ((("p/b", 1),), (("q/c", 1),), (("p/a", 1),))


@pytest.mark.parametrize(("percent", "out"), [(-1, False), (101, False), (5, True)])
def test_a_steer_is_a_share(percent: int, out: bool) -> None:
    with pytest.raises(ValueError, match="no share"):
        Steer(percent, "x", out)


TARGETS = st.builds(Planned, st.sampled_from("abcdef"), st.integers(1, 1_000_000))
PLANS = st.lists(st.lists(TARGETS, min_size=1, max_size=6, unique_by=lambda p: p.target), min_size=1, max_size=6)
STEERS = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([Steer(p, "x") for p in (0, 1, 5, 25, 100)] + [Steer(0, "x", True)]))


@given(PLANS, STEERS)
def test_every_plan_can_be_run(groups: list[list[Planned]], steers: dict[str, Steer]) -> None:
    plan = steered("r", groups, Steering(targets=steers))
    named = {p.target for group in groups for p in group}
    out = {target for target in named if target in steers and steers[target].out}
    assert {p.target for group in plan for p in group} == named - out, "none is lost but those that are out"
    changed = plan != tuple(map(tuple, groups))
    for group in plan:
        assert len({p.target for p in group}) == len(group)
        assert all(p.weight >= 1 for p in group)
        assert sum(p.weight for p in group) <= MAX_SUM + len(group)
        assert not changed or gcd(*(p.weight for p in group)) == 1 or sum(p.weight for p in group) > MAX_SUM // 2


@given(PLANS, STEERS)
def test_first_attempts_are_shared_as_asked(groups: list[list[Planned]], steers: dict[str, Steer]) -> None:
    """A target that is alone in being steered gets its percentage of what it had, while another one can take the rest."""
    first = groups[0]
    target = first[0].target
    steer = steers.get(target, Steer(25, "x"))
    if steer.percent in (0, 100) or len({p.target for group in groups for p in group}) == 1:
        return
    plan = steered("r", groups, Steering(targets={target: steer}))
    had = first[0].weight / sum(p.weight for p in first)
    has = next(p.weight for p in plan[0] if p.target == target) / sum(p.weight for p in plan[0])
    assert isclose(has, had * steer.percent / 100, rel_tol=0.01)


PROVIDERS = "".join(
    f"apiVersion: headgate.dev/v1alpha1\nkind: Provider\nmetadata: {{name: {name}}}\nspec: {{preset: {preset}}}\n---\n"
    for name, preset in (("one", "openai"), ("two", "anthropic"))
)
ROUTE = """apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: r}
spec: {models: [m], dialects: [openai-chat], plan: [{targets: [{provider: one, model: a}]}, {targets: [{provider: two, model: b}]}]}
"""


def gateway(tmp_path: Path, steering: Steering) -> Gateway:
    file = tmp_path / "specs.yaml"
    file.write_text(PROVIDERS + ROUTE, encoding="utf-8")
    loaded = load(file)
    assert loaded.ok, [str(f) for f in loaded.findings]
    return build(loaded.specs, steering=steering)


def plan_of(gateway: Gateway, operation: str) -> list[list[str]]:
    return next([[c.use.target for c in g] for g in e.groups] for e in gateway.routes[0].entries if e.operation == operation)


def test_the_whole_plan_follows_and_what_it_needs_stays_ready(tmp_path: Path) -> None:
    before, after = gateway(tmp_path, NO_STEERING), gateway(tmp_path, to(0, "one/a"))
    assert plan_of(after, "chat") == [["two/b"], ["one/a"]]
    assert set(before.uses()) <= set(after.uses()), "the way back needs no new cluster"
    assert plan_of(after, "files") == plan_of(before, "files"), "what was stored is where it was made"
    assert before.routes[0].standby == ()


def test_no_operation_vanishes_with_its_targets(tmp_path: Path) -> None:
    before, after = gateway(tmp_path, NO_STEERING), gateway(tmp_path, to(0, "one/a", out=True))
    assert [(e.dialect, e.operation) for e in before.routes[0].entries] == [(e.dialect, e.operation) for e in after.routes[0].entries]
    assert plan_of(after, "chat") == [["two/b"]]
    assert plan_of(after, "embeddings") == plan_of(after, "files") == [], "the other vendor has none"


MORE = """---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: s}
spec: {models: [n], plan: [{targets: [{provider: two, model: b}, {provider: one, model: c}]}, {targets: [{provider: three, model: d}]}]}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: three}
spec: {preset: openai}
"""
SHARES = st.dictionaries(
    st.sampled_from(["one/a", "two/b", "one/c", "three/d"]), st.sampled_from([Steer(p, "x") for p in (0, 0.5, 25, 100)])
)


@settings(deadline=None, max_examples=30)
@given(st.lists(SHARES, min_size=2, max_size=4), st.sampled_from([{}, {"one": "no key"}, {"one": "no key", "two": "no key"}]))
def test_building_only_what_changes_is_building_all(steers: list[dict[str, Steer]], unready: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "specs.yaml"
        file.write_text(PROVIDERS + ROUTE + MORE, encoding="utf-8")
        specs = load(file).specs
    before = Steering()
    found = build(specs, unready, before)
    for targets in steers:
        after = Steering(targets=targets)
        found = resteered(found, specs, unready, before, after)
        assert found == build(specs, unready, after)
        before = after
