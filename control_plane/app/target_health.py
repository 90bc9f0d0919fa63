"""Whether a target can take traffic, as far as its windows tell: for the rules of overrides."""

from __future__ import annotations

from typing import Final

from control_plane.overrides.safety import Health, Load
from control_plane.signals.windows import TargetWindows

ENOUGH: Final = 5
"""Attempts in a window, before it says anything."""

FAILING: Final = 0.5
"""Share of faults above which a target is not healthy."""

FRESH_S: Final = 120.0
"""What a vendor said of its limits is about a minute; later nothing of it is in use any more."""


def seen(windows: TargetWindows, target: str, window: str, now: float) -> Health:
    """What that window says of a target."""
    view = windows.read(target, now).get(window)
    if view is None or view.attempts < ENOUGH:
        return Health(None)
    if view.faults <= FAILING * view.attempts:
        return Health(True)
    return Health(False, f"failed {view.faults} of {view.attempts} attempts in the last {window}")


def load(windows: TargetWindows, target: str, now: float) -> Load | None:
    """What its vendor said of its limits; None when it said nothing."""
    left, at = windows.limits(target)
    if not left:
        return None
    fresh = now - at <= FRESH_S
    return Load({unit: (1 - rest / limit if fresh else 0.0, limit) for unit, (rest, limit) in left.items() if limit})
