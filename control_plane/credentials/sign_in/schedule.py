"""When to sign in again: well before a token ends, spread out, and slower and slower while it fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

LONGEST_LEAD_S: Final = 900.0
"""A refresh begins this long before the end, or a quarter of what is left: an outage of a token service that is shorter goes unnoticed.
Metadata services hand out the same token until its last minutes; then a quarter of what is left is asked for again and again."""

SPREAD: Final = 0.2
"""Part of the lead that is left to chance, so that many gateways do not ask at the same moment."""

UNDATED_S: Final = 300.0
"""Credentials that do not say when they end are looked up again after this; a shared file may have been rewritten."""

SHORTEST_S: Final = 1.0
FIRST_RETRY_S: Final = 1.0
LONGEST_RETRY_S: Final = 60.0

Chance = Callable[[], float]
"""From 0 to 1, such as `random.random`."""


def until_refresh(now: float, expires_at: float | None, chance: Chance) -> float:
    """Seconds from `now` until the next sign-in, after one that worked."""
    if expires_at is None:
        return UNDATED_S * (1 - SPREAD * chance())
    left = max(expires_at - now, 0.0)
    lead = min(left / 4, LONGEST_LEAD_S)
    return max(left - lead * (1 - SPREAD * chance()), SHORTEST_S)


def until_retry(failures: int, chance: Chance) -> float:
    """Seconds until the next try after `failures` (from 1) in a row."""
    pause = min(FIRST_RETRY_S * 2.0 ** min(failures - 1, 16), LONGEST_RETRY_S)
    return pause * (1 - 0.5 * chance())
