"""OpenAI Responses answers: a provider's bytes as events however it words them, and the exact bytes a client gets."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.registry import DIALECTS
from control_plane.kit.errors import ProviderProtocolError

C = canon
NAME = "openai-responses"
RESPONSES = DIALECTS[NAME]
USAGE = {
    "input_tokens": 10,
    "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 1},
    "output_tokens": 6,
    "output_tokens_details": {"reasoning_tokens": 2},
    "total_tokens": 16,
}
COUNTS = C.UsageUpdate(C.Usage(10, 4, 1, 6, 2))
CREATED = {"type": "response.created", "response": {"id": "resp_1", "model": "m", "created_at": 5, "status": "in_progress", "output": []}}
START = C.Start("resp_1", "m", 5)


def ended(kind: str = "completed", **more: Any) -> dict[str, Any]:
    response = {"id": "resp_1", "model": "m", "created_at": 5, "status": kind, "output": [], "usage": USAGE, **more}
    return {"type": f"response.{kind}", "response": response}


def frame(*events: dict[str, Any]) -> bytes:
    return b"".join(b"event: %b\ndata: %b\n\n" % (str(e["type"]).encode(), json.dumps(e).encode()) for e in events)


def added(index: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.added", "output_index": index, "item": item}


def done(index: int, **item: Any) -> dict[str, Any]:
    return {"type": "response.output_item.done", "output_index": index, "item": item}


def told(kind: str, index: int, at: int = 0, **fields: Any) -> dict[str, Any]:
    key = "summary_index" if "summary" in kind else "content_index"
    return {"type": f"response.{kind}", "output_index": index, key: at, "item_id": "i", **fields}


TEXT: dict[str, Any] = {"type": "output_text", "text": "Hello", "annotations": []}
MESSAGE: dict[str, Any] = {"id": "msg_1", "type": "message", "role": "assistant", "status": "completed", "content": [TEXT]}
REASONING: dict[str, Any] = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "hm"}],
    "encrypted_content": "E",
}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}', "status": "completed"}
FULL = [
    CREATED,
    {"type": "response.in_progress", "response": CREATED["response"]},
    added(0, id="rs_1", type="reasoning", summary=[]),
    told("reasoning_summary_part.added", 0, part={"type": "summary_text", "text": ""}),
    told("reasoning_summary_text.delta", 0, delta="hm"),
    told("reasoning_summary_text.done", 0, text="hm"),
    told("reasoning_summary_part.done", 0, part={"type": "summary_text", "text": "hm"}),
    done(0, **REASONING),
    added(1, id="msg_1", type="message", status="in_progress", content=[], role="assistant"),
    told("content_part.added", 1, part={"type": "output_text", "text": "", "annotations": []}),
    told("output_text.delta", 1, delta="Hel", logprobs=[]),
    told("output_text.delta", 1, delta="lo", logprobs=[], obfuscation="xyz"),
    told("output_text.done", 1, text="Hello", logprobs=[]),
    told("content_part.done", 1, part=TEXT),
    done(1, **MESSAGE),
    added(2, id="fc_1", type="function_call", status="in_progress", call_id="c1", name="f", arguments=""),
    {"type": "response.function_call_arguments.delta", "output_index": 2, "item_id": "fc_1", "delta": '{"a"'},
    {"type": "response.function_call_arguments.delta", "output_index": 2, "item_id": "fc_1", "delta": ":1}"},
    {"type": "response.function_call_arguments.done", "output_index": 2, "item_id": "fc_1", "arguments": '{"a":1}'},
    done(2, **CALL),
    ended(output=[REASONING, MESSAGE, CALL]),
]
FULL_EVENTS: list[C.Event] = [
    START,
    C.ReasoningDelta("hm"),
    C.RedactedReasoning("E", NAME, "rs_1"),
    C.TextDelta("Hel"),
    C.TextDelta("lo"),
    C.ToolCallStart(0, "c1", "f"),
    C.ToolArgumentsDelta(0, '{"a"'),
    C.ToolArgumentsDelta(0, ":1}"),
    C.ToolCallEnd(0),
    COUNTS,
    C.Stop("tool_use", "completed"),
    C.End(),
]


def joined(events: Iterable[C.Event]) -> list[C.Event]:
    """Deltas that follow each other, put together."""
    out: list[Any] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, C.TextDelta) and isinstance(last, C.TextDelta):
            out[-1] = C.TextDelta(last.text + event.text)
        elif isinstance(event, C.ToolArgumentsDelta) and isinstance(last, C.ToolArgumentsDelta):
            out[-1] = C.ToolArgumentsDelta(event.index, last.text + event.text)
        else:
            out.append(event)
    return out


def test_a_stream(bench: Any) -> None:
    assert bench.read(RESPONSES, frame(*FULL)) == FULL_EVENTS


def test_a_stream_cut_anywhere_reads_the_same(bench: Any) -> None:
    body = frame(*FULL)
    for cut in range(1, len(body)):
        assert bench.read(RESPONSES, [body[:cut], body[cut:]]) == FULL_EVENTS
    assert bench.read(RESPONSES, [body[i : i + 1] for i in range(len(body))]) == FULL_EVENTS


def test_a_whole_answer(bench: Any) -> None:
    body = json.dumps(ended(output=[REASONING, MESSAGE, CALL])["response"]).encode()
    assert bench.read(RESPONSES, body, stream=False) == joined(FULL_EVENTS)


@pytest.mark.parametrize(
    "left_out",
    [
        ("delta",),
        ("delta", "_text.done", "arguments.done"),
        ("_text.done", "arguments.done", "part."),
        ("part.", "delta", "_text.done", "arguments.done", "item.added"),
        ("part.", "delta", "_text.done", "arguments.done", "item.added", "item.done"),
        ("in_progress",),
    ],
)
def test_whatever_says_it_first_counts_once(bench: Any, left_out: tuple[str, ...]) -> None:
    """Servers leave out deltas, `done` events, announcements: the meaning is the same."""
    events = [e for e in FULL if not any(word in str(e["type"]) for word in left_out)]
    assert joined(bench.read(RESPONSES, frame(*events))) == joined(FULL_EVENTS)


def test_places_of_deltas_need_not_be_those_in_the_item(bench: Any) -> None:
    """Bedrock counts the content parts of a message from 1."""
    events = [
        CREATED,
        added(1, **{**MESSAGE, "content": []}),
        told("output_text.delta", 1, at=1, delta="Hello"),
        done(1, **MESSAGE),
        ended(),
    ]
    assert [e for e in bench.read(RESPONSES, frame(*events)) if isinstance(e, C.TextDelta)] == [C.TextDelta("Hello")]


def test_parts_of_one_kind_are_told_apart(bench: Any) -> None:
    reasoning = {**REASONING, "summary": [{"type": "summary_text", "text": "a"}, {"type": "summary_text", "text": "b"}]}
    message = {**MESSAGE, "content": [TEXT, {**TEXT, "text": "x"}, {"type": "refusal", "refusal": "no"}]}
    got = bench.read(RESPONSES, json.dumps(ended(output=[reasoning, message])["response"]).encode(), stream=False)
    assert got[1:-3] == [
        C.ReasoningDelta("a"),
        C.PartBreak(),
        C.ReasoningDelta("b"),
        C.RedactedReasoning("E", NAME, "rs_1"),
        C.TextDelta("Hello"),
        C.PartBreak(),
        C.TextDelta("x"),
        C.RefusalDelta("no"),
    ]
    assert got[-2] == C.Stop("refusal", "completed")


def test_citations_and_log_probabilities(bench: Any) -> None:
    note = {"type": "url_citation", "url": "u", "title": "t", "start_index": 1, "end_index": 2}
    tokens = [{"token": "x", "logprob": -1.0}]
    citation = C.Citation(NAME, note, "u", "t", None, 1, 2)
    events = [
        CREATED,
        added(0, **{**MESSAGE, "content": []}),
        told("output_text.delta", 0, delta="Hello", logprobs=tokens),
        told("output_text.annotation.added", 0, annotation_index=0, annotation=note),
        done(0, **{**MESSAGE, "content": [{**TEXT, "annotations": [note], "logprobs": tokens}]}),
        ended(),
    ]
    assert bench.read(RESPONSES, frame(*events))[1:4] == [C.TextDelta("Hello"), C.Logprobs(tuple(tokens)), citation]
    whole = ended(output=[{**MESSAGE, "content": [{**TEXT, "annotations": [note], "logprobs": tokens}]}])["response"]
    got = bench.read(RESPONSES, json.dumps(whole).encode(), stream=False)
    assert got[1:4] == [C.TextDelta("Hello"), C.Logprobs(tuple(tokens)), citation]


@pytest.mark.parametrize(
    ("kind", "more", "stop"),
    [
        ("completed", {}, C.Stop("end", "completed")),
        (
            "incomplete",
            {"incomplete_details": {"reason": "max_output_tokens"}},
            C.Stop("max_tokens", "max_output_tokens", detail={"reason": "max_output_tokens"}),
        ),
        (
            "incomplete",
            {"incomplete_details": {"reason": "content_filter"}},
            C.Stop("content_filter", "content_filter", detail={"reason": "content_filter"}),
        ),
        ("incomplete", {"incomplete_details": {"reason": "new"}}, C.Stop("other", "new", detail={"reason": "new"})),
        ("incomplete", {}, C.Stop("other", "incomplete")),
    ],
)
def test_how_it_ended(bench: Any, kind: str, more: dict[str, Any], stop: C.Stop) -> None:
    assert bench.read(RESPONSES, frame(CREATED, ended(kind, **more))) == [START, COUNTS, stop, C.End()]
    whole = json.dumps(ended(kind, **more)["response"]).encode()
    assert bench.read(RESPONSES, whole, stream=False) == [START, COUNTS, stop, C.End()]


@pytest.mark.parametrize(
    ("said", "kind", "status", "message"),
    [
        (
            {"type": "error", "code": "rate_limit_exceeded", "message": "slow", "param": None, "sequence_number": 1},
            "rate_limited",
            429,
            "slow",
        ),
        ({"type": "error", "error": {"type": "insufficient_quota", "code": "insufficient_quota", "message": "q"}}, "quota_spent", 429, "q"),
        ({"type": "error", "error": None, "code": "server_error", "message": "m"}, "transient", 500, "m"),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "bad", "param": "input"}}, "client_fault", 400, "bad"),
        (ended("failed", error={"code": "server_error", "message": "m"}, usage=None), "transient", 500, "m"),
        (ended("failed", error={"code": "invalid_prompt", "message": "m"}, usage=None), "client_fault", 400, "m"),
        (ended("failed", error={"code": "context_length_exceeded", "message": "m"}, usage=None), "context_too_long", 400, "m"),
        (ended("failed", error=None, usage=None), "transient", 500, "the provider says that the answer failed, and not why"),
    ],
)
def test_errors_inside_a_stream(bench: Any, said: dict[str, Any], kind: str, status: int, message: str) -> None:
    got = bench.read(RESPONSES, frame(CREATED, said, *FULL[2:]))
    assert got[0] == START
    assert len(got) == 2
    failure = got[1].failure
    assert (failure.kind, failure.status, failure.message) == (kind, status, message)


def test_an_error_event_that_is_no_json(bench: Any) -> None:
    (event,) = bench.read(RESPONSES, b"event: error\ndata: overloaded\n\n")
    assert (event.failure.kind, event.failure.message) == ("transient", "overloaded")


@pytest.mark.parametrize(
    "document",
    [
        {"error": {"message": "m", "type": "server_error", "code": None}},
        {"id": "r", "status": "failed", "error": {"code": "server_error", "message": "m"}, "output": []},
    ],
)
def test_an_error_in_a_whole_answer(bench: Any, document: dict[str, Any]) -> None:
    got = bench.read(RESPONSES, json.dumps(document).encode(), stream=False)
    assert isinstance(got[-1], C.InStreamError)
    assert (got[-1].failure.kind, got[-1].failure.message) == ("transient", "m")


BROKEN: dict[str, list[dict[str, Any]]] = {
    "no terminal event": FULL[:-1],
    "nothing": [],
    "text of an item that was not added": [CREATED, told("output_text.delta", 0, delta="x")],
    "text in a call": [CREATED, FULL[15], told("output_text.delta", 2, delta="x")],
    "arguments in a message": [CREATED, FULL[8], {"type": "response.function_call_arguments.delta", "output_index": 1, "delta": "x"}],
    "an item added twice": [CREATED, FULL[8], FULL[8]],
    "a call without a name": [CREATED, added(0, type="function_call", call_id="c")],
    "a delta that is no text": [CREATED, FULL[8], told("output_text.delta", 1, delta=5)],
    "a place below zero": [CREATED, added(-1, type="message")],
}


@pytest.mark.parametrize("events", BROKEN.values(), ids=BROKEN.keys())
def test_broken_streams(bench: Any, events: list[dict[str, Any]]) -> None:
    with pytest.raises(ProviderProtocolError):
        bench.read(RESPONSES, frame(*events))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"output": 5}',
        b'{"output": [5]}',
        b'{"object": "chat.completion", "choices": []}',
        b'{"status": "queued", "output": []}',
        b'{"status": "in_progress", "output": []}',
        b'{"output": [], "created_at": 1e999}',
    ],
)
def test_broken_whole_answers(bench: Any, body: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        bench.read(RESPONSES, body, stream=False)


# -------------------------------------------------------------------------------------------------------------- written


def payloads(body: bytes) -> list[Any]:
    found = []
    for event in body.decode().removesuffix("\n\n").split("\n\n"):
        name, data = event.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    assert [e.get("sequence_number") for e in found] == list(range(len(found)))
    return [{k: v for k, v in e.items() if k != "sequence_number"} for e in found]


def test_stream_bytes(bench: Any) -> None:
    sent = payloads(
        bench.write(
            RESPONSES,
            [
                C.Start("resp_1", "up", 5),
                C.ReasoningDelta("h"),
                C.ReasoningDelta("m"),
                C.ReasoningSignature("S", "anthropic-messages"),
                C.TextDelta('say "hi"\n'),
                C.ToolCallStart(0, "a", "f"),
                C.ToolArgumentsDelta(0, '{"k":'),
                C.ToolCallStart(1, None, "g"),
                C.ToolArgumentsDelta(0, "1}"),
                C.Stop("tool_use", "tool_use"),
                C.UsageUpdate(C.Usage(10, 4, None, 6, 2)),
                C.End(),
            ],
        )
    )
    first, second, *middle, last = sent
    assert (first["type"], second["type"]) == ("response.created", "response.in_progress")
    begun = {"id": "resp_1", "object": "response", "created_at": 5, "status": "in_progress", "model": "up", "output": [], "usage": None}
    assert first["response"] == second["response"]
    assert {k: first["response"][k] for k in begun} == begun
    rs, msg = {"item_id": "rs_1", "output_index": 0}, {"item_id": "msg_2", "output_index": 1}
    f, g = {"item_id": "fc_3", "output_index": 2}, {"item_id": "fc_4", "output_index": 3}
    sealed = "headgate.anthropic-messages.S"
    reasoning = {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": sealed}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": 'say "hi"\n'}
    message = {"id": "msg_2", "type": "message", "status": "completed", "role": "assistant", "content": [part]}
    calls = [
        {"id": "fc_3", "type": "function_call", "status": "completed", "arguments": '{"k":1}', "call_id": "a", "name": "f"},
        {"id": "fc_4", "type": "function_call", "status": "completed", "arguments": "{}", "call_id": "call_5", "name": "g"},
    ]
    open_calls = [{**call, "status": "in_progress", "arguments": ""} for call in calls]
    arguments = "response.function_call_arguments"
    assert middle == [
        {"type": "response.output_item.added", "output_index": 0, "item": {"id": "rs_1", "type": "reasoning", "summary": []}},
        {"type": "response.reasoning_summary_part.added", **rs, "summary_index": 0, "part": {"type": "summary_text", "text": ""}},
        {"type": "response.reasoning_summary_text.delta", **rs, "summary_index": 0, "delta": "h"},
        {"type": "response.reasoning_summary_text.delta", **rs, "summary_index": 0, "delta": "m"},
        {"type": "response.reasoning_summary_text.done", **rs, "summary_index": 0, "text": "hm"},
        {"type": "response.reasoning_summary_part.done", **rs, "summary_index": 0, "part": {"type": "summary_text", "text": "hm"}},
        {"type": "response.output_item.done", "output_index": 0, "item": reasoning},
        {"type": "response.output_item.added", "output_index": 1, "item": {**message, "status": "in_progress", "content": []}},
        {"type": "response.content_part.added", **msg, "content_index": 0, "part": {**part, "text": ""}},
        {"type": "response.output_text.delta", **msg, "content_index": 0, "delta": 'say "hi"\n', "logprobs": []},
        {"type": "response.output_text.done", **msg, "content_index": 0, "text": 'say "hi"\n', "logprobs": []},
        {"type": "response.content_part.done", **msg, "content_index": 0, "part": part},
        {"type": "response.output_item.done", "output_index": 1, "item": message},
        {"type": "response.output_item.added", "output_index": 2, "item": open_calls[0]},
        {"type": f"{arguments}.delta", **f, "delta": '{"k":'},
        {"type": "response.output_item.added", "output_index": 3, "item": open_calls[1]},
        {"type": f"{arguments}.delta", **f, "delta": "1}"},
        {"type": f"{arguments}.done", **f, "arguments": '{"k":1}'},
        {"type": "response.output_item.done", "output_index": 2, "item": calls[0]},
        {"type": f"{arguments}.delta", **g, "delta": "{}"},
        {"type": f"{arguments}.done", **g, "arguments": "{}"},
        {"type": "response.output_item.done", "output_index": 3, "item": calls[1]},
    ]
    assert last["type"] == "response.completed"
    assert last["response"]["output"] == [reasoning, message, *calls]
    assert last["response"]["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4, "cache_write_tokens": 0},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 2},
        "total_tokens": 16,
    }


def whole(bench: Any, *events: C.Event) -> Any:
    return json.loads(bench.write(RESPONSES, [START, *events, C.End()], stream=False))


def test_a_whole_answer_is_what_the_stream_ends_with(bench: Any) -> None:
    streamed = payloads(bench.write(RESPONSES, FULL_EVENTS))[-1]["response"]
    assert json.loads(bench.write(RESPONSES, FULL_EVENTS, stream=False)) == streamed


def test_it_repeats_what_was_asked() -> None:
    asked = {
        "model": "m",
        "input": "x",
        "instructions": "i",
        "temperature": 0,
        "tools": [{"type": "function", "name": "f", "parameters": {}}],
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
        "metadata": {"a": "b"},
        "max_output_tokens": 99,
    }
    writer = RESPONSES.writer(RESPONSES.read_request(json.dumps(asked).encode()), Ids())
    got = json.loads(writer.finish())
    for name in ("instructions", "temperature", "tool_choice", "parallel_tool_calls", "text", "metadata", "max_output_tokens"):
        assert got[name] == asked[name], name
    assert got["tools"] == [{"description": None, "strict": None, **asked["tools"][0]}]  # type: ignore[index]
    assert got["reasoning"] == {"effort": "low", "summary": None}
    assert (got["model"], got["store"], got["previous_response_id"]) == ("m", False, None)


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}x"

    def now(self) -> int:
        return 7


@pytest.mark.parametrize(
    ("stop", "status", "reason"),
    [
        (C.Stop("end"), "completed", None),
        (C.Stop("stop_sequence", "stop_sequence"), "completed", None),
        (C.Stop("tool_use"), "completed", None),
        (C.Stop("pause", "pause_turn"), "completed", None),
        (C.Stop("other"), "completed", None),
        (C.Stop("max_tokens", "length"), "incomplete", "max_output_tokens"),
        (C.Stop("context_window"), "incomplete", "max_output_tokens"),
        (C.Stop("content_filter"), "incomplete", "content_filter"),
        (C.Stop("refusal", "refusal"), "incomplete", "content_filter"),
        (C.Stop("pause", "steered"), "incomplete", "steered"),
    ],
)
def test_how_it_ends(bench: Any, stop: C.Stop, status: str, reason: str | None) -> None:
    got = whole(bench, C.TextDelta("x"), stop)
    assert (got["status"], got["incomplete_details"]) == (status, None if reason is None else {"reason": reason})
    assert got["output"][0]["status"] == status
    sent = payloads(bench.write(RESPONSES, [START, C.TextDelta("x"), stop, C.End()]))
    assert sent[-1]["type"] == f"response.{status}"


def test_a_refusal_in_its_own_words_is_a_completed_answer(bench: Any) -> None:
    got = whole(bench, C.RefusalDelta("I can"), C.RefusalDelta("not"), C.Stop("refusal"))
    assert (got["status"], got["output"][0]["content"]) == ("completed", [{"type": "refusal", "refusal": "I cannot"}])


def test_breaks_citations_and_log_probabilities_written(bench: Any) -> None:
    tokens = ({"token": "x", "bytes": [120], "logprob": -1.0, "top_logprobs": []},)
    got = whole(
        bench,
        C.TextDelta("a"),
        C.Logprobs(tokens),
        C.Citation("anthropic-messages", {}, url="u", title="t", start=1, end=2),
        C.Citation("anthropic-messages", {"type": "char_location"}, quote="q"),
        C.PartBreak(),
        C.TextDelta("b"),
        C.Stop("end"),
    )
    note = {"type": "url_citation", "start_index": 1, "end_index": 2, "url": "u", "title": "t"}
    assert got["output"][0]["content"] == [
        {"type": "output_text", "annotations": [note], "logprobs": list(tokens), "text": "a"},
        {"type": "output_text", "annotations": [], "logprobs": [], "text": "b"},
    ]


@pytest.mark.parametrize(
    ("events", "items"),
    [
        ([C.RedactedReasoning("E", NAME, "rs_9")], [("rs_9", [], "E")]),
        ([C.ReasoningDelta("t"), C.RedactedReasoning("E", NAME, "rs_9")], [("rs_x", ["t"], C.seal_redacted("E", NAME, "rs_9"))]),
        ([C.ReasoningDelta("t"), C.RedactedReasoning("E", NAME)], [("rs_x", ["t"], "E")]),
        (
            [C.ReasoningDelta("a"), C.ReasoningSignature("S", "anthropic-messages"), C.RedactedReasoning("R", "anthropic-messages")],
            [("rs_x", ["a"], "headgate.anthropic-messages.S"), ("rs_x", [], "headgate.anthropic-messages#.R")],
        ),
        ([C.ReasoningDelta("a"), C.PartBreak(), C.ReasoningDelta("b")], [("rs_x", ["a", "b"], "headgate..")]),
        ([C.ReasoningSignature("S", "anthropic-messages")], [("rs_x", [], "headgate.anthropic-messages.S")]),
    ],
)
def test_reasoning_is_sealed_by_its_origin(events: list[C.Event], items: list[tuple[str, list[str], str]]) -> None:
    writer = RESPONSES.writer(C.Request(dialect=NAME, model="m", messages=()), Ids())
    for event in events:
        writer.emit(event)
    got = json.loads(writer.finish())["output"]
    assert [(i["id"], [s["text"] for s in i["summary"]], i["encrypted_content"]) for i in got] == items
    # and read again as the next request, it says the same
    request = RESPONSES.read_request(json.dumps({"model": "m", "input": got}).encode())
    texts = "".join(p.text for m in request.messages for p in m.parts if isinstance(p, C.Thinking))
    assert texts == "".join(t for _, texts, _ in items for t in texts)


@pytest.mark.parametrize(
    ("asked", "sealed"), [({}, False), ({"reasoning": {"effort": "low"}}, True), ({"include": ["reasoning.encrypted_content"]}, True)]
)
def test_the_signature_of_a_call_stands_in_front_of_it(asked: dict[str, Any], sealed: bool) -> None:
    """Only for clients that ask for such things: others may go on at OpenAI, which refuses what it did not seal."""
    request = RESPONSES.read_request(json.dumps({"model": "m", "input": "x", **asked}).encode())
    writer = RESPONSES.writer(request, Ids())
    writer.emit(C.ToolCallStart(0, "c", "f", signature="S", origin="gemini-generate-content"))
    output = json.loads(writer.finish())["output"]
    assert [i["type"] for i in output] == ["reasoning", "function_call"] if sealed else ["function_call"]
    back = RESPONSES.read_request(json.dumps({"model": "m", "input": output}).encode()).messages[0].parts
    thinking = (C.Thinking("", "S", "gemini-generate-content"),) if sealed else ()
    assert back == (*thinking, C.ToolCall("c", "f", "{}"))


def test_an_empty_answer(bench: Any) -> None:
    got = whole(bench, C.Stop("end"))
    assert (got["status"], got["output"], got["usage"]) == ("completed", [], None)


def test_items_that_only_this_dialect_has_keep_their_place(bench: Any) -> None:
    search = {"id": "ws_1", "type": "web_search_call", "status": "completed"}
    events = [
        CREATED,
        FULL[8],
        told("output_text.delta", 1, delta="x"),
        added(4, **{**search, "status": "in_progress"}),
        {"type": "response.web_search_call.completed", "output_index": 4, "item_id": "ws_1"},
        done(4, **search),
        ended(),
    ]
    read = bench.read(RESPONSES, frame(*events))
    sent = payloads(bench.write(RESPONSES, read))
    assert [(e["type"], e["output_index"]) for e in sent if "web_search" in json.dumps(e) and "response" not in e] == [
        ("response.output_item.added", 1),
        ("response.web_search_call.completed", 1),
        ("response.output_item.done", 1),
    ]
    assert sent[-1]["response"]["output"][1] == search
    for name in ("openai-chat", "anthropic-messages"):
        assert b"web_search" not in bench.write(DIALECTS[name], read)


def test_a_failure_after_content(bench: Any) -> None:
    writer = RESPONSES.writer(bench.request(NAME), bench.Ids())
    body = writer.emit(START) + writer.emit(C.TextDelta("half"))
    failure = C.Failure("transient", 529, "Overloaded", code="overloaded")
    sent = payloads(body + writer.fail(failure))
    assert sent[-2] == {
        "type": "error",
        "code": "overloaded",
        "message": "Overloaded",
        "param": None,
        "error": {"message": "Overloaded", "type": "server_error", "param": None, "code": "overloaded"},
    }
    assert sent[-1]["type"] == "response.failed"
    assert (sent[-1]["response"]["status"], sent[-1]["response"]["error"]) == (
        "failed",
        {"code": "server_error", "message": "Overloaded"},
    )
    assert (writer.emit(C.TextDelta("more")), writer.finish(), writer.fail(failure)) == (b"", b"", b"")


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
def test_log_probabilities_survive_writer_and_reader(bench: Any, stream: bool) -> None:
    """Those of each piece of text reach the client with the next event, and all of them at the end of the part."""
    tokens: list[dict[str, Any]] = [{"token": text, "logprob": -0.5, "bytes": None, "top_logprobs": []} for text in ("Hel", "lo")]
    events: list[C.Event] = [C.Start("r", "m", 1)]
    for token in tokens:
        events += [C.TextDelta(str(token["token"])), C.Logprobs((token,))]
    body = bench.write(RESPONSES, [*events, C.Stop("end"), C.End()], stream)
    got = bench.read(RESPONSES, body, stream)
    assert [token for event in got if isinstance(event, C.Logprobs) for token in event.content] == tokens
    assert "".join(event.text for event in got if isinstance(event, C.TextDelta)) == "Hello"
    if stream:
        told = [event for event in payloads(body) if event["type"].startswith("response.output_text.")]
        assert [event["logprobs"] for event in told] == [[], tokens[:1], [], tokens[1:], tokens]


def test_log_probabilities_that_come_at_the_end_only(bench: Any) -> None:
    tokens = [{"token": "Hello", "logprob": -1.0}]
    events = [
        added(0, **{**MESSAGE, "content": []}),
        told("output_text.delta", 0, delta="Hello", logprobs=[]),
        told("output_text.done", 0, text="Hello", logprobs=tokens),
        done(0, **{**MESSAGE, "content": [{**TEXT, "logprobs": tokens}]}),
        ended(),
    ]
    assert [event for event in bench.read(RESPONSES, frame(*events)) if isinstance(event, C.Logprobs)] == [C.Logprobs(tuple(tokens))]
