"""OpenAI Responses requests: read into canon, written from every other dialect's clients, and kept as they are in their own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.registry import DIALECTS
from control_plane.kit.errors import ClientProtocolError

C = canon
NAME = "openai-responses"
RESPONSES = DIALECTS[NAME]
FUNCTION = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "string"}}}}


def read(**fields: Any) -> canon.Request:
    return RESPONSES.read_request(json.dumps({"model": "m", "input": "hi", **fields}).encode())


def test_the_least() -> None:
    request = read()
    assert request.messages == (C.Message("user", (C.Text("hi"),), "input"),)
    assert (request.model, request.stream, request.system, request.unmapped, request.features) == ("m", False, (), (), ())


def test_every_mapped_field() -> None:
    request = read(
        instructions="be brief",
        stream=True,
        max_output_tokens=50,
        temperature=0.5,
        top_p=0.9,
        include=["reasoning.encrypted_content", "message.output_text.logprobs"],
        top_logprobs=3,
        tools=[{**FUNCTION, "description": "d", "strict": True}],
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        text={"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True, "description": "d"}},
        reasoning={"effort": "high", "summary": "detailed"},
        metadata={"a": "b"},
        safety_identifier="u",
        store=False,
        background=False,
        truncation="disabled",
        stream_options={"include_obfuscation": False},
    )
    assert request.system == (C.Text("be brief"),)
    assert request.sampling == C.Sampling(temperature=0.5, top_p=0.9, max_tokens=50, logprobs=True, top_logprobs=3)
    assert request.tools == (C.Tool("f", "d", FUNCTION["parameters"], True),)  # type: ignore[arg-type]
    assert request.tool_choice == C.ToolChoice("named", "f", False)
    assert request.response_format == C.ResponseFormat("json_schema", {"type": "object"}, "n", "d", True)
    assert request.reasoning == C.Reasoning(effort="high", visible=True)
    assert (request.metadata, request.user, request.stream) == ({"a": "b"}, "u", True)
    assert (request.unmapped, request.features) == ((), ())


def test_items() -> None:
    request = read(
        input=[
            {"role": "developer", "content": "d"},
            {"type": "message", "role": "system", "content": [{"type": "input_text", "text": "s"}]},
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "t"},
                    {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "low"},
                    {"type": "input_image", "image_url": "https://x/y.png"},
                    {"type": "input_file", "filename": "f.pdf", "file_data": "data:application/pdf;base64,QUJD"},
                    {"type": "input_file", "file_url": "https://x/y.pdf"},
                    {"type": "input_file", "file_id": "file-1"},
                ],
            },
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": "E"},
            {"type": "message", "id": "msg_1", "role": "assistant", "content": [{"type": "output_text", "text": "a", "annotations": []}]},
            {"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]},
            {"type": "function_call", "id": "fc_1", "call_id": "c1", "name": "f", "arguments": "{}", "status": "completed"},
            {"type": "function_call", "call_id": "c2", "name": "g", "arguments": ""},
            {"type": "function_call_output", "call_id": "c1", "output": "r"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_image", "image_url": "https://x/z.png"}]},
            {"role": "system", "content": "later"},
        ]
    )
    assert request.system == (C.Text("d"), C.Text("s"))
    user, assistant, first, second, later = request.messages
    assert user.parts == (
        C.Text("t"),
        C.Image(media_type="image/png", data="QUJD", detail="low"),
        C.Image(url="https://x/y.png"),
        C.Document(media_type="application/pdf", data="QUJD", title="f.pdf"),
        C.Document(url="https://x/y.pdf"),
        C.Document(file_id="file-1"),
    )
    assert (assistant.role, assistant.path) == ("assistant", "input.3")
    assert assistant.parts == (
        C.Thinking("hm"),
        C.RedactedThinking("E", NAME, "rs_1"),
        C.Text("a"),
        C.Refusal("no"),
        C.ToolCall("c1", "f", "{}"),
        C.ToolCall("c2", "g", ""),
    )
    assert first.parts == (C.ToolResult("c1", (C.Text("r"),)),)
    assert second.parts == (C.ToolResult("c2", (C.Image(url="https://x/z.png"),)),)
    assert later == C.Message("system", (C.Text("later"),), "input.10")
    assert (request.unmapped, request.features) == ((), ())


@pytest.mark.parametrize(
    ("item", "parts"),
    [
        ({"encrypted_content": C.seal_signature("S", "anthropic-messages")}, (C.Thinking("hm", "S", "anthropic-messages"),)),
        (
            {"encrypted_content": C.seal_redacted("R", "anthropic-messages", None)},
            (C.Thinking("hm"), C.RedactedThinking("R", "anthropic-messages")),
        ),
        ({"encrypted_content": C.seal_redacted("E", NAME, "rs_9")}, (C.Thinking("hm"), C.RedactedThinking("E", NAME, "rs_9"))),
        ({"encrypted_content": C.seal_signature(None, None)}, (C.Thinking("hm"),)),
        ({}, (C.Thinking("hm"),)),
        ({"summary": [], "content": [{"type": "reasoning_text", "text": "raw"}]}, (C.Thinking("raw"),)),
    ],
)
def test_reasoning_says_who_sealed_it(item: dict[str, Any], parts: tuple[C.Part, ...]) -> None:
    base = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "hm"}]}
    assert read(input=[{**base, **item}]).messages[0].parts == parts


def test_what_has_no_place_is_named() -> None:
    request = read(
        input=[{"role": "user", "content": "x", "phase": "commentary"}],
        store=True,
        truncation="auto",
        service_tier="flex",
        prompt_cache_key="k",
        text={"verbosity": "low"},
        top_logprobs=2,
        reasoning={"effort": "enormous", "context": "auto"},
        include=["file_search_call.results"],
        tools=[{**FUNCTION, "defer_loading": True}],
        future=1,
        absent=None,
    )
    assert set(request.unmapped) == {
        *("input.0.phase", "store", "truncation", "service_tier", "prompt_cache_key", "text.verbosity", "top_logprobs"),
        *("reasoning.effort", "reasoning.context", "include.0", "tools.0.defer_loading", "future"),
    }
    assert request.reasoning is None


STATEFUL: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "r"}, "previous_response_id"),
    ({"conversation": {"id": "c"}}, "conversation"),
    ({"background": True}, "background"),
    ({"prompt": {"id": "p"}, "input": None}, "prompt"),
    ({"context_management": [{"type": "compaction"}]}, "context_management"),
    ({"tools": [{"type": "web_search"}]}, "tools.0"),
    ({"tools": [FUNCTION, {"type": "computer_use_preview"}]}, "tools.1"),
    ({"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": []}}, "tool_choice"),
    ({"input": [{"role": "user", "content": "x"}, {"type": "item_reference", "id": "msg_1"}]}, "input.1"),
    ({"input": [{"role": "user", "content": "x"}, {"id": "msg_1"}]}, "input.1"),
    ({"input": [{"type": "web_search_call", "id": "w", "status": "completed"}]}, "input.0"),
    ({"input": [{"role": "user", "content": [{"type": "input_video"}]}]}, "input.0.content.0"),
]


@pytest.mark.parametrize(("fields", "path"), STATEFUL)
@pytest.mark.parametrize("other", ["openai-chat", "anthropic-messages"])
def test_what_only_this_dialect_has_makes_other_targets_unfit(bench: Any, fields: dict[str, Any], path: str, other: str) -> None:
    request = read(**fields)
    with pytest.raises(C.Unfit) as unfit:
        DIALECTS[other].write_request(request, bench.target())
    assert unfit.value.field == path
    own = json.loads(RESPONSES.write_request(request, bench.target("up")).body)
    assert own == {"input": "hi", **fields, "model": "up"}


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"model": None}, "model"),
        ({"model": ""}, "model"),
        ({"input": None}, "input"),
        ({"input": []}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["x"]}, "input.0"),
        ({"input": [{}]}, "input.0.type"),
        ({"input": [{"type": 5}]}, "input.0.type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input.0.role"),
        ({"input": [{"type": "message", "content": "x"}]}, "input.0.role"),
        ({"input": [{"role": "user"}]}, "input.0.content"),
        ({"input": [{"role": "user", "content": 5}]}, "input.0.content"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input.0.content.0.type"),
        ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input.0.content.0.text"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0.image_url"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "data:x"}]}]},
            "input.0.content.0.image_url",
        ),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input.0.content.0.file_data"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input.0.call_id"),
        ({"input": [{"type": "function_call", "call_id": "c", "name": "f", "arguments": {}}]}, "input.0.arguments"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input.0.output"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input.0.call_id"),
        (
            {"input": [{"type": "function_call_output", "call_id": "c", "output": [{"type": "refusal", "refusal": "x"}]}]},
            "input.0.output",
        ),
        ({"input": [{"type": "reasoning", "summary": [5]}]}, "input.0.summary.0"),
        ({"input": [{"type": "reasoning", "content": [{}]}]}, "input.0.content.0.text"),
        ({"instructions": ["x"]}, "instructions"),
        ({"tools": [{"name": "f"}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.name"),
        ({"tools": [{"type": "function", "name": "f", "parameters": []}]}, "tools.0.parameters"),
        ({"tool_choice": "maybe"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice.name"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema", "name": "n"}}}, "text.format.schema"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
        ({"max_output_tokens": -1}, "max_output_tokens"),
        ({"include": [5]}, "include.0"),
        ({"metadata": {"a": 1}}, "metadata.a"),
        ({"reasoning": "high"}, "reasoning"),
        ({"background": "yes"}, "background"),
        ({"stream": 1}, "stream"),
    ],
)
def test_faults_name_the_field(fields: dict[str, Any], path: str) -> None:
    with pytest.raises(ClientProtocolError) as error:
        read(**fields)
    assert (error.value.status, error.value.param) == (400, path)


def test_fields_have_the_clients_names() -> None:
    request = read(tools=[FUNCTION, FUNCTION])
    for name, own in {
        "response_format": "text.format",
        "response_format.json_schema.schema.properties.a": "text.format.schema.properties.a",
        "reasoning_effort": "reasoning.effort",
        "tools.1.function.parameters.x": "tools.1.parameters.x",
        "tools.10.function.strict": "tools.10.function.strict",
        "temperature": "temperature",
        "reasoning_effort_of_another": "reasoning_effort_of_another",
    }.items():
        assert request.named(name) == own
    assert request.edited(model="n").named("response_format") == "text.format"


# ------------------------------------------------------------------------------------------------- for other providers


def test_to_chat(bench: Any) -> None:
    body = {
        "model": "m",
        "instructions": "s",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "t"}, {"type": "input_image", "image_url": "https://x/y"}]},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "r1"},
            {"type": "function_call_output", "call_id": "c2", "output": "r2"},
        ],
        "tools": [FUNCTION],
        "tool_choice": "required",
        "max_output_tokens": 9,
        "text": {"format": {"type": "json_object"}},
        "reasoning": {"effort": "low"},
        "stream": True,
    }
    made, dropped = bench.ask(body, RESPONSES, bench.openai)
    assert made == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": [{"type": "text", "text": "t"}, {"type": "image_url", "image_url": {"url": "https://x/y"}}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                    {"id": "c2", "type": "function", "function": {"name": "f", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "r1"},
            {"role": "tool", "tool_call_id": "c2", "content": "r2"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "parameters": FUNCTION["parameters"]}}],
        "tool_choice": "required",
        "max_completion_tokens": 9,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    assert dropped == ()


def test_to_anthropic(bench: Any) -> None:
    body = {
        "model": "m",
        "input": [
            {"role": "user", "content": "t"},
            {
                "type": "reasoning",
                "id": "rs",
                "summary": [{"type": "summary_text", "text": "hm"}],
                "encrypted_content": C.seal_signature("S", "anthropic-messages"),
            },
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a": 1}'},
            {"type": "function_call_output", "call_id": "c1", "output": "r1"},
        ],
        "tools": [FUNCTION],
        "parallel_tool_calls": False,
        "max_output_tokens": 9,
    }
    made, dropped = bench.ask(body, RESPONSES, bench.anthropic)
    assert made["messages"] == [
        {"role": "user", "content": [{"type": "text", "text": "t"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "hm", "signature": "S"},
                {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": [{"type": "text", "text": "r1"}]}]},
    ]
    assert made["max_tokens"] == 9
    assert dropped == ()


# ------------------------------------------------------------------------------------------------- from other clients


def test_from_chat(bench: Any) -> None:
    body = {
        "model": "m",
        "stream": True,
        "messages": [
            {"role": "system", "content": "s1"},
            {"role": "system", "content": "s2"},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "t"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "high"}},
                    {"type": "file", "file": {"filename": "f.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
                ],
            },
            {
                "role": "assistant",
                "content": "a",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "r"},
            {"role": "assistant", "content": None, "refusal": "no"},
            {"role": "user", "content": "u"},
        ],
        "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True}},
        "max_completion_tokens": 300,
        "temperature": 0.5,
        "logprobs": True,
        "top_logprobs": 2,
        "user": "u",
        "metadata": {"k": "v"},
        "stop": ["x"],
        "seed": 5,
        "reasoning_effort": "low",
    }
    made, dropped = bench.ask(body, bench.openai, RESPONSES)
    assert made == {
        "model": "gpt-4o",
        "instructions": "s1\n\ns2",
        "input": [
            {
                "role": "user",
                "content": [
                    {"type": "input_text", "text": "t"},
                    {"type": "input_image", "image_url": "data:image/png;base64,QUJD", "detail": "high"},
                    {"type": "input_file", "filename": "f.pdf", "file_data": "data:application/pdf;base64,QUJD"},
                ],
            },
            {"role": "assistant", "content": "a"},
            {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "r"},
            {"role": "assistant", "content": "no"},
            {"role": "user", "content": "u"},
        ],
        "tools": [
            {"type": "function", "name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}, "strict": False}
        ],
        "tool_choice": {"type": "function", "name": "f"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        "max_output_tokens": 300,
        "temperature": 0.5,
        "top_logprobs": 2,
        "reasoning": {"effort": "low"},
        "safety_identifier": "u",
        "metadata": {"k": "v"},
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content", "message.output_text.logprobs"],
    }
    assert set(dropped) == {"stop", "seed"}


def test_from_anthropic(bench: Any) -> None:
    body = {
        "model": "m",
        "max_tokens": 5,
        "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        "stop_sequences": ["x"],
        "top_k": 3,
        "thinking": {"type": "enabled", "budget_tokens": 9000},
        "messages": [
            {"role": "user", "content": "u"},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "seen", "signature": C.seal_signature(None, None)},
                    {"type": "redacted_thinking", "data": C.seal_redacted("E", NAME, "rs_1")},
                    {"type": "thinking", "thinking": "own", "signature": "S"},
                    {"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {
                        "type": "tool_result",
                        "tool_use_id": "c",
                        "is_error": True,
                        "content": [{"type": "text", "text": "r"}, {"type": "image", "source": {"type": "url", "url": "https://x/y"}}],
                    },
                    {"type": "text", "text": "more"},
                ],
            },
        ],
    }
    made, dropped = bench.ask(body, bench.anthropic, RESPONSES)
    assert made == {
        "model": "gpt-4o",
        "instructions": "s",
        "input": [
            {"role": "user", "content": "u"},
            {"type": "reasoning", "summary": [{"type": "summary_text", "text": "seen"}], "id": "rs_1", "encrypted_content": "E"},
            {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":1}'},
            {
                "type": "function_call_output",
                "call_id": "c",
                "output": [{"type": "input_text", "text": "r"}, {"type": "input_image", "image_url": "https://x/y", "detail": "auto"}],
            },
            {"role": "user", "content": "more"},
        ],
        "max_output_tokens": 16,
        "reasoning": {"effort": "high", "summary": "auto"},
        "store": False,
        "include": ["reasoning.encrypted_content"],
    }
    assert set(dropped) == {"cache_control", "messages.2.is_error", "messages.1.reasoning", "stop_sequences", "top_k", "max_tokens"}


@pytest.mark.parametrize(
    ("model", "options", "asked"),
    [
        ("gpt-5", {}, True),
        ("gpt-5-chat-latest", {}, False),
        ("gpt-5.6-sol", {}, True),
        ("o4-mini", {}, True),
        ("openai.gpt-5.5", {}, True),
        ("openai/o3", {}, True),
        ("gpt-4o", {}, False),
        ("gpt-4.1", {}, False),
        ("llama-3.3", {}, False),
        ("llama-3.3", {"encrypted_reasoning": True}, True),
        ("gpt-5", {"encrypted_reasoning": False}, False),
    ],
)
def test_encrypted_reasoning_is_asked_of_models_that_have_it(bench: Any, model: str, options: dict[str, Any], asked: bool) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    made, _ = bench.ask(body, bench.openai, RESPONSES, model=model, **options)
    assert ("include" in made) is asked


@pytest.mark.parametrize(
    ("fields", "options", "reasoning"),
    [
        ({"thinking": {"type": "disabled"}}, {}, None),
        ({"thinking": {"type": "adaptive"}}, {}, {"summary": "auto"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024, "display": "omitted"}}, {}, {"effort": "low"}),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, {"reasoning_summary": False}, {"effort": "low"}),
        ({"output_config": {"effort": "max"}}, {}, {"effort": "max"}),
    ],
)
def test_a_summary_for_those_who_expect_to_see_it(bench: Any, fields: dict[str, Any], options: dict[str, Any], reasoning: Any) -> None:
    body = {"model": "m", "max_tokens": 100, "messages": [{"role": "user", "content": "x"}], **fields}
    made, dropped = bench.ask(body, bench.anthropic, RESPONSES, **options)
    assert made.get("reasoning") == reasoning
    assert ("thinking" in dropped) is ("reasoning_summary" in options)


@pytest.mark.parametrize(
    ("fields", "path"),
    [
        ({"n": 2}, "n"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]}]},
            "messages.0",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}]}, "messages.0"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "n"}}}, "response_format.json_schema.schema"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
    ],
)
def test_unfit_chat_requests(bench: Any, fields: dict[str, Any], path: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], **fields}
    with pytest.raises(C.Unfit) as unfit:
        bench.ask(body, bench.openai, RESPONSES)
    assert unfit.value.field == path


# ------------------------------------------------------------------------------------------------- in its own dialect


def test_its_own_targets_get_the_clients_body() -> None:
    body = {"model": "m", "input": "x", "future": {"a": [1]}, "store": True, "previous_response_id": "r", "stream": True}
    made = RESPONSES.write_request(RESPONSES.read_request(json.dumps(body).encode()), target("up", drop_params=["store"]))
    assert json.loads(made.body) == {k: v for k, v in body.items() if k != "store"} | {"model": "up"}
    assert made.dropped == ("store",)


def test_foreign_reasoning_never_reaches_its_own_targets() -> None:
    own = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "E"}
    stored = {"type": "reasoning", "id": "rs_2", "summary": []}
    sealed = {"type": "reasoning", "id": "rs_3", "summary": [], "encrypted_content": C.seal_redacted("E2", NAME, "rs_0")}
    foreign = [
        {"type": "reasoning", "id": "rs_4", "summary": [], "encrypted_content": C.seal_signature("S", "anthropic-messages")},
        {"type": "reasoning", "id": "rs_5", "summary": [], "encrypted_content": C.seal_signature(None, None)},
    ]
    items = [{"role": "user", "content": "x"}, own, stored, *foreign, sealed]
    made = RESPONSES.write_request(read(input=items), target("up"))
    opened = {**sealed, "id": "rs_0", "encrypted_content": "E2"}
    assert json.loads(made.body)["input"] == [items[0], own, stored, opened]
    assert made.dropped == ("input.3", "input.4")


@pytest.mark.parametrize("store", [True, False, None])
def test_an_edited_request_is_stored_or_not_as_before(store: bool | None) -> None:
    fields = {} if store is None else {"store": store}
    request = read(previous_response_id="r", include=["reasoning.encrypted_content"], service_tier="flex", **fields)
    body = json.loads(RESPONSES.write_request(request.edited(model="n"), target("up")).body)
    assert body == {
        "model": "up",
        "input": [{"role": "user", "content": "hi"}],
        "previous_response_id": "r",
        "include": ["reasoning.encrypted_content"],
        "service_tier": "flex",
        **fields,
    }


def target(model: str, **options: object) -> Any:
    return TargetFacts(model=model, path="/v1/responses", options=options)
