"""Plans to put overrides on."""

from __future__ import annotations

from typing import Any

from control_plane.ir.steering import Planned
from control_plane.overrides.model import Kind, Override, Subject, Wish
from control_plane.overrides.steers import Plans

PLANS: Plans = {
    "chat": [[Planned("openai/gpt-5", 80), Planned("azure/gpt-5", 20)], [Planned("anthropic/claude", 100)]],
    "only": [[Planned("openai/gpt-5", 100)]],
    "code": [[Planned("anthropic/claude", 100)], [Planned("openai/gpt-5", 100)]],
}
T0 = 1_700_000_000.0


def wish(kind: str = "drain", subject: str = "provider/openai", **more: Any) -> Wish:
    given = {"reason": "INC-1", "author": "alice", "until": T0 + 1800, "step_s": 60.0 if kind == "drain" else 0.0, **more}
    return Wish(kind=Kind(kind), subject=Subject.parse(subject), **given)


def override(name: str = "ov-1", percent: int = 0, since: float = T0, **more: Any) -> Override:
    return Override(name, wish(**more), T0, percent, since)
