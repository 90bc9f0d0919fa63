"""Whether a target can take traffic, as far as its windows tell: for the rules of overrides."""

from __future__ import annotations

from typing import Final

from control_plane.ir.steering import Steering
from control_plane.overrides.safety import Health, Load
from control_plane.signals.windows import TargetWindows

ENOUGH: Final = 5
"""Attempts in a window, before it says anything."""

FAILING: Final = 0.5
"""Share of faults above which a target is not healthy."""

SERVING: Final = 5
"""Percent of its share that a breaker gives a target, from the first step of its return on."""

FRESH_S: Final = 60.0
"""What a vendor said of its limits is about a minute, if it does not say when they are reset."""


def of(target: str, breakers: Steering, windows: TargetWindows, window: str, now: float) -> Health:
    """What its breaker and that window say of a target. A breaker that lets probes through only is not closed."""
    steer = breakers.targets.get(target)
    if steer is not None and steer.percent < SERVING:
        return Health(False, steer.reason)
    view = windows.read(target, now).get(window)
    if view is None or view.attempts < ENOUGH:
        return Health(None)
    if view.faults <= FAILING * view.attempts:
        return Health(True)
    return Health(False, f"failed {view.faults} of {view.attempts} attempts in the last {window}")


def load(windows: TargetWindows, target: str, now: float) -> Load | None:
    """What its vendor said of its limits; None when it said nothing. Of a unit that was reset since, nothing is in use."""
    told = windows.limits(target)
    if told is None:
        return None
    used = {}
    for unit, left in told.units().items():
        if left.remaining is not None and left.limit:
            fresh = now - told.at_s <= (FRESH_S if left.reset_s is None else left.reset_s)
            used[unit] = (max(0.0, 1 - left.remaining / left.limit) if fresh else 0.0, left.limit)
    return Load(used) if used else None
