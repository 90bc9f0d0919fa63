"""R3, the other side: clients that break, stall and crawl. Nothing of theirs stays behind, and others do not notice."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from control_plane.demo.fault_proxy import FaultProxy, Trouble, Way
from control_plane.kit import probe
from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route

CLIENTS = 12
PATIENCE_S = 1.5
LONG = "go [[sim tokens=400 delay_ms=5 reasoning=0]]"

WAYS: dict[str, Way] = {
    "gone inside the request": Way(up=Trouble(ends="reset", at=60)),
    "half a request and then nothing": Way(up=Trouble(ends="stall", at=60)),
    "half-close inside the request": Way(up=Trouble(ends="half_close", at=60)),
    "gone inside the answer": Way(down=Trouble(ends="reset", at=1500)),
    "does not read on": Way(down=Trouble(ends="stall", at=1500)),
    "reads slowly": Way(down=Trouble(bytes_per_s=3_000)),
    "half-close inside the answer": Way(down=Trouble(ends="half_close", at=1500)),
}


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(route("native", "openai", "local", hold=True) + route("translated", "anthropic", hold=True))


async def open_requests(rig: Rig) -> int:
    """Under way in Envoy and at the vendors."""
    _, text = await probe.http(rig.gateway.places.envoy_admin, "GET", "/stats?format=json&filter=^http.edge.downstream_rq_active$")
    active = sum(int(s.get("value", 0)) for s in json.loads(text)["stats"])
    return active + sum(v.stats.in_flight for v in rig.vendors.values())


@pytest.mark.parametrize("name", WAYS)
def test_r3_clients_that_break_leave_nothing_behind(rig: Rig, name: str) -> None:
    async def play() -> tuple[list[load.Answer], list[load.Answer], int]:
        parts = rig.url.removeprefix("http://").split(":")
        async with FaultProxy(parts[0], int(parts[1])) as proxy:
            proxy.way = WAYS[name]
            models = ("native", "translated")
            broken = asyncio.create_task(
                load.run(proxy.url, CLIENTS, CLIENTS, lambda i: load.chat(models[i % 2], stream=True, text=LONG), timeout=PATIENCE_S)
            )
            await asyncio.sleep(0.3)
            others = await load.run(rig.url, 24, 4, lambda i: load.chat(models[i % 2], stream=i % 4 < 2))
            theirs = await broken
            proxy.cut()
            deadline = time.monotonic() + 5
            while (left := await open_requests(rig)) and time.monotonic() < deadline:
                await asyncio.sleep(0.05)
            return theirs, others, left

    theirs, others, left = rig.loop.run(play())
    assert not [problem for a in others if (problem := load.served(a))]
    assert all(load.served(a) for a in theirs), "the way was not broken: the test shows nothing"
    assert left == 0, "requests of clients that are gone still run"


def test_r3_a_client_that_sends_slowly_is_served(rig: Rig) -> None:
    async def play() -> list[load.Answer]:
        parts = rig.url.removeprefix("http://").split(":")
        async with FaultProxy(parts[0], int(parts[1])) as proxy:
            proxy.way = Way(up=Trouble(bytes_per_s=2_000))
            text = "x" * 1_500
            return await load.run(proxy.url, 4, 4, lambda i: load.chat(("native", "translated")[i % 2], stream=i < 2, text=text))

    answers = rig.loop.run(play())
    assert not [problem for a in answers if (problem := load.served(a))]
    assert min(a.seconds for a in answers) > 0.5
