"""No outage of a vendor is seen: the short form of `headgate drill`, several drills side by side. Figures are the long form's."""

from __future__ import annotations

import asyncio
from typing import Final

import pytest

from control_plane.demo.drills.catalogue import DRILLS
from control_plane.demo.drills.drill import Drill
from control_plane.demo.drills.figures import Figures
from control_plane.demo.drills.run import Settings, play
from tests.live.drills.conftest import MakeTheatre, Theatre

AT_ONCE: Final = 4
SHORT: Final = Settings(requests=100, per_s=25, concurrency=200, return_limit_s=1, judge_return=False)
PARTS: Final = ("worker-", "restart-", "control-plane-", "drain")
OUTAGES: Final = tuple(drill for drill in DRILLS if not drill.name.startswith(PARTS))

BROKEN_STREAMS: Final = ("stall-after-content", "stall-behind-heartbeats", "cut-after-content", "early-end-after-content")
REFUSED: Final = ("all-keys-revoked-alone",)
STREAMED: Final = SHORT.requests / 2


@pytest.fixture(scope="module")
def played(theatre: MakeTheatre) -> dict[str, Figures]:
    """All of them, AT_ONCE at a time: each has vendors of its own."""
    running = theatre(OUTAGES)
    return {figures.drill: figures for figures in running.run(_all(running), 240)}


async def _all(running: Theatre) -> list[Figures]:
    places = asyncio.Semaphore(AT_ONCE)

    async def one(drill: Drill) -> Figures:
        async with places:
            return await play(running.stage.scene(drill), SHORT)

    return await asyncio.gather(*map(one, OUTAGES))


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", [drill.name for drill in OUTAGES if drill.name not in BROKEN_STREAMS + REFUSED])
def test_no_client_sees_it(played: dict[str, Figures], name: str) -> None:
    figures = played[name]
    assert figures.requests >= SHORT.requests
    assert figures.errors == 0, figures.examples


@pytest.mark.long
@pytest.mark.timeout(300)
def test_a_dead_key_costs_a_few_attempts_and_moves_nothing(played: dict[str, Figures]) -> None:
    figures = played["one-key-revoked"]
    assert figures.errors == 0
    assert figures.amplification < 2
    assert figures.diversions_a_minute == 0, "the provider serves with its next key"


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_streams_break_visibly_and_whole_answers_do_not_break(played: dict[str, Figures], name: str) -> None:
    """Behind heartbeats, and where the body ends properly, every one with an error event; what stalls is cut where it is passed through."""
    figures = played[name]
    assert 0 < figures.errors <= STREAMED
    assert figures.missed == [], (figures.verdicts, figures.examples)
    ends = {"stall-after-content": {"error event", "cut"}, "cut-after-content": {"cut"}}
    assert set(figures.verdicts) == ends.get(name, {"error event"})


@pytest.mark.long
@pytest.mark.timeout(300)
def test_without_another_provider_dead_keys_are_an_error_of_their_own(played: dict[str, Figures]) -> None:
    figures = played["all-keys-revoked-alone"]
    assert figures.missed == [], figures.examples
    assert figures.verdicts == {"error status": SHORT.requests}
