"""One failover drill for every pair of vendors: the first is broken, clients of several dialects ask, nobody may notice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tests.live.gateway import load
from tests.live.gateway.rig import Rig

Kind = Callable[..., tuple[str, bytes]]
"""(route, stream=…) → path and body of a request, as `load` makes them."""

ASKED = 60


def mixed(route: str, kinds: Sequence[Kind]) -> Callable[[int], tuple[str, bytes]]:
    """Requests of all `kinds`, streamed and whole in turn, each with a query of its own."""

    def make(i: int) -> tuple[str, bytes]:
        path, body = kinds[i // 2 % len(kinds)](route, stream=i % 2 == 0)
        return f"{path}?beta=true&n={i}", body

    return make


def moved(rig: Rig, route: str, kinds: Sequence[Kind], first: str, second: str, fault: Mapping[str, Any]) -> list[Any]:
    """What `second` was asked after `first` had the fault: every answer is served in two attempts, every request arrives once, with a
    key of the gateway's and its true length."""
    rig.break_vendor(first, **fault)
    answers = rig.loop.run(load.run(rig.url, ASKED, 10, mixed(route, kinds)), timeout=100)
    wrong = [problem for answer in answers if (problem := load.served(answer))]
    assert not wrong, f"{len(wrong)} of {len(answers)}: {wrong[:3]}"
    assert {answer.attempts for answer in answers} == {2}
    seen = list(rig.vendors[second].requests)
    assert len(seen) == ASKED
    assert {request.outcome for request in seen} == {"answered"}
    assert {request.key for request in seen} == {"key-0"}
    assert all(request.headers["content-length"] == str(request.size) for request in seen)
    return seen
