"""Each way an exchange can end, on the real Envoy: the journal tells it, and the metrics have the right word for it."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection

from control_plane.signals.attempts import AttemptJoin, Ended
from control_plane.signals.classify import classify, needs_request
from control_plane.signals.journal import JournalTail
from control_plane.signals.lines import AttemptLine, Line, Metered, RequestLine, Usage, decode
from control_plane.signals.traffic import Traffic
from control_plane.telemetry.metrics import Metrics

SETTLED_S = 0.25
"""When nothing came for so long, nothing will: the lines of an exchange are written within milliseconds of each other."""


async def read(edge: Any, traffic: Traffic | None = None) -> list[Line]:
    """All lines of the one request that was sent, once it ended and no more come."""
    lines: list[Line] = []

    async def consume() -> None:
        async with JournalTail(edge.journal, edge.folder / "state", Metrics(), idle_s=0.005) as tail:
            async for batch in tail:
                lines.extend(batch)
                if traffic is not None:
                    traffic.consume(batch)

    consuming = asyncio.create_task(consume())
    seen = -1
    async with asyncio.timeout(20):
        while len(lines) != seen or not any(isinstance(line, RequestLine) for line in lines):
            seen = len(lines)
            await asyncio.sleep(SETTLED_S)
            assert not consuming.done(), consuming.result()
    consuming.cancel()
    await asyncio.wait([consuming])
    assert sum(isinstance(line, RequestLine) for line in lines) == 1
    return lines


def written(edge: Any) -> list[AttemptLine]:
    """The line of every attempt, also of those that the journal leaves out."""
    found = [decode(raw) for raw in edge.every_attempt.read_bytes().splitlines()]
    return [line for line in found if isinstance(line, AttemptLine)]


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
    lines = await read(edge, Traffic(metrics))
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
    assert request.model == 'odd "name"\u00e9'
    used = Usage(input=1234567, cached=1000000, cache_write=0, output=12)
    assert request.meter() == Metered(usage=used, finish="stop", complete=True)
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
    await read(edge)
    assert b"canary" not in edge.journal.read_bytes() + edge.every_attempt.read_bytes()


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
    "slow and whole": ((0.1, "head", 0.1, "token", 0.1, "done"), {}, None, "ok", "ok"),
    "client leaves at the terminal event": (("head", "token", "end mark", 2.0), {}, 0.3, "ok", "cancelled"),
    "idle after the terminal event": (("head", "token", "end mark", 2.0), {"idle_timeout": "0.5s"}, None, "timeout", "cut"),
    "reset after the terminal event": (("head", "token", "end mark", 0.05, "reset"), {}, None, "cut", "cut"),
    "held, and its first event is an error": (("head", "error", "end of body"), {"held": True}, None, "transient", "failed"),
    "held, and client leaves": (("head", 2.0), {"held": True}, 0.3, "cancelled", "cancelled"),
    "held, and idle timer": (("head", 2.0), {"held": True, "idle_timeout": "0.5s"}, None, "timeout", "failed"),
    "held and whole": (("head", 0.1, "token", 0.1, "done"), {"held": True}, None, "ok", "ok"),
}
WITHOUT_A_LINE = {
    "client leaves in the stream",
    "idle timer",
    "total timer",
    "no terminal event",
    "close-delimited and cut",
    "whole",
    "slow and whole",
    "client leaves at the terminal event",
    "idle after the terminal event",
    "held and whole",
}
"""Endings of which the journal has the request's line only."""


async def end(edge: Any, vendors: Any, script: dict[str, bytes], ending: str) -> None:
    """One request that ends so."""
    steps, route, leave, *_ = ENDINGS[ending]
    await edge.start({"a": await vendors.play(*[script.get(step, step) if isinstance(step, str) else step for step in steps])}, **route)
    await edge.call(leave)


@pytest.mark.parametrize("ending", ENDINGS)
async def test_an_ending_has_the_right_word(edge: Any, vendors: Any, script: dict[str, bytes], ending: str) -> None:
    *_, word, outcome = ENDINGS[ending]
    metrics = Metrics()
    await end(edge, vendors, script, ending)
    lines = await read(edge, Traffic(metrics))
    assert len(lines) == (1 if ending in WITHOUT_A_LINE else 2)
    place = {"route": "chat", "provider": "a", "target": "a/m", "lane": "passthrough"}
    assert metrics.value("headgate_attempts_total", **place, **{"class": word}) == 1, lines
    samples = metrics.text().decode().splitlines()
    (told,) = (sample for sample in samples if sample.startswith("headgate_requests_total{"))
    assert f'outcome="{outcome}"' in told
    (tried,) = (sample for sample in samples if sample.startswith("headgate_attempts_total{"))
    assert tried.endswith(" 1.0")


def alike(one: AttemptLine, other: AttemptLine) -> None:
    """Both say the same to whoever counts attempts; the duration of a made-up line is in whole milliseconds, and ends at the client."""
    for name in ("id", "n", "operation", "route", "target", "provider", "lane", "status", "flag_set"):
        assert getattr(one, name) == getattr(other, name), name
    # Microseconds, each rounded by itself.
    assert one.ttft_us == (None if other.ttft_us is None else pytest.approx(other.ttft_us, abs=3))
    assert one.duration_s == pytest.approx(other.duration_s, abs=0.05)
    assert (one.duration_us is None) == (other.duration_us is None)
    assert abs((one.start - other.start).total_seconds()) < 0.05


@pytest.mark.parametrize("ending", ENDINGS)
async def test_the_journal_tells_of_the_attempt_what_its_line_would(edge: Any, vendors: Any, script: dict[str, bytes], ending: str) -> None:
    """The journal in both orders (the gRPC access log has none), against the line of the attempt that a second log has in any case."""
    await end(edge, vendors, script, ending)
    lines = await read(edge)
    (own,) = written(edge)
    (request,) = (line for line in lines if isinstance(line, RequestLine))
    for order in (lines, lines[::-1]):
        join = AttemptJoin()
        told: list[Ended] = []
        for line in order:
            told += join.request(line, 0.0) if isinstance(line, RequestLine) else join.attempt(line, 0.0)
        ((attempt, word),) = told + list(join.overdue(1e9))
        assert str(word) == ENDINGS[ending][3]
        assert word == classify(own, request if needs_request(own) else None)
        alike(attempt, own)


async def test_a_slow_upload_makes_no_provider_slow(edge: Any, vendors: Any, script: dict[str, bytes]) -> None:
    await edge.start({"a": await vendors.play(0.1, script["quick"])})
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nx-test-whole: 1\r\nconnection: close\r\n\r\nab")
    await asyncio.sleep(0.6)
    writer.write(b"cd")
    await reader.read()
    writer.close()
    (request,) = await read(edge)
    (own,) = written(edge)
    assert isinstance(request, RequestLine)
    alike(request.only_attempt(), own)
    assert own.ttft_us is not None
    assert own.ttft_us < 500_000
    assert request.first_token_s is not None
    assert request.first_token_s > 0.65


async def test_an_answer_of_a_filter_is_told_once(edge: Any, vendors: Any, script: dict[str, bytes]) -> None:
    """As the translator refuses a request that its target cannot take: status 0 of the attempt, 400 of the request, one attempt."""
    await edge.start({"a": await vendors.play(script["quick"]), "b": await vendors.play(script["quick"])})
    metrics = Metrics()
    status, _ = await edge.call(x_test_answer="400")
    attempt, request = await read(edge, Traffic(metrics))
    assert isinstance(attempt, AttemptLine)
    assert isinstance(request, RequestLine)
    assert (status, attempt.status, attempt.flags, request.status, request.attempts) == (400, 0, "-", 400, 1)
    (tried,) = (line for line in metrics.text().decode().splitlines() if line.startswith("headgate_attempts_total{"))
    assert 'class="local"' in tried
    assert tried.endswith(" 1.0")


async def test_a_held_answer_that_fails_over_is_two_attempts(edge: Any, vendors: Any, script: dict[str, bytes]) -> None:
    bad = await vendors.play(script["head"], script["error"], script["end of body"])
    await edge.start({"a": bad, "b": await vendors.play(script["quick"])}, held=True)
    metrics = Metrics()
    status, _ = await edge.call()
    lines = await read(edge, Traffic(metrics))
    assert status == 200
    assert [(line.n, line.target, line.status) for line in lines if isinstance(line, AttemptLine)] == [(1, "a/m", 503), (2, "b/m", 200)]
    place = {"route": "chat", "lane": "passthrough"}
    for name, word in (("a", "transient"), ("b", "ok")):
        assert metrics.value("headgate_attempts_total", **place, provider=name, target=f"{name}/m", **{"class": word}) == 1


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
    lines = await read(edge, Traffic(metrics))
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
    (line,) = await read(edge)
    assert isinstance(line, RequestLine)
    assert (line.status, line.attempts, line.target, line.route, line.flags) == (404, 0, None, None, "NR")
