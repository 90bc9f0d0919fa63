"""What clients write, read into the canonical request; and what they must not write."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.registry import DIALECTS
from control_plane.kit.errors import ClientProtocolError

USER = {"role": "user", "content": "hi"}


def openai(**fields: Any) -> canon.Request:
    return DIALECTS["openai-chat"].read_request(json.dumps({"model": "m", "messages": [USER], **fields}).encode())


def anthropic(**fields: Any) -> canon.Request:
    return DIALECTS["anthropic-messages"].read_request(json.dumps({"model": "m", "max_tokens": 5, "messages": [USER], **fields}).encode())


def test_openai_conversation() -> None:
    request = openai(
        messages=[
            {"role": "developer", "content": "be brief"},
            {"role": "system", "content": [{"type": "text", "text": "and kind", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://x/y.png"}},
                    {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
                    {"type": "input_audio", "input_audio": {"data": "QUJD", "format": "wav"}},
                ],
            },
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hmm",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "42"},
            {"role": "system", "content": "now hurry"},
        ]
    )
    assert request.system == (canon.Text("be brief"), canon.Text("and kind", canon.CacheMark("1h")))
    user, assistant, tool, system = request.messages
    assert user.parts == (
        canon.Text("look"),
        canon.Image(media_type="image/png", data="QUJD", detail="low"),
        canon.Image(url="https://x/y.png"),
        canon.Document(media_type="application/pdf", data="QUJD", title="a.pdf"),
        canon.Audio("QUJD", "wav"),
    )
    assert assistant.parts == (canon.Thinking("hmm"), canon.ToolCall("c1", "f", '{"a": 1}'))
    assert tool == canon.Message("tool", (canon.ToolResult("c1", (canon.Text("42"),)),), "messages.4")
    assert (system.role, system.path) == ("system", "messages.5")


def test_openai_knobs_and_choices() -> None:
    request = openai(
        max_completion_tokens=7,
        stop="END",
        temperature=1,
        top_p=0.5,
        seed=3,
        n=2,
        logprobs=True,
        top_logprobs=4,
        stream=True,
        stream_options={"include_usage": True},
        reasoning_effort="high",
        tools=[{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}, "strict": True}}],
        tool_choice={"type": "function", "function": {"name": "f"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": {"type": "object"}, "strict": True}},
        safety_identifier="u1",
        metadata={"k": "v"},
    )
    assert request.sampling == canon.Sampling(1, 0.5, None, 7, ("END",), 3, None, None, True, 4, 2)
    assert request.tools == (canon.Tool("f", "d", {"type": "object"}, True),)
    assert request.tool_choice == canon.ToolChoice("named", "f", False)
    assert request.response_format == canon.ResponseFormat("json_schema", {"type": "object"}, "r", None, True)
    assert request.reasoning == canon.Reasoning(effort="high")
    assert (request.stream, request.include_usage, request.user, request.metadata) == (True, True, "u1", {"k": "v"})
    assert (request.unmapped, request.features) == ((), ())


def test_openai_fields_without_a_place_are_named() -> None:
    request = openai(
        logit_bias={"1": 2},
        service_tier="flex",
        store=None,
        web_search_options={},
        modalities=["text", "audio"],
        tools=[{"type": "web_search"}],
        messages=[{"role": "user", "name": "bob", "content": [{"type": "text", "text": "x", "mood": 1}]}],
    )
    assert set(request.unmapped) == {"logit_bias", "service_tier", "messages.0.name", "messages.0.content.0.mood"}
    assert set(request.features) == {"web_search_options", "modalities"}
    assert request.foreign_tools == (canon.ForeignTool("openai-chat", "tools.0", {"type": "web_search"}),)
    assert request.raw is not None
    assert request.raw["logit_bias"] == {"1": 2}


def test_openai_signed_reasoning_keeps_its_origin() -> None:
    details = [
        {"type": "reasoning.text", "text": "deep", "signature": "SIG", "format": "anthropic-claude-v1"},
        {"type": "reasoning.encrypted", "data": "ENC", "id": "r1", "format": "openai-responses-v1"},
    ]
    request = openai(messages=[USER, {"role": "assistant", "content": "a", "reasoning": "deep", "reasoning_details": details}])
    assert request.messages[1].parts == (
        canon.Thinking("deep", "SIG", "anthropic-messages"),
        canon.RedactedThinking("ENC", "openai-responses", "r1"),
        canon.Text("a"),
    )


def test_anthropic_conversation() -> None:
    sealed = canon.seal_signature("XYZ", "gemini-generate-content")
    request = anthropic(
        system=[{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
        messages=[
            {"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "thinking", "thinking": "t", "signature": "SIG"},
                    {"type": "thinking", "thinking": "g", "signature": sealed},
                    {"type": "thinking", "thinking": "u", "signature": ""},
                    {"type": "redacted_thinking", "data": "R"},
                    {"type": "tool_use", "id": "c1", "name": "f", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "is_error": True, "content": [{"type": "text", "text": "bad"}]},
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
    )
    assert request.system == (canon.Text("s", canon.CacheMark()),)
    assert request.messages[0].parts == (canon.Image(media_type="image/png", data="QUJD"),)
    assert request.messages[1].parts == (
        canon.Thinking("t", "SIG", "anthropic-messages"),
        canon.Thinking("g", "XYZ", "gemini-generate-content"),
        canon.Thinking("u"),
        canon.RedactedThinking("R", "anthropic-messages"),
        canon.ToolCall("c1", "f", "{}"),
    )
    assert request.messages[2].parts == (canon.ToolResult("c1", (canon.Text("bad"),), True), canon.Text("go on"))


def test_anthropic_knobs_and_choices() -> None:
    request = anthropic(
        stop_sequences=["END"],
        top_k=4,
        tools=[{"name": "f", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        tool_choice={"type": "any", "disable_parallel_tool_use": True},
        thinking={"type": "enabled", "budget_tokens": 2000},
        output_config={"effort": "low", "format": {"type": "json_schema", "schema": {"type": "object"}}, "task_budget": 5},
        metadata={"user_id": "u"},
        stream=True,
    )
    assert request.sampling == canon.Sampling(top_k=4, max_tokens=5, stop=("END",))
    assert request.tools == (canon.Tool("f", None, {"type": "object"}, None, canon.CacheMark("1h")),)
    assert request.tool_choice == canon.ToolChoice("required", None, False)
    assert request.reasoning == canon.Reasoning(True, "low", 2000)
    assert request.response_format == canon.ResponseFormat("json_schema", {"type": "object"}, strict=True)
    assert (request.user, request.stream, request.include_usage) == ("u", True, True)
    assert request.unmapped == ("output_config.task_budget",)


def test_anthropic_server_tools_are_features() -> None:
    request = anthropic(
        tools=[{"type": "web_search_20250305", "name": "web_search"}, {"name": "f", "input_schema": {}}], container="c", speed="fast"
    )
    assert request.features == ("container",)
    assert [tool.path for tool in request.foreign_tools] == ["tools.0"]
    assert request.unmapped == ("speed",)
    assert [tool.name for tool in request.tools] == ["f"]


@pytest.mark.parametrize(
    ("dialect", "fields", "param"),
    [
        ("openai-chat", {"model": None}, "model"),
        ("openai-chat", {"model": 5}, "model"),
        ("openai-chat", {"model": ""}, "model"),
        ("openai-chat", {"messages": "hi"}, "messages"),
        ("openai-chat", {"messages": []}, "messages"),
        ("openai-chat", {"messages": ["hi"]}, "messages.0"),
        ("openai-chat", {"messages": [{"content": "x"}]}, "messages.0.role"),
        ("openai-chat", {"messages": [{"role": "robot", "content": "x"}]}, "messages.0.role"),
        ("openai-chat", {"messages": [USER, USER, USER, {"role": "user", "content": 7}]}, "messages.3.content"),
        ("openai-chat", {"messages": [{"role": "user"}]}, "messages.0.content"),
        ("openai-chat", {"messages": [{"role": "user", "content": [{"text": "x"}]}]}, "messages.0.content.0.type"),
        ("openai-chat", {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]}, "messages.0.content.0.text"),
        (
            "openai-chat",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:x"}}]}]},
            "messages.0.content.0.image_url.url",
        ),
        ("openai-chat", {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
        (
            "openai-chat",
            {"messages": [{"role": "assistant", "tool_calls": [{"id": "a", "function": {"name": "f", "arguments": 3}}]}]},
            "messages.0.tool_calls.0.function.arguments",
        ),
        ("openai-chat", {"temperature": "hot"}, "temperature"),
        ("openai-chat", {"max_tokens": True}, "max_tokens"),
        ("openai-chat", {"stop": [1]}, "stop.0"),
        ("openai-chat", {"stream": "yes"}, "stream"),
        ("openai-chat", {"stream_options": []}, "stream_options"),
        ("openai-chat", {"tools": [{"type": "function"}]}, "tools.0.function"),
        ("openai-chat", {"tools": [{"type": "function", "function": {"name": 1}}]}, "tools.0.function.name"),
        ("openai-chat", {"tool_choice": "maybe"}, "tool_choice"),
        ("openai-chat", {"response_format": {"type": "xml"}}, "response_format.type"),
        ("openai-chat", {"metadata": {"a": 1}}, "metadata.a"),
        ("anthropic-messages", {"max_tokens": None}, "max_tokens"),
        ("anthropic-messages", {"max_tokens": -1}, "max_tokens"),
        ("anthropic-messages", {"messages": [{"role": "tool", "content": "x"}]}, "messages.0.role"),
        ("anthropic-messages", {"messages": [{"role": "user", "content": None}]}, "messages.0.content"),
        (
            "anthropic-messages",
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": "a", "name": "f", "input": "{}"}]}]},
            None,
        ),
        ("anthropic-messages", {"system": 5}, "system"),
        ("anthropic-messages", {"system": [{"type": "image", "source": {"type": "url", "url": "u"}}]}, "system.0"),
        ("anthropic-messages", {"tools": [{"name": "f"}]}, "tools.0.input_schema"),
        ("anthropic-messages", {"tool_choice": {"type": "perhaps"}}, "tool_choice.type"),
        ("anthropic-messages", {"stop_sequences": [None]}, "stop_sequences.0"),
        ("anthropic-messages", {"thinking": {}}, "thinking.type"),
        ("anthropic-messages", {"output_config": {"format": {"type": "grammar"}}}, "output_config.format.type"),
    ],
)
def test_faults_name_the_field(dialect: str, fields: dict[str, Any], param: str | None) -> None:
    body = {"model": "m", "max_tokens": 5, "messages": [USER], **fields}
    with pytest.raises(ClientProtocolError) as caught:
        DIALECTS[dialect].read_request(json.dumps(body).encode())
    assert caught.value.status == 400
    assert caught.value.param == (param or "messages.0.content.0.input")
    failure = canon.Failure.of_client_error(caught.value)
    assert failure.kind == "client_fault"
    assert str(caught.value.param).encode() in DIALECTS[dialect].write_error(failure)
