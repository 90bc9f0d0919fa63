"""A vendor that fails is not asked any more, and is asked again when it is well. How soon is the long form's to say: here only counts."""

from __future__ import annotations

from typing import Final

import pytest

from control_plane.demo.drills.catalogue import DRILLS
from control_plane.demo.drills.run import Settings, play
from tests.live.drills.conftest import MakeTheatre, Theatre

SETTINGS: Final = Settings(requests=200, per_s=25, concurrency=200, return_limit_s=60)
PLAYED: Final = {drill.name: drill for drill in DRILLS if drill.name in ("vendor-5xx", "two-of-three")}


@pytest.fixture(scope="module")
def running(theatre: MakeTheatre) -> Theatre:
    return theatre(list(PLAYED.values()))


@pytest.mark.long
@pytest.mark.timeout(120)
@pytest.mark.parametrize("name", PLAYED)
def test_it_is_asked_no_more_until_it_is_well(running: Theatre, name: str) -> None:
    """For a whole second of its outage each request is answered at the first attempt, by another vendor."""
    figures = running.run(play(running.stage.scene(PLAYED[name]), SETTINGS))
    assert figures.errors == 0, figures.examples
    assert figures.amplification > 1, "it was down"
    assert figures.divert_s is not None
    assert figures.return_s is not None
