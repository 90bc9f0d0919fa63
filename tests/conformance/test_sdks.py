"""The official SDKs read what we write: every kind of answer, streamed and whole, and every kind of error."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.registry import DIALECTS

C = canon

NAMES = sorted(DIALECTS)
G, B, COHERE = "gemini-generate-content", "bedrock-converse", "cohere-chat"
CHAT, RESPONSES, MESSAGES = "openai-chat", "openai-responses", "anthropic-messages"
END = {CHAT: "stop", RESPONSES: "completed", MESSAGES: "end_turn", G: "STOP", B: "end_turn", COHERE: "COMPLETE"}
TOOL = {CHAT: "tool_calls", RESPONSES: "completed", MESSAGES: "tool_use", G: "STOP", B: "tool_use", COHERE: "TOOL_CALL"}
CUT = {CHAT: "length", RESPONSES: "max_output_tokens", MESSAGES: "max_tokens", G: "MAX_TOKENS", B: "max_tokens", COHERE: "MAX_TOKENS"}
REFUSED = {CHAT: "content_filter", RESPONSES: "content_filter", MESSAGES: "refusal", G: "SAFETY", B: "content_filtered", COHERE: "ERROR"}


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}made"

    def now(self) -> int:
        return 1_700_000_000


def writer_of(name: str, stream: bool) -> Any:
    return DIALECTS[name].writer(C.Request(dialect=name, model="m", messages=(), stream=stream, include_usage=True), Ids())


def decode(sdks: Any, name: str, stream: bool, events: list[C.Event]) -> Any:
    writer = writer_of(name, stream)
    body = b"".join(writer.emit(event) for event in events) + writer.finish()
    return sdks.decode(name, body, stream)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_text(sdks: Any, name: str, stream: bool) -> None:
    usage = C.UsageUpdate(C.Usage(100, 60, 10, 7, 3))
    got = decode(
        sdks, name, stream, [C.Start("id", "m"), C.TextDelta("Hel"), C.TextDelta('lo "you" é\n\u2028'), C.Stop("end"), usage, C.End()]
    )
    reasoning = 0 if name == B else 3  # it does not count it
    assert (got.text, got.stop, got.usage) == ('Hello "you" é\n\u2028', END[name], (100, 60, 7, reasoning))


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_reasoning_with_its_signature(sdks: Any, name: str, stream: bool) -> None:
    events: list[C.Event] = [
        C.Start("id", "m"),
        C.ReasoningDelta("think "),
        C.ReasoningDelta("hard"),
        C.ReasoningSignature("SIG", "anthropic-messages"),
        C.TextDelta("so"),
        C.Stop("end"),
        C.End(),
    ]
    got = decode(sdks, name, stream, events)
    # Cohere has no place for one; Bedrock's may be of any vendor, so there it is sealed.
    signatures = {COHERE: (), B: ("headgate.anthropic-messages.SIG",)}.get(name, ("SIG",))
    assert (got.reasoning, got.signatures, got.text) == ("think hard", signatures, "so")


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_parallel_calls(sdks: Any, name: str, stream: bool) -> None:
    events: list[C.Event] = [
        C.Start("id", "m"),
        C.TextDelta("calling"),
        C.ToolCallStart(0, "a", "f"),
        C.ToolArgumentsDelta(0, '{"city": "Zür'),
        C.ToolCallStart(1, "b", "g"),
        C.ToolArgumentsDelta(0, 'ich", "n": [1, {"x": null}]}'),
        C.ToolCallStart(2, None, "h"),
        C.ToolArgumentsDelta(2, '{"last": true}'),
        C.Stop("tool_use"),
        C.End(),
    ]
    got = decode(sdks, name, stream, events)
    assert (got.text, got.stop) == ("calling", TOOL[name])
    assert [(c.name, c.arguments) for c in sorted(got.calls, key=lambda c: c.name)] == [
        ("f", {"city": "Zürich", "n": [1, {"x": None}]}),
        ("g", {}),
        ("h", {"last": True}),
    ]
    assert {c.id for c in got.calls if c.name != "h"} == {"a", "b"}
    assert all(c.id for c in got.calls)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_stop_reasons(sdks: Any, name: str, stream: bool) -> None:
    for stop, word in ((C.Stop("max_tokens"), CUT[name]), (C.Stop("content_filter"), REFUSED[name]), (C.Stop("refusal"), REFUSED[name])):
        assert decode(sdks, name, stream, [C.Start(), C.TextDelta("x"), stop, C.End()]).stop == word


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_an_empty_answer(sdks: Any, name: str, stream: bool) -> None:
    got = decode(sdks, name, stream, [C.Start(), C.Stop("end"), C.End()])
    assert (got.text, got.calls, got.stop) == ("", (), END[name])


@pytest.mark.parametrize("name", NAMES)
def test_an_error_after_content_raises_in_the_sdk(sdks: Any, name: str) -> None:
    writer = writer_of(name, True)
    body = writer.emit(C.Start("i", "m")) + writer.emit(C.TextDelta("half an ans"))
    failed = sdks.decode(name, body + writer.fail(C.Failure("transient", 529, "Overloaded")), True)
    assert failed.error in ("APIError", "APIStatusError", "serviceUnavailableException")


FAILURES = [
    (C.Failure("client_fault", 400, "bad", "invalid_type", "messages.3"), "BadRequestError", 400),
    (C.Failure("client_fault", 404, "no such model", "model_not_found"), "NotFoundError", 404),
    (C.Failure("credential_dead", 401, "refused"), "AuthenticationError", 401),
    (C.Failure("credential_dead", 403, "refused"), "PermissionDeniedError", 403),
    (C.Failure("rate_limited", 429, "slow down"), "RateLimitError", 429),
    (C.Failure("quota_spent", 429, "spent"), "RateLimitError", 429),
    (C.Failure("transient", 500, "oops"), "InternalServerError", 500),
]


@pytest.mark.parametrize(("failure", "raised", "status"), FAILURES)
@pytest.mark.parametrize("name", NAMES)
def test_errors_raise_the_sdks_own_class(sdks: Any, name: str, failure: C.Failure, raised: str, status: int) -> None:
    got = sdks.decode(name, DIALECTS[name].write_error(failure), False, failure.status)
    assert (got.error, got.error_status) == (raised, status)
