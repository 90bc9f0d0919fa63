"""When overrides end and drains return, whatever the clock does."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.ir.steering import FULL
from control_plane.overrides import timeline
from control_plane.overrides.model import Event, Override, What, folded
from tests.unit.overrides.conftest import T0, override, wish

WELL = ""


def run(moments: list[float], **given: Any) -> list[tuple[float, str, object]]:
    """What is recorded when the clock is looked at in these moments (seconds after T0)."""
    created = Event(T0, "ov-1", What.CREATED, "alice", {"wish": wish(**given).to_dict()})
    book, told = folded([created]), []
    for moment in moments:
        event = timeline.step(book["ov-1"], T0 + moment, lambda _: WELL)
        if event is not None:
            book = folded([event], book)
            told.append((moment, str(event.what), event.data.get("percent")))
    return told


def test_a_drain_comes_back_in_steps() -> None:
    assert run([0, 1799, 1800, 1859, 1860, 1900, 1919, 1920, 5000]) == [
        (1800, "returning", 5),
        (1860, "returning", 25),
        (1920, "ended", None),
    ]


def test_the_others_come_back_at_once() -> None:
    assert run([1799, 1800, 1801], kind="cordon") == [(1800, "ended", None)]
    assert run([1800], kind="weight", subject="route/chat", weights=(("openai/gpt-5", 1),)) == [(1800, "ended", None)]
    assert run([1800], step_s=0.0) == [(1800, "ended", None)]


def test_never_is_never() -> None:
    assert run([10**9], until=None) == []
    assert timeline.due_in(override(until=None), T0) is None


def test_a_control_plane_that_was_away_jumps_over_no_step() -> None:
    assert run([90_000, 90_059, 90_060, 90_120]) == [(90_000, "returning", 5), (90_060, "returning", 25), (90_120, "ended", None)]


def test_a_clock_that_is_put_back_makes_no_step_last_for_hours() -> None:
    returning = override(percent=5, since=T0 + 7200)
    assert (event := timeline.step(returning, T0, lambda _: WELL)) is not None
    assert (event.what, event.data["percent"]) == (What.RETURNING, 25)
    assert timeline.step(returning, T0 + 7199.9, lambda _: WELL) is None, "a little back is no jump"


def test_a_step_waits_for_health_but_for_the_first() -> None:
    sick = "openai/gpt-5 failed 6 of 9"
    first = timeline.step(override(), T0 + 1800, lambda _: sick)
    assert first is not None
    assert first.data["percent"] == 5
    waiting = override(percent=5, since=T0 + 1800)
    held = timeline.step(waiting, T0 + 1860, lambda _: sick)
    assert held is not None
    assert (held.what, held.data["reason"]) == (What.HELD, sick)
    (still,) = folded([held], {"ov-1": waiting}).values()
    assert timeline.step(still, T0 + 1900, lambda _: sick) is None, "said once"
    onward = timeline.step(still, T0 + 1901, lambda _: WELL)
    assert onward is not None
    assert onward.data["percent"] == 25


@given(
    st.lists(st.floats(-90_000, 200_000, allow_nan=False), max_size=40),
    st.sampled_from([0.0, 1.0, 60.0, 3600.0]),
    st.lists(st.booleans(), min_size=40, max_size=40),
)
def test_shares_only_grow_and_none_is_left_out(moments: list[float], step_s: float, sick: list[bool]) -> None:
    """Whatever the clock and health do: 0, 5, 25, over, in this order; never before the end; after it nothing."""
    one: Override = override(step_s=step_s)
    seen = [0]
    for moment, ill in zip(moments, sick, strict=False):
        event = timeline.step(one, T0 + moment, lambda _, ill=ill: "ill" if ill else WELL)  # type: ignore[misc]
        if event is None:
            continue
        if one.percent == 0:
            assert moment >= 1800
        (one,) = folded([event], {"ov-1": one}).values()
        if event.what is not What.HELD:
            assert not (ill and seen[-1]), "no step while it is ill"
            seen.append(one.percent if one.open else FULL)
    assert seen == ([0, 5, 25, 100] if step_s else [0, 100])[: len(seen)]
    assert one.open == (seen[-1] != FULL)


@given(st.floats(0, 10_000), st.sampled_from([5, 25, 0]))
def test_what_is_due_happens_and_what_is_not_does_not(after: float, percent: int) -> None:
    one = override(percent=percent)
    wait = timeline.due_in(one, T0 + after)
    assert wait is not None
    assert (timeline.step(one, T0 + after, lambda _: WELL) is not None) == (wait <= 0)


@pytest.mark.parametrize("ended", ["undone", "replaced", "expired"])
def test_what_is_over_stays_so(ended: str) -> None:
    (gone,) = folded([Event(T0, "ov-1", What.ENDED, "bob", {"why": ended})], {"ov-1": override()}).values()
    assert timeline.due_in(gone, T0 + 10**6) is None
    (again,) = folded([Event(T0 + 5, "ov-1", What.ENDED, "carol", {"why": "undone"})], {"ov-1": gone}).values()
    assert again == gone
