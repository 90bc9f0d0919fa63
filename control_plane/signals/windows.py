"""Sliding windows per target: how its attempts ended and how fast they began in the last 10 s, 60 s and 5 min.

A window is a ring of slots, each with counts by class and a sketch of first-token times; reading it adds up the slots that are young
enough. An observation goes into the slot of the time it happened, not of the time it was read, so a backlog after a restart of
the control plane does not look like the present. Everything is bounded: slots, classes, bins of the sketch, targets.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from control_plane.signals.classify import PROVIDER_FAULTS, AttemptClass
from control_plane.signals.rate_limits import RateLimitSignal

WINDOWS: Final[Mapping[str, tuple[float, int]]] = {"10s": (1.0, 10), "60s": (5.0, 12), "5m": (30.0, 10)}
"""Name -> (seconds of one slot, number of slots). The oldest slot is whole, so a window covers up to one slot more than its name."""

MAX_TARGETS: Final = 3000
"""Targets kept, the one that was quiet longest goes first: about 20 KB each."""

GROWTH: Final = 1.1
"""Ratio of neighbouring bins of the sketch: a quantile is right within 5 %."""

MIN_S: Final = 0.001
MAX_S: Final = 3600.0
"""Times outside are counted at the edge: 158 bins at most."""

_LOG_GROWTH: Final = math.log(GROWTH)


class Sketch:
    """Quantiles of positive numbers from logarithmic bins, mergeable (the idea of DDSketch, Masson et al. 2019)."""

    __slots__ = ("_bins",)

    def __init__(self) -> None:
        self._bins: Counter[int] = Counter()

    def add(self, seconds: float) -> None:
        """Count one value."""
        self._bins[math.ceil(math.log(min(max(seconds, MIN_S), MAX_S)) / _LOG_GROWTH)] += 1

    def merge(self, other: Sketch) -> None:
        """Count everything that `other` counted."""
        self._bins.update(other._bins)

    def quantile(self, share: float) -> float | None:
        """The value below which `share` (0..1) of all lie; None when there are none."""
        left = share * (sum(self._bins.values()) - 1)
        for at in sorted(self._bins):
            left -= self._bins[at]
            if left < 0:
                # The middle of the bin: the same relative error both ways.
                return float(2 * GROWTH**at / (GROWTH + 1))
        return None

    def __len__(self) -> int:
        return sum(self._bins.values())


class _Slot:
    __slots__ = ("classes", "first_token", "gap_s", "gaps", "number")

    def __init__(self, number: int) -> None:
        self.number = number
        self.classes: Counter[AttemptClass] = Counter()
        self.first_token = Sketch()
        self.gap_s, self.gaps = 0.0, 0  # time between output tokens, and how many times


class _Window:
    """One ring."""

    def __init__(self, slot_s: float, slots: int) -> None:
        self._slot_s = slot_s
        self._slots: list[_Slot | None] = [None] * (slots + 1)

    def add(self, ended_at: float, now: float, found: AttemptClass, first_token_s: float | None) -> None:
        slot = self._slot(ended_at, now)
        if slot is None:
            return
        slot.classes[found] += 1
        if first_token_s is not None:
            slot.first_token.add(first_token_s)

    def add_gaps(self, ended_at: float, now: float, seconds: float, gaps: int) -> None:
        if (slot := self._slot(ended_at, now)) is not None:
            slot.gap_s += seconds
            slot.gaps += gaps

    def _slot(self, ended_at: float, now: float) -> _Slot | None:
        newest = int(now // self._slot_s)
        # A clock that is ahead counts as now; what is older than the window is left out.
        number = min(int(ended_at // self._slot_s), newest)
        if number <= newest - len(self._slots):
            return None
        at = number % len(self._slots)
        slot = self._slots[at]
        if slot is None or slot.number != number:
            slot = self._slots[at] = _Slot(number)
        return slot

    def read(self, now: float) -> WindowView:
        newest = int(now // self._slot_s)
        classes: Counter[AttemptClass] = Counter()
        first_token, gap_s, gaps = Sketch(), 0.0, 0
        for slot in self._slots:
            if slot is not None and newest - len(self._slots) < slot.number <= newest:
                classes.update(slot.classes)
                first_token.merge(slot.first_token)
                gap_s, gaps = gap_s + slot.gap_s, gaps + slot.gaps
        return WindowView(dict(classes), first_token.quantile(0.5), first_token.quantile(0.95), gap_s / gaps if gaps else None)


@dataclass(frozen=True, slots=True)
class WindowView:
    """What one window says now. Times in seconds; None when no attempt in it had a first byte.

    `token_gap_s`: the mean time between two output tokens of the streams that ended whole, from their first byte on.
    """

    classes: Mapping[AttemptClass, int]
    ttft_s_p50: float | None
    ttft_s_p95: float | None
    token_gap_s: float | None = None

    @property
    def attempts(self) -> int:
        """All attempts that ended in the window."""
        return sum(self.classes.values())

    @property
    def faults(self) -> int:
        """Those that count against the target."""
        return sum(count for found, count in self.classes.items() if found in PROVIDER_FAULTS)

    def to_dict(self) -> dict[str, object]:
        """JSON types; times in milliseconds."""
        return {
            "attempts": self.attempts,
            "faults": self.faults,
            "classes": {str(found): count for found, count in sorted(self.classes.items())},
            "ttft_ms_p50": None if self.ttft_s_p50 is None else round(self.ttft_s_p50 * 1000),
            "ttft_ms_p95": None if self.ttft_s_p95 is None else round(self.ttft_s_p95 * 1000),
            "token_gap_ms": None if self.token_gap_s is None else round(self.token_gap_s * 1000, 1),
        }


@dataclass(slots=True)
class _Target:
    provider: str | None
    lane: str | None
    windows: dict[str, _Window]
    last_at: float
    told: RateLimitSignal | None = None


class TargetWindows:
    """The windows of all targets."""

    def __init__(self, max_targets: int = MAX_TARGETS) -> None:
        self._max_targets = max_targets
        self._targets: OrderedDict[str, _Target] = OrderedDict()

    def add(
        self,
        target: str,
        provider: str | None,
        lane: str | None,
        found: AttemptClass,
        first_token_s: float | None,
        ended_at: float,
        now: float,
    ) -> None:
        """An attempt at `target` ended at `ended_at`; both times are seconds since the epoch."""
        entry = self._targets.get(target)
        if entry is None:
            entry = self._targets[target] = _Target(provider, lane, {name: _Window(*shape) for name, shape in WINDOWS.items()}, ended_at)
            if len(self._targets) > self._max_targets:
                self._targets.popitem(last=False)
        self._targets.move_to_end(target)
        entry.provider, entry.lane, entry.last_at = provider, lane, max(entry.last_at, ended_at)
        for window in entry.windows.values():
            window.add(ended_at, now, found, first_token_s)

    def add_gaps(self, target: str, seconds: float, gaps: int, ended_at: float, now: float) -> None:
        """A stream of `gaps` + 1 output tokens took `seconds` from its first byte to its end. Counted where the target is known."""
        if (entry := self._targets.get(target)) is not None:
            for window in entry.windows.values():
                window.add_gaps(ended_at, now, seconds, gaps)

    def note_limits(self, target: str, told: RateLimitSignal) -> None:
        """What the vendor said last of its rate limits. A target without attempts has no row for it."""
        entry = self._targets.get(target)
        if entry is not None and (entry.told is None or entry.told.at_s <= told.at_s):
            entry.told = told

    def limits(self, target: str) -> RateLimitSignal | None:
        """What the vendor said last of its rate limits."""
        entry = self._targets.get(target)
        return entry.told if entry is not None else None

    def read(self, target: str, now: float) -> dict[str, WindowView]:
        """The windows of one target by name; empty when nothing was sent to it lately."""
        entry = self._targets.get(target)
        return {name: window.read(now) for name, window in entry.windows.items()} if entry is not None else {}

    def rows(self, now: float) -> list[dict[str, object]]:
        """One row a target for `headgate get targets`, by name."""
        return [
            {
                "target": name,
                "provider": entry.provider,
                "lane": entry.lane,
                "last_attempt_at": entry.last_at,
                "ratelimit": _limits_row(entry.told),
                "windows": {window: view.to_dict() for window, view in self.read(name, now).items()},
            }
            for name, entry in sorted(self._targets.items())
        ]


def _limits_row(told: RateLimitSignal | None) -> dict[str, object]:
    """By unit what remains, the limit, and when there is more (seconds since the epoch)."""
    found: dict[str, object] = {}
    for unit, said in told.units().items() if told is not None else ():
        reset_at = None if said.reset_s is None or told is None else told.at_s + said.reset_s
        if said.remaining is not None:
            found[unit] = {"remaining": said.remaining, "limit": said.limit, "reset_at": reset_at}
    return found
