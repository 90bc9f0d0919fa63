"""R9 and R10: a control plane that hung for a while, and one whose specs change all the time."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from control_plane.kit import probe
from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route

EDIT_S = float(os.environ.get("HEADGATE_EDIT_SECONDS", "5"))
"""The promise is about five minutes; `HEADGATE_EDIT_SECONDS=300` runs them."""
EDITS_PER_S = 50
CONVERGES_S = 2.0
BUSY_S = 8.0
"""What a suite that shares its cores may add to the promise."""


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(route("steady", "openai", "anthropic"))


def write(rig: Rig, text: str) -> None:
    temporary = rig.specs.with_suffix(".tmp")
    temporary.write_text(text)
    os.replace(temporary, rig.specs)


async def served(rig: Rig, model: str, began: float) -> float:
    """Seconds from `began` until the model is served."""
    client = load.Client(rig.url)
    while (await client.post(*load.chat(model))).status != 200:
        assert time.monotonic() - began < CONVERGES_S + BUSY_S, rig.lines[-5:]
        await asyncio.sleep(0.01)
    client.close()
    return time.monotonic() - began


async def metric(rig: Rig, name: str) -> float:
    _, text = await probe.http("{}:{}".format(*rig.gateway.admin), "GET", "/metrics")
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


async def under_traffic(rig: Rig, stop: asyncio.Event) -> list[load.Answer]:
    client, answers, number = load.Client(rig.url), [], 0
    while not stop.is_set():
        number += 1
        answers.append(await client.post(*(load.chat if number % 2 else load.messages)("steady", stream=number % 4 < 2)))
        await asyncio.sleep(0.01)
    client.close()
    return answers


@pytest.mark.long
def test_r10_fifty_edits_a_second(rig: Rig) -> None:
    """They are put together to few pushes, the last one is there soon, nothing is left open, and no request notices."""
    pid = rig.gateway.children["control-plane"].pid
    good = rig.specs.read_text()

    async def edits() -> tuple[int, float, float, float, list[load.Answer]]:
        stop = asyncio.Event()
        traffic = asyncio.create_task(under_traffic(rig, stop))
        await served(rig, "steady", time.monotonic())
        pushes, began, number = await metric(rig, "headgate_xds_pushes_total"), time.monotonic(), 0
        while (now := time.monotonic() - began) < EDIT_S:
            number += 1
            write(rig, good + route(f"edit-{number}", "local"))
            await asyncio.sleep(max(number / EDITS_PER_S - now, 0))
        last = time.monotonic()
        took = await served(rig, f"edit-{number}", last)
        pushed = await metric(rig, "headgate_xds_pushes_total") - pushes
        stop.set()
        return number, last - began, took, pushed, await traffic

    before = descriptors(pid)
    number, seconds, took, pushed, answers = rig.loop.run(edits(), timeout=EDIT_S + 60)
    write(rig, good)
    print(f"{number} edits in {seconds:.1f} s: {pushed:.0f} pushes, the last edit was served after {took:.2f} s, {len(answers)} requests")
    assert number > EDIT_S * EDITS_PER_S / 3
    assert 1 <= pushed <= 3 * seconds + 5, "edits are not put together"
    assert took <= CONVERGES_S + BUSY_S
    assert not [problem for a in answers if (problem := load.served(a))]
    time.sleep(1)
    assert rig.gateway.children["control-plane"].pid == pid
    assert descriptors(pid) <= before + 4


def test_r9_a_control_plane_that_hung_goes_on_where_it_was(rig: Rig) -> None:
    """Stopped for three seconds and continued (its clock has jumped): no request notices, and the edit made meanwhile is served."""
    child = rig.gateway.children["control-plane"]
    pid, good = child.pid, rig.specs.read_text()

    async def hang() -> tuple[float, list[load.Answer]]:
        stop = asyncio.Event()
        traffic = asyncio.create_task(under_traffic(rig, stop))
        child.signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(1)
            write(rig, good + route("meanwhile", "local"))
            await asyncio.sleep(2)
        finally:
            child.signal(signal.SIGCONT)
        took = await served(rig, "meanwhile", time.monotonic())
        stop.set()
        return took, await traffic

    took, answers = rig.loop.run(hang())
    write(rig, good)
    print(f"served {took:.2f} s after it went on, {len(answers)} requests")
    assert not [problem for a in answers if (problem := load.served(a))]
    assert child.pid == pid, "it was not restarted"


def descriptors(pid: int | None) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
