"""The control endpoint, and the simulators as a process."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator

import pytest

from control_plane.demo.simulators import ControlServer, Simulator
from control_plane.demo.wire_client import call as send


@pytest.fixture
async def control(openai: Simulator, anthropic: Simulator) -> AsyncIterator[ControlServer]:
    async with ControlServer({"openai": openai, "anthropic": anthropic}) as server:
        yield server


async def test_a_fault_is_set_shown_and_healed(control: ControlServer, openai: Simulator, anthropic: Simulator) -> None:
    answer = await send(f"{control.url}/fault/openai", {"mode": "stall", "after": 3}, method="PUT")
    assert (answer.status, openai.fault and openai.fault.after, anthropic.fault) == (200, 3, None)
    state = (await send(f"{control.url}/state", method="GET")).json()
    assert state["openai"]["fault"]["mode"] == "stall"
    assert state["anthropic"]["fault"] is None
    assert state["openai"]["port"] == openai.port
    assert (await send(f"{control.url}/fault", method="DELETE")).status == 200
    assert openai.fault is None


async def test_healing_a_refusing_port_is_done_when_the_answer_comes(control: ControlServer, openai: Simulator) -> None:
    await send(f"{control.url}/fault/openai", {"mode": "refuse"}, method="PUT")
    assert (await send(f"{openai.url}/v1/models", method="GET")).ended == "refused"
    await send(f"{control.url}/fault/openai", method="DELETE")
    assert (await send(f"{openai.url}/v1/models", method="GET", headers={"authorization": "Bearer sk-a"})).status == 200


async def test_requests_are_shown_without_keys_and_cleared(control: ControlServer, openai: Simulator) -> None:
    await send(f"{openai.url}/v1/models", method="GET", headers={"authorization": "Bearer sk-b"})
    answer = await send(f"{control.url}/requests/openai?last=1", method="GET")
    assert [shown["key"] for shown in answer.json()] == ["key-1"]
    assert b"sk-b" not in answer.body
    await send(f"{control.url}/clear", method="POST")
    assert (await send(f"{control.url}/requests/openai", method="GET")).json() == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "words"),
    [
        ("PUT", "/fault/openai", b"{", 400, "not a fault"),
        ("PUT", "/fault/openai", {"mode": "sleepy"}, 400, "Invalid enum value 'sleepy'"),
        ("PUT", "/fault/openai", {"mode": "stall", "aftr": 1}, 400, "unknown field `aftr`"),
        ("PUT", "/fault/openai", {"mode": "status", "status": 42}, 400, "status must be 200 to 599"),
        ("PUT", "/fault/nobody", {"mode": "stall"}, 404, "there are openai, anthropic"),
        ("GET", "/nothing", None, 404, "there are GET /state"),
    ],
)
async def test_mistakes_are_explained(control: ControlServer, method: str, path: str, body: object, status: int, words: str) -> None:
    answer = await send(control.url + path, body, method=method)
    assert answer.status == status
    assert words in answer.json()["error"]


async def test_other_host_names_are_refused(control: ControlServer) -> None:
    assert (await send(f"{control.url}/state", method="GET", headers={"host": "evil.example"})).status == 403


async def test_the_process_prints_its_addresses_serves_and_ends_on_sigterm() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "control_plane.demo.simulators", "--openai-keys", "sk-x", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        addresses = json.loads(await process.stdout.readline())
        assert set(addresses) == {"openai", "anthropic", "gemini", "cohere", "local", "control"}
        assert (await send(f"{addresses['openai']['url']}/v1/models", method="GET", headers={"authorization": "Bearer sk-x"})).status == 200
        assert (await send(f"{addresses['openai']['url']}/v1/models", method="GET", headers={"authorization": "Bearer sk-y"})).status == 401
        state = (await send(f"{addresses['control']['url']}/state", method="GET")).json()
        assert state["openai"]["stats"]["by_status"] == {"200": 1, "401": 1}
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
