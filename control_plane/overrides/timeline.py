"""When overrides end, and how drains return. Pure: `now` comes from outside, so restarts, suspends and clock jumps are only other numbers.

A drain whose time is over gets 5 % of its share, then 25 %, then all; each step lasts `step_s` from the moment it was taken (not from the
one it was due), so a control plane that was away does not jump over a step. A step after the first waits while the target is not healthy.
The first does not: what gets no request cannot show that it is well, and the breaker watches over the few it gets.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from control_plane.ir.steering import FULL
from control_plane.overrides.model import Event, Kind, Override, What

STEPS: Final = (5, 25)
"""Percent of its share, before all of it."""

ITSELF: Final = "headgate"
"""The author of what happens by itself."""

Unwell = Callable[[Override], str]
"""Why what that override names is not healthy; empty when it is, or nobody knows."""


def due_in(override: Override, now: float) -> float | None:
    """Seconds until something is to happen (0 or less: now); None when nothing will by itself."""
    if not override.open or (override.percent == 0 and override.wish.until is None):
        return None
    if override.percent == 0:
        assert override.wish.until is not None
        return override.wish.until - now
    return override.wish.step_s - abs(now - override.since)  # a clock that was put back must not make a step last for hours


def next_due_in(overrides: Iterable[Override], now: float) -> float | None:
    """The soonest of `due_in`."""
    return min((wait for one in overrides if (wait := due_in(one, now)) is not None), default=None)


def step(override: Override, now: float, unwell: Unwell) -> Event | None:
    """What is to be recorded now: the next step, that it is held back, or the end. None when nothing is due or it is held already."""
    wait = due_in(override, now)
    if wait is None or wait > 0:
        return None
    share = next_share(override)
    if override.percent and (why := unwell(override)):
        return Event(now, override.id, What.HELD, ITSELF, {"reason": why, "percent": override.percent}) if override.held != why else None
    if share == FULL:
        return Event(now, override.id, What.ENDED, ITSELF, {"why": "expired"})
    return Event(now, override.id, What.RETURNING, ITSELF, {"percent": share})


def next_share(override: Override) -> int:
    """Percent of its share after the next step."""
    if override.wish.kind is not Kind.DRAIN or not override.wish.step_s:
        return FULL
    return next((share for share in STEPS if share > override.percent), FULL)
