"""An override as the row that the CLI and the API show."""

from __future__ import annotations

from typing import Any

from control_plane.overrides import timeline
from control_plane.overrides.model import Override
from control_plane.overrides.steers import Plans, vanished


def row(override: Override, plans: Plans, now: float) -> dict[str, Any]:
    """JSON types. Times are seconds since the epoch; `due_in_s`: until something happens by itself, None when nothing will.

    `state` is active, returning, held or the way it ended; `dangling` names what no plan has (any more).
    """
    wish, ended = override.wish, override.ended
    wait = timeline.due_in(override, now)
    return {
        "id": override.id,
        **wish.to_dict(),
        "at": override.at,
        "state": ended.why if ended else "held" if override.held else "returning" if override.percent else "active",
        "percent": override.percent,
        "held": override.held,
        "due_in_s": None if wait is None else round(max(0.0, wait), 1),
        "ended_at": ended.at if ended else None,
        "ended_by": ended.who if ended else None,
        "ended_reason": ended.reason if ended else None,
        "dangling": vanished(wish, plans) if override.open else [],
    }
