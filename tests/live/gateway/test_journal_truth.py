"""The journal tells the truth: one line a request, its attempts are what vendors saw, its tokens are what vendors billed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest

from control_plane.demo.simulators import Fault, Simulator
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Reply
from control_plane.kit import probe
from control_plane.signals.classify import Outcome, outcome
from control_plane.signals.lines import AttemptLine, Line, RequestLine, decode
from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route

Usage = dict[str, int]
KINDS = ("input", "cached", "cache_write", "output", "reasoning")


@dataclass
class Bills:
    """What the vendors billed, by request id and vendor, in the order of the answers."""

    by_request: dict[str, list[tuple[str, Usage]]] = field(default_factory=dict)

    def watch(self, vendor: Simulator) -> None:
        """Note the usage in every answer that this vendor composes."""
        answer = vendor._wire.answer

        def noted(request: HttpRequest) -> Reply:
            reply = answer(request)
            if reply.status == 200 and "x-request-id" in request.headers:
                bill = (vendor.name, usage_of(reply, vendor.vendor))
                self.by_request.setdefault(request.headers["x-request-id"], []).append(bill)
            return reply

        vendor._wire.answer = noted  # type: ignore[method-assign]


def usage_of(reply: Reply, vendor: str) -> Usage:
    """The usage that stands in an answer, whole or streamed."""
    found: dict[str, Any] = {}
    documents = [json.loads(reply.body)] if reply.events is None else [json.loads(d) for e, _ in reply.events for d in _data(e)]
    for document in documents:
        found |= document.get("usage") or document.get("message", {}).get("usage") or {}
    if vendor == "openai":
        details, more = found.get("prompt_tokens_details", {}), found.get("completion_tokens_details", {})
        return {
            "input": found.get("prompt_tokens", 0),
            "output": found.get("completion_tokens", 0),
            "cached": details.get("cached_tokens", 0),
            "reasoning": more.get("reasoning_tokens", 0),
            "cache_write": 0,
        }
    read, written = found.get("cache_read_input_tokens", 0), found.get("cache_creation_input_tokens", 0)
    return {
        "input": found.get("input_tokens", 0) + read + written,
        "output": found.get("output_tokens", 0),
        "cached": read,
        "cache_write": written,
        "reasoning": found.get("output_tokens_details", {}).get("thinking_tokens", 0),
    }


def _data(event: bytes) -> list[str]:
    return [line[6:] for line in event.decode().splitlines() if line.startswith("data: {")]


@pytest.fixture(scope="module")
def bills() -> Bills:
    return Bills()


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory, bills: Bills) -> Rig:
    rig = make_rig(
        route("via-openai", "openai")
        + route("via-anthropic", "anthropic")
        + route("openai-first", "openai", "anthropic", "local", hold=True)
        + route("anthropic-first", "anthropic", "openai", hold=True)
    )
    for vendor in rig.vendors.values():
        bills.watch(vendor)
    return rig


@pytest.fixture(autouse=True)
def healthy(rig: Rig) -> None:
    rig.heal()


MODELS = ("via-openai", "via-anthropic", "openai-first", "anthropic-first")
LONG = "remember this. " * 700
"""Long enough for the vendors' prompt caches (1,024 tokens)."""


def made(i: int) -> tuple[str, bytes]:
    """Request number i: dialect, route, streamed or whole, and what it asks for, all combinations."""
    model, streamed, chat = MODELS[i % 4], i // 4 % 2 == 0, i // 8 % 2 == 0
    kind = i // 16 % 4
    text = ("hello [[sim tokens=37 reasoning=11]]", "call get_weather now", f"{LONG}{i % 3}", "hello")[kind]
    body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "stream": streamed}
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    if not chat:
        body["max_tokens"] = 400
    if kind == 0 and not chat and model == "via-anthropic":
        body |= {"max_tokens": 4000, "thinking": {"type": "adaptive"}}
    if kind == 1:
        tool = {"name": "get_weather", "description": "d"}
        body["tools"] = [{"type": "function", "function": tool | {"parameters": schema}}] if chat else [tool | {"input_schema": schema}]
    if kind == 2 and not chat:
        body["messages"][0]["content"] = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
    if chat and streamed and i % 3 == 0:
        body["stream_options"] = {"include_usage": True}
    return "/v1/chat/completions" if chat else "/v1/messages", json.dumps(body).encode()


def lines(rig: Rig, since: datetime | None = None) -> list[Line]:
    """The journal, as the product reads it; `since`: of what began after that (lines come late, so their number tells nothing)."""
    found = [decode(line) for line in rig.gateway.places.journal.read_bytes().splitlines()]
    return [line for line in found if since is None or line.start >= since]


def requests_in(journal: list[Line]) -> list[RequestLine]:
    return [line for line in journal if isinstance(line, RequestLine)]


def attempts_in(journal: list[Line]) -> dict[str, list[str | None]]:
    """Providers of the attempts, by request. A first attempt that went well has no line: its request's says all of it."""
    found: dict[str, dict[int | None, str | None]] = {}
    for line in journal:
        if isinstance(line, AttemptLine):
            numbers = found.setdefault(line.id, {})
            assert line.n not in numbers, f"attempt {line.n} of {line.id} twice"
            numbers[line.n] = line.provider
    for request in requests_in(journal):
        if request.attempts == 1:
            found.setdefault(request.id, {}).setdefault(1, request.provider)
    for numbers in found.values():
        assert sorted(n or 0 for n in numbers) == list(range(1, len(numbers) + 1))
    return {name: list(numbers.values()) for name, numbers in found.items()}


async def settled(rig: Rig, requests: int, since: datetime) -> list[Line]:
    """The journal's lines once so many request lines are there, and a little later."""
    deadline = time.monotonic() + 5
    while len(requests_in(lines(rig, since))) < requests and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    return lines(rig, since)


async def metrics(rig: Rig) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """/metrics: (name, labels) to value."""
    host, port = rig.gateway.admin
    _, text = await probe.http(f"{host}:{port}", "GET", "/metrics")
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            name, _, labels = name.partition("{")
            pairs = [part.partition("=") for part in labels.rstrip("}").split('",') if part]
            found[name, tuple((k, v.strip('"')) for k, _, v in pairs)] = float(value)
    return found


def total(found: dict[tuple[str, tuple[tuple[str, str], ...]], float], name: str, *by: str) -> Counter[Any]:
    """Sums of one metric by some of its labels."""
    sums: Counter[Any] = Counter()
    for (metric, labels), value in found.items():
        if metric == name and value:
            values = dict(labels)
            sums[tuple(values[k] for k in by)] += round(value)
    return sums


def metered(line: RequestLine) -> Usage:
    usage = line.meter().usage
    return {kind: count for kind in KINDS if usage is not None and (count := getattr(usage, kind))}


def test_tokens_attempts_and_metrics(rig: Rig, bills: Bills) -> None:
    """All kinds of requests, then all of them again while vendors fail: nothing is missing, doubled or invented."""
    rig.heal()

    before = datetime.now(UTC)

    async def everything() -> tuple[list[load.Answer], list[Line], dict[str, Counter[str | None]]]:
        answers = await load.run(rig.url, 128, 8, made)
        seen: dict[str, Counter[str | None]] = {}
        note(rig, seen)
        for broken, fault in (
            ("openai", Fault(mode="status", status=529)),
            ("anthropic", Fault(mode="error_event")),
            ("openai", Fault(mode="status", status=429)),
        ):
            rig.vendors["openai"].fault = rig.vendors["anthropic"].fault = None
            rig.vendors[broken].fault = fault
            answers += await load.run(rig.url, 64, 8, made)
            note(rig, seen)
        rig.vendors["openai"].fault = rig.vendors["anthropic"].fault = None
        return answers, await settled(rig, len(answers), before), seen

    answers, journal, seen = rig.loop.run(everything(), timeout=60)
    requests = {line.id: line for line in requests_in(journal)}
    attempts = attempts_in(journal)
    assert len(answers) == 320
    assert len(requests_in(journal)) == len(requests) == len(answers), "one line each"
    assert {a.headers["x-headgate-request-id"] for a in answers} == set(requests)
    wrong: list[tuple[Any, ...]] = []
    for answer in answers:
        line = requests[answer.headers["x-headgate-request-id"]]
        tries = attempts.get(line.id, [])
        if (line.status, line.attempts) != (answer.status, len(tries)):
            wrong.append(("status or attempts", answer.status, line))
        if Counter(tries) != seen[line.id]:
            wrong.append(("vendors", seen[line.id], tries, line))
        broken = b"event: error" in answer.body or b'data: {"error"' in answer.body
        if answer.body.startswith(b'{"type":"error"') and answer.status == 200:
            continue  # its own test below
        told = line.meter()
        if answer.status == 200 and (told.complete is broken or (told.stream_error is not None) is not broken):
            wrong.append(("complete", broken, line))
        if answer.status == 200 and not broken:
            vendor, bill = bills.by_request[line.id][-1]
            billed = {k: v for k, v in bill.items() if v}
            if vendor != line.provider or metered(line) != billed:
                wrong.append((vendor, billed, line))
    assert not wrong, f"{len(wrong)}: {[w for i, w in enumerate(wrong) if w[:2] not in [x[:2] for x in wrong[:i]]]}"
    assert {a.status for a in answers} == {200, 429, 500, 529}
    assert {kind for line in requests.values() for kind in metered(line)} == set(KINDS), "every kind of token was used"
    compare(rig, lines(rig))


def test_an_error_in_a_whole_200_is_no_success(rig: Rig) -> None:
    for dialect, vendor in (("chat", "openai"), ("messages", "anthropic")):
        rig.heal()
        rig.break_vendor(vendor, mode="error_event")
        before = datetime.now(UTC)
        (answer,) = rig.loop.run(load.run(rig.url, 1, 1, lambda _, d=dialect, v=vendor: getattr(load, d)(f"via-{v}")))  # type: ignore[misc]
        assert answer.status == 200
        assert b'"error"' in answer.body
        (line,) = requests_in(rig.loop.run(settled(rig, 1, before)))
        assert line.meter().stream_error
        assert outcome(line) is not Outcome.OK


def note(rig: Rig, seen: dict[str, Counter[str | None]]) -> None:
    """Which vendor saw which request how often."""
    for vendor in rig.vendors.values():
        for record in vendor.requests:
            seen.setdefault(record._headers["x-request-id"], Counter())[vendor.name] += 1
        vendor.clear()


def compare(rig: Rig, journal: list[Line]) -> None:
    """/metrics says what the journal says."""
    requests = requests_in(journal)
    by_route = Counter(
        (line.route or "other", line.target or "none", f"{line.status // 100}xx" if line.status else "none") for line in requests
    )
    tries: Counter[Any] = Counter()
    for line in journal:
        if isinstance(line, AttemptLine):
            tries[line.route, line.target] += 1
    logged = {line.id for line in journal if isinstance(line, AttemptLine)}
    for request in requests:
        if request.attempts == 1 and request.id not in logged:
            tries[request.route, request.target] += 1
    tokens: Counter[Any] = Counter()
    for request in requests:
        for kind, count in metered(request).items():
            tokens[request.route, request.target, kind] += count
    deadline = time.monotonic() + 5
    while True:
        found = rig.loop.run(metrics(rig))
        try:
            assert total(found, "headgate_requests_total", "route", "target", "status_class") == by_route
            assert total(found, "headgate_attempts_total", "route", "target") == tries
            assert total(found, "headgate_tokens_total", "route", "target", "type") == tokens
            break
        except AssertionError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
    assert total(found, "headgate_journal_skipped_lines_total", "reason") == Counter()


def test_clients_that_leave_are_counted_once(rig: Rig) -> None:
    incomplete = total(rig.loop.run(metrics(rig)), "headgate_incomplete_responses_total", "route")

    async def leave() -> list[Line]:
        before = datetime.now(UTC)
        parts = urlsplit(rig.url)

        async def one(i: int) -> None:
            make = load.chat if i % 2 else load.messages
            path, body = make(MODELS[i // 2 % 4], True, "hello [[sim tokens=200 delay_ms=10]]")
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            length = f"content-length: {len(body)}\r\n\r\n"
            writer.write(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n{length}".encode() + body)
            await reader.readuntil(b"data: ")
            writer.close()

        await asyncio.gather(*(one(i) for i in range(40)))
        return await settled(rig, 40, before)

    journal = rig.loop.run(leave())
    requests = requests_in(journal)
    assert len(requests) == len({line.id for line in requests}) == 40
    assert {line.flags for line in requests} == {"DC"}
    assert sum(map(len, attempts_in(journal).values())) == 40
    compare(rig, lines(rig))
    found = rig.loop.run(metrics(rig))
    assert total(found, "headgate_requests_total", "outcome")[("cancelled",)] == 40
    assert total(found, "headgate_attempts_total", "class")[("cancelled",)] == 40
    assert total(found, "headgate_incomplete_responses_total", "route") == incomplete


def test_refused_requests_have_a_line_too(rig: Rig) -> None:
    async def ask() -> tuple[list[load.Answer], list[Line]]:
        before = datetime.now(UTC)
        answers = await load.run(rig.url, 12, 4, lambda i: (load.chat if i % 2 else load.messages)(("nobody", "")[i // 2 % 2]))
        return answers, await settled(rig, 12, before)

    answers, journal = rig.loop.run(ask())
    assert {a.status for a in answers} == {400, 404}
    requests = requests_in(journal)
    assert Counter(line.status for line in requests) == Counter(a.status for a in answers)
    assert len(journal) == 12
    assert not any(line.target or line.attempts for line in requests)
    assert {line.model for line in requests if line.status == 404} == {"nobody"}
    compare(rig, lines(rig))


# last: the counters start at zero afterwards
def test_a_killed_control_plane_loses_and_doubles_nothing(rig: Rig) -> None:
    """The journal goes on without it; the next one counts what came since the offset on disk, all of it, and no line twice over."""

    async def under_load() -> tuple[datetime, int, list[load.Answer]]:
        await asyncio.sleep(1.6)  # the offset is on disk: SAVE_S, and then quiet
        before = datetime.now(UTC)
        child = rig.gateway.children["control-plane"]
        old, work = child.pid, asyncio.create_task(load.run(rig.url, 400, 8, made))
        await asyncio.sleep(0.3)
        at_kill = len(requests_in(lines(rig, before)))
        assert old is not None
        os.kill(old, signal.SIGKILL)
        answers = await work
        host, port = rig.gateway.admin
        for _ in range(400):
            if child.pid not in (None, old) and await probe.answers(f"{host}:{port}", "/healthz"):
                return before, at_kill, answers
            await asyncio.sleep(0.025)
        raise AssertionError("the control plane did not come back")

    before, at_kill, answers = rig.loop.run(under_load())
    assert 0 < at_kill < 400, "killed in the middle"
    assert {a.status for a in answers} == {200}
    journal = rig.loop.run(settled(rig, 400, before))
    ids = [line.id for line in requests_in(journal)]
    assert Counter(ids) == Counter(a.headers["x-headgate-request-id"] for a in answers)
    # What had been counted before the kill and was not yet on disk is counted again: at most what came in SAVE_S.
    deadline = time.monotonic() + 5
    while True:
        counted = sum(total(rig.loop.run(metrics(rig)), "headgate_requests_total", "route").values())
        if counted >= 400 - at_kill and time.monotonic() > deadline - 4:
            break
        assert time.monotonic() < deadline, counted
        time.sleep(0.1)
    assert 400 - at_kill <= counted <= 400
    found = rig.loop.run(metrics(rig))
    assert total(found, "headgate_journal_events_total", "reason").keys() <= {("rotated",)}
