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
PARTS: Final = ("worker-", "restart-", "control-plane-")
OUTAGES: Final = tuple(drill for drill in DRILLS if not drill.name.startswith(PARTS))

BROKEN_STREAMS: Final = ("stall-after-content", "stall-behind-heartbeats", "cut-after-content", "early-end-after-content")
REFUSED: Final = ("all-keys-revoked-alone",)


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
@pytest.mark.parametrize("name", BROKEN_STREAMS)
def test_streams_break_and_whole_answers_do_not(played: dict[str, Figures], name: str) -> None:
    figures = played[name]
    assert 0 < figures.errors <= SHORT.requests / 2, "every streamed request in the outage, none of the others"
    assert "unreadable" not in figures.verdicts


@pytest.mark.long
@pytest.mark.timeout(300)
def test_without_another_provider_dead_keys_are_an_error_of_the_dialect(played: dict[str, Figures]) -> None:
    assert set(played["all-keys-revoked-alone"].verdicts) == {"error status"}
