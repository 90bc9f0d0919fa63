"""Time as a parameter, so that rules about time are tested without waiting."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds as floats: `now` since the epoch, `monotonic` for intervals."""

    def now(self) -> float: ...

    def monotonic(self) -> float: ...


class SystemClock:
    """The machine's clock."""

    def now(self) -> float:
        return time.time()

    def monotonic(self) -> float:
        return time.monotonic()


class FakeClock:
    """A clock that moves only when told to."""

    def __init__(self, start: float = 1_700_000_000.0) -> None:
        self._elapsed = 0.0
        self._start = start

    def now(self) -> float:
        return self._start + self._elapsed

    def monotonic(self) -> float:
        return self._elapsed

    def advance(self, seconds: float) -> None:
        """Move both readings forward by `seconds`."""
        self._elapsed += seconds

    def jump(self, seconds: float) -> None:
        """Set the time of day, forward or back, as NTP or an operator does; intervals do not notice."""
        self._start += seconds
