"""A worker that dies takes only what it had already begun to answer with it."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from pathlib import Path

import httpx
import pytest

from tests.live.extproc.conftest import Gateway, OpenGateway, text_of
from tests.live.extproc.harness import start_worker, stop_worker
from tests.live.extproc.upstream import Answering
from tests.live.extproc.vendor import serves

CLIENTS = 8


async def serves_late(answering: Answering) -> None:
    await asyncio.sleep(0.02)
    await serves(answering)


async def load(gateway: Gateway, seconds: float) -> list[tuple[float, int]]:
    """(when it was begun, status) of requests that `CLIENTS` clients make one after the other."""
    outcomes: list[tuple[float, int]] = []
    until = time.monotonic() + seconds

    async def client() -> None:
        while time.monotonic() < until:
            begun = time.monotonic()
            try:
                status = (await gateway.ask()).status_code
            except httpx.HTTPError:
                status = 0
            outcomes.append((begun, status))

    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return outcomes


async def test_kill_of_a_worker_fails_nothing_that_begins_after_it(gateway: OpenGateway, sockets: Path) -> None:
    workers = [await start_worker(sockets / f"k{number}.sock") for number in range(2)]
    try:
        open_gateway = await gateway(serves_late, sockets=[worker.socket for worker in workers], retry={"num_retries": 0})
        loading = asyncio.create_task(load(open_gateway, 3))
        await asyncio.sleep(1)
        killed = time.monotonic()
        workers[0].kill()
        await asyncio.sleep(1)
        workers[0] = await start_worker(workers[0].socket)
        outcomes = await loading
        assert {status for begun, status in outcomes if begun > killed} == {200}
        in_flight = Counter(status for begun, status in outcomes if begun <= killed)
        assert in_flight[200] >= sum(in_flight.values()) - CLIENTS
    finally:
        for worker in workers:
            stop_worker(worker)


async def test_all_workers_dead_and_back(gateway: OpenGateway, sockets: Path) -> None:
    """The only worker is gone: requests fail at once; once it is back, they are served within two seconds."""
    worker = await start_worker(sockets / "only.sock")
    try:
        open_gateway = await gateway(serves, sockets=[worker.socket])
        assert (await open_gateway.ask()).status_code == 200
        worker.kill()
        async with asyncio.timeout(1):
            assert (await open_gateway.ask()).status_code == 500
        worker = await start_worker(worker.socket)
        back = time.monotonic()
        while (await open_gateway.ask()).status_code != 200:
            assert time.monotonic() - back < 2
            await asyncio.sleep(0.02)
    finally:
        stop_worker(worker)


@pytest.mark.parametrize("rounds", [2])
async def test_rolling_restart_fails_nothing(gateway: OpenGateway, sockets: Path, rounds: int) -> None:
    """SIGTERM drains: streams finish, new ones go to the other worker."""
    workers = [await start_worker(sockets / f"r{number}.sock", "--drain-seconds", "10") for number in range(2)]
    try:
        open_gateway = await gateway(serves_late, sockets=[worker.socket for worker in workers], retry={"num_retries": 0})
        loading = asyncio.create_task(load(open_gateway, 2.5 * rounds))
        for number in range(rounds):
            await asyncio.sleep(0.5)
            old = workers[number % 2]
            old.process.terminate()
            async with asyncio.timeout(11):
                assert await asyncio.to_thread(old.process.wait) == 0
            workers[number % 2] = await start_worker(old.socket)
        outcomes = await loading
        failed = [line for line in open_gateway.envoy.lines() if line["status"] != 200]
        assert not failed, [worker.log.read_text() for worker in workers]
        assert {status for _, status in outcomes} == {200}
        assert text_of(await open_gateway.ask()) == "a-model"
    finally:
        for worker in workers:
            stop_worker(worker)
