"""A stage on which a file's drills are played."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import pytest

from control_plane.demo.drills.drill import Drill
from control_plane.demo.drills.stage import Stage
from tests.live.gateway.rig import Loop

T = TypeVar("T")

FIRST_TOKEN_S = 3.0
"""More than the product's drills have: the suite shares its cores, and here only what clients see is judged."""


@dataclass
class Theatre:
    """A running stage, and the loop that it runs on."""

    stage: Stage
    loop: Loop
    lines: list[str]

    def run(self, work: Coroutine[Any, Any, T], timeout: float = 110) -> T:
        return self.loop.run(work, timeout)


MakeTheatre = Callable[[Sequence[Drill]], Theatre]


@pytest.fixture(scope="module")
def theatre() -> Iterator[MakeTheatre]:
    """Start stages; everything is stopped at the end of the file."""
    loop = Loop()
    stages: list[Stage] = []

    def make(drills: Sequence[Drill]) -> Theatre:
        lines: list[str] = []
        stage = Stage(drills, lines.append, FIRST_TOKEN_S)
        try:
            loop.run(stage.__aenter__())
        except BaseException:
            print("\n".join(lines))
            raise
        stages.append(stage)
        return Theatre(stage, loop, lines)

    yield make
    for stage in stages:
        loop.run(stage.__aexit__(None, None, None))
    loop.close()
