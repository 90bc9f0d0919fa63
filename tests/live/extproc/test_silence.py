"""Answers that go silent: what keeps a connection busy is no answer."""

from __future__ import annotations

import asyncio
import json
import time

import httpx
import pytest

from tests.live.extproc.conftest import Gateway, OpenGateway, text_of, until, worker_stats
from tests.live.extproc.harness import Worker
from tests.live.extproc.upstream import Answering, Script
from tests.live.extproc.vendor import BLOCK, closing, event, message_start, serves, text

IDLE_MS = 400
PING = event("ping")
COMMENT = b": keep-alive\n\n"
EMPTY = text("")


def stalls(heartbeat: bytes | None, *, every_s: float = 0.05, after: bytes = b"") -> Script:
    """Begins an answer and then only sends heartbeats, or nothing."""

    async def script(answering: Answering) -> None:
        await answering.head()
        await answering.chunk(message_start() + BLOCK + text("Hello") + after)
        while heartbeat is not None:
            await asyncio.sleep(every_s)
            await answering.chunk(heartbeat)
        await asyncio.sleep(60)

    return script


async def streamed(gateway: Gateway) -> tuple[int, str, bool]:
    """(status, what was said, whether the body ended properly) of a streamed answer."""
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]}
    said = ""
    async with gateway.client.stream("POST", gateway.url, json=body) as answer:
        try:
            async for piece in answer.aiter_text():
                said += piece
        except httpx.RemoteProtocolError:
            return answer.status_code, said, False
    return answer.status_code, said, True


@pytest.mark.parametrize("heartbeat", [None, PING, COMMENT, EMPTY], ids=["silence", "pings", "comments", "empty deltas"])
async def test_stall_after_content_ends_with_an_error_event_in_time(gateway: OpenGateway, worker: Worker, heartbeat: bytes | None) -> None:
    open_gateway = await gateway(stalls(heartbeat), serves, idle_ms=IDLE_MS)
    before = await worker_stats(worker)
    began = time.monotonic()
    answers = await asyncio.gather(*(streamed(open_gateway) for _ in range(10)))
    assert IDLE_MS / 1000 <= time.monotonic() - began < IDLE_MS / 1000 + 2
    for status, said, ended in answers:
        assert (status, ended) == (200, False)
        assert said.count('"Hello"') == 1
        assert json.loads(said.split("data: ")[-1])["error"]["code"] == "provider_answer_stalled"
        assert "[DONE]" not in said
    line = await open_gateway.envoy.line(10)
    assert line["translation"]["stream_error"] == "provider_answer_stalled"
    assert line["translation"]["complete"] is False
    assert not open_gateway.upstreams[1].seen

    async def all_gone() -> bool:
        return len(open_gateway.upstreams[0].gone) == 10 and (await worker_stats(worker))["open"] == before["open"]

    await until(all_gone, 2)
    assert open_gateway.envoy.process.poll() is None


async def test_stall_before_content_fails_over_behind_heartbeats(gateway: OpenGateway) -> None:
    async def only_pings(answering: Answering) -> None:
        await answering.head()
        await answering.chunk(message_start())
        while True:
            await asyncio.sleep(0.05)
            await answering.chunk(PING)

    open_gateway = await gateway(only_pings, serves, idle_ms=IDLE_MS, retry={"per_try_timeout": "0.5s"})
    assert text_of(await open_gateway.ask(stream=True)) == "bmodel"


async def test_complete_answer_whose_connection_stays_open_is_let_go(gateway: OpenGateway) -> None:
    """The vendor has said its last word but does not end the body."""
    open_gateway = await gateway(stalls(COMMENT, after=closing()), serves, idle_ms=IDLE_MS)
    _, said, _ = await streamed(open_gateway)
    assert said.endswith("data: [DONE]\n\n")
    assert (await open_gateway.envoy.line())["translation"]["complete"] is True


async def test_slow_answer_is_left_alone(gateway: OpenGateway) -> None:
    """Every piece comes within the idle time; all of it takes longer."""

    async def slow(answering: Answering) -> None:
        await answering.head()
        await answering.chunk(message_start() + BLOCK)
        for _ in range(6):
            await answering.chunk(text("x"))
            await asyncio.sleep(IDLE_MS / 2000)
        await answering.chunk(closing())
        await answering.end()

    open_gateway = await gateway(slow, idle_ms=IDLE_MS)
    answer = await open_gateway.ask(stream=True)
    assert text_of(answer) == "xxxxxx"
    assert answer.text.endswith("data: [DONE]\n\n")
