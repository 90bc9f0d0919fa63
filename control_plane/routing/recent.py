"""The evidence of one breaker: how its attempts of the last seconds ended, and how fast they usually begin. Bounded."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Final

from control_plane.routing.policy import SLOW_FACTOR, SLOW_FLOOR_S, USUAL_AFTER, WINDOW_S
from control_plane.signals.classify import AttemptClass


class _Second:
    __slots__ = ("attempts", "faults", "number", "slow")

    def __init__(self, number: int) -> None:
        self.number = number
        self.attempts = self.slow = 0
        self.faults: Counter[AttemptClass] | None = None


class Recent:
    """Attempts of the last `WINDOW_S` seconds, and how many failed in a row."""

    __slots__ = ("_began_at", "_good_at", "_row_began_at", "_seconds", "in_a_row")

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        """Forget everything: what was before a change of state decides nothing after it."""
        self._seconds: list[_Second | None] = [None] * (WINDOW_S + 1)
        self._began_at = self._row_began_at = 0.0
        self._good_at = float("-inf")
        self.in_a_row: Counter[AttemptClass] = Counter()

    def good(self, ended_at: float, now: float, slow: bool = False) -> None:
        """Count an attempt that went well."""
        second = self._second(ended_at, now)
        second.attempts += 1
        second.slow += slow
        self._good_at = ended_at
        if self.in_a_row:
            self.in_a_row.clear()

    def fault(self, found: AttemptClass, ended_at: float, now: float) -> None:
        """Count one that did not."""
        second = self._second(ended_at, now)
        second.attempts += 1
        if second.faults is None:
            second.faults = Counter()
        second.faults[found] += 1
        if not self.in_a_row:
            self._row_began_at = ended_at
        self.in_a_row[found] += 1

    def row_span(self, now: float) -> tuple[float, bool]:
        """For how many seconds nothing but failures came in, and whether anything went well in the window before."""
        return now - self._row_began_at, self._good_at >= now - WINDOW_S

    def totals(self, now: float) -> tuple[int, Counter[AttemptClass], int]:
        """(attempts, faults by class, slow ones) in the window."""
        attempts, slow, faults = 0, 0, Counter[AttemptClass]()
        for second in self._young(now):
            attempts += second.attempts
            slow += second.slow
            if second.faults:
                faults.update(second.faults)
        return attempts, faults, slow

    def rate(self, now: float) -> float:
        """Attempts a second in the window, or since the first one."""
        return sum(second.attempts for second in self._young(now)) / min(float(WINDOW_S), max(1.0, now - self._began_at))

    def _second(self, ended_at: float, now: float) -> _Second:
        number = int(ended_at if ended_at < now else now)
        at = number % (WINDOW_S + 1)
        second = self._seconds[at]
        if second is None or second.number != number:
            second = self._seconds[at] = _Second(number)
            self._began_at = self._began_at or ended_at
        return second

    def _young(self, now: float) -> Iterator[_Second]:
        newest = int(now)
        return (second for second in self._seconds if second is not None and newest - WINDOW_S < second.number <= newest)


_WEIGHT: Final = 0.02
"""Of one first token in the usual one: a few dozen make it."""

_WEIGHT_OF_SLOW: Final = 0.002
"""Slow ones move it less, or an outage would become the usual; a vendor that stays slower is usual after some hundred answers."""

_LOG_FACTOR: Final = math.log(SLOW_FACTOR)


class UsualFirstToken:
    """The geometric mean of a target's first-token times, newer ones counting more."""

    __slots__ = ("_log_s", "_seen")

    def __init__(self) -> None:
        self._log_s = 0.0
        self._seen = 0

    @property
    def seconds(self) -> float | None:
        """None until enough were seen."""
        return math.exp(self._log_s) if self._seen >= USUAL_AFTER else None

    def is_slow(self, first_token_s: float) -> bool:
        """Whether it is far above the usual; takes it into the usual."""
        log_s = math.log(max(first_token_s, 0.001))
        slow = first_token_s > SLOW_FLOOR_S and self._seen >= USUAL_AFTER and log_s > self._log_s + _LOG_FACTOR
        self._seen += 1
        self._log_s += (log_s - self._log_s) * max(_WEIGHT_OF_SLOW if slow else _WEIGHT, 1 / self._seen)
        return slow

    def get_used_to(self, first_token_s: float) -> None:
        """A probe was slow as well: a vendor that is slower for good shall not stay out for good."""
        self._log_s += (math.log(max(first_token_s, 0.001)) - self._log_s) * 0.1
