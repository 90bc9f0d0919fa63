"""A failing vendor loses its traffic within a second and gets it back in steps, on real Envoy; no client sees any of it."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import signal
import time
from typing import Any

import pytest

from control_plane.demo.simulators import Pace
from tests.live.gateway import load
from tests.live.gateway.rig import ROUTE, Rig, RigFactory

FAULTS: dict[str, dict[str, Any]] = {
    "status-503": {"mode": "status", "status": 503},
    "told-429": {"mode": "status", "status": 429, "retry_after_s": 2},
    "silent-429": {"mode": "status", "status": 429},
    "refused": {"mode": "refuse"},
    "reset": {"mode": "reset"},
}

PROVIDER = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{{{name: {name}}}}}
spec:
  preset: openai
  baseUrl: "{{openai}}/v1"
  allowInsecure: true
  credentials: [{{{{secretRef: {{{{env: SIM_OPENAI_KEY}}}}}}}}]
  breaker: {{{{openFor: 3s, maxOpen: 5s, step: 1s}}}}
"""
"""The first vendor under another name, so that each test has breakers of its own; a return takes seconds."""

NAMES = (*FAULTS, "hole", "flapping", "streams", "restart")


def routed(name: str) -> str:
    return ROUTE.format(
        name=name,
        plan=f"  - {{targets: [{{provider: {name}, model: gpt-5}}]}}\n  - {{targets: [{{provider: anthropic, model: claude-sonnet-5}}]}}",
        first_token="1s",
        hold="false",
    )


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig("".join(map(routed, NAMES)), providers="".join(PROVIDER.format(name=name) for name in NAMES))


def until(true: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def breaker(rig: Rig, name: str) -> dict[str, Any]:
    """What the admin API says of the breaker of that provider's target."""
    connection = http.client.HTTPConnection(*rig.gateway.admin, timeout=5)
    try:
        connection.request("GET", "/api/v1/targets")
        rows = json.loads(connection.getresponse().read())["items"]
    finally:
        connection.close()
    found: dict[str, Any] = next(row["breaker"] for row in rows if row["target"] == f"{name}/gpt-5")
    return found


class Traffic:
    """Steady requests, half streamed, in two dialects, from `start` to `stop`; every answer with the time it was asked."""

    def __init__(self, rig: Rig, route: str, rate: float = 40) -> None:
        self._rig, self._route, self._rate = rig, route, rate
        self.answers: list[tuple[float, load.Answer]] = []
        self._stop = False

    def __enter__(self) -> Traffic:
        self._running = self._rig.loop.start(self._run())
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._running.result(30)

    async def _run(self) -> None:
        client, number = load.Client(self._rig.url), 0
        asked: set[asyncio.Task[None]] = set()
        began = time.monotonic()
        while not self._stop:
            number += 1
            task = asyncio.create_task(self._one(client, number))
            asked.add(task)
            task.add_done_callback(asked.discard)
            await asyncio.sleep(max(0.0, began + number / self._rate - time.monotonic()))
        await asyncio.gather(*asked)
        client.close()

    async def _one(self, client: load.Client, number: int) -> None:
        at = time.monotonic()
        kind = load.chat if number % 4 < 2 else load.messages
        self.answers.append((at, await client.post(*kind(self._route, stream=number % 2 == 0))))

    def wrong(self) -> list[str]:
        return [problem for _, answer in self.answers if (problem := load.served(answer))]

    def amplification(self, since: float, until: float = float("inf")) -> float:
        attempts = [answer.attempts for at, answer in self.answers if since <= at < until]
        return sum(attempts) / len(attempts)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_dead_vendor_is_diverted_within_a_second_and_returns_in_steps(rig: Rig, fault: str) -> None:
    with Traffic(rig, fault) as traffic:
        time.sleep(2)
        rig.break_vendor("openai", **FAULTS[fault])
        broken = time.monotonic()
        time.sleep(4)
        state = breaker(rig, fault)
        healed = time.monotonic()
        rig.heal()
        until(lambda: breaker(rig, fault)["state"] == "closed", 30)
        time.sleep(0.5)
    assert not traffic.wrong()
    late = [at - broken for at, answer in traffic.answers if broken + 1 <= at < healed and answer.attempts > 1]
    assert len(late) <= 3, f"beyond probes, nothing is sent there after a second: {late}"
    assert traffic.amplification(broken + 1, healed) <= 1.03
    assert state["state"] in ("open", "half-open")
    assert "failed" in state["reason"]
    steps = [(step["to"], step["percent"]) for step in breaker(rig, fault)["history"][-4:]]
    assert steps == [("returning", 5), ("returning", 25), ("returning", 100), ("closed", 100)]


def test_a_black_hole_costs_the_first_second_and_single_probes(rig: Rig) -> None:
    with Traffic(rig, "hole") as traffic:
        time.sleep(2)
        rig.break_vendor("openai", mode="black_hole")
        broken = time.monotonic()
        time.sleep(8)
        rig.heal()
        until(lambda: breaker(rig, "hole")["state"] == "closed", 30)
    assert not traffic.wrong()
    # The first evidence comes when the first-token timer (1 s) fires; a good second later nobody waits any more but for probes.
    waited = [at - broken for at, answer in traffic.answers if broken + 2.5 <= at < broken + 8 and answer.seconds > 0.9]
    assert len(waited) <= 5, waited


def test_a_flapping_vendor_is_diverted_three_times_a_minute_at_most(rig: Rig) -> None:
    with Traffic(rig, "flapping") as traffic:
        for _ in range(6):
            time.sleep(2)
            rig.break_vendor("openai", mode="status", status=503)
            time.sleep(2)
            rig.heal()
    assert not traffic.wrong()
    history = breaker(rig, "flapping")["history"]
    assert 1 <= sum(step["to"] == "open" and step["from"] != "half-open" for step in history) <= 3


def test_running_streams_are_not_cut_by_a_diversion(rig: Rig) -> None:
    words = " ".join(f"word{n}" for n in range(60))

    async def stream() -> load.Answer:
        client = load.Client(rig.url)
        answer = await client.post(*load.chat("streams", stream=True, text=words))
        client.close()
        return answer

    async def slow(delay_ms: float) -> None:
        rig.vendors["openai"].pace = Pace(delay_ms=delay_ms)

    usual = rig.vendors["openai"].pace
    rig.loop.run(slow(60))
    try:
        running = [rig.loop.start(stream()) for _ in range(10)]
        time.sleep(0.3)
        rig.break_vendor("openai", mode="status", status=503)
        with Traffic(rig, "streams", 20) as traffic:
            until(lambda: breaker(rig, "streams")["state"] == "open", 5)
        answers = [one.result(60) for one in running]
    finally:
        rig.vendors["openai"].pace = usual
        rig.heal()
    assert not [problem for answer in answers if (problem := load.served(answer))]
    assert {answer.attempts for answer in answers} == {1}
    assert max(answer.seconds for answer in answers) > 1.0, "they were running when it was diverted"
    assert not traffic.wrong()


def test_an_open_breaker_survives_a_restart_of_the_control_plane(rig: Rig) -> None:
    rig.break_vendor("openai", mode="status", status=503)
    try:
        with Traffic(rig, "restart", 20) as traffic:
            until(lambda: breaker(rig, "restart")["state"] == "open", 5)
            time.sleep(0.5)
            pid = rig.gateway.children["control-plane"].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            time.sleep(1)
            again = time.monotonic()
            until(lambda: alive(rig), 20)
            state = breaker(rig, "restart")["state"]
    finally:
        rig.heal()
    assert state in ("open", "half-open")
    assert not traffic.wrong()
    assert traffic.amplification(again - 1) < 1.2


def alive(rig: Rig) -> bool:
    try:
        return bool(breaker(rig, "restart"))
    except (OSError, StopIteration, http.client.HTTPException):
        return False
