"""How much of a rate limit is left, as a vendor's answers say it: names of headers are data of its preset, forms of values are known here.

remaining, limit   whole numbers
reset, retry-after seconds ("1", "0.5"), a duration ("1m30s", "150ms"), a time (RFC 3339, an HTTP date, or seconds since 1970), which is
                   compared with the answer's own `date`, since there is no clock here
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import msgspec

_SECONDS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}
_PART: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(ms|[dhms])")
_DURATION: Final = re.compile(rf"(?:{_PART.pattern}){{1,5}}")
_NUMBER: Final = re.compile(r"\d{1,15}(?:\.\d{1,9})?")
_EPOCH_S: Final = 1_000_000_000  # a larger number of seconds is a time since 1970


class Unit(msgspec.Struct, frozen=True, omit_defaults=True):
    """Names of the headers, in lower case, that speak of one unit."""

    remaining: str
    limit: str | None = None
    reset: str | None = None


class RateLimits(msgspec.Struct, frozen=True, omit_defaults=True):
    requests: Unit | None = None
    tokens: Unit | None = None


def read_names(text: str) -> RateLimits:
    """Out of the JSON object they travel in. Raises msgspec.DecodeError."""
    return msgspec.json.decode(text, type=RateLimits)


def _count(value: str | None) -> str:
    value = (value or "").strip()
    return value if value.isascii() and value.isdigit() and len(value) <= 15 else ""


def wait_s(headers: Mapping[str, str], names: RateLimits) -> float | None:
    """Seconds until the vendor takes requests again: the longest wait for a unit of which nothing is left; None when that is not said."""
    spent = [unit for unit in (names.requests, names.tokens) if unit is not None and _count(headers.get(unit.remaining)).strip("0") == ""]
    waits = [reset_s(headers.get(unit.reset, ""), headers.get("date")) for unit in spent if unit.reset and unit.remaining in headers]
    return max((wait for wait in waits if wait is not None), default=None)


def reset_s(value: str, date: str | None) -> float | None:
    """Seconds that a reset is away. `date`: the answer's own header, for values that are a time. None for what cannot be read."""
    return seconds_of(value, epoch_of(date))


def seconds_of(value: str, now_s: float | None) -> float | None:
    """The same with the time of the answer as seconds since 1970, None where it is not known."""
    value = value.strip()
    if _NUMBER.fullmatch(value):
        number = float(value)
        if number < _EPOCH_S:
            return number
        return _until(number / 1000 if number >= _EPOCH_S * 1000 else number, now_s)
    if _DURATION.fullmatch(value):
        return sum(float(count) * _SECONDS[unit] for count, unit in _PART.findall(value))
    try:
        at = datetime.fromisoformat(value[:40])
    except ValueError:
        return _until(epoch_of(value), now_s)
    return _until((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp(), now_s)


def epoch_of(date: str | None) -> float | None:
    """An HTTP date as seconds since 1970."""
    try:
        return parsedate_to_datetime(date[:40]).timestamp() if date else None
    except (ValueError, TypeError, OverflowError):
        return None


def _until(at_s: float | None, now_s: float | None) -> float | None:
    return None if at_s is None or now_s is None else max(0.0, at_s - now_s)
