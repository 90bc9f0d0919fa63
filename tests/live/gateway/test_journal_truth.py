"""The journal tells the truth: one line a request, its attempts are what vendors saw, its tokens are what vendors billed."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest

from control_plane.app import probe
from control_plane.demo.simulators import Fault, Simulator
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Reply
from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route

pytestmark = pytest.mark.xdist_group("gateway-truth")
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
        body |= {"max_tokens": 4000, "thinking": {"type": "enabled", "budget_tokens": 2000}}
    if kind == 1:
        tool = {"name": "get_weather", "description": "d"}
        body["tools"] = [{"type": "function", "function": tool | {"parameters": schema}}] if chat else [tool | {"input_schema": schema}]
    if kind == 2 and not chat:
        body["messages"][0]["content"] = [{"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}]
    if chat and streamed and i % 3 == 0:
        body["stream_options"] = {"include_usage": True}
    return "/v1/chat/completions" if chat else "/v1/messages", json.dumps(body).encode()


def lines(rig: Rig) -> list[dict[str, Any]]:
    return [json.loads(line) for line in rig.gateway.places.journal.read_text().splitlines()]


async def settled(rig: Rig, requests: int, after: int = 0) -> list[dict[str, Any]]:
    """The journal's lines once so many request lines are there, and a little later."""
    deadline = time.monotonic() + 5
    while sum(line["log"] == "request" for line in lines(rig)[after:]) < requests and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    await asyncio.sleep(0.2)
    return lines(rig)[after:]


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


def meter(line: dict[str, Any]) -> dict[str, Any]:
    """The usage that counts: the translator's where it served."""
    told = line["translation"] if line["lane"] == "translation" else line
    return {k: int(v) for k, v in ((told or {}).get("usage") or {}).items() if v}


def test_tokens_attempts_and_metrics(rig: Rig, bills: Bills) -> None:
    """All kinds of requests, then all of them again while vendors fail: nothing is missing, doubled or invented."""
    rig.heal()

    before = len(lines(rig))

    async def everything() -> tuple[list[load.Answer], list[dict[str, Any]], dict[str, dict[str, int]]]:
        answers = await load.run(rig.url, 128, 8, made)
        seen: dict[str, dict[str, int]] = {}
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
    requests = {line["id"]: line for line in journal if line["log"] == "request"}
    attempts: dict[str, list[dict[str, Any]]] = {}
    for line in journal:
        if line["log"] == "attempt":
            attempts.setdefault(line["id"], []).append(line)
    print(Counter((a.status, a.body[:200] if a.status >= 400 else b"") for a in answers))
    assert len(answers) == 320
    assert sum(line["log"] == "request" for line in journal) == len(requests) == len(answers), "one line each"
    assert {a.headers["x-headgate-request-id"] for a in answers} == set(requests)
    wrong: list[tuple[Any, ...]] = []
    for answer in answers:
        line = requests[answer.headers["x-headgate-request-id"]]
        tries = attempts.get(line["id"], [])
        if (line["status"], line["attempts"]) != (answer.status, len(tries)):
            wrong.append(("status or attempts", answer.status, line))
        if Counter(t["provider"] for t in tries) != Counter(seen.get(line["id"], {})):
            wrong.append(("vendors", seen.get(line["id"]), tries))
        if [t["n"] for t in tries] != list(range(1, len(tries) + 1)):
            wrong.append(("numbers", 0, tries))
        if answer.status == 200:
            vendor, bill = bills.by_request[line["id"]][-1]
            billed = {k: v for k, v in bill.items() if v}
            if b"overloaded_error" not in answer.body and (vendor != line["provider"] or meter(line) != billed):
                wrong.append((vendor, billed, line))
            told = line["translation"] if line["lane"] == "translation" else line
            broken = b"overloaded_error" in answer.body
            if bool(told["complete"]) is broken or bool(told["stream_error"]) is not broken:
                wrong.append(("complete", broken, line))
    assert not wrong, f"{len(wrong)}: {wrong[:3]}"
    compare(rig, lines(rig))


def note(rig: Rig, seen: dict[str, dict[str, int]]) -> None:
    """Which vendor saw which request how often."""
    for vendor in rig.vendors.values():
        for record in vendor.requests:
            counts = seen.setdefault(record._headers["x-request-id"], {})
            counts[vendor.name] = counts.get(vendor.name, 0) + 1
        vendor.clear()


def compare(rig: Rig, journal: list[dict[str, Any]]) -> None:
    """/metrics says what the journal says."""
    requests = [line for line in journal if line["log"] == "request"]
    by_route = Counter((line["route"] or "other", line["target"] or "none", f"{line['status'] // 100}xx") for line in requests)
    tries = Counter((line["route"], line["target"]) for line in journal if line["log"] == "attempt")
    tokens: Counter[Any] = Counter()
    for line in requests:
        for kind, count in meter(line).items():
            tokens[line["route"], line["target"], kind] += count
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

    async def leave() -> list[dict[str, Any]]:
        before = len(lines(rig))
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
    requests = [line for line in journal if line["log"] == "request"]
    assert len(requests) == len({line["id"] for line in requests}) == 40
    assert {line["flags"] for line in requests} == {"DC"}
    assert sum(line["log"] == "attempt" for line in journal) == 40
    compare(rig, lines(rig))
    found = rig.loop.run(metrics(rig))
    assert total(found, "headgate_requests_total", "outcome")[("cancelled",)] == 40
    assert total(found, "headgate_attempts_total", "class")[("cancelled",)] == 40
    assert total(found, "headgate_incomplete_responses_total", "route") == incomplete


def test_refused_requests_have_a_line_too(rig: Rig) -> None:
    async def ask() -> tuple[list[load.Answer], list[dict[str, Any]]]:
        before = len(lines(rig))
        answers = await load.run(rig.url, 12, 4, lambda i: (load.chat if i % 2 else load.messages)(("nobody", "")[i // 2 % 2]))
        return answers, await settled(rig, 12, before)

    answers, journal = rig.loop.run(ask())
    assert {a.status for a in answers} == {400, 404}
    assert Counter(line["status"] for line in journal) == Counter(a.status for a in answers)
    assert not any(line["target"] or line["attempts"] for line in journal)
    assert {line["model"] for line in journal if line["status"] == 404} == {"nobody"}


# last: the counters start at zero afterwards
def test_a_killed_control_plane_loses_and_doubles_nothing(rig: Rig) -> None:
    """The journal goes on without it; the next one counts what came since the offset on disk, all of it, and no line twice over."""

    async def under_load() -> tuple[int, int, list[load.Answer]]:
        await asyncio.sleep(1.6)  # the offset is on disk: SAVE_S, and then quiet
        before = len(lines(rig))
        child = rig.gateway.children["control-plane"]
        old, work = child.pid, asyncio.create_task(load.run(rig.url, 400, 8, made))
        await asyncio.sleep(0.3)
        at_kill = sum(line["log"] == "request" for line in lines(rig)[before:])
        assert old is not None
        os.kill(old, signal.SIGKILL)
        answers = await work
        host, port = rig.gateway.admin
        for _ in range(400):
            if child.pid not in (None, old) and await probe.answers(f"{host}:{port}", "/healthz"):
                return before, at_kill, answers
            await asyncio.sleep(0.025)
        raise AssertionError("the control plane did not come back")

    rig.heal()
    before, at_kill, answers = rig.loop.run(under_load())
    assert 0 < at_kill < 400, "killed in the middle"
    assert {a.status for a in answers} == {200}
    journal = rig.loop.run(settled(rig, 400, before))
    ids = [line["id"] for line in journal if line["log"] == "request"]
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
