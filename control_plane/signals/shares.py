"""Who served the requests of each route in the last minute, and how well: what operators look at before and after they move traffic.

Requests count at the time they began, since that is when a plan chose their target: what was under way when a plan changed belongs to the
old one. Everything is bounded: slots, routes, bins of the sketch.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from control_plane.signals.windows import Sketch

SLOT_S: Final = 2.0
SLOTS: Final = 31
"""A minute, and the slot that is being filled."""

MAX_ROUTES: Final = 2000
"""The one that was quiet longest goes first."""


class _Slot:
    __slots__ = ("failed", "first_token", "number", "served")

    def __init__(self, number: int) -> None:
        self.number = number
        self.served: Counter[str] = Counter()
        self.failed = 0
        self.first_token = Sketch()


@dataclass(frozen=True, slots=True)
class Shares:
    """Of some routes over some seconds: requests by the last target tried ("" for none), how many failed, p95 to the first byte."""

    seconds: float
    served: Mapping[str, int]
    failed: int
    ttft_s_p95: float | None

    @property
    def requests(self) -> int:
        """All of them."""
        return sum(self.served.values())

    def to_dict(self) -> dict[str, object]:
        """JSON types; shares and success from 0 to 1, None without requests."""
        total = self.requests
        return {
            "seconds": self.seconds,
            "requests": total,
            "shares": {target: round(count / total, 4) for target, count in sorted(self.served.items())},
            "success": round(1 - self.failed / total, 4) if total else None,
            "ttft_ms_p95": None if self.ttft_s_p95 is None else round(self.ttft_s_p95 * 1000),
        }


class RouteShares:
    """The last minute of every route."""

    def __init__(self) -> None:
        self._routes: OrderedDict[str, list[_Slot | None]] = OrderedDict()

    def add(self, route: str, target: str, failed: bool, first_token_s: float | None, began_at: float, now: float) -> None:
        """A request of `route` that began at `began_at` is over; both times are seconds since the epoch."""
        newest = int(now // SLOT_S)
        number = min(int(began_at // SLOT_S), newest)
        if number <= newest - SLOTS:
            return
        slots = self._routes.get(route)
        if slots is None:
            slots = self._routes[route] = [None] * SLOTS
            if len(self._routes) > MAX_ROUTES:
                self._routes.popitem(last=False)
        self._routes.move_to_end(route)
        slot = slots[number % SLOTS]
        if slot is None or slot.number != number:
            slot = slots[number % SLOTS] = _Slot(number)
        slot.served[target] += 1
        slot.failed += failed
        if first_token_s is not None:
            slot.first_token.add(first_token_s)

    def read(self, routes: Iterable[str], over_s: float, now: float) -> Shares:
        """The last `over_s` seconds of these routes together, in whole slots."""
        newest, wanted = int(now // SLOT_S), max(1, min(SLOTS, round(over_s / SLOT_S)))
        served: Counter[str] = Counter()
        first_token, failed = Sketch(), 0
        for route in routes:
            for slot in self._routes.get(route, ()):
                if slot is not None and newest - wanted < slot.number <= newest:
                    served.update(slot.served)
                    failed += slot.failed
                    first_token.merge(slot.first_token)
        return Shares(over_s, dict(served), failed, first_token.quantile(0.95))

    def rates(self, now: float) -> dict[str, float]:
        """Requests a second of each route, over the last minute."""
        return {route: shares.requests / shares.seconds for route in self._routes if (shares := self.read([route], 60.0, now)).requests}
