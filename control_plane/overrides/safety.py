"""What an override would do to the routes it concerns, before it does it: is a sound target left, and can the others take the load?

What is not known is said to be unknown and refuses nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from control_plane.ir.steering import FULL, Planned, Steering, steered
from control_plane.overrides.steers import Plans

MOST_USED: Final = 0.85
"""Of a receiver's limit: above it, a burst or a second failure would hit the limit."""

WINDOW_S: Final = 60
"""The window of vendors' request limits, where one is taken from what the vendor said last."""


class Health(NamedTuple):
    """Whether a target can serve now (None: nobody knows), and why not."""

    well: bool | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Check:
    """The outcome of one rule. `ok` None: not known, which refuses nothing."""

    rule: str
    ok: bool | None
    text: str

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {"rule": self.rule, "ok": self.ok, "text": self.text}


@dataclass(frozen=True, slots=True)
class Load:
    """What is known of a target's limits: of each unit the share in use (0..1) and the limit, if told."""

    used: Mapping[str, tuple[float, int | None]]


@dataclass(frozen=True, slots=True)
class Change:
    """The plans before and after, of the routes that change."""

    before: Mapping[str, tuple[tuple[Planned, ...], ...]]
    after: Mapping[str, tuple[tuple[Planned, ...], ...]]


def change(plans: Plans, before: Steering, after: Steering) -> Change:
    """Which routes get another plan, and which."""
    was = {route: steered(route, groups, before) for route, groups in plans.items()}
    will = {route: steered(route, groups, after) for route, groups in plans.items()}
    differ = sorted(route for route in plans if was[route] != will[route])
    return Change({route: was[route] for route in differ}, {route: will[route] for route in differ})


def targets_left(plans: Plans, before: Steering, after: Steering, health: Callable[[str], Health]) -> Check:
    """The last healthy target of a route stays. What nobody knows ill of counts as healthy, and is named where it is all there is."""
    rule, lost, unknown = "targets_left", [], set()
    for route in change(plans, before, after).after:
        had, left = _carrying(route, plans, before), _carrying(route, plans, after)
        able = [target for target in left if health(target).well is not False]
        if not _tried(route, plans, after):
            lost.append(f"route {route} would have no target left: its clients get 503")
        elif not able and any(health(target).well is not False for target in had):
            tried = sorted({planned.target for group in steered(route, plans[route], after) for planned in group})
            why = "; ".join(f"{target}: {health(target).why or 'has no share'}" for target in tried[:3])
            lost.append(f"route {route} would keep no healthy target ({why})")
        elif not any(health(target).well for target in left):
            unknown |= set(able)
    if lost:
        return Check(rule, False, _few(lost))
    untried = f" ({', '.join(sorted(unknown)[:3])}: untried of late)" if unknown else ""
    return Check(rule, True, "every affected route keeps ≥ 1 healthy target" + untried)


def headroom(change: Change, rates: Mapping[str, float], load_of: Callable[[str], Load | None]) -> Check:
    """Who gets more stays below its limits. `rates`: requests a second of each route."""
    rule = "headroom"
    was, will = _first_attempts(change.before, rates), _first_attempts(change.after, rates)
    more = sorted(target for target, rate in will.items() if rate > was.get(target, 0.0) + 1e-9)
    gaining = _gaining(change)
    if not gaining:
        return Check(rule, True, "no other target gets more")
    if not more:
        return Check(rule, None, f"headroom of {', '.join(gaining[:3])} unknown: no traffic in the last minute")
    known, unknown = {}, []
    for target in more:
        load = load_of(target)
        expected = None if load is None else _expected(load, was.get(target, 0.0), will[target])
        if expected is None:
            unknown.append(target)
        else:
            known[target] = expected
    shown = ", ".join(f"{target} {share:.0%}" for target, share in known.items())
    if over := [target for target, share in known.items() if share >= MOST_USED]:
        return Check(rule, False, f"{', '.join(over)} would reach {MOST_USED:.0%} or more of a limit ({shown})")
    rest = f"unknown: {', '.join(unknown[:3])} (no limits told)" if unknown else ""
    if not known:
        return Check(rule, None, f"headroom {rest}")
    return Check(rule, True, f"receivers stay < {MOST_USED:.0%} of their limits ({shown}{'; ' if rest else ''}{rest})")


def _expected(load: Load, was: float, will: float) -> float | None:
    shares = []
    for unit, (used, limit) in load.used.items():
        if unit == "requests" and limit:
            shares.append(used + (will - was) * WINDOW_S / limit)
        elif was > 0:
            shares.append(used * will / was)
    return max(shares, default=None)


def _carrying(route: str, plans: Plans, steering: Steering) -> list[str]:
    """Targets that get requests while all is well."""
    found = []
    for planned in (planned for group in plans[route] for planned in group):
        steer = steering.of(route, planned.target)
        share = FULL if steer is None else steer.percent
        if share and steering.weight(route, planned.target, planned.weight) and planned.target not in found:
            found.append(planned.target)
    return found


def _tried(route: str, plans: Plans, steering: Steering) -> bool:
    return bool(steered(route, plans[route], steering))


def _first_attempts(plans: Mapping[str, tuple[tuple[Planned, ...], ...]], rates: Mapping[str, float]) -> dict[str, float]:
    """Requests a second by target, of first attempts."""
    found: dict[str, float] = {}
    for route, groups in plans.items():
        total = sum(planned.weight for planned in groups[0]) if groups else 0
        for planned in groups[0] if groups else ():
            found[planned.target] = found.get(planned.target, 0.0) + rates.get(route, 0.0) * planned.weight / total
    return found


def _gaining(change: Change) -> list[str]:
    even = dict.fromkeys(change.before, 1.0)
    was, will = _first_attempts(change.before, even), _first_attempts(change.after, even)
    return sorted(target for target, rate in will.items() if rate > was.get(target, 0.0) + 1e-9)


def _few(texts: list[str], most: int = 3) -> str:
    return "; ".join(texts[:most]) + (f"; and {len(texts) - most} more routes" if len(texts) > most else "")
