"""Gemini as a client's dialect: what is read of requests, and what is written of answers."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError
from tests.unit.dialects.conftest import Ids

C = canon
NAME = "gemini-generate-content"
GEMINI = DIALECTS[NAME]
HELLO = {"role": "user", "parts": [{"text": "hello"}]}
PATH = "/v1beta/models/{model}:generateContent"


def read(call: Call | None = None, **fields: Any) -> C.Request:
    return GEMINI.read_request(json.dumps({"contents": [HELLO], **fields}).encode(), call or Call("m"))


def parts(*contents: Any) -> list[Any]:
    return [part for message in read(contents=list(contents)).messages for part in message.parts]


def model(*items: Any) -> dict[str, Any]:
    return {"role": "model", "parts": list(items)}


def user(*items: Any) -> dict[str, Any]:
    return {"role": "user", "parts": list(items)}


def call(name: str, **more: Any) -> dict[str, Any]:
    return {"functionCall": {"name": name, "args": {"a": 1}}, **more}


def result(name: str, response: Any, **more: Any) -> dict[str, Any]:
    return {"functionResponse": {"name": name, "response": response, **more}}


def sealed(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def test_both_spellings_mean_the_same() -> None:
    camel = read(
        systemInstruction={"parts": [{"text": "s"}]},
        generationConfig={"maxOutputTokens": 5, "topP": 0.5, "topK": 3, "stopSequences": ["x"], "thinkingConfig": {"thinkingBudget": 9}},
        toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
        tools=[{"functionDeclarations": [{"name": "f", "parametersJsonSchema": {"type": "object"}}]}],
    )
    snake = read(
        system_instruction={"parts": [{"text": "s"}]},
        generation_config={
            "max_output_tokens": 5,
            "top_p": 0.5,
            "top_k": 3,
            "stop_sequences": ["x"],
            "thinking_config": {"thinking_budget": 9},
        },
        tool_config={"function_calling_config": {"mode": "any", "allowed_function_names": ["f"]}},
        tools=[{"function_declarations": [{"name": "f", "parameters_json_schema": {"type": "object"}}]}],
    )
    for field in ("system", "sampling", "tools", "tool_choice", "reasoning", "messages"):
        assert getattr(camel, field) == getattr(snake, field)
    assert camel.tool_choice == C.ToolChoice("named", "f")
    assert camel.sampling == C.Sampling(max_tokens=5, top_p=0.5, top_k=3, stop=("x",))
    assert camel.reasoning == C.Reasoning(enabled=True, budget=9, visible=False)


def test_the_path_says_the_model_and_how_to_answer() -> None:
    assert read(Call("a/b", True, "alt=sse")).framing == "sse"
    array = read(Call("a/b", True, ""))
    assert (array.model, array.stream, array.framing) == ("a/b", True, "array")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"contents": []}, "contents"),
        ({"contents": None}, "contents"),
        ({"contents": [{"role": "system", "parts": []}]}, "contents.0.role"),
        ({"contents": [user({"text": 1})]}, "contents.0.parts.0.text"),
        ({"contents": [user(result("f", {}))]}, "contents.0.parts.0.functionResponse"),
        ({"generationConfig": {"temperature": "hot"}}, "generationConfig.temperature"),
        ({"generationConfig": {"top_p": 1, "topP": 1}}, "generationConfig.topP"),
        ({"generationConfig": {"responseSchema": {"type": "OBJECT"}}}, "generationConfig.responseMimeType"),
        ({"toolConfig": {"functionCallingConfig": {"mode": "SOMETIMES"}}}, "toolConfig.functionCallingConfig.mode"),
        (
            {"tools": [{"functionDeclarations": [{"name": "f", "parameters": {}, "parametersJsonSchema": {}}]}]},
            "tools.0.functionDeclarations.0",
        ),
        ({"systemInstruction": {"parts": [{"inlineData": {}}]}}, "systemInstruction.parts.0"),
    ],
)
def test_faults_name_the_field(body: dict[str, Any], field: str) -> None:
    with pytest.raises(ClientProtocolError) as caught:
        read(**body)
    assert caught.value.param == field


def test_results_find_their_calls() -> None:
    """By id, or the first open one of that name; calls without an id get one from their place."""
    got = parts(
        HELLO,
        model(call("f"), call("g"), call("f")),
        user(result("f", {"output": "1"}), result("f", {"error": "2"}), result("g", {"x": 3})),
    )
    calls, answers = got[1:4], got[4:]
    assert [c.id for c in calls] == ["call_1_0", "call_1_1", "call_1_2"]
    assert [(r.call_id, r.parts[0].text, r.is_error) for r in answers] == [
        ("call_1_0", "1", False),
        ("call_1_2", "2", True),
        ("call_1_1", '{"x":3}', False),
    ]
    named = {"functionCall": {"id": "a", "name": "f", "args": {}}}, {"functionCall": {"id": "b", "name": "f", "args": {}}}
    back = parts(HELLO, model(*named), user(result("f", {"result": "of b"}, id="b"), result("f", {"result": "of a"}, id="a")))
    assert [r.call_id for r in back[3:]] == ["b", "a"]


def test_thoughts_and_seals() -> None:
    foreign, redacted = sealed("headgate.anthropic-messages.SIG"), sealed("headgate.openai-responses#rs_1.DATA")
    got = parts(
        HELLO,
        model(
            {"text": "a", "thought": True},
            {"text": "b", "thought": True, "thoughtSignature": foreign},
            {"text": "", "thought": True, "thoughtSignature": redacted},
            {"text": "own", "thought": True, "thoughtSignature": "b3du"},
            call("f", thoughtSignature="b3du"),
            call("g", thoughtSignature="skip_thought_signature_validator"),
        ),
    )
    assert got[1:4] == [
        C.Thinking("ab", "SIG", "anthropic-messages"),
        C.RedactedThinking("DATA", "openai-responses", "rs_1"),
        C.Thinking("own", "b3du", NAME),
    ]
    assert [(c.signature, c.origin) for c in got[4:]] == [("b3du", NAME), (None, None)]


def test_files() -> None:
    data = base64.urlsafe_b64encode(b"\xff\xfe\xfb??").decode()
    got = parts(
        user(
            {"inlineData": {"mimeType": "image/png", "data": data}},
            {"inline_data": {"mime_type": "application/pdf", "data": "QUJD", "display_name": "t"}},
            {"inlineData": {"mimeType": "audio/mpeg", "data": "QUJD"}},
            {"inlineData": {"mimeType": "text/csv", "data": "QUJD"}},
            {"fileData": {"mimeType": "image/png", "fileUri": "https://x/y.png"}},
            {"fileData": {"fileUri": "https://x/y.pdf"}},
            {"fileData": {"mimeType": "video/mp4", "fileUri": "gs://b/c"}},
            {"inlineData": {"mimeType": "video/mp4", "data": "QUJD"}},
            {"executableCode": {"code": "1"}},
        )
    )
    assert got[0] == C.Image(media_type="image/png", data=base64.b64encode(b"\xff\xfe\xfb??").decode())
    assert got[1] == C.Document(media_type="application/pdf", data="QUJD", title="t")
    assert got[2:6] == [
        C.Audio("QUJD", "mp3"),
        C.Document(media_type="text/csv", text="ABC"),
        C.Image(media_type="image/png", url="https://x/y.png"),
        C.Document(url="https://x/y.pdf"),
    ]
    assert [part.path for part in got[6:]] == [
        "contents.0.parts.6.fileData",
        "contents.0.parts.7.inlineData",
        "contents.0.parts.8.executableCode",
    ]


def test_googles_schemas_become_json_schema() -> None:
    declared = {
        "type": "OBJECT",
        "properties": {
            "type": {"type": "STRING", "nullable": True, "enum": ["a"]},
            "list": {"type": "ARRAY", "items": {"any_of": [{"type": "INTEGER"}, {"type": "NULL"}]}, "min_items": "2"},
        },
        "property_ordering": ["list", "type"],
        "required": ["list"],
    }
    asked = read(tools=[{"functionDeclarations": [{"name": "f", "parameters": declared}]}])
    assert asked.tools[0].schema == {
        "type": "object",
        "properties": {
            "type": {"type": ["string", "null"], "enum": ["a", None]},
            "list": {"type": "array", "items": {"anyOf": [{"type": "integer"}, {"type": "null"}]}, "minItems": 2},
        },
        "required": ["list"],
    }


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"cachedContent": "cachedContents/x"}, "cachedContent"),
        ({"tools": [{"googleSearch": {}}]}, "tools.0.googleSearch"),
        ({"generationConfig": {"responseModalities": ["TEXT", "IMAGE"]}}, "generationConfig.responseModalities"),
        ({"generationConfig": {"responseMimeType": "text/x.enum"}}, "generationConfig.responseMimeType"),
        ({"contents": [user({"fileData": {"fileUri": "gs://a/b"}})]}, "contents.0.parts.0.fileData"),
    ],
)
@pytest.mark.parametrize("provider", ["openai-chat", "openai-responses", "anthropic-messages"])
def test_features_make_other_vendors_unfit(fields: dict[str, Any], named: str, provider: str) -> None:
    with pytest.raises(C.Unfit) as caught:
        PROVIDERS[provider].write_request(read(**fields), TargetFacts("m", "/"))
    assert caught.value.field == named


def test_knobs_are_named_and_the_own_body_survives() -> None:
    config = {"mediaResolution": "LOW", "seed": 1}
    fields: dict[str, Any] = {"safetySettings": [{"category": "x"}], "generationConfig": config, "labels": {"a": "b"}}
    asked = read(**fields)
    assert asked.unmapped == ("safetySettings", "generationConfig.mediaResolution")
    assert asked.metadata == {"a": "b"}
    made = PROVIDERS[NAME].write_request(asked, TargetFacts("up", PATH))
    assert json.loads(made.body) == {"contents": [HELLO], **fields}
    edited = PROVIDERS[NAME].write_request(asked.edited(), TargetFacts("up", PATH))
    assert json.loads(edited.body)["safetySettings"] == fields["safetySettings"]


def test_several_allowed_functions_are_all_that_there_are() -> None:
    declared = [{"name": name} for name in "fgh"]
    asked = read(
        tools=[{"functionDeclarations": declared}],
        toolConfig={"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f", "h"]}},
    )
    assert (asked.tool_choice, [t.name for t in asked.tools]) == (C.ToolChoice("required"), ["f", "h"])


def test_what_another_vendor_sealed_is_not_shown_to_gemini() -> None:
    own = {"text": "t", "thought": True, "thoughtSignature": "b3du"}
    asked = read(contents=[HELLO, model({"text": "", "thought": True, "thoughtSignature": sealed("headgate.anthropic-messages.S")}, own)])
    made = PROVIDERS[NAME].write_request(asked, TargetFacts("up", PATH))
    assert json.loads(made.body)["contents"][1]["parts"] == [own]
    assert made.dropped == ("contents.1.parts",)


# ---------------------------------------------------------------------------------------------------------- answers


def write(events: list[C.Event], stream: bool = True, framing: Any = "sse", **fields: Any) -> list[dict[str, Any]]:
    writer = GEMINI.writer(C.Request(NAME, "m", (), stream=stream, framing=framing, **fields), Ids())
    body = b"".join([writer.emit(event) for event in events]) + writer.finish()
    if not stream:
        return [json.loads(body)]
    if framing == "array":
        found: list[dict[str, Any]] = json.loads(body)
        return found
    return [json.loads(line.removeprefix(b"data: ")) for line in body.split(b"\r\n\r\n") if line]


ANSWER: list[C.Event] = [
    C.Start("id", "model"),
    C.ReasoningDelta("hm"),
    C.ReasoningSignature("SIG", "anthropic-messages"),
    C.TextDelta("text"),
    C.ToolCallStart(0, "a", "f"),
    C.ToolCallStart(1, "b", "g"),
    C.ToolArgumentsDelta(1, '{"n": 12345678901234567890}'),
    C.ToolCallEnd(1),
    C.ToolArgumentsDelta(0, '{\n"x": 1}'),
    C.ToolCallEnd(0),
    C.Stop("tool_use"),
    C.UsageUpdate(C.Usage(10, 4, 0, 7, 3)),
    C.End(),
]


@pytest.mark.parametrize(("stream", "framing"), [(False, "sse"), (True, "sse"), (True, "array")])
def test_an_answer(stream: bool, framing: str) -> None:
    chunks = write(ANSWER, stream, framing)
    said = [part for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"] if part != {"text": ""}]
    seal = base64.b64encode(b"headgate.anthropic-messages.SIG").decode()
    thought = [{"text": "hm", "thought": True}, {"text": "", "thought": True, "thoughtSignature": seal}]
    assert said == [
        *(thought if stream else [{**thought[1], "text": "hm"}]),
        {"text": "text"},
        {"functionCall": {"id": "a", "name": "f", "args": {"x": 1}}, "thoughtSignature": "skip_thought_signature_validator"},
        {"functionCall": {"id": "b", "name": "g", "args": {"n": 12345678901234567890}}},
    ]
    last = chunks[-1]
    assert last["candidates"][0]["finishReason"] == "STOP"
    counts = {
        "promptTokenCount": 10,
        "cachedContentTokenCount": 4,
        "candidatesTokenCount": 4,
        "thoughtsTokenCount": 3,
        "totalTokenCount": 17,
    }
    assert last["usageMetadata"] == counts
    assert (last["modelVersion"], last["responseId"]) == ("model", "id")
    assert not [c for c in chunks[:-1] if "finishReason" in c["candidates"][0]]


@pytest.mark.parametrize("stream", [False, True])
def test_thoughts_that_nobody_asked_to_see(stream: bool) -> None:
    (chunk, *_) = write(ANSWER, stream, reasoning=C.Reasoning(enabled=True, visible=False))
    first = chunk["candidates"][0]["content"]["parts"][0]
    assert (first["text"], bool(first["thoughtSignature"])) == ("", True)


@pytest.mark.parametrize("framing", ["sse", "array"])
def test_a_stream_that_breaks(framing: Any) -> None:
    writer = GEMINI.writer(C.Request(NAME, "m", (), stream=True, framing=framing), Ids())
    body = (
        writer.emit(C.TextDelta("half")) + writer.fail(C.Failure("transient", 503, "gone", "overloaded", retry_after=2)) + writer.finish()
    )
    last = json.loads(body)[-1] if framing == "array" else json.loads(body.split(b"\r\n\r\n")[-2].removeprefix(b"data: "))
    assert (last["error"]["code"], last["error"]["status"]) == (503, "UNAVAILABLE")
    assert [d["@type"].rpartition(".")[2] for d in last["error"]["details"]] == ["ErrorInfo", "RetryInfo"]


def test_arguments_that_never_end_are_the_providers_fault() -> None:
    writer = GEMINI.writer(C.Request(NAME, "m", (), stream=True), Ids())
    writer.emit(C.ToolCallStart(0, "a", "f"))
    for _ in range(8):
        writer.emit(C.ToolArgumentsDelta(0, "x" * 1_000_000))
    with pytest.raises(ProviderProtocolError):
        writer.emit(C.ToolArgumentsDelta(0, "x" * 1_000_000))
