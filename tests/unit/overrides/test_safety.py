"""The rules that refuse an override, and what they say where nothing is known."""

from __future__ import annotations

from control_plane.ir.steering import NO_STEERING, Steer, Steering
from control_plane.overrides.safety import Check, Health, Load, change, headroom, targets_left
from control_plane.overrides.steers import steering
from tests.unit.overrides.conftest import PLANS, override

OUT = steering([override()], PLANS)
CHAT = {name: groups for name, groups in PLANS.items() if name != "only"}


def well(_: str) -> Health:
    return Health(True)


def test_the_last_target_of_a_route_stays() -> None:
    check = targets_left(PLANS, NO_STEERING, OUT, well)
    assert (check.ok, check.text) == (False, "route only would have no target left: its clients get 503")
    assert targets_left(CHAT, NO_STEERING, OUT, well) == Check("targets_left", True, "every affected route keeps ≥ 1 healthy target")


def test_the_last_healthy_target_stays() -> None:
    def health(target: str) -> Health:
        return Health(True) if target.startswith("openai") else Health(False, "failed 7 of 10")

    check = targets_left(CHAT, NO_STEERING, OUT, health)
    assert check.ok is False
    assert "route code would keep no healthy target (anthropic/claude: failed 7 of 10)" in check.text


def test_a_target_without_weight_carries_nothing() -> None:
    last = steering([override(kind="weight", subject="route/code", weights=(("anthropic/claude", 0),))], PLANS)
    assert targets_left(CHAT, NO_STEERING, last, lambda t: Health(not t.startswith("openai"), "down")).ok is False
    assert targets_left(CHAT, NO_STEERING, last, well).ok is True


def test_where_nothing_was_healthy_nothing_is_made_worse() -> None:
    assert targets_left(CHAT, NO_STEERING, OUT, lambda _: Health(False, "down")).ok is True


def test_what_is_not_known_is_said() -> None:
    check = targets_left(CHAT, NO_STEERING, OUT, lambda _: Health(None))
    assert (check.ok, "(anthropic/claude, azure/gpt-5: untried of late)" in check.text) == (True, True)


def test_a_breakers_target_is_no_reserve() -> None:
    before = Steering(targets={"azure/gpt-5": Steer(0, "open"), "anthropic/claude": Steer(0, "open")})
    after = Steering(targets={**before.targets, **OUT.targets})
    assert targets_left(CHAT, before, after, well).ok is False


def test_receivers_stay_below_their_limits() -> None:
    moved = change({"chat": PLANS["chat"]}, NO_STEERING, OUT)
    rates = {"chat": 1.0}

    def half_used(_: str) -> Load:
        return Load({"requests": (0.5, 1000)})

    check = headroom(moved, rates, half_used)
    assert (check.ok, "azure/gpt-5 55%" in check.text) == (True, True), check.text  # 0.8/s more: 48 a minute of 1000
    over = headroom(moved, {"chat": 10.0}, half_used)
    assert (over.ok, over.text) == (False, "azure/gpt-5 would reach 85% or more of a limit (azure/gpt-5 98%)")
    tokens = headroom(moved, rates, lambda _: Load({"tokens": (0.2, 10_000)}))
    assert (tokens.ok, "azure/gpt-5 would reach" in tokens.text) == (False, True), "five times its traffic, five times 20 %"


def test_headroom_that_nobody_knows() -> None:
    moved = change({"chat": PLANS["chat"]}, NO_STEERING, OUT)
    assert headroom(moved, {"chat": 1.0}, lambda _: None) == Check("headroom", None, "headroom unknown: azure/gpt-5 (no limits told)")
    assert headroom(moved, {}, lambda _: None).ok is None
    code = change({"code": PLANS["code"]}, NO_STEERING, steering([override(subject="provider/anthropic")], PLANS))
    assert headroom(code, {"code": 1.0}, lambda _: Load({"tokens": (0.2, 100)})).ok is None, "it had none, so nothing tells of the tokens"
    assert headroom(change({}, NO_STEERING, OUT), {}, lambda _: None) == Check("headroom", True, "no other target gets more")
