"""What a target lacks: a feature makes it unfit, a knob is dropped and named, whatever dialects meet."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest

from control_plane.dialects import lacking
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.canon import Unfit
from control_plane.dialects.capabilities import MEANINGS, Capability
from control_plane.dialects.registry import DIALECTS, PROVIDERS

PIXEL = "data:image/png;base64,aGk="
TOOL = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "object", "properties": {}}}}
HELLO = {"role": "user", "content": "hello"}
CALL = {"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{}"}}


def chat(*content: Any, **fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": list(content)} if content else HELLO], **fields}


REPLAY = {
    "model": "m",
    "messages": [HELLO, {"role": "assistant", "tool_calls": [CALL]}, {"role": "tool", "tool_call_id": "t1", "content": "x"}],
}
FILE = {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,aGk="}}

UNFIT: list[tuple[Capability, dict[str, Any], str]] = [
    ("tools", chat(tools=[TOOL]), "tools"),
    ("tools", REPLAY, "messages.1"),
    ("tool-choice", chat(tools=[TOOL], tool_choice="required"), "tool_choice"),
    ("tool-choice", chat(tools=[TOOL], tool_choice={"type": "function", "function": {"name": "look"}}), "tool_choice"),
    ("structured-output", chat(response_format=SCHEMA), "response_format"),
    ("json-mode", chat(response_format={"type": "json_object"}), "response_format"),
    ("image", chat({"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": PIXEL}}), "messages.0"),
    ("audio", chat({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}), "messages.0"),
    ("document", chat(FILE), "messages.0"),
    ("several-choices", chat(n=2), "n"),
]
CLAUDE = {
    "model": "m",
    "max_tokens": 9,
    "thinking": {"type": "enabled", "budget_tokens": 1024},
    "system": [{"type": "text", "text": "be brief", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}]}],
    "tools": [{"name": "look", "input_schema": {"type": "object"}, "cache_control": {"type": "ephemeral"}}],
    "tool_choice": {"type": "auto", "disable_parallel_tool_use": True},
}
SAMPLED = {"model": "m", "max_tokens": 9, "temperature": 0.5, "top_k": 3, "messages": [HELLO]}
GEMINI = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"topP": 0.5, "temperature": 0}}
DROPPED: list[tuple[Capability, str, dict[str, Any], list[str], tuple[str, ...]]] = [
    ("parallel-tools", "openai-chat", chat(tools=[TOOL], parallel_tool_calls=False), ["parallel_tool_calls"], ("disable_parallel",)),
    ("logprobs", "openai-chat", chat(logprobs=True, top_logprobs=3), ["logprobs", "top_logprobs"], ("logprobs",)),
    ("temperature", "openai-chat", chat(temperature=0), ["temperature"], ("temperature",)),
    ("top-p", "gemini-generate-content", GEMINI, ["generationConfig.topP"], ("top_p", "topP", '"p"')),
    ("top-k", "anthropic-messages", SAMPLED, ["top_k"], ("top_k", "topK", '"k"')),
    ("penalties", "openai-chat", chat(presence_penalty=1, frequency_penalty=0.5), ["presence_penalty", "frequency_penalty"], ("enalty",)),
    ("reasoning", "openai-chat", chat(reasoning_effort="high"), ["reasoning_effort"], ("thinking", "effort")),
    ("reasoning", "anthropic-messages", CLAUDE, ["thinking"], ("reasoning",)),
    ("prompt-caching", "anthropic-messages", CLAUDE, ["cache_control"], ("cache",)),
]


def read(dialect: str, body: dict[str, Any]) -> Any:
    return DIALECTS[dialect].read_request(json.dumps(body).encode(), Call("m") if dialect == "gemini-generate-content" else None)


def test_every_capability_is_checked_by_one_of_the_tables_below() -> None:
    assert set(MEANINGS) == set(get_args(Capability)) == {case[0] for case in UNFIT} | {case[0] for case in DROPPED}


@pytest.mark.parametrize(("name", "body", "field"), UNFIT)
def test_a_feature_makes_the_target_unfit(name: Capability, body: dict[str, Any], field: str) -> None:
    request = read("openai-chat", body)
    with pytest.raises(Unfit) as unfit:
        lacking.settled(request, {name})
    assert unfit.value.field == field
    others = set(MEANINGS) - {name, *(("tools",) if name == "tool-choice" else ())}
    others -= {"tool-choice", "tools"} if "tools" in body and name != "tools" else set()
    lacking.settled(request, others)  # only this one stands in its way


@pytest.mark.parametrize(("name", "client", "body", "named", "gone"), DROPPED)
def test_a_knob_is_dropped_and_named(name: Capability, client: str, body: dict[str, Any], named: list[str], gone: tuple[str, ...]) -> None:
    request = read(client, body)
    changed, dropped = lacking.settled(request, {name})
    assert [request.named(path) for path in dropped] == named
    for provider, dialect in PROVIDERS.items():
        target = TargetFacts("claude-sonnet-5" if "anthropic" in provider else "gemini-2.5-flash", "/")
        text = dialect.write_request(changed, target).body.decode()
        assert not any(word in text for word in gone), (provider, text)


@pytest.mark.parametrize("lacks", [set(), set(MEANINGS)])
def test_a_request_that_asks_for_nothing_of_it_is_not_touched(lacks: set[str]) -> None:
    request = read("openai-chat", chat(seed=1, logprobs=False))
    assert lacking.settled(request, lacks) == (request, ())
    assert lacking.settled(request, lacks)[0] is request


def test_images_inside_results_count() -> None:
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    content = [{"type": "tool_result", "tool_use_id": "t1", "content": [image]}]
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": content}]}
    with pytest.raises(Unfit, match="does not have images"):
        lacking.settled(read("anthropic-messages", body), {"image"})
