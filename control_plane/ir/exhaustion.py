"""What becomes of requests while breakers have every target of a route taken out, as the route's `onExhausted` says.

`leastBad`: the plan is tried all the same, since a breaker may be wrong. But a target where nothing goes well any more gets a share
of the retries only (`retryBudget` of its provider): an outage of all vendors must not become a multiple of its requests.
`reject`: only probes reach a target; everything else is refused at once, with the time at which the first target is expected back.
"""

from __future__ import annotations

from dataclasses import replace
from math import ceil
from typing import NamedTuple

from control_plane.ir.draft import Draft, DraftRoute, PlannedTarget
from control_plane.ir.steering import PARTS, Groups, Planned, Steer, Steering
from control_plane.spec import models as spec


class Outlook(NamedTuple):
    """Of a route without any usable target. `back_at`: seconds since the epoch. `steers`: of its targets, where there are any."""

    back_at: float
    steers: tuple[tuple[str, Steer], ...]


def outlook(route: str, groups: Groups, steering: Steering) -> Outlook | None:
    """None while any target of the plan may be used, and where it is not breakers that keep all from being used."""
    steers: dict[str, Steer] = {}
    for planned in (planned for group in groups for planned in group):
        steer = steering.of(route, planned.target)
        if steer is None or (steer.back_at is None and steer.percent):
            return None
        steers[planned.target] = steer
    times = [steer.back_at for steer in steers.values() if steer.back_at is not None and not steer.out]
    return Outlook(min(times), tuple(steers.items())) if times else None


def ration_exhausted(draft: Draft) -> None:
    """The plans of routes that have no usable target left."""
    for name, route in draft.routes.items():
        written = route.written if route.written is not None else route.groups
        found = outlook(name, [[Planned(t.key, t.weight) for t in group] for group in written], draft.steering)
        if found is None:
            continue
        route.back_at = ceil(found.back_at)
        steers = dict(found.steers)
        now = _rejecting(route, steers) if route.spec.spec.on_exhausted == "reject" else _rationed(draft, route, steers)
        if now != route.groups:
            route.written = written
            route.groups = now


def _rejecting(route: DraftRoute, steers: dict[str, Steer]) -> list[list[PlannedTarget]]:
    """What a probe may have; and what no breaker has taken out, such as a target whose keys are all dead, which says so best itself."""
    groups = []
    for group in route.groups:
        left = []
        for target in group:
            steer = steers[target.key]
            if steer.back_at is None:
                left.append(target)
            elif steer.percent:
                left.append(replace(target, admitted=round(steer.percent * PARTS)))
        if left:
            groups.append(left)
    return groups


def _rationed(draft: Draft, route: DraftRoute, steers: dict[str, Steer]) -> list[list[PlannedTarget]]:
    """All that was planned, for retries within the budget."""
    budgets = {document.name: document.spec.retry_budget.percent for document in draft.specs.providers}

    def retried(group: list[PlannedTarget]) -> list[PlannedTarget]:
        return [replace(t, admitted=round(budgets[t.provider] * PARTS)) if steers[t.key].dead else t for t in group]

    first, *rest = route.groups or [[]]
    if not first:
        return route.groups
    groups = [first, *map(retried, rest)]
    if len(groups) < min(route.attempts, spec.MAX_GROUPS) and (again := retried(groups[-1])) != groups[-1]:
        groups.append(again)  # the last group serves further attempts too
    return groups
