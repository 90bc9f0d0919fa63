"""Every fault, as a client sees it on the wire, and what the simulator counts."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

from control_plane.demo.simulators import MODES, Fault, Simulator
from control_plane.demo.wire_client import Answer

Call = Callable[..., Coroutine[Any, Any, Answer]]

PATHS = {"openai": "/v1/chat/completions", "anthropic": "/v1/messages"}
BODIES: dict[str, dict[str, Any]] = {
    "openai": {"model": "gpt-4o", "messages": [{"role": "user", "content": "one two three four five six"}]},
    "anthropic": {"model": "claude-sonnet-5", "max_tokens": 500, "messages": [{"role": "user", "content": "one two three four five six"}]},
}


@pytest.fixture(params=["openai", "anthropic"])
def simulator(request: pytest.FixtureRequest) -> Simulator:
    """Each vendor in turn."""
    found: Simulator = request.getfixturevalue(request.param)
    return found


def streamed(simulator: Simulator) -> dict[str, Any]:
    return BODIES[simulator.vendor] | {"stream": True}


async def ask(call: Call, simulator: Simulator, *, stream: bool = False, timeout_s: float = 5.0) -> Answer:
    return await call(simulator, PATHS[simulator.vendor], BODIES[simulator.vendor] | {"stream": stream}, timeout_s=timeout_s)


async def until(holds: Callable[[], bool]) -> None:
    """Wait for what the simulator notices a moment after the client saw it."""
    async with asyncio.timeout(5):
        while not holds():
            await asyncio.sleep(0.01)


def contents(simulator: Simulator, answer: Answer) -> int:
    """Content events in a stream."""
    if simulator.vendor == "anthropic":
        return sum(chunk.startswith(b"event: content_block_delta") for chunk in answer.chunks)
    return sum(b'"delta":{"content":' in chunk for chunk in answer.chunks)


@pytest.mark.parametrize(
    ("status", "openai_code", "anthropic_type"),
    [
        (401, "invalid_api_key", "authentication_error"),
        (429, "rate_limit_exceeded", "rate_limit_error"),
        (500, None, "api_error"),
        (503, None, "api_error"),
        (529, None, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("stream", [True, False])
async def test_status(simulator: Simulator, call: Call, status: int, openai_code: str | None, anthropic_type: str, stream: bool) -> None:
    simulator.fault = Fault(mode="status", status=status, retry_after_s=72.5)
    answer = await ask(call, simulator, stream=stream)
    error = answer.json()["error"]
    assert answer.status == status
    assert answer.headers["retry-after"] == "73"
    if simulator.vendor == "openai":
        assert error["code"] == openai_code
    else:
        assert error["type"] == anthropic_type
    if status == 429:
        reset = "x-ratelimit-reset-requests" if simulator.vendor == "openai" else "anthropic-ratelimit-requests-reset"
        assert answer.headers[reset] == "1m12.5s" or answer.headers[reset].endswith("Z")
    assert (simulator.stats.faulted, simulator.stats.answered, simulator.stats.in_flight) == (1, 0, 0)


async def test_an_early_status_comes_before_the_body(simulator: Simulator) -> None:
    simulator.fault = Fault(mode="status", status=503, early=True)
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    head = f"POST {PATHS[simulator.vendor]} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
    writer.write(head.encode() + b"x" * 10)
    async with asyncio.timeout(2):
        assert b"503" in await reader.readuntil(b"\r\n")
    writer.write(b"x" * 99_990 + head.encode())  # the rest is swallowed, the next request is read
    async with asyncio.timeout(2):
        await reader.readuntil(b"HTTP/1.1 503 ")
    writer.close()


@pytest.mark.parametrize("stream", [True, False])
async def test_delays_come_where_they_should(simulator: Simulator, call: Call, stream: bool) -> None:
    async def first_ms(mode: Any) -> tuple[float, float]:
        """When the first body byte came, and when all was there."""
        simulator.fault = Fault(mode=mode, delay_ms=400)
        answer = await ask(call, simulator, stream=stream)
        assert answer.ended == "complete"
        assert answer.first_byte_s is not None
        return answer.first_byte_s * 1000, answer.total_s * 1000

    assert (await first_ms("latency"))[0] >= 400
    assert (await first_ms("late_first_event"))[0] >= 400
    first, total = await first_ms("slow_first_token")
    assert total >= 400
    assert (first < 300) == stream  # a stream opens at once and is then late with content
    assert simulator.stats.answered == 3


async def test_late_first_event_sends_the_headers_at_once(simulator: Simulator) -> None:
    simulator.fault = Fault(mode="late_first_event", delay_ms=60_000, heartbeat_ms=20)
    body = json.dumps(streamed(simulator)).encode()
    keys = "authorization: Bearer sk-a\r\nx-api-key: sk-a\r\nanthropic-version: 2023-06-01\r\ncontent-type: application/json\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(f"POST {PATHS[simulator.vendor]} HTTP/1.1\r\nhost: x\r\n{keys}content-length: {len(body)}\r\n\r\n".encode() + body)
    async with asyncio.timeout(2):
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
        assert b"keep-alive" in await reader.readuntil(b"\n\n") or simulator.vendor == "anthropic"
    writer.close()


@pytest.mark.parametrize("heartbeat_ms", [0, 20])
async def test_a_stall_keeps_the_connection_and_maybe_its_heartbeats(simulator: Simulator, call: Call, heartbeat_ms: float) -> None:
    simulator.fault = Fault(mode="stall", after=3, heartbeat_ms=heartbeat_ms)
    answer = await ask(call, simulator, stream=True, timeout_s=0.4)
    assert answer.ended == "timeout"
    assert contents(simulator, answer) == 3
    beats = sum(chunk.startswith((b": keep-alive", b"event: ping")) for chunk in answer.chunks)
    assert (beats > 3) == bool(heartbeat_ms)
    await until(lambda: simulator.stats.in_flight == 0)
    assert simulator.stats.cancelled == 1


async def test_a_stalled_whole_answer_stops_half_way(simulator: Simulator, call: Call) -> None:
    simulator.fault = Fault(mode="stall")
    answer = await ask(call, simulator, timeout_s=0.3)
    assert (answer.status, answer.ended) == (200, "timeout")


@pytest.mark.parametrize(("how", "ended"), [("rst", "reset"), ("fin", "eof"), ("clean", "complete")])
async def test_a_cut_stream_lacks_its_end(simulator: Simulator, call: Call, how: Any, ended: str) -> None:
    simulator.fault = Fault(mode="cut", after=2, how=how)
    answer = await ask(call, simulator, stream=True)
    assert (answer.status, answer.ended, contents(simulator, answer)) == (200, ended, 2)
    assert b"[DONE]" not in answer.body
    assert b"message_stop" not in answer.body
    await until(lambda: simulator.stats.in_flight == 0)
    assert (simulator.stats.faulted, simulator.requests[-1].outcome) == (1, "fault" if how == "clean" else "broken")


@pytest.mark.parametrize(("how", "ended"), [("rst", "reset"), ("fin", "eof"), ("clean", "complete")])
async def test_a_cut_whole_answer_is_half_a_document(simulator: Simulator, call: Call, how: Any, ended: str) -> None:
    simulator.fault = Fault(mode="cut", how=how)
    answer = await ask(call, simulator)
    assert answer.ended == ended
    with pytest.raises(ValueError):
        answer.json()


@pytest.mark.parametrize("after", [0, 2])
async def test_an_error_inside_a_200(simulator: Simulator, call: Call, after: int) -> None:
    simulator.fault = Fault(mode="error_event", status=529, after=after)
    answer = await ask(call, simulator, stream=True)
    assert (answer.status, answer.ended) == (200, "complete")
    events = answer.events()
    assert "error" in events[-1]
    assert contents(simulator, answer) == after
    if simulator.vendor == "anthropic":
        assert answer.chunks[-1].startswith(b"event: error\n")
        assert events[-1]["error"]["type"] == "overloaded_error"
    if after == 0:
        assert len(events) == 1
    whole = await ask(call, simulator)
    assert whole.status == 200
    assert "error" in whole.json()


@pytest.mark.parametrize("stream", [True, False])
async def test_unreadable_answers(simulator: Simulator, call: Call, stream: bool) -> None:
    for mode in ("garbage", "truncated", "html", "empty"):
        simulator.fault = Fault(mode=mode)
        answer = await ask(call, simulator, stream=stream)
        assert (answer.status, answer.ended) == (200, "complete"), mode
        with pytest.raises(ValueError):
            _ = (answer.events() if stream else answer.json()) or json.loads("")
        assert answer.headers["content-type"].startswith("text/html") == (mode == "html")


async def test_refuse_and_heal_keep_the_port(simulator: Simulator, call: Call) -> None:
    port = simulator.port
    for _ in range(3):
        simulator.fault = Fault(mode="refuse")
        assert (await ask(call, simulator)).ended == "refused"
        await simulator.heal()
        assert (simulator.port, (await ask(call, simulator)).status) == (port, 200)


async def test_refuse_closes_idle_connections_and_lets_streams_finish(simulator: Simulator, call: Call) -> None:
    body = streamed(simulator)
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    stream = asyncio.create_task(
        call(simulator, PATHS[simulator.vendor], body | {"messages": [{"role": "user", "content": "[[sim tokens=80]]"}]})
    )
    await until(lambda: simulator.stats.in_flight == 1)
    simulator.fault = Fault(mode="refuse")
    async with asyncio.timeout(2):
        assert await reader.read() == b""
    assert (await stream).ended == "complete"
    writer.close()


async def test_unconnectable_hangs_then_heals(simulator: Simulator, call: Call) -> None:
    simulator.fault = Fault(mode="unconnectable")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await asyncio.open_connection("127.0.0.1", simulator.port)
    await simulator.heal()
    assert (await ask(call, simulator)).status == 200


async def test_reset_and_black_hole(simulator: Simulator, call: Call) -> None:
    simulator.fault = Fault(mode="reset")
    assert (await ask(call, simulator)).ended in ("reset", "eof")
    assert simulator.stats.requests == 0
    simulator.fault = Fault(mode="black_hole")
    answer = await ask(call, simulator, timeout_s=0.2)
    assert (answer.status, answer.ended) == (0, "timeout")
    await until(lambda: simulator.stats.in_flight == 0)
    assert (simulator.stats.requests, simulator.stats.cancelled) == (1, 1)


async def test_a_slow_reader_reads_slowly_until_healed(openai: Simulator, call: Call) -> None:
    openai.fault = Fault(mode="slow_reader", bytes_per_s=200_000)
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "x" * 1_000_000}]}
    answer = await call(openai, PATHS["openai"], body, timeout_s=20)
    assert answer.status == 200
    assert answer.total_s > 1.0
    openai.fault = None
    assert (await call(openai, PATHS["openai"], body)).total_s < answer.total_s / 2


async def test_limits_of_a_fault(openai: Simulator, call: Call) -> None:
    openai.fault = Fault(mode="status", status=500, count=2)
    assert [(await ask(call, openai)).status for _ in range(4)] == [500, 500, 200, 200]
    assert vars(openai)["_fault"] is None  # healed itself
    openai.fault = Fault(mode="status", status=500, probability=0.25)
    assert [(await ask(call, openai)).status for _ in range(20)].count(500) == 5
    openai.fault = Fault(mode="status", status=500, only="stream")
    assert ((await ask(call, openai)).status, (await ask(call, openai, stream=True)).status) == (200, 500)
    openai.fault = Fault(mode="status", status=500, model="gpt-5")
    assert (await ask(call, openai)).status == 200
    openai.fault = Fault(mode="status", status=500, path="/embeddings")
    assert (await ask(call, openai)).status == 200


async def test_revoked_keys_and_what_is_recorded(simulator: Simulator, call: Call) -> None:
    await ask(call, simulator)
    simulator.set_keys(["another"])
    assert (await ask(call, simulator)).status == 401
    first, second = simulator.requests
    assert (first.key, first.model, first.status, first.outcome) == ("key-0", BODIES[simulator.vendor]["model"], 200, "answered")
    assert second.key.startswith("sha256:")
    assert simulator.stats.by_status == {200: 1, 401: 1}
    shown = repr(first) + repr(first.headers) + repr(simulator.stats)
    assert "sk-a" not in shown
    assert first.size == len(json.dumps(BODIES[simulator.vendor] | {"stream": False}))


async def test_a_client_that_goes_away_is_counted(simulator: Simulator, call: Call) -> None:
    body = BODIES[simulator.vendor] | {"stream": True, "messages": [{"role": "user", "content": "[[sim tokens=5000 delay_ms=5]]"}]}
    await call(simulator, PATHS[simulator.vendor], body, timeout_s=0.2)
    await until(lambda: simulator.stats.in_flight == 0)
    assert (simulator.stats.cancelled, simulator.requests[-1].outcome) == (1, "cancelled")


def test_every_mode_is_tested_here() -> None:
    source = Path(__file__).read_text()
    assert [mode for mode in MODES if f'"{mode}"' not in source] == []
