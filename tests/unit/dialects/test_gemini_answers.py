"""Reading Gemini answers and errors: whole and streamed, complete and not, and what clients of both dialects get of signatures."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.dialects import canon
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.kit.errors import ProviderProtocolError

C = canon
GEMINI = PROVIDERS["gemini-generate-content"]
NAME = "gemini-generate-content"


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}made"

    def now(self) -> int:
        return 1_700_000_000


def chunk(*parts: dict[str, Any], finish: str | None = None, usage: dict[str, int] | None = None, **candidate: Any) -> dict[str, Any]:
    """One response object; the candidate has `parts` if there are any."""
    if parts:
        candidate["content"] = {"role": "model", "parts": list(parts)}
    if finish is not None:
        candidate["finishReason"] = finish
    made: dict[str, Any] = {"candidates": [candidate], "modelVersion": "gemini-x", "responseId": "r"}
    return made if usage is None else {**made, "usageMetadata": usage}


def sse(*chunks: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(item).encode() + b"\r\n\r\n" for item in chunks)


def read(body: bytes | list[bytes], stream: bool = True) -> list[C.Event]:
    reader = GEMINI.reader(C.Request(dialect="openai-chat", model="m", messages=(), stream=stream))
    reader.start(200, "text/event-stream" if stream else "application/json; charset=UTF-8")
    events: list[C.Event] = []
    for piece in [body] if isinstance(body, bytes) else body:
        events += reader.feed(piece)
    return events + reader.finish()


def write(name: str, events: list[C.Event], stream: bool, thinking: bool = True) -> bytes:
    reasoning = C.Reasoning(enabled=True) if thinking else None
    request = C.Request(dialect=name, model="m", messages=(), stream=stream, include_usage=True, reasoning=reasoning)
    writer = DIALECTS[name].writer(request, Ids())
    return b"".join(writer.emit(event) for event in events) + writer.finish()


CALL = {"functionCall": {"name": "f", "args": {"a": 1, "b": [1.5, "x"]}}, "thoughtSignature": "U0lH"}
ANSWER = [
    chunk({"text": "hm ", "thought": True}, usage={"promptTokenCount": 10, "cachedContentTokenCount": 4, "thoughtsTokenCount": 2}),
    chunk({"text": "Hel"}),
    chunk({"text": "lo é"}, {"text": "", "thoughtSignature": "VEVYVA=="}),
    chunk(CALL, {"functionCall": {"name": "g", "id": "own"}}),
    chunk(finish="STOP", usage={"promptTokenCount": 10, "candidatesTokenCount": 7, "thoughtsTokenCount": 3, "toolUsePromptTokenCount": 5}),
]
MEANING: list[C.Event] = [
    C.Start("r", "gemini-x"),
    C.ReasoningDelta("hm "),
    C.UsageUpdate(C.Usage(10, 4, None, 2, 2)),
    C.TextDelta("Hel"),
    C.TextDelta("lo é"),
    C.ToolCallStart(0, None, "f", 0, "U0lH", NAME),
    C.ToolArgumentsDelta(0, '{"a":1,"b":[1.5,"x"]}'),
    C.ToolCallEnd(0),
    C.ToolCallStart(1, "own", "g"),
    C.ToolCallEnd(1),
    C.UsageUpdate(C.Usage(15, 4, None, 10, 3)),
    C.Stop("tool_use", "STOP"),
    C.End(),
]


def test_a_stream() -> None:
    assert read(sse(*ANSWER)) == MEANING


def test_a_whole_answer() -> None:
    parts = [part for item in ANSWER for part in item["candidates"][0].get("content", {}).get("parts", [])]
    document = chunk(*parts, finish="STOP", usage={"promptTokenCount": 10, "candidatesTokenCount": 7, "thoughtsTokenCount": 3})
    events = read(json.dumps(document, indent=2).encode(), stream=False)
    kept = [e for e in MEANING if not isinstance(e, C.UsageUpdate)]
    assert [e for e in events if not isinstance(e, C.UsageUpdate)] == kept
    assert C.UsageUpdate(C.Usage(10, None, None, 10, 3)) in events


@pytest.mark.parametrize("split", [1, 7, 10**6])
def test_a_stream_as_an_array(split: int) -> None:
    """What streamGenerateContent gives without alt=sse."""
    body = json.dumps(ANSWER, indent=2).encode()
    assert read([body[i : i + split] for i in range(0, len(body), split)], stream=False) == MEANING


@given(st.lists(st.integers(0, 2000), max_size=8))
def test_any_split_gives_the_same_events(places: list[int]) -> None:
    body = sse(*ANSWER)
    cuts = [0, *sorted(min(place, len(body)) for place in places), len(body)]
    assert read([body[a:b] for a, b in itertools.pairwise(cuts)]) == MEANING


def test_big_numbers_in_arguments_are_not_touched() -> None:
    document = json.dumps(chunk({"functionCall": {"name": "f", "args": {"n": 1}}}, finish="STOP"), indent=1)
    body = document.replace('"n": 1', '"n": 12345678901234567890123').encode()
    assert C.ToolArgumentsDelta(0, '{"n":12345678901234567890123}') in read(body, stream=False)


# -------------------------------------------------------------------------------------------------------- complete?


def test_the_last_reason_counts() -> None:
    """Old models say STOP with every chunk."""
    events = read(sse(chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}, finish="MAX_TOKENS")))
    assert [e.text for e in events if isinstance(e, C.TextDelta)] == ["a", "b"]
    assert [e for e in events if isinstance(e, C.Stop)] == [C.Stop("max_tokens", "MAX_TOKENS")]


@pytest.mark.parametrize("kept", range(len(ANSWER)))
def test_a_stream_without_its_reason_was_cut(kept: int) -> None:
    with pytest.raises(ProviderProtocolError):
        read(sse(*ANSWER[:kept]))


def test_every_candidate_must_have_ended() -> None:
    first, second = chunk({"text": "a"}, finish="STOP"), chunk({"text": "b"}, index=1)
    with pytest.raises(ProviderProtocolError, match="before its last event"):
        read(sse(first, second))
    events = read(sse(first, second, chunk(finish="STOP", index=1)))
    assert events[-3:] == [C.Stop("end", "STOP", None, 0), C.Stop("end", "STOP", None, 1), C.End()]


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"candidates": []}', b'{"usageMetadata": {"promptTokenCount": 1}}', b"null", b"[1]"])
def test_an_answer_without_an_answer(body: bytes) -> None:
    with pytest.raises(ProviderProtocolError):
        read(body, stream=False)
    with pytest.raises(ProviderProtocolError):
        read(b"data: " + body + b"\n\n")


@pytest.mark.parametrize(
    "part",
    [
        {"functionCall": {"args": {}}},
        {"functionCall": {"name": "f", "args": [1]}},
        {"functionCall": {"name": "f", "args": "x"}},
        {"functionCall": {"name": "f", "partialArgs": [{"jsonPath": "$.a"}]}},
        {"text": 5},
    ],
)
def test_a_part_that_cannot_be_read(part: dict[str, Any]) -> None:
    with pytest.raises(ProviderProtocolError):
        read(sse(chunk(part, finish="STOP")))


def test_too_many_calls() -> None:
    with pytest.raises(ProviderProtocolError, match="too many function calls"):
        read(sse(chunk(*[{"functionCall": {"name": "f"}}] * 1025, finish="STOP")))


def test_limits() -> None:
    reader = GEMINI.reader(C.Request(dialect="openai-chat", model="m", messages=(), stream=False))
    reader.start(200, "application/json")
    assert reader.feed(b" " * 32 * 1024 * 1024) == []
    with pytest.raises(ProviderProtocolError, match="larger than any real one"):
        reader.feed(b" ")


# ---------------------------------------------------------------------------------------------------- stop reasons


@pytest.mark.parametrize(
    ("native", "reason"),
    [
        ("STOP", "end"),
        ("MAX_TOKENS", "max_tokens"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("LANGUAGE", "other"),
        ("OTHER", "other"),
        ("SOMETHING_NEW", "other"),
    ],
)
def test_stop_reasons(native: str, reason: str) -> None:
    assert read(sse(chunk({"text": "a"}, finish=native)))[-2] == C.Stop(reason, native)  # type: ignore[arg-type]


def test_a_blocked_prompt_is_an_empty_answer_with_its_reason() -> None:
    blocked = {"promptFeedback": {"blockReason": "SAFETY", "blockReasonMessage": "no"}, "usageMetadata": {"promptTokenCount": 3}}
    for events in (read(sse(blocked)), read(json.dumps(blocked).encode(), stream=False)):
        assert events == [
            C.Start(),
            C.UsageUpdate(C.Usage(3)),
            C.Stop("content_filter", "SAFETY", detail={"message": "no"}),
            C.End(),
        ]


@pytest.mark.parametrize("native", ["MALFORMED_FUNCTION_CALL", "UNEXPECTED_TOOL_CALL"])
def test_a_failure_of_the_model_is_worth_another_try(native: str) -> None:
    (error,) = [e for e in read(sse(chunk(finish=native, finishMessage="bad call"))) if isinstance(e, C.InStreamError)]
    assert error.failure.retryable_elsewhere
    assert (error.failure.message, error.failure.code, error.failure.status) == ("bad call", native, 503)


# ----------------------------------------------------------------------------------------------------------- others


def test_other_parts_citations_and_log_probabilities() -> None:
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    source = {"startIndex": 1, "endIndex": 5, "uri": "https://x.example", "title": "X"}
    logs = {
        "chosenCandidates": [{"token": "é", "tokenId": 5, "logProbability": -0.5}],
        "topCandidates": [{"candidates": [{"token": "é", "logProbability": -0.5}, {"token": "e", "logProbability": -1.5}]}],
    }
    item = chunk({"text": "é"}, code, finish="STOP", citationMetadata={"citationSources": [source]}, logprobsResult=logs)
    events = read(sse(item))
    assert C.ForeignEvent(NAME, code) in events
    assert C.Citation(NAME, source, url="https://x.example", title="X") in events
    top = [{"token": "é", "logprob": -0.5, "bytes": [195, 169]}, {"token": "e", "logprob": -1.5, "bytes": [101]}]
    assert C.Logprobs(({"token": "é", "logprob": -0.5, "bytes": [195, 169], "top_logprobs": top},)) in events


# ------------------------------------------------------------------------------------- signatures, as clients get them


def test_openai_clients_get_the_signature_on_its_call() -> None:
    whole = json.loads(write("openai-chat", read(sse(*ANSWER)), stream=False))
    first, second = whole["choices"][0]["message"]["tool_calls"]
    assert first["extra_content"] == {"google": {"thought_signature": "U0lH"}}
    assert "extra_content" not in second
    assert (first["id"], second["id"]) == ("call_made", "own")
    streamed = write("openai-chat", read(sse(*ANSWER)), stream=True)
    assert streamed.count(b'"extra_content":{"google":{"thought_signature":"U0lH"}}') == 1


def test_anthropic_clients_get_it_sealed_in_front_of_its_call() -> None:
    sealed = {"type": "thinking", "thinking": "", "signature": "headgate.gemini-generate-content.U0lH"}
    whole = json.loads(write("anthropic-messages", read(sse(*ANSWER)), stream=False))
    assert [block["type"] for block in whole["content"]] == ["thinking", "text", "thinking", "tool_use", "tool_use"]
    assert whole["content"][2] == sealed
    lines = write("anthropic-messages", read(sse(*ANSWER)), stream=True).split(b"\n")
    events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: ")]
    starts = [event for event in events if event["type"] == "content_block_start"]
    assert [(event["index"], event["content_block"]["type"]) for event in starts] == [
        (0, "thinking"), (1, "text"), (2, "thinking"), (3, "tool_use"), (4, "tool_use"),
    ]  # fmt: skip
    (signed,) = [event for event in events if event.get("delta", {}).get("type") == "signature_delta"]
    assert (signed["index"], signed["delta"]["signature"]) == (2, sealed["signature"])


@pytest.mark.parametrize("stream", [True, False])
def test_anthropic_clients_that_did_not_ask_for_thinking_get_no_sealed_block(stream: bool) -> None:
    body = write("anthropic-messages", read(sse(*ANSWER)), stream, thinking=False)
    assert body.count(b'"type":"tool_use"') == 2
    assert b"headgate." not in body


# ----------------------------------------------------------------------------------------------------------- errors


def error(code: int, message: str, status: str, *details: dict[str, Any]) -> dict[str, Any]:
    return {"error": {"code": code, "message": message, "status": status, "details": list(details)}}


RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}
QUOTA = "You exceeded your current quota, please check your plan and billing details."


def violated(quota: str) -> dict[str, Any]:
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": quota}]}


@pytest.mark.parametrize(
    ("document", "kind", "retry_after"),
    [
        (error(400, "Invalid value at 'contents[0]'", "INVALID_ARGUMENT"), "client_fault", None),
        (error(400, "API key not valid. Please pass a valid API key.", "INVALID_ARGUMENT"), "credential_dead", None),
        (
            error(400, "The input token count (9) exceeds the maximum allowed (8).", "INVALID_ARGUMENT"),
            "context_too_long",
            None,
        ),
        (error(400, "User location is not supported for the API use.", "FAILED_PRECONDITION"), "transient", None),
        (error(400, "Function calling is not enabled for models/gemma-3-1b-it", "INVALID_ARGUMENT"), "transient", None),
        (error(403, "Permission denied", "PERMISSION_DENIED"), "credential_dead", None),
        (error(404, "models/x is not found", "NOT_FOUND"), "transient", None),
        (error(429, QUOTA, "RESOURCE_EXHAUSTED", violated("GenerateRequestsPerMinutePerProject"), RETRY), "rate_limited", 34.5),
        (error(429, QUOTA, "RESOURCE_EXHAUSTED", RETRY), "rate_limited", 34.5),
        (error(429, QUOTA, "RESOURCE_EXHAUSTED", violated("GenerateRequestsPerDayPerProject"), RETRY), "quota_spent", 34.5),
        (error(429, QUOTA, "RESOURCE_EXHAUSTED"), "quota_spent", None),
        (error(429, "Resource exhausted. Please try again later.", "RESOURCE_EXHAUSTED"), "rate_limited", None),
        (error(500, "An internal error has occurred.", "INTERNAL"), "transient", None),
        (error(503, "The model is overloaded.", "UNAVAILABLE"), "transient", None),
        (error(504, "Deadline expired.", "DEADLINE_EXCEEDED"), "transient", None),
    ],
)
def test_errors(document: dict[str, Any], kind: str, retry_after: float | None) -> None:
    status = document["error"]["code"]
    for body in (document, [document]):  # streams without alt=sse answer with an array
        failure = GEMINI.read_error(status, {}, json.dumps(body).encode())
        assert (failure.kind, failure.retry_after, failure.status) == (kind, retry_after, status)
    events = read(sse(document))
    assert events == [C.InStreamError(failure, document["error"])]


def test_an_error_after_content() -> None:
    events = read(sse(ANSWER[1], error(503, "overloaded", "UNAVAILABLE"), ANSWER[2]))
    assert [type(e) for e in events] == [C.Start, C.TextDelta, C.InStreamError]


def test_the_text_of_a_credential_error_is_not_told() -> None:
    body = json.dumps(error(400, "API key not valid: AIzaSyCANARY", "INVALID_ARGUMENT")).encode()
    assert "CANARY" not in GEMINI.read_error(400, {}, body).message


@pytest.mark.parametrize("delay", ["x", "-1s", "", None, 5, "9" * 30 + "s"])
def test_a_delay_that_cannot_be_read_is_none(delay: object) -> None:
    body = json.dumps(error(429, "slow down", "RESOURCE_EXHAUSTED", {**RETRY, "retryDelay": delay})).encode()
    assert GEMINI.read_error(429, {}, body).retry_after is None
