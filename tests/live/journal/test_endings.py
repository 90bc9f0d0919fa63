"""Each way an exchange can end, on the real Envoy: the journal tells it, and the metrics have the right word for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from control_plane.signals.journal import JournalTail
from control_plane.signals.lines import AttemptLine, Line, RequestLine
from control_plane.signals.traffic import Traffic
from control_plane.telemetry.metrics import Metrics


async def read(edge: Any, requests: int, traffic: Traffic | None = None) -> list[Line]:
    """All lines once `requests` requests and all their attempts are there."""
    lines: list[Line] = []
    async with asyncio.timeout(20):
        async with JournalTail(edge.journal, edge.folder / "state", Metrics(), idle_s=0.005) as tail:
            async for batch in tail:
                lines += batch
                if traffic is not None:
                    traffic.consume(batch)
                ended = [line for line in lines if isinstance(line, RequestLine)]
                expected = sum(line.attempts or 0 for line in ended)
                if len(ended) == requests and len(lines) - len(ended) == expected:
                    return lines
    raise AssertionError("unreachable")


async def test_a_failover_over_three_failures_is_told_attempt_by_attempt(
    edge: Any, vendors: Any, script: dict[str, bytes], free_port: int
) -> None:
    plan = {
        "a": await vendors.play(script["503"]),
        "b": await vendors.play(3.0),
        "refused": free_port,
        "c": await vendors.play(0.05, script["head"], 0.1, script["token"], 0.1, script["done"]),
    }
    await edge.start(plan)
    metrics = Metrics()
    status, _ = await edge.call(x_test_model='odd "name"\u00e9', x_request_id="chosen-by-client")
    lines = await read(edge, 1, Traffic(metrics))
    assert status == 200
    *attempts, request = lines
    assert isinstance(request, RequestLine)
    assert [(line.n, line.target, line.status, line.flags) for line in attempts if isinstance(line, AttemptLine)] == [
        (1, "a/m", 503, "-"),
        (2, "b/m", 0, "UT"),
        (3, "refused/m", 0, "UF"),
        (4, "c/m", 200, "-"),
    ]
    assert isinstance(attempts[2], AttemptLine)
    assert "Connection_refused" in (attempts[2].details or "")
    assert {line.id for line in lines} == {request.id}
    assert request.id != "chosen-by-client"
    assert (request.route, request.dialect, request.operation, request.stream) == ("chat", "openai-chat", "chat", True)
    assert (request.target, request.provider, request.lane, request.attempts) == ("c/m", "c", "passthrough", 4)
    assert request.usage is not None
    assert (request.usage.input, request.usage.output, request.finish, request.complete) == (1234567, 12, "stop", True)
    last = attempts[-1]
    assert isinstance(last, AttemptLine)
    assert last.ttft_us is not None
    assert 0.14 < last.ttft_us / 1e6 < 0.6
    assert request.first_token_s is not None
    # The client's first token also waited for the 0.4 s first-token timer of the second attempt.
    assert 0.54 < request.first_token_s < 1.5
    place = {"route": "chat", "lane": "passthrough"}
    classes = {"a": "transient", "b": "timeout", "refused": "connect", "c": "ok"}
    for name, word in classes.items():
        found = metrics.value("headgate_attempts_total", **place, provider=name, target=f"{name}/m", **{"class": word})
        assert found == 1, (name, word)
    assert metrics.value("headgate_tokens_total", **place, provider="c", target="c/m", dialect="openai-chat", type="cached") == 1_000_000


async def test_no_credential_reaches_the_journal(edge: Any, vendors: Any, script: dict[str, bytes]) -> None:
    await edge.start({"a": await vendors.play(script["quick"])})
    await edge.call(authorization="Bearer sk-client-canary-0123456789", x_api_key="sk-client-canary-0123456789", cookie="session=canary")
    await read(edge, 1)
    assert b"canary" not in edge.journal.read_bytes()


Ending = tuple[tuple[Any, ...], dict[str, Any], float | None, str, str]
ENDINGS: dict[str, Ending] = {
    "client leaves before headers": ((2.0,), {}, 0.1, "cancelled", "cancelled"),
    "client leaves in the stream": (("head", "token", 2.0), {}, 0.3, "cancelled", "cancelled"),
    "idle timer": (("head", "token", 2.0), {"idle_timeout": "0.5s"}, None, "timeout", "cut"),
    "total timer": (("head", "token", 2.0), {"timeout": "0.5s"}, None, "timeout", "cut"),
    "reset in the stream": (("head", "token", 0.05, "reset"), {}, None, "cut", "cut"),
    "reset before headers": (("reset",), {}, None, "reset", "failed"),
    "not HTTP": ((b"BOO\r\n\r\n",), {}, None, "unreadable", "failed"),
    "no terminal event": (("head", "token", b"0\r\n\r\n"), {}, None, "cut", "cut"),
    "close-delimited and cut": ((b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: x\n\n", "end"), {}, None, "cut", "cut"),
    "whole": (("quick",), {}, None, "ok", "ok"),
}


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_ending_has_the_right_word(edge: Any, vendors: Any, script: dict[str, bytes], ending: str) -> None:
    steps, route, leave, word, outcome = ENDINGS[ending]
    await edge.start({"a": await vendors.play(*[script.get(step, step) if isinstance(step, str) else step for step in steps])}, **route)
    metrics = Metrics()
    await edge.call(leave)
    lines = await read(edge, 1, Traffic(metrics))
    place = {"route": "chat", "provider": "a", "target": "a/m", "lane": "passthrough"}
    assert metrics.value("headgate_attempts_total", **place, **{"class": word}) == 1, lines
    told = [sample for sample in metrics.text().decode().splitlines() if sample.startswith("headgate_requests_total{")]
    assert len(told) == 1
    assert f'outcome="{outcome}"' in told[0]


async def test_an_http2_client_that_resets_its_stream(edge: Any, vendors: Any, script: dict[str, bytes]) -> None:
    await edge.start({"a": await vendors.play(script["head"], script["token"], 2.0)})
    metrics = Metrics()
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    h2 = H2Connection(H2Configuration(header_encoding="utf-8"))
    h2.initiate_connection()
    h2.send_headers(1, [(":method", "POST"), (":path", "/v1/x"), (":authority", "x"), (":scheme", "http")], end_stream=True)
    writer.write(h2.data_to_send())
    async with asyncio.timeout(10):
        while b"delta" not in await reader.read(65536):
            pass
    h2.reset_stream(1, 8)
    writer.write(h2.data_to_send())
    lines = await read(edge, 1, Traffic(metrics))
    writer.close()
    assert [line.flags for line in lines if isinstance(line, RequestLine)] == ["DR"]
    place = {"route": "chat", "provider": "a", "target": "a/m", "lane": "passthrough"}
    assert metrics.value("headgate_attempts_total", **place, **{"class": "cancelled"}) == 1


async def test_a_request_that_no_route_takes_has_a_line(edge: Any, vendors: Any, script: dict[str, bytes]) -> None:
    await edge.start({"a": await vendors.play(script["quick"])})
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"GET /nothing HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
    await reader.read()
    writer.close()
    (line,) = await read(edge, 1)
    assert isinstance(line, RequestLine)
    assert (line.status, line.attempts, line.target, line.route, line.flags) == (404, 0, None, None, "NR")
