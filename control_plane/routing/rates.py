"""Requests a second of each route now, and what of it each target would get with all of its share: how small a probe's share must be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from control_plane.ir.steering import Planned

SPAN_S: Final = 5.0
"""Time constant of the decay."""

FRESH_S: Final = 0.1
"""A weight that is younger is not decayed again for each request."""

RARE: Final = 1 / 60
"""Requests a second that are expected where any came lately."""

LATELY_S: Final = 600.0
"""A route without a request for so long has no traffic that a probe could be made of."""

_NEVER: Final = (0.0, float("-inf"))

Plans = Mapping[str, Sequence[Sequence[Planned]]]
"""The groups of each route as they are written."""


class Rates:
    """Counts requests, and knows the plans."""

    def __init__(self) -> None:
        self._routes: dict[str, list[float]] = {}  # weight of what was counted, and when; routes of plans only
        self._shares: dict[str, list[tuple[str, float]]] = {}
        self.targets_of: dict[str, tuple[str, ...]] = {}
        """The targets of each provider in any plan."""

    def follow(self, plans: Plans) -> None:
        """These are the plans from now on."""
        shares: dict[str, list[tuple[str, float]]] = {}
        for route, groups in plans.items():
            seen = set()
            for group in groups:
                total = sum(planned.weight for planned in group) or 1
                for planned in group:
                    if planned.target not in seen:
                        seen.add(planned.target)
                        shares.setdefault(planned.target, []).append((route, planned.weight / total))
        self._shares = shares
        self._routes = {route: self._routes.get(route) or list(_NEVER) for route in plans}
        by_provider: dict[str, list[str]] = {}
        for target in sorted(shares):
            by_provider.setdefault(target.partition("/")[0], []).append(target)
        self.targets_of = {provider: tuple(targets) for provider, targets in by_provider.items()}

    def count(self, route: str, now: float) -> None:
        """A request of that route was seen."""
        counted = self._routes.get(route)
        if counted is None:
            return
        if (past := now - counted[1]) > FRESH_S:
            counted[0] *= math.exp(-past / SPAN_S)
            counted[1] = now
        counted[0] += 1

    def of_route(self, route: str, now: float) -> float:
        """Requests a second."""
        weight, at = self._routes.get(route, _NEVER)
        return weight * math.exp(min(0.0, at - now) / SPAN_S) / SPAN_S if weight else 0.0

    def of_target(self, target: str, now: float) -> float:
        """Requests a second that would come to it with all of its share; 0 where there are none."""
        shares = [(route, share) for route, share in self._shares.get(target, ()) if now - self._last(route) < LATELY_S]
        return max(RARE, sum(self.of_route(route, now) * share for route, share in shares)) if shares else 0.0

    def _last(self, route: str) -> float:
        return self._routes.get(route, _NEVER)[1]

    def knows(self, target: str) -> bool:
        """Whether a plan has it."""
        return target in self._shares
