"""The drills' own judgement: what counts as served, what is seen as an error, and when a promise was missed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from control_plane.demo.drills.answers import AnthropicReading, OpenAIReading, Reading, Verdict
from control_plane.demo.drills.catalogue import DRILLS, named
from control_plane.demo.drills.client import Client, Question, Sample
from control_plane.demo.drills.drill import Breaks, Drill, Promise
from control_plane.demo.drills.figures import Figures, diversions, diverted_after, figures, percentile
from control_plane.demo.drills.report import document, table
from control_plane.demo.drills.traffic import Traffic
from control_plane.demo.simulators import Fault, Pace, Simulator

OPENAI = [
    b'data: {"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"heard: "}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n',
    b"data: [DONE]\n\n",
]
ANTHROPIC = [
    b'event: message_start\ndata: {"type":"message_start","message":{"usage":{}}}\n\n',
    b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"heard: one"}}\n\n',
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2}}\n\n',
    b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
]
OPENAI_ERROR = b'data: {"error":{"message":"gone","type":"server_error","code":"cut"}}\n\n'
ANTHROPIC_ERROR = b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"gone"}}\n\n'


def read(kind: type[Reading], parts: list[bytes], *, complete: bool = True, status: int = 200, size: int = 0) -> Verdict:
    """Feed a stream in pieces of `size` bytes, or as it is."""
    reading = kind(status, "text/event-stream", True)
    data = b"".join(parts)
    for piece in [data[i : i + size] for i in range(0, len(data), size)] if size else parts:
        reading.feed(piece)
    return reading.end(complete=complete, expected="heard: one")[0]


@pytest.mark.parametrize("size", [0, 1, 7])
@pytest.mark.parametrize(
    ("kind", "parts", "error"), [(OpenAIReading, OPENAI, OPENAI_ERROR), (AnthropicReading, ANTHROPIC, ANTHROPIC_ERROR)]
)
def test_only_a_whole_stream_is_ok(kind: type[Reading], parts: list[bytes], error: bytes, size: int) -> None:
    assert read(kind, parts, size=size) is Verdict.OK
    assert read(kind, parts[:-1], size=size) is Verdict.CLEAN
    assert read(kind, [*parts[:-2], parts[-1]], size=size) is Verdict.CLEAN, "a last event without a reason before it"
    assert read(kind, parts, complete=False, size=size) is Verdict.CUT
    assert read(kind, [*parts[:-2], error], size=size) is Verdict.EVENT
    assert read(kind, [*parts[:-2], error], complete=False, size=size) is Verdict.EVENT
    assert read(kind, [parts[0], *parts[-2:]], size=size) is Verdict.UNREADABLE, "another text"
    assert read(kind, [parts[0], b"data: {oops\n\n", *parts[1:]], size=size) is Verdict.UNREADABLE
    assert read(kind, [parts[0], b'data: {"error":"a text"}\n\n'], size=size) in (Verdict.UNREADABLE, Verdict.CLEAN)


def test_errors_must_be_of_the_dialect() -> None:
    def judged(kind: type[Reading], body: bytes) -> Verdict:
        reading = kind(503, "application/json", True)
        reading.feed(body)
        return reading.end(complete=True, expected="x")[0]

    ours, theirs = b'{"error":{"message":"m","type":"t","code":null}}', b'{"type":"error","error":{"type":"t","message":"m"}}'
    assert judged(OpenAIReading, ours) is Verdict.STATUS
    assert judged(AnthropicReading, theirs) is Verdict.STATUS
    assert judged(AnthropicReading, ours) is Verdict.UNREADABLE
    assert judged(OpenAIReading, b"upstream connect error") is Verdict.UNREADABLE


FAULTS: dict[str, tuple[dict[str, Any], Verdict, Verdict]] = {
    "status": ({"mode": "status"}, Verdict.STATUS, Verdict.STATUS),
    "garbage": ({"mode": "garbage"}, Verdict.CLEAN, Verdict.UNREADABLE),
    "empty": ({"mode": "empty"}, Verdict.CLEAN, Verdict.UNREADABLE),
    "html": ({"mode": "html"}, Verdict.UNREADABLE, Verdict.UNREADABLE),
    "reset": ({"mode": "reset"}, Verdict.CUT, Verdict.CUT),
    "refuse": ({"mode": "refuse"}, Verdict.REFUSED, Verdict.REFUSED),
    "black hole": ({"mode": "black_hole"}, Verdict.TIMEOUT, Verdict.TIMEOUT),
    "cut": ({"mode": "cut", "after": 2}, Verdict.CUT, Verdict.CUT),
    "early end": ({"mode": "cut", "after": 2, "how": "clean"}, Verdict.CLEAN, Verdict.UNREADABLE),
    "error inside": ({"mode": "error_event", "after": 2}, Verdict.EVENT, Verdict.UNREADABLE),
}
"""A fault, what a streaming client sees of it, and what one that wants a whole answer sees."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("vendor", ["openai", "anthropic"])
async def test_the_client_sees_what_a_vendor_does(vendor: Any, fault: str) -> None:
    given, streamed, whole = FAULTS[fault]
    model = "gpt-5" if vendor == "openai" else "claude-sonnet-5"
    async with Simulator(vendor, pace=Pace(delay_ms=0)) as simulator:
        client = Client(simulator.url)
        for stream in (True, False):
            sample = await client.ask(Question(vendor, model, stream, "one"))
            assert (sample.verdict, sample.detail) == (Verdict.OK, "")
            assert sample.first_s is not None
            assert sample.first_s <= sample.total_s
        assert simulator.stats.connections == 1, "connections are used again"
        simulator.fault = Fault(**given)
        await asyncio.sleep(0.05)
        for stream, wanted in ((True, streamed), (False, whole)):
            sample = await client.ask(Question(vendor, model, stream, "one"), 0.5)
            assert sample.verdict is wanted, sample
        await simulator.heal()
        assert (await client.ask(Question(vendor, model, True, "one", tokens=40))).verdict is Verdict.OK
        client.close()


QUESTION = Question("openai", "m", True, "w")
STREAMED_TRANSLATED = Question("anthropic", "m", True, "w")


def sample(
    began: float, verdict: Verdict = Verdict.OK, *, attempts: int = 1, first: bool = True, took: float = 0.01, **more: Any
) -> Sample:
    """One answer; `first` says whether the plan's first vendor gave it."""
    target = "one/m" if first else "two/m"
    question = more.pop("question", QUESTION)
    return Sample(question, began, took, took, verdict, more.pop("detail", ""), attempts, target)


def judge(promise: Promise, samples: list[Sample], later: list[Sample] | None = None, **more: Any) -> Figures:
    given: dict[str, Any] = {"began": 0.0, "took_s": 10.0, "return_s": 0.0, "returned_in_time": True, "struck_at": None} | more
    calm = [sample(-1.0) for _ in range(30)]
    return figures(
        Drill("d", "an outage", (), promise),
        calm,
        samples,
        later or [],
        is_first=lambda question, target: target == "one/m",
        translated=lambda question: question is STREAMED_TRANSLATED,
        **given,
    )


def test_what_is_missed_is_said() -> None:
    steady = [sample(i / 10, attempts=2 if i < 5 else 1, first=False) for i in range(100)]
    assert judge(Promise(amplification=1.02, later_p99_ms=50, first_p99_s=1), steady).missed == []
    assert "1 client-visible errors" in judge(Promise(), [*steady, sample(3, Verdict.CUT)]).missed[0]
    assert "1 client-visible errors" in judge(Promise(), steady, [sample(11, Verdict.CUT)]).missed[0], "after it, too"
    late = [sample(i / 10, attempts=2 if i < 25 else 1, first=False) for i in range(100)]
    assert judge(Promise(amplification=1.02), late).missed
    assert judge(Promise(amplification=1.02, seen_after_s=2), late).missed == [], "silence is known after a timer"
    probed = [sample(i / 10, attempts=2 if i % 12 == 0 else 1, took=1 if i % 12 == 0 else 0.01, first=False) for i in range(100)]
    assert judge(Promise(amplification=1.02, later_p99_ms=50), probed).missed == [], "of 90 requests each probe is more than 1 %"
    often = [sample(i / 10, attempts=2 if i % 9 == 0 else 1, took=1 if i % 9 == 0 else 0.01, first=False) for i in range(100)]
    assert len(judge(Promise(amplification=1.02, later_p99_ms=50), often).missed) == 2
    never = [sample(i / 10, attempts=2) for i in range(100)]
    assert judge(Promise(amplification=1.02), never).missed == ["2.0 attempts a request after the first second, promised are 1.02"]
    slow = [sample(i / 10, took=0.2 if i > 50 else 0.01) for i in range(100)]
    assert "190 ms beyond calm" in judge(Promise(later_p99_ms=50), slow).missed[0]
    at_once = [sample(i / 100, took=1.5) for i in range(100)]
    assert "beyond calm, promised is one timer" in judge(Promise(first_p99_s=1), at_once).missed[0]
    assert judge(Promise(), steady, returned_in_time=False).missed == ["the first vendor did not serve again"]


def test_broken_streams_must_end_as_promised() -> None:
    cut, translated = sample(0, Verdict.CUT), sample(0, Verdict.CUT, question=STREAMED_TRANSLATED)
    ends: list[tuple[Breaks, list[Sample]]] = [("event", []), ("event where translated", [cut]), ("event or cut", [cut, translated])]
    for breaks, allowed in ends:
        promise = Promise(None, breaks=breaks)
        assert judge(promise, [sample(0, Verdict.EVENT), sample(1), *allowed]).missed == []
        for other in [one for one in (cut, translated) if one not in allowed]:
            assert judge(promise, [other]).missed == [f"1 answers broke otherwise than with {breaks}"]
        for never in (Verdict.CLEAN, Verdict.TIMEOUT, Verdict.UNREADABLE, Verdict.STATUS):
            assert judge(promise, [sample(0, never)]).missed
    answer = Promise(None, answer="exhausted")
    assert judge(answer, [sample(0, Verdict.STATUS, detail="502 api_error exhausted")], [sample(9)]).missed == [], "well again later"
    assert "2 answers are not exhausted" in judge(answer, [sample(0), sample(1, Verdict.STATUS, detail="401")]).missed[0]


def test_only_translated_streams_in_flight_may_break_with_a_worker() -> None:
    promise = Promise(None, recovery_s=2)
    own = sample(1, Verdict.EVENT, question=STREAMED_TRANSLATED)
    assert judge(promise, [own, sample(2)], struck_at=1.5).missed == []
    assert "began after it" in judge(promise, [own], struck_at=0.5).missed[0]
    assert "beyond error events" in judge(promise, [sample(1, Verdict.EVENT)], struck_at=1.5).missed[0], "not translated"
    assert judge(promise, [sample(1, Verdict.CUT, question=STREAMED_TRANSLATED)], struck_at=1.5).missed == []
    assert "beyond error events" in judge(promise, [sample(1, Verdict.CLEAN, question=STREAMED_TRANSLATED)], struck_at=1.5).missed[0]
    assert "second attempt" in judge(promise, [sample(4, attempts=2)], struck_at=1.5).missed[0]


def test_times_to_divert_and_diversions() -> None:
    samples = [sample(i / 20, attempts=2 if i < 18 else 1, first=False) for i in range(100)]
    assert diverted_after(samples, 0.0) == pytest.approx(0.9, abs=0.11)
    assert diverted_after([sample(i / 20, attempts=2) for i in range(100)], 0.0) is None
    flapping = [sample(i / 20, first=(i // 100) % 2 == 0) for i in range(600)]
    assert diversions(flapping, 0.0, lambda question, target: target == "one/m") == 3
    promise = Promise(diversions_a_minute=2)
    assert judge(promise, flapping, took_s=30).missed == ["3.0 diversions a minute, promised are 2"]
    assert judge(promise, flapping, took_s=120).missed == [], "three in two minutes"
    assert percentile([1.0] * 19, 0.5) is None
    assert percentile([float(i) for i in range(100)], 0.99) == 99.0


async def test_traffic_keeps_its_rate_and_its_limit() -> None:
    async with Simulator("openai", pace=Pace(whole_ms=300)) as simulator:
        client = Client(simulator.url)
        most = 0

        def question(number: int) -> Question:
            nonlocal most
            most = max(most, simulator.stats.in_flight)
            return Question("openai", "gpt-5", False, f"n{number}")

        began = asyncio.get_running_loop().time()
        samples = await Traffic(client, question, 4).ask(12, 1000)
        assert asyncio.get_running_loop().time() - began >= 0.9, "three rounds of four"
        assert most <= 4
        assert [s.verdict for s in samples] == [Verdict.OK] * 12
        began = asyncio.get_running_loop().time()
        await Traffic(client, question, 100).ask(10, 20)
        assert asyncio.get_running_loop().time() - began >= 0.45 + 0.3
        client.close()


def test_the_report_shows_every_figure() -> None:
    found = judge(Promise(), [sample(i / 10, Verdict.CUT if i == 3 else Verdict.OK, detail="why") for i in range(100)])
    text = table([found])
    assert "1 (1 cut)" in text
    assert "MISSED" in text
    assert "d: 1 client-visible errors, promised are 0" in text
    assert json.loads(document([found], "json"))["drills"][0]["verdicts"] == {"cut": 1}
    assert "drill: d" in document([found], "yaml")


def test_names_are_unique_and_found() -> None:
    names = [drill.name for drill in DRILLS]
    assert len(set(names)) == len(names)
    assert named("all") == DRILLS
    assert named("flapping")[0].name == "flapping"
    with pytest.raises(KeyError):
        named("nothing")
