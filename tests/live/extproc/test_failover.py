"""Translated attempts that fail: the router tries the next target, and the client never sees it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from tests.live.extproc.conftest import OpenGateway, text_of
from tests.live.extproc.harness import Target
from tests.live.extproc.upstream import Answering, Script, Upstream
from tests.live.extproc.vendor import BLOCK, ERROR, error_body, fails, message_start, resets_after, says, serves


@pytest.mark.parametrize("status", [500, 503, 529, 429, 401])
async def test_failed_attempt_is_translated_anew_from_the_clients_body(gateway: OpenGateway, status: int) -> None:
    open_gateway = await gateway(fails(status), serves)
    answer = await open_gateway.ask(messages=[{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}])
    assert answer.status_code == 200
    assert text_of(answer) == "b-model"
    (first,), (second,) = (upstream.seen for upstream in open_gateway.upstreams)
    assert json.loads(first.body)["model"] == "a-model"
    assert json.loads(second.body) == json.loads(first.body) | {"model": "b-model"}
    assert (first.headers["x-api-key"], second.headers["x-api-key"]) == ("key-a", "key-b")
    assert second.line == "POST /v1/messages HTTP/1.1"
    assert int(second.headers["content-length"]) == len(second.body)


async def refuses_without_a_body(answering: Answering) -> None:
    await answering.whole(503, b"")


async def sends_half(answering: Answering) -> None:
    await answering.head(200, "application/json", length=1000)
    answering.writer.write(b'{"id":"msg_1","content":[')
    await answering.writer.drain()
    answering.writer.close()


STREAMED: dict[str, Script] = {
    "error event": says(ERROR),
    "error event after the start": says(message_start(), BLOCK, ERROR),
    "garbage": says(b"event: message_start\ndata: {not json\n\n"),
    "html": says(b"<html>maintenance</html>", content_type="text/html"),
    "nothing": says(),
    "cut before content": says(message_start(), BLOCK),
    "reset before content": resets_after([message_start()]),
    "503 without a body": refuses_without_a_body,
}
WHOLE: dict[str, Script] = {
    "truncated": says(b'{"id":"msg_1","content":[{"ty', content_type="application/json"),
    "error document": says(error_body("overloaded_error"), content_type="application/json"),
    "not the vendor's": says(b"[]", content_type="application/json"),
    "html": says(b"<html>maintenance</html>", content_type="text/html"),
    "cut by the vendor": sends_half,
    "503 without a body": refuses_without_a_body,
}


@pytest.mark.parametrize("fault", STREAMED)
async def test_streamed_answer_that_fails_before_its_first_content(gateway: OpenGateway, fault: str) -> None:
    open_gateway = await gateway(STREAMED[fault], serves)
    answer = await open_gateway.ask(stream=True)
    assert answer.status_code == 200
    assert text_of(answer) == "bmodel"
    assert answer.text.endswith("data: [DONE]\n\n")
    assert [len(upstream.seen) for upstream in open_gateway.upstreams] == [1, 1]


@pytest.mark.parametrize("fault", WHOLE)
async def test_whole_answer_that_fails(gateway: OpenGateway, fault: str) -> None:
    open_gateway = await gateway(WHOLE[fault], serves)
    answer = await open_gateway.ask()
    assert answer.status_code == 200
    assert text_of(answer) == "b-model"
    assert [len(upstream.seen) for upstream in open_gateway.upstreams] == [1, 1]


@pytest.mark.parametrize("stream", [False, True])
async def test_error_of_the_last_target_reaches_the_client_in_its_dialect(gateway: OpenGateway, stream: bool) -> None:
    open_gateway = await gateway(fails(503), fails(429, "rate_limit_error", retry_after="7"), retry={"num_retries": 1})
    answer = await open_gateway.ask(stream=stream)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "7"
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-headgate-lane"] == "translation"
    assert answer.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize("script", [says(ERROR), says(message_start(), BLOCK), refuses_without_a_body])
async def test_last_target_that_fails_before_content_is_an_error_answer(gateway: OpenGateway, script: Script) -> None:
    open_gateway = await gateway(script, retry={"num_retries": 0})
    answer = await open_gateway.ask(stream=True)
    assert answer.status_code >= 500
    assert answer.json()["error"]["message"]


async def test_late_first_event_is_seen_by_the_first_token_timer(gateway: OpenGateway) -> None:
    async def stalls(answering: Answering) -> None:
        await answering.head()
        await answering.chunk(message_start())
        for _ in range(50):
            await asyncio.sleep(0.1)
            await answering.chunk(b": heartbeat\n\n")

    open_gateway = await gateway(stalls, serves, retry={"per_try_timeout": "0.5s"})
    async with asyncio.timeout(2):
        answer = await open_gateway.ask(stream=True)
    assert text_of(answer) == "bmodel"
    assert len(open_gateway.upstreams[0].gone) == 1


async def test_request_that_a_target_cannot_serve_goes_to_the_next(gateway: OpenGateway) -> None:
    """Logit biases exist in the client's dialect only; the second target speaks it."""
    openai = Upstream(says(b'{"id":"c","object":"chat.completion","choices":[]}', content_type="application/json"))
    await openai.start()
    anthropic = Upstream(fails(404))
    await anthropic.start()
    try:
        open_gateway = await gateway(Target("a", anthropic.port), Target("b", openai.port, passthrough=True))
        answer = await open_gateway.ask(n=2)
        assert answer.status_code == 200
        assert answer.json()["id"] == "c"
        (probe,), (served,) = anthropic.seen, openai.seen
        assert (probe.line, probe.body) == ("POST / HTTP/1.1", b"{}")
        assert not {"authorization", "x-api-key", "api-key", "x-goog-api-key"} & set(probe.headers)
        assert json.loads(served.body)["n"] == 2
    finally:
        await anthropic.stop()
        await openai.stop()


@pytest.mark.parametrize("status", [200, 404, 503])
async def test_request_that_no_target_can_serve_is_a_400_naming_the_field(gateway: OpenGateway, status: int) -> None:
    open_gateway = await gateway(fails(status), fails(status), retry={"num_retries": 1})
    answer = await open_gateway.ask(n=2)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "n"
    assert [len(upstream.seen) for upstream in open_gateway.upstreams] == [1, 1]


async def test_client_fault_is_answered_once_and_asks_no_provider(gateway: OpenGateway) -> None:
    open_gateway = await gateway(serves, serves)
    answer = await open_gateway.ask(messages="hi")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "messages"
    assert [len(upstream.seen) for upstream in open_gateway.upstreams] == [0, 0]
    assert (await open_gateway.envoy.line())["attempts"] == 1


@pytest.mark.parametrize("chunked", [False, True])
async def test_passthrough_attempt_after_a_translated_one_gets_the_clients_length(gateway: OpenGateway, chunked: bool) -> None:
    """Headers of one attempt persist into the next: with the translated length the second provider would wait for ever."""
    openai = Upstream(says(b'{"id":"c","object":"chat.completion","choices":[]}', content_type="application/json"))
    anthropic = Upstream(fails(503))
    await openai.start()
    await anthropic.start()
    try:
        open_gateway = await gateway(Target("a", anthropic.port), Target("b", openai.port, passthrough=True))
        body = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()

        async def pieces() -> AsyncIterator[bytes]:
            yield body

        answer = await open_gateway.client.post(
            open_gateway.url, content=pieces() if chunked else body, headers={"content-type": "application/json"}
        )
        assert answer.json()["id"] == "c"
        (served,) = openai.seen
        assert served.body == body
        assert ("content-length" in served.headers) is not chunked
    finally:
        await anthropic.stop()
        await openai.stop()
