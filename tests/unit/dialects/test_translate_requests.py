"""Client requests for a provider of the other dialect: carried, mapped, or dropped by name; features that do not fit are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.dialects import canon

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
FUNCTION = {"type": "function", "function": {"name": "f", "description": "d", "parameters": SCHEMA}}


def openai(**fields: Any) -> dict[str, Any]:
    return {"model": "asked", "messages": [USER], **fields}


def anthropic(**fields: Any) -> dict[str, Any]:
    return {"model": "asked", "max_tokens": 100, "messages": [USER], **fields}


# ------------------------------------------------------------------------------------------------ openai → anthropic


def test_openai_tool_loop_for_anthropic(bench: Any) -> None:
    body, dropped = bench.ask(
        openai(
            messages=[
                {"role": "system", "content": "sys"},
                USER,
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {"id": "functions.f:0", "type": "function", "function": {"name": "f", "arguments": '{"a":"1"}'}},
                        {"id": "c2", "type": "function", "function": {"name": "g", "arguments": ""}},
                    ],
                },
                {"role": "tool", "tool_call_id": "functions.f:0", "content": "one"},
                {
                    "role": "tool",
                    "tool_call_id": "c2",
                    "content": [{"type": "image_url", "image_url": {"url": "data:image/jpg;base64,QUJD"}}],
                },
                {"role": "user", "content": "and now?"},
            ],
            tools=[FUNCTION],
            tool_choice="required",
            parallel_tool_calls=False,
        ),
        bench.openai,
        bench.anthropic,
        default_max_tokens=1234,
    )
    call_id = body["messages"][1]["content"][0]["id"]
    assert call_id.startswith("functions_f_0")
    assert body == {
        "model": "claude-sonnet-4-5",
        "max_tokens": 1234,
        "system": [{"type": "text", "text": "sys"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": call_id, "name": "f", "input": {"a": "1"}},
                    {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": call_id, "content": [{"type": "text", "text": "one"}]},
                    {
                        "type": "tool_result",
                        "tool_use_id": "c2",
                        "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/jpeg", "data": "QUJD"}}],
                    },
                    {"type": "text", "text": "and now?"},
                ],
            },
        ],
        "tools": [{"name": "f", "description": "d", "input_schema": SCHEMA}],
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
    }
    assert dropped == ()


def test_call_ids_that_a_vendor_repeats_become_unique(bench: Any) -> None:
    turn = [
        {"role": "assistant", "tool_calls": [{"id": "call_0", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_0", "content": "r"},
    ]
    body, _ = bench.ask(openai(messages=[USER, *turn, *turn]), bench.openai, bench.anthropic)
    pairs = [(body["messages"][i]["content"][0]["id"], body["messages"][i + 1]["content"][0]["tool_use_id"]) for i in (1, 3)]
    assert pairs == [("call_0", "call_0"), ("call_0-2", "call_0-2")]


def test_arguments_that_are_no_object_are_kept_and_named(bench: Any) -> None:
    calls = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": '}}]
    body, dropped = bench.ask(openai(messages=[USER, {"role": "assistant", "tool_calls": calls}]), bench.openai, bench.anthropic)
    assert body["messages"][1]["content"][0]["input"] == {"arguments": '{"a": '}
    assert dropped == ("messages.1.tool_calls.arguments",)


@pytest.mark.parametrize(
    ("fields", "options", "expected", "dropped"),
    [
        ({"temperature": 1.7}, {}, {"temperature": 1.0}, ("temperature",)),
        ({"temperature": 0.3, "top_p": 0.5}, {}, {"temperature": 0.3}, ("top_p",)),
        ({"top_p": 0.5}, {}, {"top_p": 0.5}, ()),
        ({"max_tokens": 5, "max_completion_tokens": 7}, {}, {"max_tokens": 7}, ()),
        ({"stop": ["a", " \n"]}, {}, {"stop_sequences": ["a"]}, ("stop",)),
        (
            {"seed": 1, "logprobs": True, "top_logprobs": 3, "presence_penalty": 0.1},
            {},
            {},
            ("seed", "presence_penalty", "logprobs", "top_logprobs"),
        ),
        ({"logit_bias": {"1": 1}, "service_tier": "flex", "metadata": {"a": "b"}}, {}, {}, ("logit_bias", "service_tier", "metadata")),
        ({"user": "u"}, {}, {"metadata": {"user_id": "u"}}, ()),
        ({"n": 1, "stream": True, "stream_options": {"include_usage": True}}, {}, {"stream": True}, ()),
        ({"reasoning_effort": "low"}, {}, {"thinking": {"type": "enabled", "budget_tokens": 2048}, "max_tokens": 8192 + 2048}, ()),
        (
            {"reasoning_effort": "high", "max_tokens": 2000},
            {},
            {"thinking": {"type": "enabled", "budget_tokens": 1999}, "max_tokens": 2000},
            (),
        ),
        ({"reasoning_effort": "high", "max_tokens": 800}, {}, {"max_tokens": 800}, ("reasoning_effort",)),
        (
            {"reasoning_effort": "low", "temperature": 0.2},
            {"thinking": "adaptive"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            ("temperature",),
        ),
        (
            {"reasoning_effort": "minimal"},
            {"model": "claude-opus-4-7"},
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            (),
        ),
        ({"reasoning_effort": "none"}, {}, {"thinking": {"type": "disabled"}}, ()),
        ({"reasoning_effort": "low"}, {"thinking": "none"}, {}, ("reasoning_effort",)),
        (
            {"reasoning_effort": "low", "tools": [FUNCTION], "tool_choice": "required"},
            {},
            {"tool_choice": {"type": "any"}},
            ("reasoning_effort",),
        ),
        ({"reasoning": {"max_tokens": 3000}}, {}, {"thinking": {"type": "enabled", "budget_tokens": 3000}}, ()),
        ({"tools": [FUNCTION], "tool_choice": "none"}, {}, {"tool_choice": {"type": "none"}}, ()),
        ({"tools": [FUNCTION], "parallel_tool_calls": False}, {}, {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}, ()),
        ({"top_k": 5, "seed": 2}, {"drop_params": ["top_k"], "rename_params": {"max_tokens": "limit"}}, {"limit": 8192}, ("seed", "top_k")),
    ],
)
def test_openai_knobs_for_anthropic(
    bench: Any, fields: dict[str, Any], options: dict[str, Any], expected: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    body, named = bench.ask(openai(**fields), bench.openai, bench.anthropic, **options)
    rest = {key: value for key, value in body.items() if key not in ("model", "messages", "tools")}
    if "max_tokens" not in expected and "limit" not in expected:
        rest.pop("max_tokens")
    if "thinking" not in expected:
        assert "thinking" not in rest
    if "max_tokens" not in expected and "thinking" in expected:
        rest.pop("max_tokens", None)
    assert rest == expected
    assert named == dropped


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"n": 2}, "n"),
        ({"response_format": {"type": "json_object"}}, "response_format"),
        ({"response_format": {"type": "json_schema", "json_schema": {"name": "x"}}}, "response_format.json_schema.schema"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"modalities": ["audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"tools": [{"type": "web_search"}]}, "tools.0"),
        ({"tools": [FUNCTION], "tool_choice": {"type": "allowed_tools", "allowed_tools": {}}}, "tool_choice"),
        (
            {"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]}]},
            "messages.0",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f1"}}]}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "video_url", "video_url": {}}]}]}, "messages.0.content.0"),
    ],
)
def test_openai_features_that_anthropic_lacks_are_unfit(bench: Any, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(canon.Unfit) as caught:
        bench.ask(openai(**fields), bench.openai, bench.anthropic)
    assert caught.value.field == field
    assert caught.value.failure.status == 400
    assert field.encode() in bench.openai.write_error(caught.value.failure)


def test_json_schema_becomes_structured_output(bench: Any) -> None:
    schema = {
        "type": "object",
        "properties": {"age": {"type": "integer", "minimum": 0, "description": "years"}, "tag": {"oneOf": [{"type": "string"}]}},
    }
    asked = openai(response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": schema, "strict": True}})
    body, dropped = bench.ask(asked, bench.openai, bench.anthropic)
    assert body["output_config"]["format"] == {
        "type": "json_schema",
        "schema": {
            "type": "object",
            "properties": {"age": {"type": "integer", "description": 'years\n\n{"minimum":0}'}, "tag": {"anyOf": [{"type": "string"}]}},
            "additionalProperties": False,
        },
    }
    assert dropped == ("response_format.json_schema.schema.properties.age.minimum",)
    with pytest.raises(canon.Unfit, match="structured outputs"):
        bench.ask(asked, bench.openai, bench.anthropic, structured_outputs=False)


def test_open_objects_are_unfit_for_structured_output(bench: Any) -> None:
    schema = {"type": "object", "additionalProperties": {"type": "string"}}
    with pytest.raises(canon.Unfit, match="additionalProperties"):
        bench.ask(
            openai(response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}), bench.openai, bench.anthropic
        )


def test_instructions_amid_the_conversation(bench: Any) -> None:
    messages = [USER, {"role": "assistant", "content": "yes"}, {"role": "system", "content": "hurry"}, USER]
    body, _ = bench.ask(openai(messages=messages), bench.openai, bench.anthropic)
    assert body["system"] == [{"type": "text", "text": "hurry"}]
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "user"]
    body, _ = bench.ask(openai(messages=messages), bench.openai, bench.anthropic, system_messages=True)
    assert [m["role"] for m in body["messages"]] == ["user", "assistant", "system", "user"]


def test_thinking_history_for_anthropic(bench: Any) -> None:
    """Signed by Anthropic: replayed. Unsigned, or signed by another vendor: left out and named, never sent."""
    details = [
        {"type": "reasoning.text", "text": "mine", "signature": "SIG", "format": "anthropic-claude-v1"},
        {"type": "reasoning.text", "text": "theirs", "signature": "GEM", "format": "google-gemini-v1"},
    ]
    body, dropped = bench.ask(
        openai(messages=[USER, {"role": "assistant", "content": "a", "reasoning_details": details}]), bench.openai, bench.anthropic
    )
    assert body["messages"][1]["content"] == [{"type": "thinking", "thinking": "mine", "signature": "SIG"}, {"type": "text", "text": "a"}]
    assert dropped == ("messages.1.reasoning",)
    assert b"GEM" not in json.dumps(body).encode()


def test_an_unsigned_tool_loop_goes_on_without_a_thinking_budget(bench: Any) -> None:
    loop = [
        USER,
        {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]
    asked = openai(messages=loop, reasoning_effort="low", tools=[FUNCTION])
    body, dropped = bench.ask(asked, bench.openai, bench.anthropic)
    assert "thinking" not in body
    assert dropped == ("reasoning_effort",)
    body, dropped = bench.ask(asked, bench.openai, bench.anthropic, thinking="adaptive")
    assert body["thinking"] == {"type": "adaptive"}
    assert dropped == ()


def test_files_for_anthropic(bench: Any) -> None:
    files = [
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,QUJD"}},
        {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain;base64,QUJD"}},
    ]
    body, _ = bench.ask(openai(messages=[{"role": "user", "content": files}]), bench.openai, bench.anthropic)
    assert body["messages"][0]["content"] == [
        {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "QUJD"}, "title": "a.pdf"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "ABC"}, "title": "a.txt"},
    ]


def test_cache_marks_reach_anthropic(bench: Any) -> None:
    content = [{"type": "text", "text": "long", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    body, dropped = bench.ask(openai(messages=[{"role": "user", "content": content}]), bench.openai, bench.anthropic)
    assert body["messages"][0]["content"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert dropped == ()


# ------------------------------------------------------------------------------------------------ anthropic → openai


def test_anthropic_tool_loop_for_openai(bench: Any) -> None:
    body, dropped = bench.ask(
        anthropic(
            system="sys",
            messages=[
                USER,
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "t", "signature": "SIG"},
                        {"type": "text", "text": "calling"},
                        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": "1"}},
                        {"type": "tool_use", "id": "t2", "name": "g", "input": {}},
                    ],
                },
                {
                    "role": "user",
                    "content": [
                        {
                            "type": "tool_result",
                            "tool_use_id": "t1",
                            "content": [
                                {"type": "text", "text": "one"},
                                {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}},
                            ],
                        },
                        {"type": "tool_result", "tool_use_id": "t2", "is_error": True},
                        {"type": "text", "text": "go on"},
                    ],
                },
            ],
            tools=[{"name": "f", "description": "d", "input_schema": SCHEMA, "cache_control": {"type": "ephemeral"}}],
            tool_choice={"type": "tool", "name": "f", "disable_parallel_tool_use": True},
        ),
        bench.anthropic,
        bench.openai,
    )
    assert body == {
        "model": "gpt-4o",
        "messages": [
            {"role": "system", "content": "sys"},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": "calling",
                "tool_calls": [
                    {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a":"1"}'}},
                    {"id": "t2", "type": "function", "function": {"name": "g", "arguments": "{}"}},
                ],
            },
            {"role": "tool", "tool_call_id": "t1", "content": "one"},
            {"role": "tool", "tool_call_id": "t2", "content": ""},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "Result of the tool call t1:"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
                    {"type": "text", "text": "go on"},
                ],
            },
        ],
        "tools": [FUNCTION],
        "tool_choice": {"type": "function", "function": {"name": "f"}},
        "parallel_tool_calls": False,
        "max_completion_tokens": 100,
    }
    assert dropped == ("messages.1.thinking", "messages.2.is_error", "cache_control")


@pytest.mark.parametrize(
    ("fields", "options", "expected", "dropped"),
    [
        ({"stop_sequences": ["a", "b", "c", "d", "e"]}, {}, {"stop": ["a", "b", "c", "d"]}, ("stop_sequences.4",)),
        ({"top_k": 3, "top_p": 0.2}, {}, {"top_p": 0.2}, ("top_k",)),
        ({"top_k": 3}, {"top_k": True}, {"top_k": 3}, ()),
        ({"thinking": {"type": "enabled", "budget_tokens": 5000}}, {}, {"reasoning_effort": "medium"}, ()),
        ({"thinking": {"type": "adaptive"}}, {}, {}, ("thinking",)),
        ({"output_config": {"effort": "xhigh"}}, {}, {"reasoning_effort": "xhigh"}, ()),
        ({"metadata": {"user_id": "u"}, "service_tier": "auto"}, {}, {"user": "u"}, ("service_tier",)),
        ({"metadata": {"user_id": "u" * 65}}, {}, {}, ("metadata.user_id",)),
        ({"cache_control": {"type": "ephemeral"}}, {}, {}, ("cache_control",)),
        ({"stream": True}, {}, {"stream": True, "stream_options": {"include_usage": True}}, ()),
        ({"stream": True}, {"stream_usage": False}, {"stream": True}, ()),
        ({}, {"max_tokens_field": "max_tokens"}, {"max_tokens": 100}, ()),
        (
            {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
            {},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA, "strict": True}}},
            (),
        ),
    ],
)
def test_anthropic_knobs_for_openai(
    bench: Any, fields: dict[str, Any], options: dict[str, Any], expected: dict[str, Any], dropped: tuple[str, ...]
) -> None:
    body, named = bench.ask(anthropic(**fields), bench.anthropic, bench.openai, **options)
    rest = {key: value for key, value in body.items() if key not in ("model", "messages", "max_completion_tokens")}
    assert rest == expected
    assert named == dropped


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools.0"),
        ({"mcp_servers": [{"name": "x"}]}, "mcp_servers"),
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {"type": "file", "file_id": "f"}}]}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {"type": "url", "url": "u"}}]}]}, "messages.0"),
        ({"messages": [{"role": "user", "content": [{"type": "container_upload", "file_id": "f"}]}]}, "messages.0.content.0"),
    ],
)
def test_anthropic_features_that_openai_lacks_are_unfit(bench: Any, fields: dict[str, Any], field: str) -> None:
    with pytest.raises(canon.Unfit) as caught:
        bench.ask(anthropic(**fields), bench.anthropic, bench.openai)
    assert caught.value.field == field


def test_reasoning_history_for_vendors_that_take_it(bench: Any) -> None:
    sealed = canon.seal_signature("S", "anthropic-messages")
    history = [
        USER,
        {"role": "assistant", "content": [{"type": "thinking", "thinking": "t", "signature": sealed}, {"type": "text", "text": "a"}]},
    ]
    body, dropped = bench.ask(anthropic(messages=history), bench.anthropic, bench.openai, replay_reasoning="reasoning_content")
    assert body["messages"][1] == {"role": "assistant", "content": "a", "reasoning_content": "t"}
    assert dropped == ()
    body, _ = bench.ask(anthropic(messages=history), bench.anthropic, bench.openai, replay_reasoning="reasoning_details")
    assert body["messages"][1]["reasoning_details"][0]["signature"] == "S"


# ---------------------------------------------------------------------------------------------------- same dialect


def test_unknown_fields_survive_in_their_own_dialect(bench: Any) -> None:
    asked = openai(stream=True, brand_new={"deep": [1, None]}, max_tokens=5, stream_options={"include_obfuscation": False})
    body, dropped = bench.ask(asked, bench.openai, bench.openai, model="up")
    assert body == {**asked, "model": "up", "stream_options": {"include_obfuscation": False, "include_usage": True}}
    assert dropped == ()
    body, _ = bench.ask(asked, bench.openai, bench.openai, model="up", max_tokens_field="max_completion_tokens")
    assert (body.get("max_tokens"), body["max_completion_tokens"]) == (None, 5)
    asked = anthropic(brand_new=1, messages=[{"role": "user", "content": [{"type": "new_block", "x": 1}]}])
    body, dropped = bench.ask(asked, bench.anthropic, bench.anthropic, model="up")
    assert body == {**asked, "model": "up"}


def test_foreign_signatures_never_reach_anthropic_even_from_its_own_clients(bench: Any) -> None:
    blocks = [
        {"type": "thinking", "thinking": "own", "signature": "SIG"},
        {"type": "thinking", "thinking": "other", "signature": canon.seal_signature("X", "gemini-generate-content")},
        {"type": "thinking", "thinking": "none", "signature": ""},
        {"type": "redacted_thinking", "data": canon.seal_signature("E", "openai-responses")},
        {"type": "text", "text": "a"},
    ]
    body, dropped = bench.ask(anthropic(messages=[USER, {"role": "assistant", "content": blocks}]), bench.anthropic, bench.anthropic)
    assert body["messages"][1]["content"] == [blocks[0], blocks[4]]
    assert dropped == ("messages.1.thinking",)


def test_a_schema_whose_format_is_no_text_is_told_and_not_enforced(bench: Any) -> None:
    schema = {**SCHEMA, "properties": {"a": {"type": "string", "format": ["date"]}}}
    wanted = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}}
    body, dropped = bench.ask(openai(response_format=wanted), bench.openai, bench.anthropic)
    assert body["output_config"]["format"]["schema"]["properties"]["a"] == {"type": "string", "description": '{"format":["date"]}'}
    assert dropped == ("response_format.json_schema.schema.properties.a.format",)


def test_thinking_is_asked_for_where_there_are_only_system_messages(bench: Any) -> None:
    body, _ = bench.ask(
        openai(messages=[{"role": "system", "content": "s"}], reasoning_effort="low"), bench.openai, bench.anthropic, model="claude-3-7-x"
    )
    assert body["thinking"]["type"] == "enabled"
    assert body["messages"] == []


@pytest.mark.parametrize("data", ["QUJD\u00e9", "QUJ", "_w=="])
def test_a_text_file_that_is_none_is_unfit(bench: Any, data: str) -> None:
    file = {"type": "file", "file": {"file_data": f"data:text/plain;base64,{data}", "filename": "f"}}
    with pytest.raises(canon.Unfit, match="not text in UTF-8"):
        bench.ask(openai(messages=[{"role": "user", "content": [file]}]), bench.openai, bench.anthropic)


def test_an_edited_request_is_written_from_its_meaning(bench: Any) -> None:
    request = bench.openai.read_request(json.dumps(openai(max_tokens=9, temperature=0.5)).encode())
    edited = request.edited(sampling=canon.Sampling(temperature=0.5, max_tokens=3))
    body = json.loads(bench.openai.write_request(edited, bench.target("up")).body)
    assert body == {"model": "up", "messages": [USER], "temperature": 0.5, "max_completion_tokens": 3}


def test_an_edited_request_keeps_what_only_its_own_dialect_knows(bench: Any) -> None:
    asked = openai(web_search_options={"x": 1}, logit_bias={"1": 1}, tools=[FUNCTION, {"type": "web_search"}])
    request = bench.openai.read_request(json.dumps(asked).encode()).edited(model="other").edited(user="u")
    made = bench.openai.write_request(request, bench.target("up"))
    assert json.loads(made.body) == {**asked, "model": "up", "user": "u"}
    assert made.dropped == ()
    with pytest.raises(canon.Unfit, match="web_search_options"):
        bench.anthropic.write_request(request, bench.target("up"))
    asked = anthropic(container="c", speed="fast", tools=[{"type": "web_search_20250305", "name": "web_search"}])
    made = bench.anthropic.write_request(bench.anthropic.read_request(json.dumps(asked).encode()).edited(), bench.target("up"))
    body = json.loads(made.body)
    assert (body["container"], body["speed"], body["tools"], made.dropped) == ("c", "fast", asked["tools"], ())


def test_anthropic_requests_carry_the_version_header(bench: Any) -> None:
    request = bench.openai.read_request(json.dumps(openai()).encode())
    assert bench.anthropic.write_request(request, bench.target()).headers == (("anthropic-version", "2023-06-01"),)
