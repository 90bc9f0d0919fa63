"""The collector waits while something is made that has nothing for it."""

from __future__ import annotations

import gc

import pytest

from control_plane.kit.uncollected import uncollected


def test_the_collector_waits_and_goes_on() -> None:
    seen: list[bool] = []

    @uncollected
    def inner() -> int:
        seen.append(gc.isenabled())
        return 7

    @uncollected
    def outer() -> int:
        found = inner()
        seen.append(gc.isenabled())
        return found

    assert gc.isenabled()
    assert outer() == 7
    assert seen == [False, False]
    assert gc.isenabled()


def test_it_goes_on_after_a_failure() -> None:
    @uncollected
    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        fail()
    assert gc.isenabled()
