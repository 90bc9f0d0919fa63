"""From overrides to steering, and with breakers beside them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.app.steering import combined
from control_plane.ir.steering import FULL, NO_STEERING, Steer, Steering, steered
from control_plane.overrides.model import Event, Subject, What, Wish, folded
from control_plane.overrides.steers import places, steering, vanished
from tests.unit.overrides.conftest import PLANS, T0, override, wish


def plan(route: str, now: Steering) -> list[list[tuple[str, int]]]:
    return [[(p.target, p.weight) for p in group] for group in steered(route, PLANS[route], now)]


def test_a_provider_is_all_of_its_targets_on_all_routes() -> None:
    now = steering([override()], PLANS)
    assert plan("chat", now) == [[("azure/gpt-5", 1)], [("anthropic/claude", 1)]]
    assert plan("only", now) == []
    assert plan("code", now) == [[("anthropic/claude", 1)]]


def test_one_route_alone() -> None:
    now = steering([override(subject="target/openai/gpt-5", route="code")], PLANS)
    assert plan("code", now) == [[("anthropic/claude", 1)]]
    assert plan("chat", now) == [[tuple(p) for p in group] for group in PLANS["chat"]]


def test_weights_of_a_route() -> None:
    now = steering([override(kind="weight", subject="route/chat", weights=(("openai/gpt-5", 0), ("azure/gpt-5", 7)))], PLANS)
    assert plan("chat", now) == [[("azure/gpt-5", 1)], [("anthropic/claude", 1)], [("openai/gpt-5", 1)]]


def test_the_stricter_of_two_counts() -> None:
    returning, out = override("ov-1", percent=25), override("ov-2", subject="target/openai/gpt-5", route="code", kind="cordon")
    for order in ([returning, out], [out, returning]):
        now = steering(order, PLANS)
        assert now.targets["openai/gpt-5"].percent == 25
        assert now.on_route[("code", "openai/gpt-5")].out
    wide = steering([override("ov-1", kind="cordon"), override("ov-2", percent=5, subject="target/openai/gpt-5", route="code")], PLANS)
    assert wide.on_route[("code", "openai/gpt-5")].out, "what is out everywhere is out on a route where something returns"


def test_what_is_over_counts_no_more() -> None:
    ended = folded([Event(T0, "ov-1", What.ENDED, "bob", {"why": "undone"})], {"ov-1": override()})
    assert steering(ended.values(), PLANS) == NO_STEERING


def test_names_that_vanished_do_nothing_and_are_named() -> None:
    gone = override(subject="provider/gone")
    assert steering([gone], PLANS) == NO_STEERING
    assert vanished(gone.wish, PLANS) == ["provider/gone"]
    assert vanished(wish(route="gone"), PLANS) == ["provider/openai on route/gone"]
    weights = wish("weight", "route/chat", weights=(("openai/gpt-5", 1), ("old/one", 2)))
    assert vanished(weights, PLANS) == ["old/one"]
    assert vanished(wish(), PLANS) == []


def test_operators_beat_breakers_but_let_nothing_through_that_they_hold_back() -> None:
    breakers = Steering(targets={"openai/gpt-5": Steer(5, "half open"), "azure/gpt-5": Steer(0, "open")})
    out = combined(steering([override()], PLANS), breakers)
    assert (out.targets["openai/gpt-5"].out, out.targets["azure/gpt-5"].percent) == (True, 0)
    returning = combined(steering([override(percent=25)], PLANS), breakers)
    assert returning.targets["openai/gpt-5"].percent == 5
    on_route = combined(steering([override(percent=25, subject="target/openai/gpt-5", route="code")], PLANS), breakers)
    assert on_route.of("code", "openai/gpt-5") == Steer(5, "half open")


SUBJECTS = st.sampled_from(["provider/openai", "target/openai/gpt-5", "target/azure/gpt-5", "provider/anthropic"])
ROUTES = st.sampled_from([None, "chat", "only", "code"])
OVERRIDES = st.lists(
    st.builds(
        lambda number, subject, route, percent: override(f"ov-{number}", percent=percent, subject=subject, route=route),
        st.integers(1, 99),
        SUBJECTS,
        ROUTES,
        st.sampled_from([0, 5, 25]),
    ),
    max_size=5,
)
BREAKERS = st.dictionaries(
    st.sampled_from(["openai/gpt-5", "azure/gpt-5", "anthropic/claude"]), st.sampled_from([Steer(0, "b"), Steer(25, "b")])
)


@given(OVERRIDES, BREAKERS)
def test_nobody_gets_more_than_anyone_allows(overrides: list, breakers: dict[str, Steer]) -> None:  # type: ignore[type-arg]
    now = combined(steering(overrides, PLANS), Steering(targets=breakers))
    for route, target in places(PLANS):
        found = now.of(route, target)
        alone = [steering([one], PLANS).of(route, target) for one in overrides]
        allowed = min([steer.percent for steer in alone if steer] + [breakers[target].percent if target in breakers else FULL])
        assert (FULL if found is None else found.percent) == allowed
        if any(steer and steer.out for steer in alone):
            assert found is not None
            assert found.out


@pytest.mark.parametrize("text", ["provider/openai", "target/openai/gpt-5", "route/chat", "target/hf/meta-llama/llama-3"])
def test_subjects_read_back(text: str) -> None:
    assert str(Subject.parse(text)) == text
    assert Subject.parse("openai/gpt-5") == Subject.parse("target/openai/gpt-5")


@pytest.mark.parametrize("text", ["", "openai", "provider/", "target/openai", "target/openai/", "route/", "/x"])
def test_what_is_no_subject(text: str) -> None:
    with pytest.raises(ValueError, match="is not provider/NAME"):
        Subject.parse(text)


def test_wishes_read_back() -> None:
    for one in (
        wish(),
        wish("weight", "route/chat", weights=(("a/b", 1),)),
        wish(until=None, route="chat", forced=True, key="k", via="token"),
    ):
        assert Wish.from_dict(one.to_dict()) == one
