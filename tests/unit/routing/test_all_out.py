"""What breakers know of targets that are out: when they are back, whether anything goes well there, and what probes are made of."""

from __future__ import annotations

from control_plane.ir.steering import Planned
from control_plane.routing.board import Board
from control_plane.routing.breaker import State
from control_plane.signals.classify import AttemptClass
from control_plane.signals.ended import Ended

TARGET = "one/a"
NOW = 1_700_000_000.0


def board() -> Board:
    made = Board()
    made.follow({"r": [[Planned(TARGET, 1)]]}, NOW)
    return made


def attempt(board: Board, at: float, found: AttemptClass = AttemptClass.TRANSIENT, recovers_at: float | None = None) -> None:
    board.observe(Ended("one", TARGET, "r", found, at - 0.1, at, recovers_at=recovers_at), at)


def opened() -> Board:
    made = board()
    for n in range(12):
        attempt(made, NOW + n * 0.1)
    assert made.governing(TARGET).state is State.OPEN  # type: ignore[union-attr]
    return made


def test_the_return_is_known_while_it_is_out() -> None:
    made = board()
    attempt(made, NOW)
    assert TARGET not in made.shares()
    found = opened().shares()[TARGET]
    assert found.back_at is not None
    assert NOW + 5 <= found.back_at <= NOW + 8
    told = opened()
    attempt(told, NOW + 2, AttemptClass.RATE_LIMITED, recovers_at=NOW + 42)
    assert told.shares()[TARGET].back_at == NOW + 42


def test_dead_is_where_nothing_goes_well() -> None:
    made = opened()
    for n in range(12):
        attempt(made, NOW + 2 + n * 0.1)
    assert made.shares()[TARGET].dead
    attempt(made, NOW + 3.3, AttemptClass.OK)
    assert not made.shares()[TARGET].dead


def test_refused_requests_are_what_probes_are_made_of() -> None:
    def share(refused: int) -> float:
        made = opened()
        for tick in range(40):
            now = NOW + 2 + tick * 0.25
            for _ in range(refused):
                made.unserved("r", now)
            made.tick(now)
            if made.governing(TARGET).state is State.HALF_OPEN:  # type: ignore[union-attr]
                return made.shares()[TARGET].percent
        raise AssertionError("no probe")

    assert share(100) < 1, "of 400 a second about one in two seconds"
    assert share(0) > 50
