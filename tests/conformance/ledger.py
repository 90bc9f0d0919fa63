"""How many recorded exchanges were replayed, and how many kept their meaning, per pair of provider and client dialect.

A test adds every recording and settles at its end; what it settled travels with its report, so that the summary is whole under -n too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any, Final

PROPERTY: Final = "conformance"
LEAST_EQUAL: Final = 0.99  # of a pair's recordings without the named exceptions
MOST_EXCEPTED: Final = 0.02  # of all of them; an exception is a fixture that holds two answers, or was cut by hand

Row = tuple[str, str, int, int, int]
"""Provider dialect, client dialect, replayed, equal, named exceptions."""


class Ledger:
    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record
        self._counts: dict[tuple[str, str], list[int]] = defaultdict(lambda: [0, 0, 0])

    def add(self, provider: str, client: str, *, equal: bool, excepted: bool = False) -> None:
        """One recording, streamed and whole. `excepted`: its difference is known, with a reason in the test."""
        counts = self._counts[provider, client]
        counts[0] += 1
        counts[1] += equal
        counts[2] += excepted and not equal

    @property
    def rows(self) -> list[Row]:
        return [(*pair, *counts) for pair, counts in sorted(self._counts.items())]  # type: ignore[misc]

    def settle(self) -> None:
        """For the summary. AssertionError when a pair has too few equal recordings or too many exceptions, or there is no pair."""
        self._record(PROPERTY, self.rows)
        assert self._counts, "nothing was replayed"
        for provider, client, replayed, equal, excepted in self.rows:
            pair, counted = f"{provider} → {client}", replayed - excepted
            assert equal >= LEAST_EQUAL * counted, f"{pair}: {equal} of {counted} equal, less than {LEAST_EQUAL:.0%}"
            assert excepted <= MOST_EXCEPTED * replayed, f"{pair}: {excepted} of {replayed} excepted, more than {MOST_EXCEPTED:.0%}"


def lines(reports: Iterable[Any]) -> list[str]:
    """The summary of all tests' ledgers; nothing when none was settled."""
    rows = sorted({tuple(row) for r in reports for name, value in getattr(r, "user_properties", ()) if name == PROPERTY for row in value})
    if not rows:
        return []
    total, equal = sum(row[2] for row in rows), sum(row[3] for row in rows)
    found = [f"{total} recorded answers replayed for clients of other dialects and their own, {equal} equal in meaning, streamed and whole"]
    for provider, client, replayed, same, excepted in rows:
        more = f", {excepted} named exceptions" if excepted else ""
        found.append(f"  {provider} → {client}: {replayed} replayed, {same} equal{more}")
    return found
