"""kill -9 of any part: the control plane is not missed, workers and Envoy are back in seconds."""

from __future__ import annotations

import asyncio
import os
import signal
import time

import pytest

from control_plane.kit import probe
from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(route("native", "openai", "local") + route("translated", "anthropic"))


def kill(rig: Rig, part: str) -> int:
    pid = rig.gateway.children[part].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    return pid


def back(rig: Rig, part: str, old: int, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if (pid := rig.gateway.children[part].pid) is not None and pid != old:
            return True
        time.sleep(0.01)
    return False


def test_serving_goes_on_without_the_control_plane(rig: Rig) -> None:
    old = kill(rig, "control-plane")
    answers = rig.loop.run(
        load.run(
            rig.url, 300, 10, lambda i: (load.chat if i % 2 else load.messages)("native" if i % 3 else "translated", stream=i % 4 == 0)
        )
    )
    assert not [problem for a in answers if (problem := load.served(a))]
    assert back(rig, "control-plane", old, 5)
    # ... and the new one is in charge: an edit takes effect.
    rig.specs.write_text(rig.specs.read_text() + route("after-restart", "local"))
    deadline = time.monotonic() + 15
    while time.monotonic() < deadline:
        (answer,) = rig.loop.run(load.run(rig.url, 1, 1, lambda _: load.chat("after-restart")))
        assert answer.status in (200, 404)
        if answer.status == 200:
            return
        time.sleep(0.05)
    pytest.fail(f"the restarted control plane does not publish: {rig.lines[-5:]}")


def test_translated_requests_recover_from_a_killed_worker(rig: Rig) -> None:
    async def under_load() -> tuple[list[load.Answer], list[float]]:
        client, stop, answers, failed = load.Client(rig.url), asyncio.Event(), [], []
        began = time.monotonic()

        async def work() -> None:
            while not stop.is_set():
                answer = await client.post(*load.chat("translated"))
                answers.append(answer)
                if load.served(answer):
                    failed.append(time.monotonic())
                    print(round(time.monotonic() - began, 2), load.served(answer), answer.headers)

        tasks = [asyncio.create_task(work()) for _ in range(8)]
        await asyncio.sleep(0.5)
        killed = time.monotonic()
        kill(rig, "translator-0")
        await asyncio.sleep(3)
        stop.set()
        await asyncio.gather(*tasks)
        client.close()
        return answers, [at - killed for at in failed]

    answers, failed = rig.loop.run(under_load())
    print(f"{len(failed)} of {len(answers)} failed, the last {max(failed, default=0):.2f} s after the kill")
    assert max(failed, default=0) < 2.0
    assert len(failed) <= 8, "more than what was in flight"
    assert len(answers) > 100


def test_envoy_is_back_within_three_seconds(rig: Rig) -> None:
    began = time.monotonic()
    kill(rig, "envoy")

    async def serves() -> bool:
        host, port = rig.gateway.listen
        return await probe.answers(f"{host}:{port}", "/v1/models")

    while rig.loop.run(serves()) is False:
        assert time.monotonic() - began < 10
        time.sleep(0.02)
    took = time.monotonic() - began
    answers = rig.loop.run(load.run(rig.url, 20, 4, lambda i: (load.chat if i % 2 else load.messages)("native" if i % 3 else "translated")))
    assert not [problem for a in answers if (problem := load.served(a))]
    print(f"Envoy served again after {took:.2f} s")
    assert took < 3
