"""Large bodies both ways: Envoy must neither crash nor lose a byte, whatever the first provider does.

Envoy 1.40 can crash with an external processor among a target's filters when a large body meets a provider that is slow to
connect; the runtime flag in the harness (and in the gateway's bootstrap) prevents it.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Iterator

import pytest

from tests.live.extproc.conftest import OpenGateway, text_of
from tests.live.extproc.harness import Target
from tests.live.extproc.upstream import MIB, Answering, Upstream
from tests.live.extproc.vendor import fails, says, serves, whole_message

SIZES = pytest.mark.parametrize("size", [2 * MIB, 20 * MIB], ids=["2 MB", "20 MB"])


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port that takes no more connections: its queue is full and nobody accepts."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(0)
        port: int = listening.getsockname()[1]
        waiting = [socket.socket() for _ in range(4)]
        try:
            for sock in waiting:
                sock.setblocking(False)
                sock.connect_ex(("127.0.0.1", port))
            yield port
        finally:
            for sock in waiting:
                sock.close()


def long_content(size: int) -> list[dict[str, str]]:
    return [{"role": "user", "content": "x" * size}]


@SIZES
@pytest.mark.parametrize("fault", ["fails", "resets", "slow to connect"])
async def test_large_request_is_served_by_the_next_target(gateway: OpenGateway, black_hole: int, size: int, fault: str) -> None:
    async def resets(answering: Answering) -> None:
        answering.reset()

    if fault == "slow to connect":
        second = Upstream(serves)
        await second.start()
        open_gateway = await gateway(Target("a", black_hole, connect_timeout="0.4s"), Target("b", second.port))
    else:
        open_gateway = await gateway(fails(503) if fault == "fails" else resets, serves)
        second = open_gateway.upstreams[1]
    try:
        answers = await asyncio.gather(*(open_gateway.ask(messages=long_content(size)) for _ in range(2 if size > 10 * MIB else 6)))
        assert {answer.status_code for answer in answers} == {200}
        assert {text_of(answer) for answer in answers} == {"b-model"}
        for seen in second.seen:
            assert len(json.loads(seen.body)["messages"][0]["content"][0]["text"]) == size
    finally:
        await second.stop()


@SIZES
async def test_large_whole_answer(gateway: OpenGateway, size: int) -> None:
    async def large(answering: Answering) -> None:
        await answering.whole(200, whole_message("y" * size))

    open_gateway = await gateway(large)
    answer = await open_gateway.ask()
    assert text_of(answer) == "y" * size
    assert (await open_gateway.envoy.line())["translation"]["complete"] is True


async def test_large_answer_that_is_cut_fails_over(gateway: OpenGateway) -> None:
    open_gateway = await gateway(says(whole_message("y" * 2 * MIB)[:-10], content_type="application/json"), serves)
    assert text_of(await open_gateway.ask()) == "b-model"


async def test_clients_that_leave_while_uploading_or_connecting_do_not_hurt(gateway: OpenGateway, black_hole: int) -> None:
    """Cancels at every moment of a large request to a provider that does not connect, then serves as ever."""
    second = Upstream(serves)
    await second.start()
    try:
        open_gateway = await gateway(Target("a", black_hole, connect_timeout="0.2s"), Target("b", second.port))
        tasks = [asyncio.create_task(open_gateway.ask(messages=long_content(MIB))) for _ in range(12)]
        for task in tasks:
            await asyncio.sleep(0.04)
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert text_of(await open_gateway.ask(messages=long_content(MIB))) == "b-model"
    finally:
        await second.stop()
