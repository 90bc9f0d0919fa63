"""Translated streams on the real Envoy: errors after content, cancelled clients, what the access log learns."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from tests.live.extproc.conftest import OpenGateway, chunks, text_of, until, worker_stats
from tests.live.extproc.harness import Worker
from tests.live.extproc.upstream import Answering, Script
from tests.live.extproc.vendor import BLOCK, ERROR, PAUSE, closing, message_start, resets_after, says, serves, text


@pytest.mark.parametrize("stream", [False, True])
async def test_usage_is_in_the_access_log(gateway: OpenGateway, stream: bool) -> None:
    open_gateway = await gateway(serves)
    answer = await open_gateway.ask(stream=stream, seed=3)
    assert answer.headers["x-headgate-dropped"] == "seed"
    line = await open_gateway.envoy.line()
    cached = {"cached": 4} if stream else {}
    assert line["translation"] == {
        "usage": {"input": 14 if stream else 10, "output": 7} | cached,
        "finish": "end_turn",
        "complete": True,
        "stream_error": None,
        "dropped": ["seed"],
    }
    assert (line["status"], line["attempts"]) == (200, 1)


async def test_failed_attempts_leave_nothing_in_the_access_log(gateway: OpenGateway) -> None:
    open_gateway = await gateway(says(message_start(), ERROR), says(ERROR), retry={"num_retries": 1})
    answer = await open_gateway.ask(stream=True)
    assert answer.status_code >= 500
    assert (await open_gateway.envoy.line())["translation"] is None


@pytest.mark.parametrize(
    "script",
    [
        says(message_start() + BLOCK + text("Hello"), ERROR, pause=PAUSE),
        says(message_start() + BLOCK + text("Hello"), pause=PAUSE),
        says(message_start() + BLOCK + text("Hello"), b"data: {x\n\n", pause=PAUSE),
    ],
    ids=["error event", "cut", "garbage"],
)
async def test_break_after_content_ends_with_an_error_event(gateway: OpenGateway, script: Script) -> None:
    open_gateway = await gateway(script, serves)
    answer = await open_gateway.ask(stream=True)
    assert answer.status_code == 200
    assert text_of(answer) == "Hello"
    assert "[DONE]" not in answer.text
    assert chunks(answer)[-1]["error"]["message"]
    line = await open_gateway.envoy.line()
    assert line["translation"]["complete"] is False
    assert line["translation"]["stream_error"]
    assert line["translation"]["usage"]["input"] == 14
    assert not open_gateway.upstreams[1].seen


async def test_error_that_comes_with_the_first_content_still_fails_over(gateway: OpenGateway) -> None:
    """Nothing of it has gone to the client yet, so the next target may serve."""
    open_gateway = await gateway(says(message_start() + BLOCK + text("Hello") + ERROR), serves)
    assert text_of(await open_gateway.ask(stream=True)) == "bmodel"


async def test_reset_after_content_is_never_a_clean_end(gateway: OpenGateway) -> None:
    open_gateway = await gateway(resets_after([message_start(), BLOCK, text("Hello")]), serves)
    with pytest.raises(httpx.RemoteProtocolError):
        await open_gateway.ask(stream=True)
    line = await open_gateway.envoy.line()
    assert (line["translation"]["complete"], line["translation"]["usage"]["input"]) == (False, 14)


async def test_chunks_arrive_as_they_are_sent(gateway: OpenGateway) -> None:
    gates = [asyncio.Event() for _ in range(3)]

    async def steps(answering: Answering) -> None:
        await answering.head()
        await answering.chunk(message_start() + BLOCK)
        for gate in gates:
            await answering.chunk(text("x"))
            await gate.wait()
        await answering.chunk(closing())
        await answering.end()

    open_gateway = await gateway(steps)
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    async with open_gateway.client.stream("POST", open_gateway.url, json=body) as answer:
        lines = answer.aiter_lines()
        for gate in gates:
            async with asyncio.timeout(2):
                while '"content":"x"' not in await anext(lines):
                    pass
            gate.set()
        rest = [line async for line in lines]
    assert "data: [DONE]" in rest


@pytest.mark.parametrize("when", ["before the answer", "before content", "mid-stream"])
async def test_client_that_leaves_ends_everything_within_a_second(gateway: OpenGateway, worker: Worker, when: str) -> None:
    async def waits(answering: Answering) -> None:
        if when != "before the answer":
            await answering.head()
            await answering.chunk(message_start() + BLOCK)
        if when == "mid-stream":
            await answering.chunk(text("Hello"))
        await asyncio.sleep(30)

    open_gateway = await gateway(waits)
    (upstream,) = open_gateway.upstreams
    before = await worker_stats(worker)
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}

    async def leave_later() -> None:
        async with open_gateway.client.stream("POST", open_gateway.url, json=body):
            await asyncio.sleep(30)

    clients = [asyncio.create_task(leave_later()) for _ in range(20)]

    async def all_asked() -> bool:
        return len(upstream.seen) == len(clients)

    await until(all_asked, 5)
    await asyncio.sleep(0.1)
    left = time.monotonic()
    for client in clients:
        client.cancel()
    await asyncio.gather(*clients, return_exceptions=True)

    async def all_gone() -> bool:
        stats = await worker_stats(worker)
        return len(upstream.gone) == len(clients) and stats["open"] == before["open"]

    await until(all_gone, 1)
    assert max(upstream.gone) - left < 1
    stats = await worker_stats(worker)
    assert stats["cancelled"] - before["cancelled"] == len(clients)
    if when == "mid-stream":
        line = await open_gateway.envoy.line()
        assert (line["translation"]["complete"], line["translation"]["usage"]["input"]) == (False, 14)


async def test_burst_of_chunks_keeps_their_order(gateway: OpenGateway) -> None:
    count = 2000

    async def burst(answering: Answering) -> None:
        await answering.head()
        await answering.chunk(message_start() + BLOCK)
        for number in range(count):
            answering.writer.write(b"%x\r\n%s\r\n" % (len(piece := text(f"{number},")), piece))
        await answering.writer.drain()
        await answering.chunk(closing(count))
        await answering.end()

    open_gateway = await gateway(burst)
    answers = await asyncio.gather(*(open_gateway.ask(stream=True) for _ in range(5)))
    expected = "".join(f"{number}," for number in range(count))
    assert [text_of(answer) == expected for answer in answers] == [True] * 5
    assert json.loads(answers[0].text.split("\n\n")[0][6:])["object"] == "chat.completion.chunk"
