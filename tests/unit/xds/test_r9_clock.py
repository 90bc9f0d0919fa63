"""R9: a clock that is set, an hour forward or back, disturbs neither what is measured nor what is served."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from control_plane.kit.clock import FakeClock
from control_plane.pb.core_pb2 import Node
from control_plane.signals.classify import AttemptClass
from control_plane.signals.windows import TargetWindows
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.snapshot import Snapshot

JUMPS = pytest.mark.parametrize("jump_s", [3600.0, -3600.0, 1.0, -1.0], ids=["hour on", "hour back", "leap", "leap back"])


@dataclass
class Stream:
    """A node that has what was published."""

    snapshot: Snapshot | None = None
    types: dict[str, Any] = field(default_factory=dict)

    def state_of(self, type_url: str) -> str:
        return "SYNCED"

    def settled(self) -> bool:
        return True


@JUMPS
def test_r9_convergence_takes_as_long_as_it_takes(jump_s: float) -> None:
    clock = FakeClock()
    nodes = NodeRegistry(clock)
    stream = Stream()
    row = nodes.connect(cast(Any, stream), "delta", Node(id="n"))
    clock.jump(jump_s)
    published = cast(Any, type("Published", (), {"number": 1})())
    nodes.published(published, ["specs"])
    clock.advance(0.4)
    clock.jump(jump_s)
    stream.snapshot = published
    nodes.looked(row)
    assert sum(nodes.convergence.counts) == 1
    assert nodes.convergence.sum_s == pytest.approx(0.4)


@JUMPS
def test_r9_windows_show_what_happened_since(jump_s: float) -> None:
    clock, windows = FakeClock(), TargetWindows()

    def attempts(count: int) -> None:
        for _ in range(count):
            clock.advance(0.01)
            windows.add("t", "p", "passthrough", AttemptClass.OK, 0.2, clock.now(), clock.now())

    def seen() -> dict[str, int]:
        return {name: view.attempts for name, view in windows.read("t", clock.now()).items()}

    attempts(10)
    clock.jump(jump_s)
    attempts(5)
    for name, count in seen().items():
        assert 5 <= count <= 15, (name, count)
    clock.advance(2 * 3600)
    assert set(seen().values()) == {0}, "nothing from before the jump stays for ever"
