"""A vendor fails in each usual way: how fast traffic leaves it, what is sent meanwhile, and how it comes back."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from control_plane.ir.steering import Planned
from control_plane.routing.breaker import State
from control_plane.routing.policy import BreakerPolicy
from control_plane.signals.classify import AttemptClass
from tests.unit.routing.conftest import FINE, Answer, Vendor, World

Make = Callable[..., World]
REFUSED = Answer(AttemptClass.CONNECT, 0.001, None)
BROKEN = Answer(AttemptClass.TRANSIENT, 0.05, None)
LIMITED = Answer(AttemptClass.RATE_LIMITED, 0.05, None, retry_after_s=20)
HOLE = Answer(AttemptClass.TIMEOUT, 5.0, None)


class Unlucky(random.Random):
    """Draws what is likeliest."""

    def choices(self, population: Any, weights: Any = None, **_: Any) -> Any:
        return [population[weights.index(max(weights))]]


def down(answer: Answer, since: float, until: float = 1e9) -> Vendor:
    return lambda at: answer if since <= at < until else FINE


@pytest.mark.parametrize("rate", [4, 20, 100, 1000])
@pytest.mark.parametrize("answer", [REFUSED, BROKEN, LIMITED], ids=["refused", "503", "429"])
def test_a_dead_vendor_is_out_within_a_second(world: Make, rate: float, answer: Answer) -> None:
    found = world(down(answer, 5), rate=rate).run(65 if rate < 1000 else 12)
    key = "one" if answer is REFUSED else "one/a"
    (first,) = found.opened(key)
    assert first < 6.0 if rate > 4 else first < 7.5, "three failures are needed, which takes a while at four requests a second"
    assert found.failed == 0
    if rate >= 20:
        assert found.amplification(6.3) <= 1.02


def test_the_last_sound_target_keeps_its_traffic(world: Make) -> None:
    broken = down(BROKEN, 0)
    found = world(broken, vendors={"one/a": broken, "two/b": broken}, rate=20).run(30)
    assert found.opened("one/a")
    assert found.opened("two/b")
    assert found.asked("one/a", 20) >= 150, "with all open, plans are as they are written but for probes"
    alone = world(broken, plan=[[Planned("one/a", 1)]], rate=20).run(30)
    assert alone.changes == 0


def test_it_comes_back_in_steps(world: Make) -> None:
    found = world(down(BROKEN, 5, 20), rate=50).run(80)
    states = [(state, percent) for _, state, percent in found.states("one/a") if state is State.RETURNING or state is State.CLOSED]
    assert states == [(State.RETURNING, 5), (State.RETURNING, 25), (State.RETURNING, 100), (State.CLOSED, 100)]
    (back,) = [at for at, state, percent in found.states("one/a") if (state, percent) == (State.RETURNING, 5)]
    assert 20 <= back < 20 + 20, "an outage of 15 s is noticed as over within about its own length"
    assert 0.02 < found.asked("one/a", back + 0.5, back + 5) / (50 * 4.5) < 0.10
    assert 0.15 < found.asked("one/a", back + 5.5, back + 10) / (50 * 4.5) < 0.35
    assert found.asked("one/a", back + 10.5, back + 15) == pytest.approx(50 * 4.5, rel=0.2)
    assert found.failed == 0


@pytest.mark.parametrize("rate", [1, 20, 200, 2000])
def test_probes_are_single(world: Make, rate: float) -> None:
    """About one request is spent on finding out whether a vendor is still a black hole."""
    found = world(down(HOLE, 5), rate=rate, vendors={"one/a": down(HOLE, 5)}).run(40 if rate > 500 else 90)
    opened = min(found.opened("one/a"))
    probes = sum(state is State.HALF_OPEN for _, state, _ in found.states("one/a"))
    assert probes >= 1
    assert found.asked("one/a", opened + 1) <= 3 * probes + 3
    assert found.failed == 0


@pytest.mark.parametrize(("answer", "fast"), [(BROKEN, True), (HOLE, False)], ids=["503", "black hole"])
def test_a_probe_that_did_not_come_is_sent_again(world: Make, answer: Answer, fast: bool) -> None:
    """Chance may leave a probe's share without a request. Where faults are quick, silence says so; else it may hang."""
    found = world(down(answer, 5), rate=50).run(30)
    found._random = Unlucky()
    found.run(60)  # what is under way ends
    changes = found.changes
    windows = (found.run(120).changes - changes) / 2
    assert windows >= 10 if fast else 1 <= windows <= 5


def test_probing_waits_for_traffic(world: Make) -> None:
    found = world(down(BROKEN, 2), rate=20).run(4)
    found.rate = 0
    changes = found.run(700).changes
    found.run(300)
    assert found.changes == changes, "no pushes while nobody asks"
    assert found.board.governing("one/a").state in (State.OPEN, State.HALF_OPEN)  # type: ignore[union-attr]


def test_a_rare_target_comes_back_too(world: Make) -> None:
    found = world(down(BROKEN, 20, 60), rate=0.2).run(600)
    assert found.opened("one/a")
    assert found.states("one/a")[-1][1] is State.CLOSED


def test_the_vendors_word_for_its_return_counts(world: Make) -> None:
    found = world(down(Answer(AttemptClass.RATE_LIMITED, 0.05, None, retry_after_s=30), 5, 34), rate=50).run(60)
    (opened,) = found.opened("one/a")
    (probed,) = [at for at, state, _ in found.states("one/a") if state is State.HALF_OPEN]
    assert probed - opened == pytest.approx(30, abs=1.5)


@pytest.mark.parametrize("policy", [BreakerPolicy(), BreakerPolicy(open_s=0.5, step_s=0.5, max_open_s=5)], ids=["default", "short"])
@pytest.mark.parametrize("period", [2, 5, 13])
def test_a_flapping_vendor_is_diverted_three_times_a_minute_at_most(world: Make, policy: BreakerPolicy, period: float) -> None:
    found = world(lambda at: BROKEN if at // period % 2 else FINE, rate=40, policy=policy).run(400)
    opened = found.opened("one/a")
    assert opened
    for start in opened:
        assert sum(start <= at < start + 60 for at in opened) <= 3
    assert found.failed == 0


def test_a_slow_vendor_is_left(world: Make) -> None:
    slow = Answer(AttemptClass.OK, 9.5, 9.0)
    found = world(lambda at: slow if at >= 20 else FINE, rate=10).run(60)
    opened = found.opened("one/a")
    assert opened
    assert opened[0] < 20 + 9.5 + 8
    assert "first token after 9.0 s against 0.2 s" in found.transitions[0].reason


def test_ordinary_variation_is_not_slow(world: Make) -> None:
    found = world(lambda at: Answer(AttemptClass.OK, 4.0, 3.5) if int(at * 100) % 10 < 3 else FINE, rate=30).run(60)
    assert not found.transitions


@pytest.mark.parametrize("found", [AttemptClass.CLIENT_FAULT, AttemptClass.CANCELLED, AttemptClass.LOCAL])
def test_what_is_not_the_vendors_fault_does_not_count(world: Make, found: AttemptClass) -> None:
    assert not world(lambda _: Answer(found, 0.05, None), rate=50).run(30).transitions


@pytest.mark.parametrize("rate", [5, 100, 1000])
def test_a_few_failures_are_borne(world: Make, rate: float) -> None:
    """Two of a hundred, by chance."""
    chance = random.Random(7)
    mixed = world(lambda _: BROKEN if chance.random() < 0.02 else FINE, rate=rate).run(30)
    assert not mixed.opened("one/a")


def test_half_failing_is_too_much(world: Make) -> None:
    found = world(lambda at: BROKEN if int(at * 100) % 2 else FINE, rate=30).run(30)
    assert "class=transient" in found.transitions[0].reason
    assert found.opened("one/a")


def test_a_provider_that_cannot_be_reached_takes_all_its_models_along() -> None:
    plan = [[Planned("one/a", 50), Planned("one/c", 50)], [Planned("two/b", 100)]]
    refused = down(REFUSED, 5, 20)
    found = World({"one/a": refused, "one/c": refused}, plan, rate=40).run(60)
    assert found.opened("one")
    assert not found.opened("one/a")
    assert not found.opened("one/c")
    assert found.states("one")[-1][1] is State.CLOSED
    assert found.failed == 0


def test_one_dead_model_leaves_the_others_alone() -> None:
    plan = [[Planned("one/a", 50), Planned("one/c", 50)], [Planned("two/b", 100)]]
    found = World({"one/a": down(Answer(AttemptClass.CREDENTIAL_DEAD, 0.05, None), 5)}, plan, rate=40).run(20)
    assert found.opened("one/a")
    assert not found.opened("one")
    assert found.asked("one/c", 10) > 300, "it takes what the other loses"


def test_switched_off_means_off(world: Make) -> None:
    assert not world(down(BROKEN, 0), policy=BreakerPolicy(enabled=False)).run(10).transitions


def test_states_survive_a_restart(world: Make) -> None:
    found = world(down(BROKEN, 5), rate=50).run(8)
    kept = found.board.dump()
    again = world(down(BROKEN, 5), rate=50)
    again.board.restore([*kept, {"key": "x"}, {"key": "one/a", "state": "odd"}], found.now)
    assert again.board.shares() == found.board.shares()
    assert again.board.governing("one/a").until == found.board.governing("one/a").until  # type: ignore[union-attr]
