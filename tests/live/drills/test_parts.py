"""The gateway's own parts die, hang and are deployed anew under a continuous client (R1, R2, R4)."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from control_plane.demo.drills.catalogue import DRILLS
from control_plane.demo.drills.figures import Figures
from control_plane.demo.drills.run import Settings, play
from tests.live.drills.conftest import MakeTheatre, Theatre

SHORT: Final = Settings(requests=150, per_s=40, concurrency=200, return_limit_s=1, judge_return=False)
PARTS: Final = {drill.name: drill for drill in DRILLS if drill.name.startswith(("worker-", "restart-", "control-plane-", "drain"))}


@pytest.fixture(scope="module")
def running(theatre: MakeTheatre) -> Theatre:
    return theatre(list(PARTS.values()))


def played(running: Theatre, name: str) -> Figures:
    return running.run(play(running.stage.scene(PARTS[name]), SHORT))


@pytest.mark.parametrize("name", ["restart-control-plane", "restart-translators", "restart-envoy"])
def test_r4_a_deployment_drops_nothing(running: Theatre, name: str) -> None:
    """Each part twice: no request fails and no stream is cut."""
    part = name.removeprefix("restart-")
    children = running.stage.gateway.children
    before = {child: children[child].pid for child in children if child.startswith(part.rstrip("s"))}
    assert before
    figures = played(running, name)
    assert figures.errors == 0, figures.examples
    assert {child: children[child].pid for child in before if children[child].pid == before[child]} == {}, "not restarted"


def test_r1_a_vendor_fails_while_the_control_plane_is_away(running: Theatre) -> None:
    figures = played(running, "control-plane-down")
    assert figures.errors == 0, figures.examples
    assert figures.amplification > 1.2, "the vendor was down for half of the time"


@pytest.mark.parametrize("name", ["worker-killed", "worker-stopped"])
def test_r2_a_lost_worker_takes_only_translated_streams_in_flight(running: Theatre, name: str) -> None:
    figures = played(running, name)
    assert figures.errors <= 12, figures.examples  # 40 a second for 0.3 s each
    assert set(figures.verdicts) <= {"error event", "error status", "cut"}, "never a clean end; a status where nothing was answered yet"
    assert not [text for text in figures.missed if "began after it" in text], figures.missed
    assert all("translated, streamed" in example for example in figures.examples), figures.examples


def test_a_drain_with_three_envoys_drops_nothing(running: Theatre) -> None:
    """Three times two vendors, each back by itself before the next. When all have it is timed by the long form."""
    scene = running.stage.scene(PARTS["drain"])
    figures = running.run(play(scene, replace(SHORT, requests=250, per_s=25, return_limit_s=20)))
    assert figures.errors == 0, figures.examples
    assert [(acked, of) for acked, of, _ in scene.acks] == [(3, 3)] * 6
    assert figures.return_s is not None
