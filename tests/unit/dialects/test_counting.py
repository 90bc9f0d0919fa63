"""Token counting: what each provider is asked for a client's request, and what the client gets."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.counting.registry import CLIENTS, COUNTERS
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError

MESSAGES, RESPONSES, GEMINI = "anthropic-messages", "openai-responses", "gemini-generate-content"
CONVERSE, INVOKE, VERTEX = "bedrock-converse", "anthropic-bedrock", "anthropic-vertex"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
ASKED: dict[str, dict[str, Any]] = {
    MESSAGES: {
        "model": "m",
        "system": "be brief",
        "messages": [{"role": "user", "content": "hello"}],
        "tools": [{"name": "weather", "description": "d", "input_schema": SCHEMA}],
    },
    RESPONSES: {
        "model": "m",
        "instructions": "be brief",
        "input": "hello",
        "tools": [{"type": "function", "name": "weather", "description": "d", "parameters": SCHEMA, "strict": False}],
    },
    GEMINI: {
        "generateContentRequest": {
            "model": "models/m",
            "systemInstruction": {"parts": [{"text": "be brief"}]},
            "contents": [{"role": "user", "parts": [{"text": "hello"}]}],
            "tools": [{"functionDeclarations": [{"name": "weather", "description": "d", "parametersJsonSchema": SCHEMA}]}],
        }
    },
}
ANSWERED: dict[str, dict[str, Any]] = {
    MESSAGES: {"input_tokens": 12},
    RESPONSES: {"object": "response.input_tokens", "input_tokens": 12},
    GEMINI: {"totalTokens": 12},
}
PATHS = {MESSAGES: "/v1/messages/count_tokens", RESPONSES: "/v1/responses/input_tokens", GEMINI: "/v1beta/models/{model}:countTokens"}
PAIRS = [(client, provider) for client in ASKED for provider in ASKED if client != provider]


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}made"

    def now(self) -> int:
        return 1


def read(client: str, body: dict[str, Any]) -> canon.Request:
    return CLIENTS[client].read_request(json.dumps(body).encode(), Call("m") if client == GEMINI else None)


def asked(provider: str, request: canon.Request, path: str | None = None) -> dict[str, Any]:
    made = COUNTERS[provider].write_request(request, TargetFacts("up", path or PATHS[provider]))
    document = json.loads(made.body)
    assert isinstance(document, dict)
    return document


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_a_request_is_counted_as_its_chat_would_be_asked(client: str, provider: str) -> None:
    request = read(client, ASKED[client])
    made = COUNTERS[provider].write_request(request, TargetFacts("up", PATHS[provider]))
    assert made.dropped == ()
    assert made.path in (None, "/v1beta/models/up:countTokens")
    document = json.loads(made.body)
    model = document.get("generateContentRequest", document)["model"]
    assert model == ("models/up" if provider == GEMINI else "up")
    text = json.dumps(document)
    assert all(word in text for word in ("hello", "be brief", "weather", "city"))
    known = set(ASKED[provider]) | {"tool_choice"}
    assert set(document) <= known


@pytest.mark.parametrize(("client", "provider"), PAIRS)
def test_the_client_gets_its_own_document_and_nothing_was_used(client: str, provider: str) -> None:
    request = read(client, ASKED[client])
    reader, writer = COUNTERS[provider].reader(request), CLIENTS[client].writer(request, Ids())
    reader.start(200, "application/json")
    events = [*reader.feed(json.dumps(ANSWERED[provider]).encode()), *reader.finish()]
    assert [type(event) for event in events] == [canon.Start, canon.Counted, canon.Stop, canon.End]
    assert b"".join(map(writer.emit, events)) == b""
    assert json.loads(writer.finish()) == ANSWERED[client]


def test_what_has_no_bearing_on_the_size_is_left_out() -> None:
    more = {"max_tokens": 10, "temperature": 0.5, "stop_sequences": ["x"], "metadata": {"user_id": "u"}, "stream": True}
    request = read(MESSAGES, {**ASKED[MESSAGES], **more})
    assert not request.stream
    assert set(asked(RESPONSES, request)) == {"model", "instructions", "input", "tools"}
    request = read(RESPONSES, {**ASKED[RESPONSES], "temperature": 0.5, "max_output_tokens": 100, "store": False, "user": "u"})
    assert set(asked(MESSAGES, request)) == {"model", "system", "messages", "tools"}


def test_gemini_counts_contents_alone_or_a_whole_request() -> None:
    alone = {"contents": [{"parts": [{"text": "hello"}]}]}
    for body in (alone, {"generateContentRequest": {"model": "models/m", **alone}}, {"generate_content_request": alone}):
        assert asked(MESSAGES, read(GEMINI, body))["messages"][0]["content"] == [{"type": "text", "text": "hello"}]
    with pytest.raises(ClientProtocolError, match="contents: stands in generateContentRequest too"):
        read(GEMINI, {**alone, "generateContentRequest": alone})
    with pytest.raises(ClientProtocolError, match="generateContentRequest"):
        read(GEMINI, {"generateContentRequest": []})


CONVERSED: dict[str, Any] = {
    "system": [{"text": "be brief"}],
    "messages": [{"role": "user", "content": [{"text": "hello"}]}],
    "toolConfig": {"tools": [{"toolSpec": {"name": "weather", "description": "d", "inputSchema": {"json": SCHEMA}}}]},
}


def coded(body: dict[str, Any]) -> dict[str, Any]:
    return {"input": {"invokeModel": {"body": base64.b64encode(json.dumps(body).encode()).decode()}}}


def from_bedrock(body: dict[str, Any]) -> canon.Request:
    return CLIENTS[CONVERSE].read_request(json.dumps(body).encode(), Call("m"))


def test_bedrock_is_asked_what_it_would_be_sent() -> None:
    request = read(RESPONSES, ASKED[RESPONSES])
    made = COUNTERS[CONVERSE].write_request(request, TargetFacts("us.anthropic.claude-x-v1:0", "/model/{base_model}/count-tokens"))
    assert made.path == "/model/anthropic.claude-x-v1%3A0/count-tokens"
    assert json.loads(made.body) == {"input": {"converse": CONVERSED}}
    assert from_bedrock(json.loads(made.body)).messages == read(MESSAGES, ASKED[MESSAGES]).messages
    made = COUNTERS[INVOKE].write_request(
        read(MESSAGES, ASKED[MESSAGES]), TargetFacts("anthropic.claude-x-v1:0", "/model/{base_model}/count-tokens")
    )
    assert made.path == "/model/anthropic.claude-x-v1%3A0/count-tokens"
    inner = json.loads(base64.b64decode(json.loads(made.body)["input"]["invokeModel"]["body"]))
    assert inner.pop("anthropic_version") == "bedrock-2023-05-31"
    assert inner.pop("max_tokens") > 0
    assert inner == {name: value for name, value in ASKED[MESSAGES].items() if name != "model"}


def test_vertex_is_asked_for_claude_with_the_model_in_the_body() -> None:
    made = COUNTERS[VERTEX].write_request(read(MESSAGES, ASKED[MESSAGES]), TargetFacts("claude-x@1", "/p/models/count-tokens:rawPredict"))
    assert made.path == "/p/models/count-tokens:rawPredict"
    assert json.loads(made.body) == {**ASKED[MESSAGES], "model": "claude-x@1", "anthropic_version": "vertex-2023-10-16"}


@pytest.mark.parametrize("provider", [MESSAGES, RESPONSES, GEMINI, INVOKE, VERTEX])
def test_clients_of_bedrock_count_either_way(provider: str) -> None:
    invoked = {**ASKED[MESSAGES], "anthropic_version": "bedrock-2023-05-31", "max_tokens": 5}
    del invoked["model"]
    for body in ({"input": {"converse": CONVERSED}}, coded(invoked)):
        request = from_bedrock(body)
        made = COUNTERS[provider].write_request(request, TargetFacts("up", PATHS.get(provider, "/model/{model}/x")))
        text = (
            made.body.decode() if provider != INVOKE else base64.b64decode(json.loads(made.body)["input"]["invokeModel"]["body"]).decode()
        )
        assert all(word in text for word in ("hello", "be brief", "weather", "city"))
        reader, writer = COUNTERS[provider].reader(request), CLIENTS[CONVERSE].writer(request, Ids())
        reader.start(200, "application/json")
        answer = {INVOKE: {"inputTokens": 12}, VERTEX: {"input_tokens": 12}}.get(provider) or ANSWERED[provider]
        for event in [*reader.feed(json.dumps(answer).encode()), *reader.finish()]:
            writer.emit(event)
        assert json.loads(writer.finish()) == {"inputTokens": 12}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": {}}, "input.converse"),
        ({"input": {"converse": {}}}, "messages"),
        ({"input": {"invokeModel": {}}}, "input.invokeModel.body"),
        ({"input": {"invokeModel": {"body": "%"}}}, "input.invokeModel.body"),
        (coded({"inputText": "x"}), "input.invokeModel.body"),
        ({"input": {**coded({"messages": []})["input"], "converse": CONVERSED}}, "input"),
    ],
)
def test_what_a_client_of_bedrock_gets_wrong_is_named(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ClientProtocolError) as caught:
        from_bedrock(body)
    assert caught.value.param == field


def test_vertex_counts_without_an_envelope() -> None:
    path = "/v1/projects/p/locations/l/publishers/google/models/{model}:countTokens"
    document = asked(GEMINI, read(MESSAGES, ASKED[MESSAGES]), path)
    assert set(document) == {"contents", "systemInstruction", "tools"}


def test_features_are_unfit_and_bad_requests_are_named() -> None:
    with pytest.raises(canon.Unfit, match="cannot be expressed"):
        asked(MESSAGES, read(RESPONSES, {**ASKED[RESPONSES], "previous_response_id": "resp_1"}))
    with pytest.raises(canon.Unfit):
        asked(RESPONSES, read(MESSAGES, {**ASKED[MESSAGES], "tools": [{"type": "web_search_20250305", "name": "web_search"}]}))
    with pytest.raises(ClientProtocolError) as caught:
        read(MESSAGES, {"model": "m"})
    assert caught.value.param == "messages"


@pytest.mark.parametrize("provider", list(ASKED))
@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"input_tokens": "1", "totalTokens": "1"}', b'{"input_tokens": -1}'])
def test_an_answer_without_a_count_is_none(provider: str, body: bytes) -> None:
    client = next(name for name in ASKED if name != provider)
    reader = COUNTERS[provider].reader(read(client, ASKED[client]))
    reader.start(200, "application/json")
    reader.feed(body)
    with pytest.raises(ProviderProtocolError):
        reader.finish()
