"""Writing Gemini requests: what each field of a client becomes, what is dropped and named, what makes the target unfit."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS

GEMINI = PROVIDERS["gemini-generate-content"]
PATH = "/v1beta/models/{model}:generateContent"
USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}}
TOOL = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
FLASH, OLD, NEW = "gemini-2.5-flash", "gemini-2.0-flash", "gemini-3-pro-preview"


def written(dialect: str, body: dict[str, Any], model: str, options: dict[str, object]) -> ProviderRequest:
    request = DIALECTS[dialect].read_request(json.dumps({"model": "m", **body}).encode())
    return GEMINI.write_request(request, TargetFacts(model=model, path=PATH, options=options))


def openai(model: str = FLASH, options: dict[str, object] | None = None, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(the provider's body, what was dropped)."""
    made = written("openai-chat", {"messages": [USER], **fields}, model, options or {})
    return json.loads(made.body), made.dropped


def anthropic(model: str = FLASH, options: dict[str, object] | None = None, **fields: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    made = written("anthropic-messages", {"max_tokens": 99, "messages": [USER], **fields}, model, options or {})
    return json.loads(made.body), made.dropped


def unfit(**fields: Any) -> str:
    with pytest.raises(canon.Unfit) as caught:
        openai(**fields)
    return caught.value.field


# -------------------------------------------------------------------------------------------------------------- path


@pytest.mark.parametrize(
    ("model", "stream", "path"),
    [
        (FLASH, False, "/v1beta/models/gemini-2.5-flash:generateContent"),
        (FLASH, True, "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"),
        ("models/gemini-2.5-flash", False, "/v1beta/models/gemini-2.5-flash:generateContent"),
        ("a/../b?c=d#e f", False, "/v1beta/models/a%2F..%2Fb%3Fc%3Dd%23e%20f:generateContent"),
    ],
)
def test_model_and_streaming_stand_in_the_path(model: str, stream: bool, path: str) -> None:
    made = written("openai-chat", {"messages": [USER], "stream": stream}, model, {})
    assert made.path == path
    assert json.loads(made.body) == {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}


# ---------------------------------------------------------------------------------------------------------- messages


def test_conversation() -> None:
    messages = [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "a"},
        {"role": "user", "content": [{"type": "text", "text": "b"}, {"type": "text", "text": ""}]},
        {"role": "assistant", "content": "c"},
        {"role": "system", "content": "now in French"},
        USER,
    ]
    body, dropped = openai(messages=messages)
    assert body["systemInstruction"] == {"parts": [{"text": "be brief"}, {"text": "now in French"}]}
    assert body["contents"] == [
        {"role": "user", "parts": [{"text": "a"}, {"text": "b"}]},
        {"role": "model", "parts": [{"text": "c"}]},
        {"role": "user", "parts": [{"text": "hi"}]},
    ]
    assert dropped == ()


def test_instructions_alone_are_no_conversation() -> None:
    assert unfit(messages=[{"role": "system", "content": "s"}]) == "messages"


def test_files() -> None:
    parts = [
        {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QUJD", "detail": "high"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.PNG?size=1"}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a"}},
        {"type": "file", "file": {"file_data": "data:application/pdf;base64,QUJD", "filename": "a.pdf"}},
        {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
    ]
    body, dropped = openai(messages=[{"role": "user", "content": parts}])
    assert body["contents"][0]["parts"] == [
        {"inlineData": {"mimeType": "image/jpeg", "data": "QUJD"}},
        {"fileData": {"mimeType": "image/png", "fileUri": "https://x.example/a.PNG?size=1"}},
        {"fileData": {"fileUri": "https://x.example/a"}},
        {"inlineData": {"mimeType": "application/pdf", "data": "QUJD"}},
        {"inlineData": {"mimeType": "audio/wav", "data": "QUJD"}},
    ]
    assert dropped == ("messages.0.image_url.detail", "messages.0.title")


def test_documents_of_anthropic_clients() -> None:
    source = {"type": "text", "media_type": "text/plain", "data": "body"}
    block = {"type": "document", "title": "T", "context": "C", "citations": {"enabled": True}, "source": source}
    body, dropped = anthropic(messages=[{"role": "user", "content": [block]}])
    assert body["contents"][0]["parts"] == [{"text": "T\nC\n\nbody"}]
    assert dropped == ("messages.0.citations",)


def test_json_files_go_as_text() -> None:
    part = {"type": "file", "file": {"file_data": "data:application/json;base64,eyJhIjogMX0="}}
    body, _ = openai(messages=[{"role": "user", "content": [part]}])
    assert body["contents"][0]["parts"] == [{"text": '{"a": 1}'}]
    part["file"] = {"file_data": "data:application/json;base64,/w=="}
    assert unfit(messages=[{"role": "user", "content": [part]}]) == "messages.0"


@pytest.mark.parametrize(
    ("part", "options"),
    [
        ({"type": "file", "file": {"file_id": "file-1"}}, {}),
        ({"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}, {"file_urls": False}),
        ({"type": "video_url", "video_url": {"url": "https://x.example/a.mp4"}}, {}),
    ],
)
def test_what_cannot_be_carried_makes_unfit(part: dict[str, Any], options: dict[str, object]) -> None:
    assert unfit(messages=[{"role": "user", "content": [part]}], options=options).startswith("messages.0")


# ------------------------------------------------------------------------------------------------------------- tools


def test_calls_and_results_keep_ids_names_and_exact_numbers() -> None:
    calls = [CALL, {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": ""}}]
    calls[0] = {**CALL, "function": {"name": "f", "arguments": '{"a": 12345678901234567890123, "b": 1.10}'}}
    messages = [
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "call_1", "content": '{"n": 12345678901234567890123}'},
        {"role": "tool", "tool_call_id": "call_2", "content": "sunny"},
        {"role": "user", "content": "and now?"},
    ]
    made = written("openai-chat", {"messages": messages}, FLASH, {})
    assert b'{"name":"f","args":{"a": 12345678901234567890123, "b": 1.10},"id":"call_1"}' in made.body
    assert b'"response":{"output":{"n": 12345678901234567890123}}' in made.body
    contents = json.loads(made.body)["contents"]
    assert contents[1]["parts"][1] == {"functionCall": {"name": "g", "args": {}, "id": "call_2"}}
    assert [list(part) for part in contents[2]["parts"]] == [["functionResponse"], ["functionResponse"], ["text"]]
    assert contents[2]["parts"][1]["functionResponse"] == {"name": "g", "response": {"output": "sunny"}, "id": "call_2"}


def test_ids_can_be_left_out() -> None:
    asked = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    messages = [USER, asked, {"role": "tool", "tool_call_id": "call_1", "content": "r"}]
    body, _ = openai(messages=messages, options={"call_ids": False})
    assert body["contents"][1]["parts"] == [{"functionCall": {"name": "f", "args": {"a": 1}}}]
    assert body["contents"][2]["parts"] == [{"functionResponse": {"name": "f", "response": {"output": "r"}}}]


def test_results_of_anthropic_clients() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_1", "is_error": True, "content": [{"type": "text", "text": "no"}, image]}
    body, _ = anthropic(
        messages=[
            USER,
            {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]},
            {"role": "user", "content": [{"type": "text", "text": "look"}, result]},
        ]
    )
    assert body["contents"][2]["parts"] == [
        {"functionResponse": {"name": "f", "response": {"error": "no"}, "id": "toolu_1"}},
        {"text": "look"},
        {"text": "Result of the tool call toolu_1:"},
        {"inlineData": {"mimeType": "image/png", "data": "QUJD"}},
    ]


def test_a_result_without_its_call_is_named() -> None:
    assert unfit(messages=[USER, {"role": "tool", "tool_call_id": "x", "content": "r"}]) == "messages.1"


def test_arguments_that_are_no_object_survive() -> None:
    call = {**CALL, "function": {"name": "f", "arguments": "[1"}}
    body, dropped = openai(messages=[USER, {"role": "assistant", "content": None, "tool_calls": [call]}])
    assert body["contents"][1]["parts"][0]["functionCall"]["args"] == {"arguments": "[1"}
    assert dropped == ("messages.1.tool_calls.arguments",)


@pytest.mark.parametrize(
    ("choice", "config"),
    [
        ("auto", {"mode": "AUTO"}),
        ("none", {"mode": "NONE"}),
        ("required", {"mode": "ANY"}),
        ({"type": "function", "function": {"name": "f"}}, {"mode": "ANY", "allowedFunctionNames": ["f"]}),
    ],
)
def test_tools(choice: Any, config: dict[str, Any]) -> None:
    body, dropped = openai(tools=[TOOL, {"type": "function", "function": {"name": "g", "strict": True}}], tool_choice=choice)
    declared = [{"name": "f", "description": "d", "parametersJsonSchema": SCHEMA}, {"name": "g"}]
    assert body["tools"] == [{"functionDeclarations": declared}]
    assert body["toolConfig"] == {"functionCallingConfig": config}
    assert dropped == ("tools.1.strict",)


def test_one_call_at_a_time_cannot_be_asked_for() -> None:
    assert openai(tools=[TOOL], parallel_tool_calls=False)[1] == ("parallel_tool_calls",)


@pytest.mark.parametrize("name", ["1st", "x" * 65, "a b", ""])
def test_a_name_that_gemini_refuses_makes_unfit(name: str) -> None:
    assert unfit(tools=[TOOL, {"type": "function", "function": {"name": name}}]) == "tools.1"


def test_tools_of_another_vendor_make_unfit() -> None:
    assert unfit(tools=[{"type": "web_search"}]) == "tools.0"


# -------------------------------------------------------------------------------------------------------- signatures


@pytest.mark.parametrize("vendor", ["google", "vertex"])
def test_a_signature_goes_round_with_its_call_through_openai_clients(vendor: str) -> None:
    signed = {**CALL, "extra_content": {vendor: {"thought_signature": "U0lH"}}}
    body, dropped = openai(NEW, messages=[USER, {"role": "assistant", "content": None, "tool_calls": [signed, CALL]}])
    assert [part.get("thoughtSignature") for part in body["contents"][1]["parts"]] == ["U0lH", None]
    assert dropped == ()


def test_a_signature_goes_round_in_front_of_its_call_through_anthropic_clients() -> None:
    call = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}
    sealed = {"type": "thinking", "thinking": "", "signature": canon.seal_signature("U0lH", "gemini-generate-content")}
    blocks = [{"type": "thinking", "thinking": "hm", "signature": ""}, sealed, call, {**call, "id": "toolu_2"}]
    body, dropped = anthropic(NEW, messages=[USER, {"role": "assistant", "content": blocks}])
    assert [part.get("thoughtSignature") for part in body["contents"][1]["parts"]] == ["U0lH", None]
    assert dropped == ("messages.1.reasoning",)


def test_signed_thoughts_come_back_as_thoughts() -> None:
    sealed = {"type": "thinking", "thinking": "hm", "signature": canon.seal_signature("U0lH", "gemini-generate-content")}
    body, _ = anthropic(messages=[USER, {"role": "assistant", "content": [sealed, {"type": "text", "text": "t"}]}])
    assert body["contents"][1]["parts"] == [{"text": "hm", "thought": True, "thoughtSignature": "U0lH"}, {"text": "t"}]


def test_nothing_that_another_vendor_signed_is_sent() -> None:
    blocks = [
        {"type": "thinking", "thinking": "secret thought", "signature": "ANTHROPIC"},
        {"type": "redacted_thinking", "data": "SEALED"},
        {"type": "text", "text": "t"},
    ]
    made = written("anthropic-messages", {"max_tokens": 9, "messages": [USER, {"role": "assistant", "content": blocks}]}, NEW, {})
    assert b"ANTHROPIC" not in made.body
    assert b"SEALED" not in made.body
    assert b"secret thought" not in made.body
    assert made.dropped == ("messages.1.reasoning",)


@pytest.mark.parametrize(
    ("model", "options", "filled"),
    [
        (NEW, {}, True),
        ("gemini-flash-latest", {}, True),
        ("gemini-30-flash", {}, True),
        (FLASH, {}, False),
        ("gemma-3-27b", {}, False),
        (NEW, {"unsigned_calls": False}, False),
        (FLASH, {"unsigned_calls": True}, True),
    ],
)
def test_calls_that_nobody_signed_are_marked_where_the_model_would_refuse_them(
    model: str, options: dict[str, object], filled: bool
) -> None:
    body, _ = openai(model, options, messages=[USER, {"role": "assistant", "content": None, "tool_calls": [CALL, {**CALL, "id": "2"}]}])
    marks = [part.get("thoughtSignature") for part in body["contents"][1]["parts"]]
    assert marks == (["skip_thought_signature_validator", None] if filled else [None, None])


# ------------------------------------------------------------------------------------------------------------- knobs


def test_sampling() -> None:
    body, dropped = openai(
        temperature=1.5,
        top_p=0.9,
        top_k=40,
        max_tokens=100,
        seed=7,
        n=3,
        logprobs=True,
        top_logprobs=4,
        stop=["a", "b", "c", "d", "e", "f"],
    )
    assert body["generationConfig"] == {
        "temperature": 1.5,
        "topP": 0.9,
        "topK": 40,
        "maxOutputTokens": 100,
        "seed": 7,
        "responseLogprobs": True,
        "logprobs": 4,
        "stopSequences": ["a", "b", "c", "d", "e"],
        "candidateCount": 3,
    }
    assert dropped == ("stop.5",)


@pytest.mark.parametrize(("seed", "kept"), [(2**31 - 1, True), (-(2**31), True), (2**31, False), (-(2**31) - 1, False)])
def test_seeds_have_32_bits(seed: int, kept: bool) -> None:
    body, dropped = openai(seed=seed)
    assert body.get("generationConfig", {}).get("seed") == (seed if kept else None)
    assert dropped == (() if kept else ("seed",))


def test_knobs_without_a_counterpart_are_named() -> None:
    body, dropped = openai(
        presence_penalty=0.5, frequency_penalty=0.5, user="u", metadata={"a": "b"}, logit_bias={"1": 2}, service_tier="flex"
    )
    assert body.keys() == {"contents"}
    assert set(dropped) == {"presence_penalty", "frequency_penalty", "user", "metadata", "logit_bias", "service_tier"}
    marked = [{"type": "text", "text": "t", "cache_control": {"type": "ephemeral"}}]
    body, dropped = anthropic(messages=[{"role": "user", "content": marked}], metadata={"user_id": "u"})
    assert dropped == ("cache_control", "user")


def test_options_of_a_target() -> None:
    options: dict[str, object] = {
        "penalties": True,
        "drop_params": ["seed"],
        "safety_settings": [{"category": "HARM_CATEGORY_HARASSMENT", "threshold": "OFF"}],
    }
    body, dropped = openai(OLD, options, presence_penalty=0.5, frequency_penalty=0, seed=1)
    assert body["generationConfig"] == {"presencePenalty": 0.5}
    assert body["safetySettings"] == options["safety_settings"]
    assert dropped == ("seed",)


def test_more_choices_than_there_are() -> None:
    assert unfit(n=9) == "n"


# --------------------------------------------------------------------------------------------------- response format


def test_structured_output() -> None:
    schema = {
        "type": "object",
        "$schema": "x",
        "properties": {
            "kind": {"const": "a"},
            "name": {"type": "string", "pattern": "^a", "minLength": 2},
            "list": {"type": "array", "items": {"anyOf": [{"type": "string"}, {"not": {}}]}},
            "pattern": {"type": "string"},
        },
        "required": ["kind"],
        "additionalProperties": False,
    }
    body, dropped = openai(response_format={"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": schema}})
    config = body["generationConfig"]
    assert config["responseMimeType"] == "application/json"
    assert config["responseJsonSchema"]["properties"]["kind"] == {"enum": ["a"]}
    assert config["responseJsonSchema"]["properties"]["name"] == {"type": "string", "pattern": "^a", "minLength": 2}
    assert config["responseJsonSchema"]["additionalProperties"] is False
    assert dropped == (
        "response_format.schema.properties.name.pattern",
        "response_format.schema.properties.name.minLength",
        "response_format.schema.properties.list.items.anyOf.1.not",
        "response_format.description",
    )


def test_json_without_a_schema() -> None:
    assert openai(response_format={"type": "json_object"})[0]["generationConfig"] == {"responseMimeType": "application/json"}
    assert "generationConfig" not in openai(response_format={"type": "text"})[0]


def test_a_format_together_with_tools_needs_a_newer_model() -> None:
    wanted: dict[str, Any] = {"response_format": {"type": "json_object"}, "tools": [TOOL]}
    assert unfit(**wanted) == "response_format"
    assert openai(NEW, **wanted)[0]["generationConfig"] == {"responseMimeType": "application/json"}
    assert openai(FLASH, {"json_with_tools": True}, **wanted)[0]["generationConfig"] == {"responseMimeType": "application/json"}


# ---------------------------------------------------------------------------------------------------------- thinking


def test_a_budget_of_any_size_has_a_level() -> None:
    for budget, level in ((1024, "low"), (8192, "medium"), (9000, "high"), (1 << 70, "high")):
        assert openai(NEW, reasoning={"max_tokens": budget})[0]["generationConfig"]["thinkingConfig"]["thinkingLevel"] == level


@pytest.mark.parametrize(
    ("model", "effort", "config", "named"),
    [
        (FLASH, "low", {"thinkingBudget": 1024, "includeThoughts": True}, False),
        (FLASH, "max", {"thinkingBudget": 24576, "includeThoughts": True}, False),
        (FLASH, "none", {"thinkingBudget": 0}, False),
        ("gemini-2.5-pro", "none", {"thinkingBudget": 128}, True),
        (NEW, "high", {"thinkingLevel": "high", "includeThoughts": True}, False),
        (NEW, "minimal", {"thinkingLevel": "low", "includeThoughts": True}, True),
        (NEW, "none", {"thinkingLevel": "low"}, True),
        ("gemini-3.5-flash", "minimal", {"thinkingLevel": "minimal", "includeThoughts": True}, False),
        ("gemini-3.5-flash", "none", {"thinkingLevel": "minimal"}, True),
        (OLD, "high", None, True),
        (OLD, "none", None, False),
    ],
)
def test_effort(model: str, effort: str, config: dict[str, Any] | None, named: bool) -> None:
    body, dropped = openai(model, reasoning_effort=effort)
    assert body.get("generationConfig", {}).get("thinkingConfig") == config
    assert dropped == (("reasoning_effort",) if named else ())


@pytest.mark.parametrize(
    ("model", "thinking", "config", "named"),
    [
        (FLASH, {"type": "enabled", "budget_tokens": 5000}, {"thinkingBudget": 5000, "includeThoughts": True}, False),
        (FLASH, {"type": "enabled", "budget_tokens": 90000}, {"thinkingBudget": 24576, "includeThoughts": True}, True),
        (FLASH, {"type": "adaptive"}, {"thinkingBudget": -1, "includeThoughts": True}, False),
        (FLASH, {"type": "adaptive", "display": "omitted"}, {"thinkingBudget": -1}, False),
        (FLASH, {"type": "disabled"}, {"thinkingBudget": 0}, False),
        (NEW, {"type": "enabled", "budget_tokens": 5000}, {"thinkingLevel": "medium", "includeThoughts": True}, False),
        (NEW, {"type": "adaptive"}, {"includeThoughts": True}, False),
    ],
)
def test_thinking_of_anthropic_clients(model: str, thinking: dict[str, Any], config: dict[str, Any], named: bool) -> None:
    body, dropped = anthropic(model, thinking=thinking)
    assert body["generationConfig"]["thinkingConfig"] == config
    assert dropped == (("reasoning",) if named else ())


@pytest.mark.parametrize(("form", "config"), [("none", None), ("level", {"thinkingLevel": "low", "includeThoughts": True})])
def test_the_form_of_thinking_is_an_option(form: str, config: dict[str, Any] | None) -> None:
    body, _ = openai(FLASH, {"thinking": form}, reasoning_effort="low")
    assert body.get("generationConfig", {}).get("thinkingConfig") == config
