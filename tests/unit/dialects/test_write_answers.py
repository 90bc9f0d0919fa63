"""Events written as client bytes: exact streams, whole documents, errors, and meaning kept for any stream of events."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.dialects import canon
from control_plane.dialects.gather import Answer, CallPiece, TextPiece, ThinkingPiece
from control_plane.dialects.registry import DIALECTS

C = canon
STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Ids:
    """Ids that count, and a clock that stands."""

    def __init__(self) -> None:
        self.count = 0

    def new(self, prefix: str) -> str:
        self.count += 1
        return f"{prefix}{self.count}"

    def now(self) -> int:
        return 7


def payloads(body: bytes) -> list[Any]:
    """The payloads of a stream, names and `[DONE]` checked on the way."""
    found: list[Any] = []
    for event in body.decode().removesuffix("\n\n").split("\n\n"):
        lines = event.split("\n")
        data = lines[-1].removeprefix("data: ")
        found.append(data if data == "[DONE]" else json.loads(data))
        if len(lines) == 2:
            assert lines[0] == f"event: {found[-1]['type']}"
    return found


def test_openai_stream_bytes(bench: Any) -> None:
    events = [
        C.Start("id1", "up", 5),
        C.ReasoningDelta("r"),
        C.TextDelta('say "hi"\n'),
        C.ToolCallStart(0, "a", "f"),
        C.ToolArgumentsDelta(0, '{"k":'),
        C.ToolArgumentsDelta(0, "1}"),
        C.ToolCallStart(1, None, "g"),
        C.Stop("tool_use", "tool_use"),
        C.UsageUpdate(C.Usage(10, 4, None, 6, 2)),
        C.End(),
    ]
    sent = payloads(bench.write(bench.openai, events))
    head = {"id": "id1", "object": "chat.completion.chunk", "created": 5, "model": "up"}

    def of(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        return {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}

    assert sent == [
        of({"role": "assistant", "content": "", "refusal": None}),
        of({"reasoning_content": "r"}),
        of({"content": 'say "hi"\n'}),
        of({"tool_calls": [{"index": 0, "id": "a", "type": "function", "function": {"name": "f", "arguments": ""}}]}),
        of({"tool_calls": [{"index": 0, "function": {"arguments": '{"k":'}}]}),
        of({"tool_calls": [{"index": 0, "function": {"arguments": "1}"}}]}),
        of({"tool_calls": [{"index": 1, "id": "call_1", "type": "function", "function": {"name": "g", "arguments": ""}}]}),
        of({"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]}),
        of({}, "tool_calls"),
        {
            **head,
            "choices": [],
            "usage": {
                "prompt_tokens": 10,
                "completion_tokens": 6,
                "total_tokens": 16,
                "prompt_tokens_details": {"cached_tokens": 4},
                "completion_tokens_details": {"reasoning_tokens": 2},
            },
        },
        "[DONE]",
    ]
    without = payloads(bench.write(bench.openai, events, include_usage=False))
    assert without == [*sent[:-2], "[DONE]"]


def test_anthropic_stream_bytes(bench: Any) -> None:
    events = [
        C.Start("id1", "up"),
        C.ReasoningDelta("r"),
        C.ReasoningSignature("S", "gemini-generate-content"),
        C.TextDelta("a"),
        C.TextDelta("b"),
        C.ToolCallStart(0, None, "f"),
        C.ToolArgumentsDelta(0, '{"k":1}'),
        C.ToolCallStart(1, "t2", "g"),
        C.Stop("end", "stop"),
        C.UsageUpdate(C.Usage(10, 4, 1, 6, None)),
        C.End(),
    ]
    assert payloads(bench.write(bench.anthropic, events)) == [
        {
            "type": "message_start",
            "message": {
                "id": "id1",
                "type": "message",
                "role": "assistant",
                "model": "up",
                "content": [],
                "stop_reason": None,
                "stop_sequence": None,
                "usage": {"input_tokens": 0, "output_tokens": 0},
            },
        },
        {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": "", "signature": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "r"}},
        {
            "type": "content_block_delta",
            "index": 0,
            "delta": {"type": "signature_delta", "signature": "headgate.gemini-generate-content.S"},
        },
        {"type": "content_block_stop", "index": 0},
        {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "b"}},
        {"type": "content_block_stop", "index": 1},
        {"type": "content_block_start", "index": 2, "content_block": {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}},
        {"type": "content_block_delta", "index": 2, "delta": {"type": "input_json_delta", "partial_json": '{"k":1}'}},
        {"type": "content_block_stop", "index": 2},
        {"type": "content_block_start", "index": 3, "content_block": {"type": "tool_use", "id": "t2", "name": "g", "input": {}}},
        {"type": "content_block_stop", "index": 3},
        {
            "type": "message_delta",
            "delta": {"stop_reason": "end_turn", "stop_sequence": None},
            "usage": {"input_tokens": 5, "output_tokens": 6, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 1},
        },
        {"type": "message_stop"},
    ]


def test_interleaved_calls_become_blocks_in_a_row(bench: Any) -> None:
    events = [
        C.Start("i", "m"),
        C.ToolCallStart(0, "a", "f"),
        C.ToolArgumentsDelta(0, '{"x":'),
        C.ToolCallStart(1, "b", "g"),
        C.ToolArgumentsDelta(1, '{"y":'),
        C.ToolArgumentsDelta(0, "1}"),
        C.ToolCallStart(2, "c", "h"),
        C.ToolArgumentsDelta(2, "{}"),
        C.ToolArgumentsDelta(1, "2}"),
        C.Stop("tool_use"),
        C.End(),
    ]
    open_block: int | None = None
    arguments: dict[int, str] = {}
    for payload in payloads(bench.write(bench.anthropic, events)):
        if payload["type"] == "content_block_start":
            assert open_block is None
            open_block = payload["index"]
        elif payload["type"] == "content_block_delta":
            assert payload["index"] == open_block
            arguments[payload["index"]] = arguments.get(payload["index"], "") + payload["delta"]["partial_json"]
        elif payload["type"] == "content_block_stop":
            assert payload["index"] == open_block
            open_block = None
    assert arguments == {0: '{"x":1}', 1: '{"y":2}', 2: "{}"}


def test_the_providers_own_stop_word_stays_in_its_dialect(bench: Any) -> None:
    assert (
        payloads(bench.write(bench.openai, [C.TextDelta("x"), C.Stop("tool_use", "stop"), C.End()]))[2]["choices"][0]["finish_reason"]
        == "stop"
    )
    refused = C.Stop("refusal", "refusal", None, 0, {"type": "refusal", "category": "bio", "explanation": None})
    delta = payloads(bench.write(bench.anthropic, [C.TextDelta("x"), refused, C.End()]))[-2]["delta"]
    assert delta == {"stop_reason": "refusal", "stop_sequence": None, "stop_details": refused.detail}


def test_a_refusal_in_words_is_a_refusal_for_anthropic_clients(bench: Any) -> None:
    events = [C.Start("i", "m"), C.RefusalDelta("I will not"), C.Stop("refusal", "stop"), C.End()]
    whole = json.loads(bench.write(bench.anthropic, events, stream=False))
    assert (whole["content"], whole["stop_reason"]) == ([{"type": "text", "text": "I will not"}], "refusal")
    assert json.loads(bench.write(bench.openai, events, stream=False))["choices"][0]["message"]["refusal"] == "I will not"


@pytest.mark.parametrize("stream", [True, False])
def test_an_error_after_content_ends_the_answer_in_each_dialect(bench: Any, stream: bool) -> None:
    failure = C.Failure("transient", 529, "Overloaded", "overloaded_error")
    for dialect in (bench.openai, bench.anthropic):
        writer = dialect.writer(bench.request(dialect.name, stream), bench.Ids())
        writer.emit(C.Start("i", "m"))
        writer.emit(C.TextDelta("x"))
        last = writer.fail(failure)
        if stream:
            assert last.startswith(b'data: {"error"' if dialect is bench.openai else b"event: error\ndata: ")
            assert last.endswith(b"}\n\n")
        else:
            assert last == dialect.write_error(failure)
        assert (writer.emit(C.TextDelta("y")), writer.emit(C.End()), writer.finish(), writer.fail(failure)) == (b"", b"", b"", b"")


@pytest.mark.parametrize(
    ("failure", "openai_type", "openai_code", "anthropic_type"),
    [
        (
            C.Failure("client_fault", 400, "m", "invalid_type", "messages.3"),
            "invalid_request_error",
            "invalid_type",
            "invalid_request_error",
        ),
        (C.Failure("client_fault", 404, "m", "model_not_found"), "invalid_request_error", "model_not_found", "not_found_error"),
        (C.Failure("client_fault", 415, "m"), "invalid_request_error", None, "invalid_request_error"),
        (C.Failure("rate_limited", 429, "m"), "rate_limit_error", "rate_limit_exceeded", "rate_limit_error"),
        (C.Failure("quota_spent", 429, "m"), "insufficient_quota", "insufficient_quota", "billing_error"),
        (C.Failure("credential_dead", 502, "m"), "server_error", "upstream_credentials_exhausted", "api_error"),
        (C.Failure("context_too_long", 400, "m"), "invalid_request_error", "context_length_exceeded", "invalid_request_error"),
        (C.Failure("content_policy", 400, "m"), "invalid_request_error", "content_policy_violation", "invalid_request_error"),
        (C.Failure("transient", 503, "m"), "server_error", None, "overloaded_error"),
        (C.Failure("transient", 504, "m"), "server_error", None, "timeout_error"),
        (C.Failure("transient", 500, "m"), "server_error", None, "api_error"),
        (C.Failure("unreadable", 502, "m"), "server_error", None, "api_error"),
    ],
)
def test_error_documents(bench: Any, failure: C.Failure, openai_type: str, openai_code: str | None, anthropic_type: str) -> None:
    own = json.loads(bench.openai.write_error(failure))["error"]
    assert own == {"message": "m", "type": openai_type, "param": failure.param, "code": openai_code}
    message = "messages.3: m" if failure.param else "m"
    assert json.loads(bench.anthropic.write_error(failure)) == {"type": "error", "error": {"type": anthropic_type, "message": message}}


# ---------------------------------------------------------------------------------- any answer keeps its meaning

_TEXT = st.text(min_size=1, max_size=12).filter(lambda t: t.isprintable() or "\n" in t)
_SAFE = _TEXT.filter(lambda t: not any("\ud800" <= c <= "\udfff" for c in t))
_JSON = st.dictionaries(_SAFE, st.none() | st.booleans() | st.integers(-(2**40), 2**40) | _SAFE, max_size=3)


@st.composite
def answers(draw: Any) -> list[C.Event]:
    """A well-formed answer of one choice: reasoning, text and calls in any order, arguments cut anywhere, perhaps interleaved;
    some calls are signed."""
    events: list[C.Event] = []
    calls = 0
    for kind in draw(st.lists(st.sampled_from(["text", "thinking", "call", "calls"]), max_size=6)):
        if kind == "text":
            events += [C.TextDelta(t) for t in draw(st.lists(_SAFE, min_size=1, max_size=3))]
        elif kind == "thinking":
            events += [C.ReasoningDelta(t) for t in draw(st.lists(_SAFE, min_size=1, max_size=3))]
        else:
            streams: list[list[C.Event]] = []
            for _ in range(1 if kind == "call" else 3):
                text = json.dumps(draw(_JSON), ensure_ascii=draw(st.booleans()))
                at = draw(st.integers(0, len(text)))
                fragments: list[C.Event] = [C.ToolArgumentsDelta(calls, part) for part in (text[:at], text[at:]) if part]
                signed = (f"SIG{calls}", "gemini-generate-content") if draw(st.booleans()) else (None, None)
                streams.append([C.ToolCallStart(calls, f"id{calls}", f"fn{calls}", 0, *signed), *fragments])
                calls += 1
            order = draw(st.permutations([n for n, s in enumerate(streams) for _ in s])) if draw(st.booleans()) else None
            for n in order if order is not None else [n for n, s in enumerate(streams) for _ in s]:
                events.append(streams[n].pop(0))
    counts = st.integers(0, 10**6)
    usage = C.Usage(draw(counts) + 2000, draw(st.integers(0, 1000)), draw(st.integers(0, 1000)), draw(counts), None)
    stop = C.Stop("tool_use" if calls else draw(st.sampled_from(["end", "max_tokens"])))
    return [C.Start("id", "model", 3), *events, stop, C.UsageUpdate(usage), C.End()]


def meaning(events: list[C.Event]) -> tuple[Any, ...]:
    answer = Answer()
    for event in events:
        answer.add(event)
    choice = answer.choice(0)
    text = "".join(t for p in choice.pieces if isinstance(p, TextPiece) for t in p.texts)
    reasoning = "".join(t for p in choice.pieces if isinstance(p, ThinkingPiece) for t in p.texts)
    # The order in which parallel calls began may change when they interleaved, so compare them by id.
    calls = sorted((p.start.id, p.start.name, json.loads("".join(p.arguments) or "{}")) for p in choice.pieces if isinstance(p, CallPiece))
    assert choice.stop is not None
    usage = msgspec.structs.replace(answer.usage, reasoning=answer.usage.reasoning or 0)  # a count that one dialect demands
    return text, reasoning, calls, choice.stop.reason, usage, answer.start.id, answer.complete


@STEADY
@given(answers(), st.sampled_from(sorted(DIALECTS)), st.booleans(), st.lists(st.integers(0, 3000), max_size=8))
def test_written_and_read_again_it_means_the_same(events: list[C.Event], name: str, stream: bool, cuts: list[int]) -> None:
    dialect = DIALECTS[name]
    request = C.Request(dialect=name, model="m", messages=(), stream=stream, include_usage=True)
    writer = dialect.writer(request, Ids())
    body = b"".join(writer.emit(event) for event in events) + writer.finish()
    at = sorted({min(cut, len(body)) for cut in cuts})
    reader = dialect.reader(request)
    reader.start(200, writer.content_type)
    back: list[C.Event] = []
    for a, b in zip([0, *at], [*at, len(body)], strict=True):
        back += reader.feed(body[a:b])
    read = meaning(back + reader.finish())
    wanted = meaning([_uncounted(event) if name in ("gemini-generate-content", "cohere-chat") else event for event in events])
    if name == "bedrock-converse":  # has neither an id nor a count of reasoning
        wanted = (*wanted[:4], msgspec.structs.replace(wanted[4], reasoning=0), None, wanted[6])
    assert read == wanted


def _uncounted(event: C.Event) -> C.Event:
    """What was written to a cache has no count of its own in these dialects."""
    return C.UsageUpdate(msgspec.structs.replace(event.usage, cache_write=None)) if isinstance(event, C.UsageUpdate) else event


@STEADY
@given(answers(), st.sampled_from(sorted(DIALECTS.keys() - {"cohere-chat"})), st.booleans())  # which has no place for them
def test_every_signature_of_a_call_reaches_the_client_in_front_of_it_or_on_it(events: list[C.Event], name: str, stream: bool) -> None:
    signed = {e.signature: e.name for e in events if isinstance(e, C.ToolCallStart) and e.signature}
    thinking = C.Reasoning(enabled=True)
    request = C.Request(dialect=name, model="m", messages=(), stream=stream, include_usage=True, reasoning=thinking)
    writer = DIALECTS[name].writer(request, Ids())
    body = (b"".join(writer.emit(event) for event in events) + writer.finish()).decode(errors="replace")  # checksums are no text
    for signature, function in signed.items():
        repeats = name == "openai-responses" and stream  # its last event has the whole answer again
        assert body.count(f'{signature}"') == 1 + repeats
        call, mark = body.index(f'"name":"{function}"'), body.index(f'{signature}"')
        assert (mark < call) is (name not in ("openai-chat", "gemini-generate-content"))  # they have a place on the call
