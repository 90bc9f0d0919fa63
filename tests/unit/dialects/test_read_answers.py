"""Provider answers read into events, with the habits and faults of real vendors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.kit.errors import ProviderProtocolError

C = canon


def chunk(delta: dict[str, Any] | None = None, finish: str | None = None, index: int = 0, **fields: Any) -> dict[str, Any]:
    return {"id": "c1", "model": "m", "created": 7, "choices": [{"index": index, "delta": delta or {}, "finish_reason": finish}], **fields}


def call(index: int | None, arguments: str | None, call_id: str | None = None, name: str | None = None) -> dict[str, Any]:
    return {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}]}


MESSAGE_START = {
    "type": "message_start",
    "message": {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "c",
        "content": [],
        "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5, "output_tokens": 1},
    },
}
MESSAGE_END = [
    {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 9, "output_tokens_details": {"thinking_tokens": 2}},
    },
    {"type": "message_stop"},
]


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"type": "content_block_start", "index": index, "content_block": start},
        *({"type": "content_block_delta", "index": index, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": index},
    ]


# ------------------------------------------------------------------------------------------------------- openai-chat


def test_openai_stream(bench: Any, sse_of: Any) -> None:
    body = sse_of(
        chunk({"role": "assistant", "content": "", "refusal": None}),
        chunk({"content": "Hel"}),
        chunk({"content": "lo"}),
        chunk({}, "stop"),
        {
            "id": "c1",
            "choices": [],
            "usage": {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7, "prompt_tokens_details": {"cached_tokens": 3}},
        },
        done=True,
    )
    assert bench.read(bench.openai, body) == [
        C.Start("c1", "m", 7),
        C.TextDelta("Hel"),
        C.TextDelta("lo"),
        C.Stop("end", "stop"),
        C.UsageUpdate(C.Usage(5, 3, None, 2, None)),
        C.End(),
    ]


def test_openai_parallel_calls_and_their_fragments(bench: Any, sse_of: Any) -> None:
    body = sse_of(
        chunk(call(0, "", "a", "f")),
        chunk(call(0, '{"x"')),
        chunk(call(0, ":1}")),
        chunk(call(1, None, "b", "g")),
        chunk(call(1, "{}")),
        chunk({}, "tool_calls"),
        done=True,
    )
    assert bench.read(bench.openai, body)[1:] == [
        C.ToolCallStart(0, "a", "f"),
        C.ToolArgumentsDelta(0, '{"x"'),
        C.ToolArgumentsDelta(0, ":1}"),
        C.ToolCallStart(1, "b", "g"),
        C.ToolArgumentsDelta(1, "{}"),
        C.Stop("tool_use", "tool_calls"),
        C.End(),
    ]


@pytest.mark.parametrize(
    "deltas",
    [
        [call(0, '{"x":1}', "a", "f"), call(0, '{"y":2}', "b", "f")],  # every call at index 0
        [call(None, '{"x":1}', "a", "f"), call(None, '{"y":2}', "b", "f")],  # no index
        [call(1, '{"x":1}', "a", "f"), call(2, '{"y":2}', "b", "f")],  # counting from 1
        [{"tool_calls": [*call(0, '{"x":1}', "a", "f")["tool_calls"], *call(1, '{"y":2}', "b", "f")["tool_calls"]]}],
    ],
)
def test_openai_calls_are_told_apart_by_id(bench: Any, sse_of: Any, deltas: list[dict[str, Any]]) -> None:
    events = bench.read(bench.openai, sse_of(*map(chunk, deltas), chunk({}, "stop"), done=True))
    starts = [(e.index, e.id) for e in events if isinstance(e, C.ToolCallStart)]
    assert starts == [(0, "a"), (1, "b")]
    assert [(e.index, e.text) for e in events if isinstance(e, C.ToolArgumentsDelta)] == [(0, '{"x":1}'), (1, '{"y":2}')]
    assert events[-2] == C.Stop("tool_use", "stop"), "a call that ends with stop is still a call"


@pytest.mark.parametrize(
    ("delta", "events"),
    [
        ({"reasoning_content": "r"}, [C.ReasoningDelta("r")]),
        ({"reasoning": "r"}, [C.ReasoningDelta("r")]),
        ({"reasoning": "r", "reasoning_content": "r"}, [C.ReasoningDelta("r")]),
        ({"reasoning": "r", "reasoning_details": [{"type": "reasoning.text", "text": "r"}]}, [C.ReasoningDelta("r")]),
        ({"reasoning_details": [{"type": "reasoning.summary", "summary": "s"}]}, [C.ReasoningDelta("s")]),
        ({"reasoning_details": [{"signature": "S", "format": "anthropic-claude-v1"}]}, [C.ReasoningSignature("S", "anthropic-messages")]),
        (
            {"reasoning_details": [{"data": "D", "id": "i", "format": "openai-responses-v1"}]},
            [C.RedactedReasoning("D", "openai-responses", "i")],
        ),
        (
            {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "x"}]},
            [C.ReasoningDelta("t"), C.TextDelta("x")],
        ),
        ({"refusal": "no"}, [C.RefusalDelta("no")]),
        ({"content": None, "tool_calls": None}, []),
    ],
)
def test_openai_deltas_of_many_vendors(bench: Any, sse_of: Any, delta: dict[str, Any], events: list[C.Event]) -> None:
    assert bench.read(bench.openai, sse_of(chunk(delta), chunk({}, "length"), done=True))[1:-2] == events


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 10, "completion_tokens_details": {"reasoning_tokens": 3}},
            C.Usage(5, None, None, 5, 3),
        ),
        (
            {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9, "completion_tokens_details": {"reasoning_tokens": 3}},
            C.Usage(5, None, None, 4, 3),
        ),
        ({"prompt_tokens": 24, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 161}}, C.Usage(185, 161, None, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_cache_hit_tokens": 8}, C.Usage(9, 8, None, 2)),
        ({"prompt_tokens": 9, "completion_tokens": 2, "prompt_tokens_details": {"cache_write_tokens": 7}}, C.Usage(9, None, 7, 2)),
        ({"prompt_tokens": 9.0, "completion_tokens": None}, C.Usage(9)),
        ({"prompt_tokens": -1, "completion_tokens": 1e30}, C.Usage()),
    ],
)
def test_openai_usage_of_many_vendors(bench: Any, usage: dict[str, Any], expected: C.Usage) -> None:
    body = json.dumps({"id": "c", "choices": [{"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}], "usage": usage}).encode()
    assert C.UsageUpdate(expected) in bench.read(bench.openai, body, stream=False)


def test_groq_puts_usage_beside(bench: Any, sse_of: Any) -> None:
    body = sse_of(chunk({"content": "x"}), chunk({}, "stop", x_groq={"usage": {"prompt_tokens": 1, "completion_tokens": 2}}), done=True)
    assert C.UsageUpdate(C.Usage(1, None, None, 2)) in bench.read(bench.openai, body)


def test_openai_whole_answer_with_several_choices(bench: Any) -> None:
    choices = [{"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": "stop"} for i, t in enumerate("ab")]
    events = bench.read(bench.openai, json.dumps({"id": "c", "model": "m", "choices": choices}).encode(), stream=False)
    assert events == [
        C.Start("c", "m"),
        C.TextDelta("a"),
        C.Stop("end", "stop"),
        C.TextDelta("b", 1),
        C.Stop("end", "stop", choice=1),
        C.End(),
    ]


def test_a_stream_without_done_is_complete_once_every_choice_ended(bench: Any, sse_of: Any) -> None:
    assert bench.read(bench.openai, sse_of(chunk({"content": "x"}), chunk({}, "stop")))[-1] == C.End()
    with pytest.raises(ProviderProtocolError, match="ended before"):
        bench.read(bench.openai, sse_of(chunk({"content": "x"}), chunk({}, "stop"), chunk({"content": "y"}, index=1)))


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        (
            {"message": "Tool choice is required, but model did not call a tool", "code": "tool_use_failed", "status_code": 400},
            "client_fault",  # Groq's preset knows better: test_error_rules
            400,
        ),
        ({"message": "Provider returned error", "code": 429}, "rate_limited", 429),
        ({"message": "The server had an error", "type": "server_error"}, "transient", 500),
        ({"message": "bad field", "type": "invalid_request_error", "param": "x"}, "client_fault", 400),
        ("out of memory", "transient", 500),
    ],
)
def test_openai_error_inside_a_stream(bench: Any, sse_of: Any, error: Any, kind: str, status: int) -> None:
    events = bench.read(bench.openai, sse_of({"error": error}, chunk({"content": "never"})))
    assert len(events) == 1
    assert (events[0].failure.kind, events[0].failure.status) == (kind, status)


def test_gpustack_ends_with_a_bare_error_line(bench: Any, sse_of: Any) -> None:
    events = bench.read(bench.openai, sse_of(chunk({"content": "x"})) + b"error: engine died\n\n")
    assert events[-1].failure.message == "engine died"


def test_a_finish_reason_may_be_a_failure(bench: Any, sse_of: Any) -> None:
    events = bench.read(bench.openai, sse_of(chunk({}, "error"), done=True))
    assert [type(e) for e in events] == [C.Start, C.InStreamError]


@pytest.mark.parametrize(
    ("body", "stream"),
    [
        (b"data: {\n\n", True),
        (b"data: []\n\n", True),
        (b'data: {"choices":{}}\n\n', True),
        (b'data: {"choices":[{"delta":{"content":5}}]}\n\n', True),
        (b'data: {"choices":[{"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}}]}\n\n', True),
        (b"<html>busy</html>", True),
        (b"", True),
        (b"data: [DONE", True),
        (b"", False),
        (b"<html>busy</html>", False),
        (b"{}", False),
        (b'{"choices":[]}', False),
        (b'{"contentType":"application/json","pages":[]}', False),
    ],
)
def test_openai_garbage_is_the_providers_fault(bench: Any, body: bytes, stream: bool) -> None:
    with pytest.raises(ProviderProtocolError):
        bench.read(bench.openai, body, stream)


def test_openai_limits(bench: Any, sse_of: Any) -> None:
    with pytest.raises(ProviderProtocolError, match="too many choices"):
        bench.read(bench.openai, sse_of(*(chunk({"content": "x"}, index=i) for i in range(200)), done=True))
    with pytest.raises(ProviderProtocolError, match="too many tool calls"):
        bench.read(bench.openai, sse_of(*(chunk(call(i, "", f"id{i}", "f")) for i in range(1100)), done=True))
    reader = bench.openai.reader(bench.request("openai-chat", stream=False))
    reader.start(200, "application/json")
    with pytest.raises(ProviderProtocolError, match="larger"):
        reader.feed(b"x" * (33 * 1024 * 1024))


# ------------------------------------------------------------------------------------------------ anthropic-messages


def test_anthropic_stream(bench: Any, sse_of: Any) -> None:
    body = sse_of(
        MESSAGE_START,
        {"type": "ping"},
        *block(
            0,
            {"type": "thinking", "thinking": "", "signature": ""},
            {"type": "thinking_delta", "thinking": "hm"},
            {"type": "signature_delta", "signature": "S"},
        ),
        *block(1, {"type": "redacted_thinking", "data": "R"}),
        *block(2, {"type": "text", "text": ""}, {"type": "text_delta", "text": "Hi"}),
        *block(3, {"type": "text", "text": ""}, {"type": "text_delta", "text": "!"}),
        *block(
            4,
            {"type": "tool_use", "id": "t1", "name": "f", "input": {}},
            {"type": "input_json_delta", "partial_json": ""},
            {"type": "input_json_delta", "partial_json": '{"a":1}'},
        ),
        *block(5, {"type": "tool_use", "id": "t2", "name": "g", "input": {}}),
        {"type": "a_new_event"},
        *MESSAGE_END,
        named=True,
    )
    own = "anthropic-messages"
    assert bench.read(bench.anthropic, body) == [
        C.Start("msg_1", "c"),
        C.UsageUpdate(C.Usage(12, 4, 5, 1, None)),
        C.ReasoningDelta("hm"),
        C.ReasoningSignature("S", own),
        C.RedactedReasoning("R", own),
        C.TextDelta("Hi"),
        C.PartBreak(),
        C.TextDelta("!"),
        C.ToolCallStart(0, "t1", "f"),
        C.ToolArgumentsDelta(0, '{"a":1}'),
        C.ToolCallEnd(0),
        C.ToolCallStart(1, "t2", "g"),
        C.ToolCallEnd(1),
        C.UsageUpdate(C.Usage(12, 4, 5, 9, 2)),
        C.Stop("end", "end_turn"),
        C.End(),
    ]


def test_anthropic_input_that_comes_whole_with_the_start(bench: Any, sse_of: Any) -> None:
    body = sse_of(MESSAGE_START, *block(0, {"type": "tool_use", "id": "t", "name": "f", "input": {"a": 1}}), *MESSAGE_END, named=True)
    assert C.ToolArgumentsDelta(0, '{"a":1}') in bench.read(bench.anthropic, body)


def test_anthropic_whole_equals_streamed(bench: Any, sse_of: Any) -> None:
    content = [
        {"type": "thinking", "thinking": "t", "signature": "S"},
        {"type": "text", "text": "x"},
        {"type": "tool_use", "id": "a", "name": "f", "input": {"k": 1}},
    ]
    message = {
        "id": "msg_1",
        "type": "message",
        "model": "c",
        "content": content,
        "stop_reason": "tool_use",
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 2},
    }
    assert bench.read(bench.anthropic, json.dumps(message).encode(), stream=False) == [
        C.Start("msg_1", "c"),
        C.UsageUpdate(C.Usage(1, None, None, 2)),
        C.ReasoningDelta("t"),
        C.ReasoningSignature("S", "anthropic-messages"),
        C.TextDelta("x"),
        C.ToolCallStart(0, "a", "f"),
        C.ToolArgumentsDelta(0, '{"k":1}'),
        C.ToolCallEnd(0),
        C.Stop("tool_use", "tool_use"),
        C.End(),
    ]


@pytest.mark.parametrize(
    ("error", "kind", "status"),
    [
        ({"type": "overloaded_error", "message": "Overloaded"}, "transient", 529),
        ({"type": "rate_limit_error", "message": "slow down"}, "rate_limited", 429),
        ({"type": "api_error", "message": "oops"}, "transient", 500),
        ({"type": "invalid_request_error", "message": "prompt is too long: 3 tokens > 2 maximum"}, "context_too_long", 400),
        ({"type": "authentication_error", "message": "invalid x-api-key sk-ant-1234"}, "credential_dead", 401),
    ],
)
def test_anthropic_error_inside_a_stream(bench: Any, sse_of: Any, error: Any, kind: str, status: int) -> None:
    body = sse_of(MESSAGE_START, {"type": "error", "error": error}, named=True)
    failure = bench.read(bench.anthropic, body)[-1].failure
    assert (failure.kind, failure.status) == (kind, status)
    assert "sk-ant" not in failure.message


@pytest.mark.parametrize(
    ("events", "why"),
    [
        ([MESSAGE_START, *MESSAGE_END[:1]], "ended before"),
        ([*block(0, {"type": "text", "text": ""})], "before message_start"),
        ([MESSAGE_START, MESSAGE_START], "begins twice"),
        (
            [MESSAGE_START, {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}],
            "without an open block",
        ),
        (
            [MESSAGE_START, *block(0, {"type": "text", "text": ""}, {"type": "input_json_delta", "partial_json": "{"})],
            "input_json_delta in a text",
        ),
        ([MESSAGE_START, *block(0, {"type": "text", "text": 5})], "not a string"),
        ([MESSAGE_START, *block(0, {"type": "tool_use", "id": "x"})], "without a name"),
        ([MESSAGE_START, {"type": "content_block_stop", "index": 3}], "without an open block"),
        ([{"type": "message_stop"}], "before it begins"),
        ([{"type": 5}], "cannot be read"),
    ],
)
def test_anthropic_garbage_is_the_providers_fault(bench: Any, sse_of: Any, events: list[Any], why: str) -> None:
    with pytest.raises(ProviderProtocolError, match=why):
        bench.read(bench.anthropic, sse_of(*events, named=True))


def test_a_plain_error_event_needs_no_json(bench: Any) -> None:
    events = bench.read(bench.anthropic, b"event: error\ndata: upstream gone\n\n")
    assert events[0].failure.message == "upstream gone"


# ------------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b'{"error":{"message":"Incorrect API key provided: sk-abc","code":"invalid_api_key"}}', "credential_dead"),
        (400, b'{"error":{"message":"API key not valid. Please pass a valid API key."}}', "credential_dead"),
        (403, b'{"error":{"message":"Your account is not permitted","type":"permission_error"}}', "credential_dead"),
        (429, b'{"error":{"message":"Rate limit reached","code":"rate_limit_exceeded"}}', "rate_limited"),
        (429, b'{"error":{"message":"You exceeded your current quota","code":"insufficient_quota"}}', "quota_spent"),
        (429, b'{"error":{"message":"Input token count exceeds the maximum context"}}', "context_too_long"),
        (402, b"{}", "quota_spent"),
        (400, b'{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low"}}', "quota_spent"),
        (
            400,
            b'{"error":{"message":"This model\'s maximum context length is 8192 tokens","code":"context_length_exceeded"}}',
            "context_too_long",
        ),
        (413, b'{"type":"error","error":{"type":"request_too_large","message":"too big"}}', "context_too_long"),
        (400, b'{"error":{"message":"filtered","code":"content_filter"}}', "content_policy"),
        (400, b'{"error":{"message":"bad","param":"messages[3]"}}', "client_fault"),
        (422, b'{"detail":[{"loc":["body"],"msg":"field required"}]}', "client_fault"),
        (404, b'{"error":{"message":"The model `x` does not exist","code":"model_not_found"}}', "transient"),
        (400, b'{"error":{"message":"The requested model \'x\' does not exist.","code":"model_not_found"}}', "transient"),
        (403, b'{"error":{"message":"Project `p` does not have access to model `x`","code":"model_not_found"}}', "credential_dead"),
        (500, b"<html>Internal Server Error</html>", "transient"),
        (529, b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}', "transient"),
        (503, b"", "transient"),
        (400, b"[" * 5000, "client_fault"),
        (400, b"\xff\xfe", "client_fault"),
        (307, b"", "unreadable"),
    ],
)
def test_provider_errors_are_classified(bench: Any, status: int, body: bytes, kind: str) -> None:
    for dialect in (bench.openai, bench.anthropic):
        failure = dialect.read_error(status, {}, body)
        assert failure.kind == kind
        assert failure.message
        assert "sk-" not in failure.message
        assert (failure.status == 429) <= (kind in ("rate_limited", "quota_spent")), "what must not be tried again is no 429"
        assert "<html" not in failure.message
        assert failure.retryable_elsewhere is (kind not in ("client_fault", "context_too_long", "content_policy"))


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "1.5", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT", "date": "Wed, 21 Oct 2026 07:28:00 GMT"}, 30.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:30 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after(bench: Any, headers: dict[str, str], seconds: float | None) -> None:
    assert bench.openai.read_error(429, headers, b"").retry_after == seconds


def test_long_vendor_texts_are_cut(bench: Any) -> None:
    failure = bench.openai.read_error(400, {}, json.dumps({"error": {"message": "x" * 100_000}}).encode())
    assert len(failure.message) == 2000
