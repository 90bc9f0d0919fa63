"""What a vendor's answer says of its rate limits, out of a journal line.

The journal has the headers as they came, in one text: "retry-after,retry-after-ms;requests;tokens", each unit "remaining/limit/reset",
empty where the vendor says nothing. `formats.py` writes it; vendors that use other names are renamed at their targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from control_plane.dialects.rate_limits import seconds_of

MAX_WAIT_S: Final = 86_400.0
"""No longer wait is believed: a vendor that asks for more, or whose clock is wrong, is asked again after a day."""

MAX_DIGITS: Final = 15
"""Of a count: more are nonsense, and enough of them take long to read."""


@dataclass(frozen=True, slots=True)
class UnitLimit:
    """Requests or tokens: how many are left, of how many, and in how many seconds there are more. None where it is not said."""

    remaining: int | None = None
    limit: int | None = None
    reset_s: float | None = None

    @property
    def spent(self) -> bool:
        """Nothing is left."""
        return self.remaining == 0


@dataclass(frozen=True, slots=True)
class RateLimitSignal:
    """One answer's words. `at_s` is when the answer ended (seconds since 1970): the seconds of the others count from there."""

    at_s: float
    requests: UnitLimit | None = None
    tokens: UnitLimit | None = None
    retry_after_s: float | None = None

    def units(self) -> dict[str, UnitLimit]:
        """What is said, by unit."""
        return {name: unit for name, unit in (("requests", self.requests), ("tokens", self.tokens)) if unit is not None}

    @property
    def wait_s(self) -> float | None:
        """Seconds after `at_s` until the vendor takes requests again: what it asks for, else the longest reset of a unit of which nothing
        is left. None when it does not say; 0 when it says "now"."""
        if self.retry_after_s is not None:
            return self.retry_after_s
        return max((u.reset_s for u in self.units().values() if u.spent and u.reset_s is not None), default=None)

    @property
    def until_s(self) -> float | None:
        """The same as a time, seconds since 1970."""
        return None if self.wait_s is None else self.at_s + self.wait_s


def read(text: str, at_s: float) -> RateLimitSignal | None:
    """The signal in a line's `limits`; None when it says nothing. Never raises: what is no number is left out."""
    if not text.strip(";,/-"):
        return None
    asked, requests, tokens = (*text.split(";", 3), "", "", "")[:3]
    after, after_ms = (*asked.split(",", 1), "", "")[:2] if not _is_date(asked) else _date_and_ms(asked)
    ms = _wait(after_ms, at_s)
    wait = _wait(after, at_s) if ms is None else min(ms / 1000, MAX_WAIT_S)
    signal = RateLimitSignal(at_s, _unit(requests, at_s), _unit(tokens, at_s), wait)
    return signal if signal.units() or wait is not None else None


def _is_date(asked: str) -> bool:
    """An HTTP date has a comma of its own: "Wed, 21 Oct 2026 07:28:00 GMT"."""
    return asked[:3].isalpha()


def _date_and_ms(asked: str) -> tuple[str, str]:
    date, _, ms = asked.rpartition(",")
    return (date, ms) if "," in date else (asked, "")


def _unit(text: str, at_s: float) -> UnitLimit | None:
    remaining, limit, reset = (*text.split("/", 2), "", "", "")[:3]
    unit = UnitLimit(_count(remaining), _count(limit), _wait(reset, at_s))
    return unit if unit != _NOTHING else None


def _count(text: str) -> int | None:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS else None


def _wait(text: str, at_s: float) -> float | None:
    found = seconds_of(text, at_s) if text and text != "-" else None
    return None if found is None else min(found, MAX_WAIT_S)


_NOTHING: Final = UnitLimit()
