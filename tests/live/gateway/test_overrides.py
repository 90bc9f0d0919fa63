"""On-call overrides with three Envoys at one control plane: nothing fails or is cut while traffic moves, and it comes back by itself."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from control_plane.demo.simulators import Fault
from tests.live.gateway import load
from tests.live.gateway.fleet import Fleet, running, until
from tests.live.gateway.rig import MODELS, route

DRAINS = int(os.environ.get("HEADGATE_DRAINS", "12"))
"""`HEADGATE_DRAINS=100` for a p99 that deserves the name."""

OPENAI, LOCAL, ANTHROPIC = (f"{name}/{MODELS[name]}" for name in ("openai", "local", "anthropic"))


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    routes = route("chat", "openai", "anthropic") + route("pair", "openai:50,local:50", "anthropic") + route("only", "openai")
    with running(routes + route("frail", "openai", "local"), "one", "two", "three") as fleet:
        until(lambda: all(f'"{name}"' in fleet.get("/api/v1/proxies") for name in ("one", "two", "three")), 20)
        until(lambda: fleet.get("/api/v1/proxies").count('"SYNCED"') >= 12 and "STALE" not in fleet.get("/api/v1/proxies"), 20)
        yield fleet


@pytest.fixture(autouse=True)
def clean(fleet: Fleet) -> Iterator[None]:
    """No override outlives its test."""
    yield
    for row in json.loads(fleet.get("/api/v1/overrides"))["items"]:
        api(fleet, "DELETE", f"/api/v1/overrides/{row['id']}", {"author": "test"})


def api(fleet: Fleet, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """What the CLI asks, without the start of an interpreter."""
    connection = http.client.HTTPConnection("127.0.0.1", fleet.admin, timeout=15)
    connection.request(method, path, json.dumps(body), {"content-type": "application/json"})
    answer = connection.getresponse()
    told: dict[str, Any] = json.loads(answer.read())
    connection.close()
    assert answer.status in (200, 201), told
    return told


def make(fleet: Fleet, kind: str, subject: str, **more: Any) -> dict[str, Any]:
    wish = {"kind": kind, "subject": subject, "reason": "INC-1 test", "author": "alice", "key": uuid.uuid4().hex, **more}
    return api(fleet, "POST", "/api/v1/overrides", wish)


class Load:
    """Long streams and short requests on both lanes, until `stop`. Every answer is kept with the time its request began."""

    def __init__(self, fleet: Fleet, model: str = "chat", streams: int = 8, short: int = 2) -> None:
        self._fleet, self._model, self._streams, self._short = fleet, model, streams, short
        self.answers: list[tuple[float, load.Answer]] = []
        self._stop = False

    def __enter__(self) -> Load:
        self._running = self._fleet.loop.start(self._run())
        time.sleep(0.5)
        return self

    def __exit__(self, *_: object) -> None:
        self._stop = True
        self._running.result(60)

    async def _run(self) -> None:
        async def stream(number: int, text: str) -> None:
            client = load.Client(self._fleet.url)
            while not self._stop:
                began = time.monotonic()
                ask = load.chat if number % 2 else load.messages
                self.answers.append((began, await client.post(*ask(self._model, stream=True, text=text))))
                await asyncio.sleep(0.02)  # the machine is to be busy, not full: acks are timed
            client.close()

        long = (stream(number, "hello [[sim tokens=80 delay_ms=10]]") for number in range(self._streams))
        await asyncio.gather(*long, *(stream(number, "hello") for number in range(self._short)))

    def wrong(self) -> list[str]:
        return [problem for _, answer in self.answers if (problem := load.served(answer))]

    def targets(self, since: float, until: float = float("inf")) -> set[str]:
        """Who answered what began in that time."""
        return {answer.headers.get("x-headgate-target", "?") for began, answer in self.answers if since <= began < until}


def test_drains_under_streaming_load(fleet: Fleet) -> None:
    """No error, no cut stream; acknowledged by all three within a second; nothing that begins afterwards goes there."""
    took, out = [], []
    with Load(fleet) as traffic:
        for _ in range(DRAINS):
            made = make(fleet, "drain", "provider/openai", for_s=60, force=True)
            began = time.monotonic()
            assert (made["published"]["acked"], made["published"]["nodes"], made["published"]["accepted"]) == (3, 3, True)
            took.append(made["published"]["seconds"])
            time.sleep(0.4)
            out.append((began, time.monotonic()))
            back = api(fleet, "DELETE", f"/api/v1/overrides/{made['override']['id']}", {"author": "bob"})
            assert back["published"]["acked"] == 3
            took.append(back["published"]["seconds"])
            time.sleep(0.4)
    assert not traffic.wrong(), f"{len(traffic.wrong())} of {len(traffic.answers)}: {traffic.wrong()[:3]}"
    for began, ended in out:
        assert traffic.targets(began, ended) <= {ANTHROPIC}
    assert {a.headers["x-headgate-target"] for _, a in traffic.answers} == {OPENAI, ANTHROPIC}
    crossing = [a for at, a in traffic.answers if a.headers["x-headgate-target"] == OPENAI and any(at < b < at + a.seconds for b, _ in out)]
    assert len(crossing) >= DRAINS // 2, "streams were under way when their target was drained"
    ordered = sorted(took)
    p99 = ordered[max(0, round(len(ordered) * 0.99) - 1)]
    print(f"{len(traffic.answers)} answers; asked -> acked by 3/3: p50 {statistics.median(took):.3f} s, p99 {p99:.3f} s of {len(took)}")
    assert statistics.median(took) <= 0.5
    assert ordered[round(len(ordered) * 0.9) - 1] <= 1.0  # the promise is p99, on a machine of its own: the suite shares two cores
    assert p99 <= 1.0 or DRAINS < 100


def test_a_drain_returns_by_itself_in_steps(fleet: Fleet) -> None:
    with Load(fleet) as traffic:
        made = make(fleet, "drain", "target/" + OPENAI, for_s=1, step_s=1.5, route="chat")
        began, name = time.monotonic(), made["override"]["id"]
        states: list[tuple[str, int]] = []

        def over() -> bool:
            row = json.loads(fleet.get(f"/api/v1/overrides/{name}"))["override"]
            if (row["state"], row["percent"]) not in states:
                states.append((row["state"], row["percent"]))
            return bool(row["state"] == "expired")

        until(over, 15)
        ended = time.monotonic()
        time.sleep(1)
    assert not traffic.wrong(), traffic.wrong()[:3]
    assert [state for state in states if state[0] != "expired"] == [("active", 0), ("returning", 5), ("returning", 25)]
    assert 3 <= ended - began <= 9
    assert traffic.targets(began, began + 0.8) == {ANTHROPIC}
    assert traffic.targets(ended + 0.4) == {OPENAI}
    steps = [(e["what"], e.get("percent"), e["who"]) for e in json.loads(fleet.get(f"/api/v1/overrides/{name}"))["events"]]
    assert [step for step in steps if step[0] not in ("published", "effect")] == [
        ("created", None, "alice"),
        ("returning", 5, "headgate"),
        ("returning", 25, "headgate"),
        ("ended", None, "headgate"),
    ]
    acks = [e for e in json.loads(fleet.get(f"/api/v1/overrides/{name}"))["events"] if e["what"] == "published"]
    assert all(ack["acked"] == 3 for ack in acks)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_survives_a_restart_in_the_middle(fleet: Fleet, number: int) -> None:
    """The control plane goes at once after the answer: what is drained stays so, also for an Envoy that starts afresh, and returns."""
    with Load(fleet) as traffic:
        made = make(fleet, "drain", "provider/openai", for_s=25, step_s=0, force=True)
        began, name = time.monotonic(), made["override"]["id"]
        fleet.stop("control-plane", number)
        fleet.stop("three")
        fleet.control_plane()
        fleet.envoy("three")
        until(lambda: '"three"' in fleet.get("/api/v1/proxies"), 20, lambda: fleet.output("control-plane"))
        (row,) = json.loads(fleet.get("/api/v1/overrides"))["items"]
        assert (row["id"], row["state"], row["author"]) == (name, "active", "alice")
        still = time.monotonic()
        assert still - began < 24, "too slow a machine to see it"
        until(lambda: not json.loads(fleet.get("/api/v1/overrides"))["items"], 30)
        ended = time.monotonic()
        time.sleep(1)
    # Connections to the Envoy that was stopped ended with it: 1 s of drain is less than what some streams take.
    gone = [a for _, a in traffic.answers if not a.clean]
    assert len(gone) <= 16
    assert [w for _, a in traffic.answers if a.clean and (w := load.served(a))] == []
    assert traffic.targets(began, still) <= {ANTHROPIC, "?"}
    assert OPENAI in traffic.targets(ended + 0.4)


def test_weights_are_in_force_within_250_ms(fleet: Fleet) -> None:
    took = []
    with Load(fleet, "pair", streams=4, short=2) as traffic:
        client = load.Client(fleet.url)
        for turn in range(10):
            wanted, other = (OPENAI, LOCAL) if turn % 2 else (LOCAL, OPENAI)
            began = time.monotonic()
            make(fleet, "weight", "route/pair", weights={wanted: 1, other: 0}, replace=True)
            while True:
                answer = fleet.loop.run(client.post(*load.chat("pair")))
                if answer.headers.get("x-headgate-target") == wanted:
                    break
                assert time.monotonic() - began < 5
            took.append(time.monotonic() - began)
        client.close()
        since = time.monotonic()
        time.sleep(0.5)
    assert not traffic.wrong(), traffic.wrong()[:3]
    assert traffic.targets(since) == {OPENAI}
    print(f"asked -> first request on the new weights: p50 {statistics.median(took) * 1e3:.0f} ms, max {max(took) * 1e3:.0f} ms")
    assert statistics.median(took) <= 0.25


CLOSED: list[tuple[str, str, dict[str, Any], Callable[[dict[str, Any]], object]]] = [
    ("openai-chat", "/v1/chat/completions", {"model": "only", "messages": []}, lambda b: b["error"]["code"]),
    ("openai-responses", "/v1/responses", {"model": "only", "input": "hello"}, lambda b: b["error"]["code"]),
    ("anthropic-messages", "/v1/messages", {"model": "only", "max_tokens": 5, "messages": []}, lambda b: b["error"]["type"]),
    ("gemini", "/v1beta/models/only:generateContent", {"contents": []}, lambda b: b["error"]["status"]),
    ("bedrock", "/model/only/converse", {"messages": []}, lambda b: b["message"]),
    ("cohere", "/v2/chat", {"model": "only", "messages": []}, lambda b: b["message"]),
]


def test_the_last_target_stays_unless_forced(fleet: Fleet) -> None:
    """Refused with the reason; forced, every dialect gets a 503 in its own words with Retry-After, and the record says so."""
    refused = fleet.headgate("drain", "provider/openai", "--reason", "test")
    assert refused.returncode == 1
    assert "route only would have no target left" in refused.stdout
    assert "refused" in refused.stderr
    assert "--force" in refused.stderr
    tried = fleet.headgate("drain", "provider/openai", "--reason", "test", "--dry-run")
    assert tried.returncode == 2
    assert "would be refused without --force; nothing was changed" in tried.stdout
    assert json.loads(fleet.get("/api/v1/overrides"))["items"] == []
    done = fleet.headgate("cordon", "provider/openai", "--route", "only", "--reason", "test", "--for", "5m", "--force", "-o", "json")
    assert done.returncode == 0, done.stderr
    name = json.loads(done.stdout)["override"]["id"]
    said = {}
    for dialect, path, body, word in CLOSED:
        request = (path, json.dumps(body).encode())
        (answer,) = fleet.loop.run(load.run(fleet.url, 1, 1, lambda _, request=request: request))  # type: ignore[misc]
        assert (answer.status, answer.headers.get("retry-after")) == (503, "30"), (dialect, answer)
        assert b"taken out of traffic by an operator" in answer.body, (dialect, answer.body)
        said[dialect] = word(json.loads(answer.body))
    assert said["openai-chat"] == said["openai-responses"] == "no_target_in_traffic"
    assert said["anthropic-messages"] == "overloaded_error"
    assert said["gemini"] == "UNAVAILABLE"
    fleet.ask(6, 3, lambda i: load.chat("chat"))
    created = json.loads(fleet.get(f"/api/v1/overrides/{name}"))["events"][0]
    assert created["wish"]["forced"] is True
    assert [check["ok"] for check in created["checks"] if check["rule"] == "targets_left"] == [False]
    assert created["after"] == {"only": []}
    back = fleet.headgate("uncordon", "provider/openai", "--route", "only", "--reason", "done")
    assert back.returncode == 0, back.stderr
    fleet.ask(3, 3, lambda i: load.chat("only"))


def test_the_last_healthy_target_stays(fleet: Fleet) -> None:
    """What is left must be able to serve: a vendor that fails is no reason to drain the one that does not."""

    async def fail() -> None:
        fleet.vendors["local"].fault = Fault(mode="status", status=503)

    weighed = make(fleet, "weight", "route/pair", weights={LOCAL: 1000, OPENAI: 1})
    fleet.loop.run(fail())
    try:
        wish = ("drain", "target/" + OPENAI, "--route", "frail", "--reason", "test", "--dry-run")

        def refused() -> bool:
            answers = fleet.loop.run(load.run(fleet.url, 30, 4, lambda _: load.chat("pair")))
            assert {a.status for a in answers} == {200}
            return fleet.headgate(*wish).returncode == 2

        until(refused, 20)
        assert f"route frail would keep no healthy target ({LOCAL}: " in fleet.headgate(*wish).stdout
    finally:
        fleet.loop.run(fleet.vendors["local"].heal())
        api(fleet, "DELETE", f"/api/v1/overrides/{weighed['override']['id']}", {"author": "test"})


def test_what_an_operator_sees(fleet: Fleet) -> None:
    with Load(fleet, streams=0, short=2) as traffic:
        time.sleep(2.5)
        done = fleet.headgate("drain", "target/" + OPENAI, "--route", "chat", "--for", "30m", "--reason", "INC-4312 5xx", "--watch", "4s")
        assert done.returncode == 0, done.stderr
        safety, *_, applied, effect, ends = done.stdout.splitlines()
        assert "√ every affected route keeps ≥ 1 healthy target" in safety
        assert "acked by 3/3 Envoys in 0." in applied
        assert re.search(
            rf"t\+4s +{OPENAI} [0-9]+ % → [0-9] % of traffic   success [0-9.]+ % → 100.0 %   p95 TTFT [0-9.]+ m?s → ", effect
        ), effect
        assert "then returns in steps 5→25→100 % if healthy. Undo now: headgate undo ov-" in ends
        name = ends.split()[-1]
        again = fleet.headgate("drain", "target/" + OPENAI, "--route", "chat", "--reason", "me too")
        assert (again.returncode, f"has one already: {name} by" in again.stderr) == (1, True), again.stderr
        listed = fleet.headgate("get", "overrides").stdout.splitlines()
        assert [line.split()[0] for line in listed] == ["ID", name]
        typo = fleet.headgate("drain", "provider/opnai", "--reason", "x")
        assert (typo.returncode, 'did you mean "openai"?' in typo.stderr) == (2, True)
        assert fleet.headgate("undo", name).returncode == 0
        twice = fleet.headgate("undo", name)
        assert (twice.returncode, "was undone by" in twice.stdout) == (0, True), twice
        assert "no override is in force" in fleet.headgate("get", "overrides").stdout
        assert name in fleet.headgate("get", "overrides", "--all").stdout
        assert "INC-4312 5xx" in fleet.headgate("get", "audit").stdout
    assert not traffic.wrong()


def test_names_that_vanish_are_kept_and_shown(fleet: Fleet) -> None:
    specs = fleet.folder / "gateway.yaml"
    written = specs.read_text()
    specs.write_text(written + route("guest", "local", "openai"))
    until(lambda: fleet.loop.run(load.run(fleet.url, 1, 1, lambda _: load.chat("guest")))[0].status == 200, 10)
    name = make(fleet, "drain", "target/" + LOCAL, route="guest")["override"]["id"]
    specs.write_text(written)
    until(lambda: f"{name} names what no plan has: target/{LOCAL} on route/guest" in fleet.headgate("get", "overrides").stdout, 10)
    specs.write_text(written + route("guest", "local", "openai"))
    until(lambda: fleet.loop.run(load.run(fleet.url, 1, 1, lambda _: load.chat("guest")))[0].status == 200, 10)
    answers = fleet.ask(6, 3, lambda _: load.chat("guest"))
    assert {a.headers["x-headgate-target"] for a in answers} == {OPENAI}
    specs.write_text(written)
