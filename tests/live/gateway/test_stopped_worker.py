"""A translator worker that is stopped or killed in the middle of streams: only what it was answering breaks, and visibly."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import httpx
import pytest

from control_plane.demo.simulators import Pace
from control_plane.kit import probe
from tests.live.gateway.rig import Rig, RigFactory, route

BODY = {"model": "chat", "stream": True, "messages": [{"role": "user", "content": "one two three four five six seven eight nine ten"}]}
STREAMS = 40


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(route("chat", "anthropic", "local", first_token="10s"), pace=Pace(delay_ms=250))


async def streamed(client: httpx.AsyncClient, url: str) -> tuple[str, str]:
    """(how it ended: whole, error or broken; what was said)"""
    said = ""
    try:
        async with client.stream("POST", f"{url}/v1/chat/completions", json=BODY) as answer:
            assert answer.status_code == 200
            async for piece in answer.aiter_text():
                said += piece
    except (httpx.RemoteProtocolError, httpx.ReadError):
        return "broken", said
    if "data: [DONE]" in said:
        return "whole", said
    return ("error" if '"error"' in said else "clean end"), said


async def outage(rig: Rig, number: int) -> tuple[list[tuple[str, str]], float]:
    """How the streams ended during which a worker got a signal, and after how many seconds all of ten new requests were answered."""
    pid = rig.gateway.children["translator-0"].pid
    assert pid is not None
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(timeout=30, limits=limits) as client:
        running = [asyncio.create_task(streamed(client, rig.url)) for _ in range(STREAMS)]
        await asyncio.sleep(1.2)
        os.kill(pid, number)
        at = time.monotonic()
        try:
            fresh = await asyncio.gather(*(streamed(client, rig.url) for _ in range(10)))
            assert [how for how, _ in fresh] == ["whole"] * 10
            ended = await asyncio.gather(*running)
        finally:
            if number == signal.SIGSTOP:
                os.kill(pid, signal.SIGCONT)
        return list(ended), time.monotonic() - at


def test_workers_are_looked_at_before_there_is_any_traffic(rig: Rig) -> None:
    """A worker that drains or hangs in a gateway's first minute is found as soon as later."""

    async def attempts() -> int:
        question = "/stats?filter=^cluster.headgate-translator.health_check.attempt$"
        _, text = await probe.http(rig.gateway.places.envoy_admin, "GET", question)
        return int(text.rpartition(":")[2])

    limit = time.monotonic() + 20
    while rig.loop.run(attempts()) < 6:  # two workers: the first time, and twice more
        assert time.monotonic() < limit
        time.sleep(0.2)


@pytest.mark.parametrize("number", [signal.SIGSTOP, signal.SIGKILL], ids=["stopped", "killed"])
def test_only_its_own_streams_break_and_none_looks_whole(rig: Rig, number: int) -> None:
    rig.heal()
    undisturbed = time.monotonic()
    (how, _) = rig.loop.run(alone(rig))
    undisturbed = time.monotonic() - undisturbed
    assert how == "whole"
    ended, took = rig.loop.run(outage(rig, number))
    ways = [how for how, _ in ended]
    assert "clean end" not in ways
    assert 0 < ways.count("whole") < STREAMS, ways
    assert took < undisturbed + 4, "new requests wait two seconds at most for a worker that is well"
    assert rig.loop.run(alone(rig))[0] == "whole"


async def alone(rig: Rig) -> tuple[str, str]:
    async with httpx.AsyncClient(timeout=30) as client:
        return await streamed(client, rig.url)
