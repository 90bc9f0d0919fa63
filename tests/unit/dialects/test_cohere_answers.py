"""Answers in Cohere's dialect: what a provider's means, and what its clients get."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.registry import DIALECTS
from control_plane.kit.errors import ProviderProtocolError

C = canon
NAME = "cohere-chat"
COHERE = DIALECTS[NAME]

START = {"id": "i", "type": "message-start", "delta": {"message": {"role": "assistant", "content": [], "tool_calls": []}}}
USAGE = {
    "billed_units": {"input_tokens": 8, "output_tokens": 4},
    "tokens": {"input_tokens": 503, "output_tokens": 11, "reasoning_tokens": 3},
    "cached_tokens": 448,
}
COUNTS = C.UsageUpdate(C.Usage(503, 448, None, 11, 3))
CITED = {
    "start": 2,
    "end": 5,
    "text": "abc",
    "sources": [{"type": "tool", "id": "t"}, {"type": "document", "id": "d", "document": {"id": "d", "url": "https://x", "title": "T"}}],
    "type": "TEXT_CONTENT",
}


def block(kind: str, index: int, **content: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": {"content": content}}}


def end(reason: str = "COMPLETE", **more: Any) -> dict[str, Any]:
    return {"type": "message-end", "delta": {"finish_reason": reason, "usage": USAGE, **more}}


def call(kind: str, index: int, **wire: Any) -> dict[str, Any]:
    return {"type": kind, "index": index, "delta": {"message": {"tool_calls": wire}}}


def read(events: list[dict[str, Any]], done: bool = True) -> list[C.Event]:
    body = b"".join(b"event: %b\ndata: %b\n\n" % (e["type"].encode(), json.dumps(e).encode()) for e in events)
    return feed(body + (b"data: [DONE]\n\n" if done else b""), True)


def feed(body: bytes, stream: bool) -> list[C.Event]:
    reader = COHERE.reader(C.Request(dialect="openai-chat", model="m", messages=(), stream=stream))
    reader.start(200, "text/event-stream" if stream else "application/json")
    events = reader.feed(body)
    return events + reader.finish()


def whole(**fields: Any) -> list[C.Event]:
    document = {"id": "i", "message": {"role": "assistant"}, "finish_reason": "COMPLETE", "usage": USAGE, **fields}
    return feed(json.dumps(document).encode(), False)


# ------------------------------------------------------------------------------------------------------------ reading


@pytest.mark.parametrize("done", [True, False])
def test_a_stream(done: bool) -> None:
    events = read(
        [
            START,
            block("content-start", 0, type="thinking", thinking=""),
            block("content-delta", 0, thinking="hm"),
            {"type": "content-end", "index": 0},
            block("content-start", 1, type="text", text=""),
            {**block("content-delta", 1, text="abc"), "logprobs": {"text": "abc", "token_ids": [1, 2], "logprobs": [-0.5, -0.25]}},
            {"type": "content-end", "index": 1},
            {"type": "citation-start", "index": 0, "delta": {"message": {"citations": CITED}}},
            {"type": "citation-end", "index": 0},
            {"type": "debug", "prompt": "p"},
            end(),
        ],
        done,
    )
    token = {"token": "abc", "logprob": -0.75, "bytes": [97, 98, 99], "top_logprobs": []}
    assert events == [
        C.Start("i"),
        C.ReasoningDelta("hm"),
        C.TextDelta("abc"),
        C.Logprobs((token,)),
        C.Citation(NAME, CITED, "https://x", "T", "abc", 2, 5),
        COUNTS,
        C.Stop("end", "COMPLETE"),
        C.End(),
    ]


def test_a_plan_and_calls_in_a_stream() -> None:
    events = read(
        [
            START,
            {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": "I"}}},
            {"type": "tool-plan-delta", "delta": {"message": {"tool_plan": " will"}}},
            call("tool-call-start", 0, id="a", type="function", function={"name": "f", "arguments": ""}),
            call("tool-call-delta", 0, function={"arguments": '{"x":'}),
            call("tool-call-delta", 0, function={"arguments": "1}"}),
            {"type": "tool-call-end", "index": 0},
            call("tool-call-start", 1, id="b", type="function", function={"name": "g"}),
            {"type": "tool-call-end", "index": 1},
            end("TOOL_CALL"),
        ]
    )
    assert events == [
        C.Start("i"),
        C.ReasoningDelta("I"),
        C.ReasoningDelta(" will"),
        C.ToolCallStart(0, "a", "f"),
        C.ToolArgumentsDelta(0, '{"x":'),
        C.ToolArgumentsDelta(0, "1}"),
        C.ToolCallEnd(0),
        C.ToolCallStart(1, "b", "g"),
        C.ToolCallEnd(1),
        COUNTS,
        C.Stop("tool_use", "TOOL_CALL"),
        C.End(),
    ]


def test_a_whole_answer() -> None:
    message = {
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "abc"}, {"type": "text", "text": "d"}],
        "tool_plan": "I will.",
        "tool_calls": [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        "citations": [CITED, {**CITED, "type": "PLAN"}],
    }
    events = whole(message=message, finish_reason="TOOL_CALL")
    assert events == [
        C.Start("i"),
        C.ReasoningDelta("hm"),
        C.TextDelta("abc"),
        C.PartBreak(),
        C.TextDelta("d"),
        C.ReasoningDelta("I will."),
        C.Citation(NAME, CITED, "https://x", "T", "abc", 2, 5),
        C.Citation(NAME, {**CITED, "type": "PLAN"}, None, None, "abc", 2, 5),
        C.ToolCallStart(0, "a", "f"),
        C.ToolArgumentsDelta(0, "{}"),
        C.ToolCallEnd(0),
        COUNTS,
        C.Stop("tool_use", "TOOL_CALL"),
        C.End(),
    ]


@pytest.mark.parametrize(
    ("wire", "usage"),
    [
        (USAGE, C.Usage(503, 448, None, 11, 3)),
        ({"billed_units": {"input_tokens": 8, "output_tokens": 4}}, C.Usage(8, None, None, 4)),
        (
            {"billed_units": {"input_tokens": 267}, "tokens": {"input_tokens": 34, "output_tokens": 56, "image_tokens": 259}},
            C.Usage(293, None, None, 56),
        ),
        ({"tokens": {"input_tokens": 34.0, "output_tokens": -1, "image_tokens": 3}}, C.Usage(34)),
        ({}, C.Usage()),
    ],
)
def test_usage(wire: dict[str, Any], usage: C.Usage) -> None:
    """Images are counted beside the input, and billed with it."""
    assert [e.usage for e in whole(usage=wire) if isinstance(e, C.UsageUpdate)] == [usage]


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("COMPLETE", "end"),
        ("STOP_SEQUENCE", "stop_sequence"),
        ("MAX_TOKENS", "max_tokens"),
        ("ERROR_TOXIC", "content_filter"),
        ("NEW", "other"),
    ],
)
def test_finish_reasons(native: str, reason: Any) -> None:
    assert [e for e in whole(finish_reason=native) if isinstance(e, C.Stop)] == [C.Stop(reason, native)]
    assert [e for e in read([START, end(native)]) if isinstance(e, C.Stop)] == [C.Stop(reason, native)]


@pytest.mark.parametrize(("native", "status"), [("ERROR", 500), ("TIMEOUT", 504)])
def test_a_failed_answer_is_no_answer(native: str, status: int) -> None:
    failure = C.Failure("transient", status, "broken", native)
    for events in (read([START, end(native, error="broken")]), whole(finish_reason=native, error="broken")):
        assert events[-1] == C.InStreamError(failure)
        assert not [e for e in events if isinstance(e, C.Stop | C.End)]


def test_an_error_document_inside_a_200() -> None:
    for events in (feed(b'{"id":"i","message":"overloaded"}', False), feed(b'data: {"id":"i","message":"overloaded"}\n\n', True)):
        assert events == [C.InStreamError(C.Failure("transient", 500, "overloaded", "ERROR"))]


DELTA = block("content-delta", 0, text="x")


@pytest.mark.parametrize(
    "events",
    [
        [START],
        [DELTA, end()],
        [START, DELTA, end()],
        [START, START, end()],
        [end()],
        [START, {"type": "content-start", "index": 0}, end()],
        [START, call("tool-call-start", 0, id="a"), end()],
        [START, call("tool-call-delta", 0, function={"arguments": "{"}), end()],
        [START, {"type": "citation-start", "index": 0}, end()],
        [START, block("content-start", 0, type="text", text=5), end()],
        [START, *[call("tool-call-start", 0, id="a", function={"name": "f"})] * 2, end()],
    ],
)
def test_what_is_no_answer(events: list[dict[str, Any]]) -> None:
    with pytest.raises(ProviderProtocolError):
        read(events)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"<html>", b'{"message":{"content":5}}', b'{"message":null}', b"[" * 9999])
def test_whole_bytes_that_are_no_answer(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        feed(body, False)


def test_an_answer_without_an_end_to_its_blocks() -> None:
    with pytest.raises(ProviderProtocolError, match="too many"):
        whole(message={"content": [{"type": "text", "text": "x"}] * 5000})


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, {"message": "invalid api token: sk-secret"}, "credential_dead"),
        (400, {"message": "invalid request: bad"}, "client_fault"),
        (422, {"message": "unprocessable"}, "client_fault"),
        (404, {"message": "model 'x' not found"}, "transient"),
        (429, {"message": "You are using a Trial key, which is limited to 40 API calls / minute."}, "rate_limited"),
        (429, {"message": "You are using a Trial key, which is limited to 1000 API calls / month."}, "quota_spent"),
        (402, {"message": "Please add or update your payment method"}, "quota_spent"),
        (400, {"error_type": "TOO_MANY_TOKENS", "message": "too many tokens: size limit exceeded by 5 tokens."}, "context_too_long"),
        (498, {"message": "blocked input"}, "content_policy"),
        (500, {"message": "internal"}, "transient"),
        (503, {"data": "x"}, "transient"),
    ],
)
def test_errors(status: int, body: dict[str, Any], kind: str) -> None:
    failure = COHERE.read_error(status, {"retry-after": "7"}, json.dumps(body).encode())
    assert failure.kind == kind
    assert failure.retry_after == 7
    assert failure.status == (400 if status == 498 else status)
    assert "sk-secret" not in failure.message


# ------------------------------------------------------------------------------------------------------------ writing


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}made"

    def now(self) -> int:
        return 1_700_000_000


def written(events: list[C.Event], stream: bool) -> Any:
    """The document, or the events of the stream (None: `[DONE]`)."""
    writer = COHERE.writer(C.Request(dialect=NAME, model="m", messages=(), stream=stream), Ids())
    body = b"".join(writer.emit(event) for event in events) + writer.finish()
    if not stream:
        return json.loads(body)
    found: list[Any] = []
    for piece in body.decode().split("\n\n")[:-1]:
        lines = piece.split("\n")
        data = lines[-1].removeprefix("data: ")
        found.append(None if data == "[DONE]" else json.loads(data))
        assert data == "[DONE]" or lines[0] == f"event: {found[-1]['type']}"
    return found


ANSWER: list[C.Event] = [
    C.Start("i", "m"),
    C.ReasoningDelta("h"),
    C.ReasoningDelta("m"),
    C.ReasoningSignature("S", "anthropic-messages"),
    C.TextDelta("abc"),
    C.Citation("openai-chat", {"type": "url_citation"}, "https://x", "T", None, 0, 3),
    C.Citation("anthropic-messages", {"type": "char_location"}),
    C.ToolCallStart(0, "a", "f"),
    C.ToolArgumentsDelta(0, '{"x":'),
    C.ToolCallStart(1, None, "g"),
    C.ToolArgumentsDelta(0, "1}"),
    C.UsageUpdate(C.Usage(100, 60, 10, 7, 3)),
    C.Stop("tool_use"),
    C.End(),
]
TOLD = {
    "billed_units": {"input_tokens": 100, "output_tokens": 7},
    "tokens": {"input_tokens": 100, "output_tokens": 7, "reasoning_tokens": 3},
    "cached_tokens": 60,
}
FROM_URL = {
    "start": 0,
    "end": 3,
    "sources": [{"type": "document", "id": "https://x", "document": {"url": "https://x", "title": "T"}}],
    "type": "TEXT_CONTENT",
}


def test_a_stream_for_a_client() -> None:
    events = written(ANSWER, True)
    assert [e and (e["type"], e.get("index")) for e in events] == [
        ("message-start", None),
        ("content-start", 0),
        ("content-delta", 0),
        ("content-delta", 0),
        ("content-end", 0),
        ("content-start", 1),
        ("content-delta", 1),
        ("citation-start", 0),
        ("citation-end", 0),
        ("content-end", 1),
        ("tool-call-start", 0),
        ("tool-call-delta", 0),
        ("tool-call-start", 1),
        ("tool-call-delta", 0),
        ("tool-call-end", 0),
        ("tool-call-delta", 1),
        ("tool-call-end", 1),
        ("message-end", None),
        None,
    ]
    assert events[0]["id"] == "i"
    assert events[7]["delta"]["message"]["citations"] == FROM_URL
    assert events[12]["delta"]["message"]["tool_calls"] == {
        "id": "call_made",
        "type": "function",
        "function": {"name": "g", "arguments": ""},
    }
    assert events[15]["delta"]["message"]["tool_calls"]["function"]["arguments"] == "{}"
    assert events[-2]["delta"] == {"finish_reason": "TOOL_CALL", "usage": TOLD}


def test_a_whole_answer_for_a_client() -> None:
    assert written(ANSWER, False) == {
        "id": "i",
        "message": {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "abc"}],
            "tool_calls": [
                {"id": "a", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}},
                {"id": "call_made", "type": "function", "function": {"name": "g", "arguments": "{}"}},
            ],
            "citations": [FROM_URL],
        },
        "finish_reason": "TOOL_CALL",
        "usage": TOLD,
    }


def test_usage_is_never_invented() -> None:
    assert written([C.Start(), C.TextDelta("x"), C.Stop("end"), C.End()], False)["usage"] == {"billed_units": {}, "tokens": {}}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("reason", ["refusal", "content_filter"])
def test_a_filtered_answer_says_so(reason: Any, stream: bool) -> None:
    made = written([C.Start(), C.TextDelta("x"), C.Stop(reason), C.End()], stream)
    said = made[-2]["delta"] if stream else made
    assert (said["finish_reason"], said["error"]) == ("ERROR", "the model refused, or a content filter stopped the answer")


def test_logprobs() -> None:
    token = {"token": "x", "logprob": -0.5, "top_logprobs": []}
    item = {"text": "x", "token_ids": [], "logprobs": [-0.5]}
    events: list[C.Event] = [C.Start(), C.TextDelta("x"), C.Logprobs((token,)), C.Stop("end"), C.End()]
    assert written(events, False)["logprobs"] == [item]
    assert [e["logprobs"] for e in written(events, True) if e and "logprobs" in e] == [item]


def test_an_error_after_content_is_the_last_event() -> None:
    writer = COHERE.writer(C.Request(dialect=NAME, model="m", messages=(), stream=True), Ids())
    writer.emit(C.Start("i"))
    writer.emit(C.TextDelta("x"))
    last = writer.fail(C.Failure("transient", 529, "Overloaded"))
    assert last.startswith(b"event: message-end\n")
    delta = json.loads(last.partition(b"data: ")[2])["delta"]
    assert (delta["finish_reason"], delta["error"]) == ("ERROR", "Overloaded")
    assert b"[DONE]" not in last
    assert writer.finish() == writer.emit(C.TextDelta("y")) == b""


def test_error_documents() -> None:
    assert json.loads(COHERE.write_error(C.Failure("client_fault", 400, "bad", "c", "messages.3"))) == {"message": "messages.3: bad"}
    assert json.loads(COHERE.write_error(C.Failure("client_fault", 400, "k: bad", "c", "k"))) == {"message": "k: bad"}


def test_a_block_that_only_this_dialect_has_passes_in_it(sse_of: Callable[..., bytes]) -> None:
    drawn = block("content-start", 0, type="sketch", lines=[1])
    events = read([START, drawn, block("content-delta", 0, lines=[2]), {"type": "content-end", "index": 0}, end()])
    assert [e["type"] for e in written(events, True) if e][1:4] == ["content-start", "content-delta", "content-end"]
    seen = whole(message={"content": [{"type": "sketch", "lines": [1]}, {"type": "text", "text": "x"}]})
    assert written(seen, False)["message"]["content"] == [{"type": "sketch", "lines": [1]}, {"type": "text", "text": "x"}]
    other = DIALECTS["openai-chat"].writer(C.Request(dialect="openai-chat", model="m", messages=()), Ids())
    document = json.loads(b"".join(other.emit(event) for event in seen) + other.finish())
    assert document["choices"][0]["message"]["content"] == "x"
