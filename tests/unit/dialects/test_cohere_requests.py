"""Requests in Cohere's dialect: what a client's means, and what is written for a provider."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.registry import DIALECTS
from control_plane.kit.errors import ClientProtocolError

C = canon
COHERE = DIALECTS["cohere-chat"]
PLAIN, THINKER = "command-a-03-2025", "command-a-reasoning-08-2025"
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
LOOSE = {"type": "object", "properties": {"city": {"type": "string"}}}


def read(**fields: Any) -> C.Request:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}
    return COHERE.read_request(json.dumps(body).encode())


def write(request: C.Request, model: str = PLAIN, **options: object) -> tuple[dict[str, Any], tuple[str, ...]]:
    made = COHERE.write_request(request, TargetFacts(model, "/v2/chat", options))
    return json.loads(made.body), made.dropped


def ask(client: str, body: dict[str, Any], model: str = PLAIN, **options: object) -> tuple[dict[str, Any], tuple[str, ...]]:
    """(the provider's body, what was dropped) of a client's request."""
    return write(DIALECTS[client].read_request(json.dumps(body).encode()), model, **options)


def openai(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hi"}], **fields}


def function(name: str, parameters: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **({} if parameters is None else {"parameters": parameters}), **more}}


# ------------------------------------------------------------------------------------------------------------ reading


def test_knobs() -> None:
    request = read(
        temperature=0.5, p=0.9, k=7, max_tokens=50, seed=3, presence_penalty=0.1, frequency_penalty=0.2, logprobs=True,
        stop_sequences=["a", "b"], stream=True, safety_mode="STRICT", priority=1, citation_options={"mode": "FAST"},
    )  # fmt: skip
    assert request.sampling == C.Sampling(0.5, 0.9, 7, 50, ("a", "b"), 3, 0.1, 0.2, True)
    assert request.stream
    assert request.unmapped == ("safety_mode", "priority", "citation_options")
    assert request.features == ()


def test_a_conversation() -> None:
    request = read(
        messages=[
            {"role": "system", "content": "be brief"},
            {"role": "system", "content": [{"type": "text", "text": "really"}]},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "look"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD", "detail": "low"}},
                    {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
                ],
            },
            {
                "role": "assistant",
                "content": [{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": ""}],
                "tool_plan": "I will look.",
                "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}],
            },
            {
                "role": "tool",
                "tool_call_id": "c1",
                "content": [
                    {"type": "document", "document": {"id": "d1", "data": {"n": 1}}},
                    {"type": "document", "document": {"data": "plain"}},
                    {"type": "text", "text": "t"},
                ],
            },
            {"role": "system", "content": "still brief"},
            {"role": "assistant", "content": "done", "citations": [{"start": 0}]},
            {"role": "user", "content": "well?"},
        ]
    )
    assert request.system == (C.Text("be brief"), C.Text("really"))
    assert [(m.role, m.parts) for m in request.messages] == [
        (
            "user",
            (
                C.Text("look"),
                C.Image(media_type="image/png", data="QUJD", detail="low"),
                C.Image(url="https://example.com/a.png"),
            ),
        ),
        ("assistant", (C.Thinking("hm"), C.Thinking("I will look."), C.ToolCall("c1", "f", '{"a": 1}'))),
        ("tool", (C.ToolResult("c1", (C.Text('{"id":"d1","n":1}'), C.Text("plain"), C.Text("t"))),)),
        ("system", (C.Text("still brief"),)),
        ("assistant", (C.Text("done"),)),
        ("user", (C.Text("well?"),)),
    ]
    assert request.unmapped == ("messages.6.citations",)


def test_documents_stand_before_the_first_turn_of_the_user() -> None:
    request = read(
        messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}, {"role": "user", "content": "q2"}],
        documents=["plain", {"id": "d", "data": {"title": "T", "text": "x"}}, {"id": "e", "data": {"snippet": "y", "n": 2}}],
    )
    assert request.messages[0] == C.Message(
        "user",
        (
            C.Document(text="plain", citations=True),
            C.Document(text="x", title="T", citations=True),
            C.Document(text='{"snippet":"y","n":2}', title="e", citations=True),
        ),
        "documents",
    )
    assert [m.path for m in request.messages] == ["documents", "messages.0", "messages.1", "messages.2"]
    assert request.unmapped == ("documents.1.id",)
    body = json.loads(DIALECTS["anthropic-messages"].write_request(request, TargetFacts("claude-sonnet-4-5", "/")).body)
    assert body["messages"][0]["content"][0]["citations"] == {"enabled": True}
    assert [block["type"] for block in body["messages"][0]["content"]] == ["document"] * 3 + ["text"]


def test_tools_formats_and_thinking() -> None:
    request = read(
        tools=[function("f", SCHEMA, description="d"), function("g", {})],
        strict_tools=True,
        tool_choice="REQUIRED",
        thinking={"type": "enabled", "token_budget": 100},
        response_format={"type": "json_object", "json_schema": SCHEMA},
    )
    assert request.tools == (C.Tool("f", "d", SCHEMA, True), C.Tool("g", None, {}, True))
    assert request.tool_choice == C.ToolChoice("required")
    assert request.reasoning == C.Reasoning(enabled=True, budget=100)
    assert request.response_format == C.ResponseFormat("json_schema", SCHEMA)
    assert read(tool_choice="NONE").tool_choice == C.ToolChoice("none")
    assert read(thinking={"type": "disabled"}).reasoning == C.Reasoning(enabled=False)
    assert read(response_format={"type": "json_object"}).response_format == C.ResponseFormat("json")
    assert read(response_format={"type": "text"}).response_format == C.ResponseFormat("text")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "model"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "developer", "content": "x"}]}, "messages.0.role"),
        ({"messages": [{"role": "user"}]}, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "thinking", "thinking": "x"}]}]}, "messages.0.content.0.type"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.0.tool_call_id"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "i"}]}]}, "messages.0.tool_calls.0.function"),
        ({"tools": [{"type": "search"}]}, "tools.0.type"),
        ({"tools": [{"type": "function"}]}, "tools.0.function"),
        ({"tool_choice": "auto"}, "tool_choice"),
        ({"tool_choice": {"type": "function"}}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format.type"),
        ({"thinking": {"type": "maybe"}}, "thinking.type"),
        ({"thinking": {"type": "enabled", "token_budget": "x"}}, "thinking.token_budget"),
        ({"stop_sequences": ["a", 1]}, "stop_sequences.1"),
        ({"documents": [5]}, "documents.0"),
        ({"documents": [{"id": "x"}]}, "documents.0.data"),
        ({"p": "x"}, "p"),
    ],
)
def test_a_bad_request_names_its_field(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientProtocolError) as caught:
        read(**fields)
    assert (caught.value.status, caught.value.param) == (400, param)


def test_what_only_this_vendor_has_is_unfit_or_named_elsewhere() -> None:
    openai_dialect, target = DIALECTS["openai-chat"], TargetFacts("gpt-4o", "/")
    with pytest.raises(C.Unfit) as unfit:
        openai_dialect.write_request(read(raw_prompting=True), target)
    assert unfit.value.field == "raw_prompting"
    request = read(safety_mode="OFF", k=3, documents=["d"], thinking={"type": "enabled"})
    made = openai_dialect.write_request(request, target)
    assert [request.named(path) for path in made.dropped] == ["safety_mode", "documents.citations", "k", "thinking"]


# ------------------------------------------------------------------------------------------------------------ writing


def test_its_own_clients_body_is_kept() -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}], "new_field": {"a": [1]}, "safety_mode": "OFF"}
    assert ask("cohere-chat", body, "up") == ({**body, "model": "up"}, ())


def test_an_edited_request_means_the_same() -> None:
    request = read(documents=["d"], k=3, safety_mode="OFF", tools=[function("f", SCHEMA)], strict_tools=True, tool_choice="REQUIRED")
    body, dropped = write(request.edited())
    assert body == {
        "model": PLAIN,
        "messages": [{"role": "user", "content": "hi"}],
        "documents": [{"id": "doc:0", "data": {"text": "d"}}],
        "tools": [function("f", SCHEMA)],
        "strict_tools": True,
        "tool_choice": "REQUIRED",
        "k": 3,
        "safety_mode": "OFF",
    }
    assert dropped == ()


def test_knobs_are_renamed_clipped_and_named() -> None:
    body, dropped = ask(
        "openai-chat",
        openai(
            temperature=1.5, top_p=1, presence_penalty=-1, frequency_penalty=0.5, max_tokens=9, seed=-1, logprobs=True, top_logprobs=3,
            stop=["1", "2", "3", "4", "5", "6"], user="u", metadata={"a": "b"}, parallel_tool_calls=False, tools=[function("f", LOOSE)],
            stream=True,
        ),
    )  # fmt: skip
    assert {k: v for k, v in body.items() if k not in ("messages", "tools")} == {
        "model": PLAIN,
        "temperature": 1.0,
        "p": 0.99,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.5,
        "max_tokens": 9,
        "logprobs": True,
        "stop_sequences": ["1", "2", "3", "4", "5"],
        "stream": True,
    }
    assert dropped == (
        "parallel_tool_calls", "temperature", "top_p", "presence_penalty", "seed", "top_logprobs", "stop.5", "user", "metadata",
    )  # fmt: skip


def test_a_conversation_of_another_client() -> None:
    body, dropped = ask(
        "openai-chat",
        openai(
            messages=[
                {"role": "system", "content": "be brief"},
                {
                    "role": "user",
                    "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}],
                },
                {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "I look.",
                    "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": ""}}],
                },
                {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
                {"role": "assistant", "content": "done", "reasoning_content": "so"},
                {"role": "developer", "content": "briefer"},
                {"role": "user", "content": "well?"},
            ]
        ),
    )
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    assert body["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "https://x/y.png"}}]},
        {"role": "assistant", "tool_plan": "I look.", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "sunny"},
        {"role": "assistant", "content": "done"},
        {"role": "system", "content": "briefer"},
        {"role": "user", "content": "well?"},
    ]
    assert dropped == ("messages.4.reasoning",)


def test_thoughts_of_a_tool_loop_go_back_as_the_model_takes_them() -> None:
    messages = [
        {"role": "user", "content": "q"},
        {
            "role": "assistant",
            "content": [{"type": "thinking", "thinking": "hm"}],
            "tool_plan": " plan",
            "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
        },
        {"role": "tool", "tool_call_id": "c", "content": "r"},
    ]
    request = read(messages=messages).edited()
    assert write(request, THINKER)[0]["messages"][1]["content"] == [{"type": "thinking", "thinking": "hm plan"}]
    assert write(request, PLAIN)[0]["messages"][1]["tool_plan"] == "hm plan"
    assert write(request, PLAIN, thinking="budget")[0]["messages"][1]["content"] == [{"type": "thinking", "thinking": "hm plan"}]


def test_images_in_results_follow_in_a_message_of_the_user() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "QUJD"}}
    body, dropped = ask(
        "anthropic-messages",
        {
            "model": "m",
            "max_tokens": 9,
            "messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {}}]},
                {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c", "content": [image], "is_error": True}]},
            ],
        },
    )
    assert body["messages"][2:] == [
        {"role": "tool", "tool_call_id": "c", "content": "The result is attached below."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "Result of the tool call c:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}},
            ],
        },
    ]
    assert dropped == ("messages.2.is_error",)


def test_documents_to_cite_and_others() -> None:
    def document(cite: bool) -> dict[str, Any]:
        source = {"type": "text", "media_type": "text/plain", "data": "x"}
        return {"type": "document", "title": "T", "context": "c", "citations": {"enabled": cite}, "source": source}

    def made(*blocks: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
        return ask("anthropic-messages", {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": [*blocks]}]})

    body, dropped = made(document(True), {"type": "text", "text": "q"})
    assert body["documents"] == [{"id": "doc:0", "data": {"title": "T", "text": "x", "context": "c"}}]
    assert (body["messages"], dropped) == ([{"role": "user", "content": "q"}], ())
    body, dropped = made(document(False), {"type": "text", "text": "q"})
    assert "documents" not in body
    assert body["messages"][0]["content"][0] == {"type": "text", "text": "T\nc\n\nx"}


@pytest.mark.parametrize(
    ("choice", "tools", "wire"),
    [
        ("auto", ["f", "g"], None),
        ("none", ["f", "g"], "NONE"),
        ("required", ["f", "g"], "REQUIRED"),
        ({"type": "function", "function": {"name": "g"}}, ["g"], "REQUIRED"),
    ],
)
def test_tool_choices(choice: Any, tools: list[str], wire: str | None) -> None:
    """A tool that is forced by its name is the only one offered."""
    body, dropped = ask("openai-chat", openai(tools=[function("f", LOOSE), function("g")], tool_choice=choice))
    assert [tool["function"]["name"] for tool in body["tools"]] == tools
    assert body["tools"][-1]["function"]["parameters"] == {"type": "object", "properties": {}}
    assert (body.get("tool_choice"), dropped) == (wire, ())


def test_strict_tools_need_a_mandatory_parameter_each() -> None:
    strict, loose = function("f", SCHEMA, strict=True), function("g", LOOSE, strict=True)
    assert ask("openai-chat", openai(tools=[strict, function("h", SCHEMA)]))[0]["strict_tools"] is True
    body, dropped = ask("openai-chat", openai(tools=[strict, loose]))
    assert "strict_tools" not in body
    assert dropped == ("tools.0.function.strict", "tools.1.function.strict")
    assert "strict_tools" not in ask("openai-chat", openai(tools=[function("h", SCHEMA)]))[0]


def test_formats() -> None:
    schema = {"type": "json_schema", "json_schema": {"name": "n", "description": "d", "schema": SCHEMA}}
    body, dropped = ask("openai-chat", openai(response_format=schema))
    assert body["response_format"] == {"type": "json_object", "json_schema": SCHEMA}
    assert dropped == ("response_format.description",)
    assert ask("openai-chat", openai(response_format={"type": "json_object"}))[0]["response_format"] == {"type": "json_object"}
    assert "response_format" not in ask("openai-chat", openai(response_format={"type": "text"}))[0]
    body, _ = ask("openai-chat", openai(response_format=schema, tools=[function("f")]), json_with_tools=True)
    assert body["response_format"]["json_schema"] == SCHEMA


@pytest.mark.parametrize(
    ("model", "fields", "wire", "dropped"),
    [
        (THINKER, {"reasoning_effort": "low"}, {"type": "enabled", "token_budget": 2048}, ()),
        (THINKER, {"reasoning_effort": "high"}, {"type": "enabled"}, ()),
        (THINKER, {"reasoning_effort": "none"}, {"type": "disabled"}, ()),
        (THINKER, {"reasoning": {"max_tokens": 77}}, {"type": "enabled", "token_budget": 77}, ()),
        (THINKER, {"reasoning_effort": "medium", "max_tokens": 100}, {"type": "enabled", "token_budget": 99}, ()),
        (THINKER, {"reasoning_effort": "medium", "max_tokens": 1}, None, ("reasoning_effort",)),
        ("command-a-plus-05-2026", {"reasoning": {"enabled": True}}, {"type": "enabled"}, ()),
        (PLAIN, {"reasoning_effort": "low"}, None, ("reasoning_effort",)),
        (PLAIN, {"reasoning_effort": "none"}, None, ()),
        (THINKER, {}, None, ()),
    ],
)
def test_thinking(model: str, fields: dict[str, Any], wire: Any, dropped: tuple[str, ...]) -> None:
    body, lost = ask("openai-chat", openai(**fields), model)
    assert (body.get("thinking"), lost) == (wire, dropped)


UNFIT: list[tuple[dict[str, Any], str]] = [
    ({"n": 2}, "n"),
    ({"tools": [function("f")], "response_format": {"type": "json_object"}}, "response_format"),
    ({"tools": [function("f")], "tool_choice": {"type": "function", "function": {"name": "g"}}}, "tool_choice"),
    ({"messages": [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "x", "format": "wav"}}]}]}, "messages.0"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_data": "QUJD"}}]}]}, "messages.0"),
    ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "messages.0"),
    (
        {"messages": [{"role": "user", "content": "q"}, {"role": "system", "content": [{"type": "image_url", "image_url": {"url": "u"}}]}]},
        "messages.1",
    ),
    ({"web_search_options": {}}, "web_search_options"),
    ({"tools": [{"type": "web_search"}]}, "tools.0"),
]


@pytest.mark.parametrize(("fields", "field"), UNFIT)
def test_features_that_it_lacks(fields: dict[str, Any], field: str) -> None:
    with pytest.raises(C.Unfit) as unfit:
        ask("openai-chat", openai(**fields))
    assert unfit.value.field == field
