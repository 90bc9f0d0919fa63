"""Claude on Vertex AI and on Bedrock by invoke: paths, versions and betas of requests, frames of answers, errors."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.eventstream import CONTENT_TYPE, encode_event, encode_exception
from control_plane.dialects.foreign_reasoning import settled
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.kit.errors import ProviderProtocolError

VERTEX = TargetFacts("claude-sonnet-4-5@20250929", "/v1/publishers/anthropic/models/{model}:rawPredict")
BEDROCK = TargetFacts("anthropic.claude-sonnet-4-5-20250929-v1:0", "/model/{model}/invoke")
TARGETS = {"anthropic-vertex": VERTEX, "anthropic-bedrock": BEDROCK}
ASKED: dict[str, Any] = {
    "model": "asked",
    "max_tokens": 100,
    "messages": [{"role": "user", "content": "hello"}],
    "context_management": {"edits": [{"type": "clear_tool_uses_20250919"}]},
}
EVERY = pytest.mark.parametrize("provider", TARGETS)


def from_anthropic(call: Call | None = None, **fields: Any) -> canon.Request:
    return DIALECTS["anthropic-messages"].read_request(json.dumps({**ASKED, **fields}).encode(), call)


def from_openai(**fields: Any) -> canon.Request:
    body = {"model": "asked", "messages": [{"role": "user", "content": "hello"}], **fields}
    return DIALECTS["openai-chat"].read_request(json.dumps(body).encode())


def written(provider: str, request: canon.Request) -> tuple[Any, str | None]:
    made = PROVIDERS[provider].write_request(request, TARGETS[provider])
    return json.loads(made.body), made.path


@pytest.mark.parametrize("stream", [False, True])
def test_vertex(stream: bool) -> None:
    body, path = written("anthropic-vertex", from_anthropic(stream=stream))
    assert body == {**{k: v for k, v in ASKED.items() if k != "model"}, "stream": stream, "anthropic_version": "vertex-2023-10-16"}
    method = "streamRawPredict" if stream else "rawPredict"
    assert path == f"/v1/publishers/anthropic/models/claude-sonnet-4-5@20250929:{method}"
    body, again = written("anthropic-vertex", from_openai(stream=stream))
    assert again == path
    assert body == {
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hello"}]}],
        "anthropic_version": "vertex-2023-10-16",
        **({"stream": True} if stream else {}),
    }


@pytest.mark.parametrize("stream", [False, True])
def test_bedrock(stream: bool) -> None:
    betas = Call(headers={"anthropic-beta": "a-2025-01-01, b-2025-01-01,a-2025-01-01,"})
    body, path = written("anthropic-bedrock", from_anthropic(betas, stream=stream))
    wanted = {k: v for k, v in ASKED.items() if k != "model"}
    assert body == {**wanted, "anthropic_version": "bedrock-2023-05-31", "anthropic_beta": ["a-2025-01-01", "b-2025-01-01"]}
    assert path == f"/model/anthropic.claude-sonnet-4-5-20250929-v1%3A0/invoke{'-with-response-stream' if stream else ''}"
    body, again = written("anthropic-bedrock", from_openai(stream=stream))
    assert again == path
    assert body["anthropic_version"] == "bedrock-2023-05-31"
    assert not {"model", "stream", "anthropic_beta"} & set(body)


@EVERY
def test_thinking_of_any_of_them_goes_back_and_no_other(provider: str) -> None:
    own = {"type": "thinking", "thinking": "a", "signature": "c2ln"}
    foreign = {"type": "thinking", "thinking": "b", "signature": "headgate.gemini-generate-content.c2ln"}
    said = {"type": "text", "text": "hi"}
    turns = [ASKED["messages"][0], {"role": "assistant", "content": [own, said]}, ASKED["messages"][0]]
    dialect, target = PROVIDERS[provider], TARGETS[provider]
    kept, named = settled(from_anthropic(messages=turns), dialect.replay(target), "refuse")
    assert named == ()
    assert written(provider, kept)[0]["messages"] == turns
    turns[1] = {"role": "assistant", "content": [foreign, said]}
    changed, named = settled(from_anthropic(messages=turns), dialect.replay(target), "strip")
    assert named == ("messages.1.reasoning",)
    body = written(provider, changed)[0]
    assert body["messages"][1]["content"] == [said]
    assert body["context_management"] == ASKED["context_management"]  # what we do not know survives an edit, too


@EVERY
def test_what_only_anthropics_own_api_has_is_unfit(provider: str) -> None:
    url: Any = {"type": "image", "source": {"type": "url", "url": "https://example.com/a.png"}}
    file: Any = {"type": "document", "source": {"type": "file", "file_id": "file_1"}}
    inside = {"type": "tool_result", "tool_use_id": "t", "content": [url]}
    call = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "f", "input": {}}]}
    for messages in (
        [{"role": "user", "content": [url]}],
        [{"role": "user", "content": [file]}],
        [call, {"role": "user", "content": [inside]}],
    ):
        with pytest.raises(canon.Unfit, match="base64 only"):
            written(provider, from_anthropic(messages=messages))
    for name in ("mcp_servers", "container"):
        with pytest.raises(canon.Unfit) as unfit:
            written(provider, from_anthropic(None, **{name: ["x"]}))
        assert unfit.value.field == name


def events_of(body: bytes) -> list[canon.Event]:
    reader = PROVIDERS["anthropic-bedrock"].reader(from_anthropic(stream=True))
    reader.start(200, CONTENT_TYPE)
    return [*reader.feed(body), *reader.finish()]


def chunk(event: Any) -> bytes:
    return encode_event("chunk", json.dumps({"bytes": base64.b64encode(json.dumps(event).encode()).decode(), "p": "abc"}).encode())


BEGUN = chunk({"type": "message_start", "message": {"id": "m1", "model": "claude", "usage": {"input_tokens": 3, "output_tokens": 1}}})


def test_frames() -> None:
    block = chunk({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}})
    delta = chunk({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hi"}})
    stop = chunk({"type": "content_block_stop", "index": 0})
    end = chunk({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}})
    last = chunk({"type": "message_stop", "amazon-bedrock-invocationMetrics": {"inputTokenCount": 3}})
    events = events_of(BEGUN + block + delta + encode_event("news", b"{}") + stop + end + last)
    assert canon.TextDelta("hi") in events
    assert canon.Stop("end", "end_turn") in events
    assert isinstance(events[-1], canon.End)
    with pytest.raises(ProviderProtocolError, match="before its last event"):
        events_of(BEGUN + block + delta)


@pytest.mark.parametrize("payload", [b'{"bytes":"%%%"}', b'{"bytes":7}', b"[]", b"no json", b'{"bytes":"bm8ganNvbg=="}'])
def test_chunks_that_cannot_be_read(payload: bytes) -> None:
    with pytest.raises(ProviderProtocolError, match="cannot be read"):
        events_of(BEGUN + encode_event("chunk", payload))


@pytest.mark.parametrize(
    ("name", "status", "kind"),
    [
        ("throttlingException", 429, "rate_limited"),
        ("modelStreamErrorException", 424, "transient"),
        ("internalServerException", 500, "transient"),
        ("serviceUnavailableException", 503, "transient"),
    ],
)
def test_exceptions_inside_a_stream(name: str, status: int, kind: str) -> None:
    events = events_of(BEGUN + encode_exception(name, b'{"message":"broken"}') + BEGUN)
    (failure,) = [event.failure for event in events if isinstance(event, canon.InStreamError)]
    assert (failure.status, failure.kind, failure.message) == (status, kind, "broken")
    inside = events_of(BEGUN + chunk({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}))
    assert isinstance(inside[-1], canon.InStreamError)


@pytest.mark.parametrize(
    ("provider", "status", "body", "kind"),
    [
        ("anthropic-vertex", 429, {"error": {"code": 429, "message": "Quota exceeded", "status": "RESOURCE_EXHAUSTED"}}, "rate_limited"),
        ("anthropic-vertex", 429, {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}, "rate_limited"),
        ("anthropic-vertex", 401, {"error": {"code": 401, "message": "token", "status": "UNAUTHENTICATED"}}, "credential_dead"),
        ("anthropic-vertex", 404, {"error": {"code": 404, "message": "no model", "status": "NOT_FOUND"}}, "transient"),
        ("anthropic-vertex", 400, {"error": {"code": 400, "message": "not here", "status": "FAILED_PRECONDITION"}}, "transient"),
        ("anthropic-vertex", 400, {"type": "error", "error": {"type": "invalid_request_error", "message": "bad"}}, "client_fault"),
        ("anthropic-bedrock", 400, {"__type": "ValidationException", "message": "max_tokens: must be positive"}, "client_fault"),
        ("anthropic-bedrock", 400, {"__type": "ValidationException", "message": "invalid beta flag"}, "transient"),
        ("anthropic-bedrock", 403, {"__type": "UnrecognizedClientException", "message": "token"}, "credential_dead"),
        ("anthropic-bedrock", 429, {"__type": "ThrottlingException", "message": "Too many requests"}, "rate_limited"),
    ],
)
def test_errors(provider: str, status: int, body: Any, kind: str) -> None:
    failure = PROVIDERS[provider].read_error(status, {}, json.dumps(body).encode())
    assert (failure.status, failure.kind) == (status, kind)
