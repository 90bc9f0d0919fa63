"""The ledger notices what it is there for."""

from __future__ import annotations

import pytest

from tests.conformance.ledger import Ledger, lines


class Report:
    def __init__(self, *properties: tuple[str, object]) -> None:
        self.user_properties = list(properties)


def filled(equal: int, different: int, excepted: int = 0) -> tuple[Ledger, list[tuple[str, object]]]:
    kept: list[tuple[str, object]] = []
    ledger = Ledger(lambda name, value: kept.append((name, value)))
    for _ in range(equal):
        ledger.add("p", "c", equal=True)
    for _ in range(different):
        ledger.add("p", "c", equal=False)
    for _ in range(excepted):
        ledger.add("p", "c", equal=False, excepted=True)
    return ledger, kept


def test_a_pair_with_too_many_differences_fails() -> None:
    filled(99, 1)[0].settle()
    with pytest.raises(AssertionError, match="p → c: 98 of 100 equal"):
        filled(98, 2)[0].settle()
    with pytest.raises(AssertionError, match="3 of 100 excepted"):
        filled(97, 0, 3)[0].settle()
    with pytest.raises(AssertionError, match="nothing was replayed"):
        filled(0, 0)[0].settle()


def test_the_summary_survives_the_way_to_another_process() -> None:
    """Reports travel as JSON under -n, which makes lists of tuples."""
    ledger, kept = filled(99, 0, 1)
    ledger.settle()
    ((name, rows),) = kept
    assert isinstance(rows, list)
    found = lines([Report(), Report((name, [list(row) for row in rows])), Report((name, rows))])
    assert found[0].startswith("100 recorded answers replayed")
    assert found[1:] == ["  p → c: 100 replayed, 99 equal, 1 named exceptions"]
    assert lines([Report()]) == []
