"""Coding agents' kind of traffic: long tool loops with thinking and parallel calls, over Anthropic's messages and OpenAI's Responses, on
every vendor through the real gateway. No call may be lost, changed or moved, on the way to the agent or back to the vendor."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import anthropic
import openai
import pytest

from control_plane.demo.simulators.compose import order
from tests.live.gateway.rig import ANSWERS, Rig, RigFactory, route

TURNS = 24
PIXEL = base64.b64encode(
    base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")
).decode()
ROUTES = (
    route("via-openai", "openai")
    + route("via-answers", "answers")
    + route("via-anthropic", "anthropic")
    + route("via-local", "local")
    + route("via-gemini", "gemini")
    + route("via-bedrock", "bedrock")
    + route("via-cohere", "cohere")
    + route("moves-on", "anthropic", "openai", first_token="1s")
    + route("moves-over", "answers", "anthropic", first_token="1s")
    + route("moves-to-gemini", "openai", "gemini", first_token="1s")
    + route("moves-to-bedrock", "anthropic", "bedrock", first_token="1s")
    + route("moves-to-cohere", "gemini", "cohere", first_token="1s")
)
VENDORS = ("openai", "answers", "anthropic", "local", "gemini", "bedrock", "cohere")
EVERY = pytest.mark.parametrize("model", [f"via-{vendor}" for vendor in VENDORS])
MOVES = (("moves-on", "anthropic"), ("moves-over", "openai"), ("moves-to-gemini", "openai"), ("moves-to-bedrock", "anthropic"))
MOVING = pytest.mark.parametrize(("model", "first"), [*MOVES, ("moves-to-cohere", "gemini")])

SCHEMAS: dict[str, dict[str, Any]] = {
    "shell": {"command": {"type": "array", "items": {"type": "string"}}, "timeout_ms": {"type": "integer"}},
    "read_file": {"path": {"type": "string"}, "offset": {"type": "integer"}},
    "apply_patch": {"patch": {"type": "string"}},
    "update_plan": {"steps": {"type": "array", "items": {"type": "object", "properties": {"step": {"type": "string"}}}}},
    "list": {},
}
GRAMMAR = 'start: "*** Begin Patch" LF hunk+ "*** End Patch" LF?\nhunk: /.+/ LF\nLF: "\\n"'
SYSTEM = "You are a coding agent. " + "Work in small steps and check what you did. " * 40


def schema(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": SCHEMAS[name]}


@dataclass(frozen=True)
class Called:
    name: str
    arguments: Any


def plan(turn: int, field: str = "patch") -> list[Called]:
    """The calls of a turn: one to four, with what breaks careless translators in their arguments."""
    patch = (
        f'*** Begin Patch\n*** Update File: src/überall_{turn}.py\n@@\n-\tprint("{{\\n}}")\n+\tprint("\\u2028 ✓ 😀 </tool>")\n*** End Patch'
    )
    kinds = [
        Called("shell", {"command": ["bash", "-lc", f'grep -rn "a\\"b" . | head -{turn}'], "timeout_ms": 2**53 - turn}),
        Called("read_file", {"path": f"/srv/{'x' * (turn * 7)}/ä ö.py", "offset": -turn}),
        Called("apply_patch", {field: patch * (1 + turn % 3)}),
        Called("update_plan", {"steps": [{"step": f"step {i}"} for i in range(turn % 5)]}),
        Called("list", {}),
        Called("shell", {"command": [], "timeout_ms": 0}),
    ]
    return [kinds[(turn + i) % len(kinds)] for i in range(1 + turn % 4)]


def orders(turn: int, field: str = "patch") -> str:
    """What makes the vendor's model make the calls of that turn; none after the last."""
    return "".join(order(call.name, json.dumps(call.arguments)) for call in plan(turn, field)) if turn < TURNS else "that was all"


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=ANSWERS)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def claude(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0, timeout=20) as client:
        yield client


@pytest.fixture
def codex(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0, timeout=20) as client:
        yield client


# ------------------------------------------------------------------------------------------------ the agents


def messages_agent(client: anthropic.Anthropic, model: str, streamed: bool, at_turn: Callable[[int], None]) -> list[list[Called]]:
    """Runs the loop as Claude Code does: streamed, thinking, cache markers, errors and images in results. The calls of every turn."""
    tools: list[Any] = [{"name": name, "description": f"The tool {name}", "input_schema": schema(name)} for name in SCHEMAS]
    tools[-1]["cache_control"] = {"type": "ephemeral"}
    asked: dict[str, Any] = {
        "model": model,
        "max_tokens": 8000,
        "system": [{"type": "text", "text": SYSTEM, "cache_control": {"type": "ephemeral"}}],
        "thinking": {"type": "adaptive"},
        "tools": tools,
    }
    messages: list[Any] = [{"role": "user", "content": f"Begin. [[sim reasoning=12]] {orders(0)}"}]
    seen: list[list[Called]] = []
    for turn in range(TURNS + 1):
        at_turn(turn)
        if streamed:
            with client.messages.stream(messages=messages, **asked) as stream:
                done = stream.get_final_message()
        else:
            done = client.messages.create(messages=messages, **asked)
        calls = [block for block in done.content if block.type == "tool_use"]
        if not calls:
            assert done.stop_reason == "end_turn"
            break
        assert done.stop_reason == "tool_use"
        seen.append([Called(call.name, call.input) for call in calls])
        results: list[Any] = []
        for number, call in enumerate(calls):
            content: Any = f"{turn}.{number} done {orders(turn + 1) if number == 0 else ''}"
            if turn % 6 == 5 and number == 1:
                image = {"type": "base64", "media_type": "image/png", "data": PIXEL}
                content = [{"type": "text", "text": f"{turn}.{number} done"}, {"type": "image", "source": image}]
            results.append({"type": "tool_result", "tool_use_id": call.id, "content": content, "is_error": turn % 7 == 3 and number == 2})
        # An image may reach the vendor behind all results; then the reminder is what its model reads last.
        results.append({"type": "text", "text": f"<system-reminder>go on {orders(turn + 1)}</system-reminder>"})
        results[-1]["cache_control"] = {"type": "ephemeral"}
        messages += [{"role": "assistant", "content": done.content}, {"role": "user", "content": results}]
        if turn:
            messages[-3]["content"][-1].pop("cache_control", None)
    return seen


def responses_agent(
    client: openai.OpenAI, model: str, streamed: bool, at_turn: Callable[[int], None], custom: tuple[str, ...] = ()
) -> list[list[Called]]:
    """Runs the loop as Codex does: nothing stored, encrypted reasoning given back, parallel calls. The calls of every turn.

    `custom`: tools that take free text with a grammar, as Codex's apply_patch does.
    """
    tools: list[Any] = [
        {"type": "function", "name": name, "description": f"The tool {name}", "parameters": schema(name), "strict": False}
        for name in SCHEMAS
        if name not in custom
    ]
    form = {"type": "grammar", "syntax": "lark", "definition": GRAMMAR}
    tools += [{"type": "custom", "name": name, "description": f"The tool {name}. FREEFORM.", "format": form} for name in custom]
    asked: dict[str, Any] = {
        "model": model,
        "instructions": SYSTEM,
        "tools": tools,
        "parallel_tool_calls": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        "reasoning": {"effort": "medium", "summary": "auto"},
        "prompt_cache_key": "session-1",
    }
    field = "input" if custom else "patch"
    items: list[Any] = [{"role": "user", "content": f"Begin. [[sim reasoning=12]] {orders(0, field)}"}]
    seen: list[list[Called]] = []
    for turn in range(TURNS + 1):
        at_turn(turn)
        if streamed:
            with client.responses.stream(input=items, **asked) as stream:
                done: Any = stream.get_final_response()
        else:
            done = client.responses.create(input=items, **asked)
        assert done.status == "completed"
        calls = [item for item in done.output if item.type in ("function_call", "custom_tool_call")]
        if not calls:
            break
        assert [call.type == "custom_tool_call" for call in calls] == [call.name in custom for call in calls]
        seen.append([Called(call.name, {"input": call.input} if call.name in custom else json.loads(call.arguments)) for call in calls])
        items += [item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in done.output]
        for number, call in enumerate(calls):
            said = f"{turn}.{number} done {orders(turn + 1, field) if number == 0 else ''}"
            items.append({"type": f"{call.type}_output", "call_id": call.call_id, "output": said})
    return seen


# ------------------------------------------------------------------------------------------------ what the vendor was told

Told = list[tuple[str, Any, str]]
"""Every call that the vendor was told of: name, arguments, and its result's first word."""


def _joined(calls: list[tuple[str, str, Any]], results: dict[str, str]) -> Told:
    return [(name, arguments, results[identity].split()[0]) for identity, name, arguments in calls]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else next(part["text"] for part in content if "text" in part)


def told_anthropic(body: Any) -> Told:
    blocks = [block for message in body["messages"] if isinstance(message["content"], list) for block in message["content"]]
    calls = [(block["id"], block["name"], block["input"]) for block in blocks if block["type"] == "tool_use"]
    return _joined(calls, {block["tool_use_id"]: _text(block["content"]) for block in blocks if block["type"] == "tool_result"})


def told_openai_chat(body: Any) -> Told:
    said = [call for message in body["messages"] for call in message.get("tool_calls") or ()]
    calls = [
        (call["id"], call["custom"]["name"], {"input": call["custom"]["input"]})
        if call["type"] == "custom"
        else (call["id"], call["function"]["name"], json.loads(call["function"]["arguments"]))
        for call in said
    ]
    return _joined(calls, {message["tool_call_id"]: _text(message["content"]) for message in body["messages"] if message["role"] == "tool"})


def told_openai_responses(body: Any) -> Told:
    items = body["input"]
    calls = [
        (item["call_id"], item["name"], json.loads(item["arguments"]) if item["type"] == "function_call" else {"input": item["input"]})
        for item in items
        if item.get("type") in ("function_call", "custom_tool_call")
    ]
    return _joined(calls, {i["call_id"]: _text(i["output"]) for i in items if str(i.get("type")).endswith("_call_output")})


def told_gemini(body: Any) -> Told:
    parts = [part for content in body["contents"] for part in content["parts"]]
    calls = [part["functionCall"] for part in parts if "functionCall" in part]
    results = [part["functionResponse"] for part in parts if "functionResponse" in part]
    assert [call["id"] for call in calls] == [result["id"] for result in results]
    said = {result["id"]: str(next(iter(result["response"].values()))) for result in results}
    return _joined([(call["id"], call["name"], call["args"]) for call in calls], said)


def told_bedrock(body: Any) -> Told:
    blocks = [block for message in body["messages"] for block in message["content"]]
    calls = [block["toolUse"] for block in blocks if "toolUse" in block]
    said = {r["toolUseId"]: _text(r["content"]) for r in (block["toolResult"] for block in blocks if "toolResult" in block)}
    return _joined([(call["toolUseId"], call["name"], call["input"]) for call in calls], said)


TOLD: dict[str, Callable[[Any], Told]] = {
    "/v1/messages": told_anthropic,
    "/v1/chat/completions": told_openai_chat,
    "/v1/responses": told_openai_responses,
    "/v1beta/models": told_gemini,
    "/model/": told_bedrock,
    "/v2/chat": told_openai_chat,
}


def last_told(rig: Rig) -> Told:
    """What the vendor that served the last turn was told in it: that request holds the whole conversation."""
    served = [request for vendor in rig.vendors.values() for request in vendor.requests if request.status == 200]
    last = max(served, key=lambda request: request.time_s)
    return next(read for path, read in TOLD.items() if last.path.startswith(path))(last.json())


EXPECTED = [plan(turn) for turn in range(TURNS)]
EXPECTED_TOLD = [(call.name, call.arguments, f"{turn}.{number}") for turn in range(TURNS) for number, call in enumerate(plan(turn))]


def undisturbed(turn: int) -> None:
    pass


@EVERY
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_a_messages_agent(rig: Rig, claude: anthropic.Anthropic, model: str, streamed: bool) -> None:
    assert messages_agent(claude, model, streamed, undisturbed) == EXPECTED
    assert last_told(rig) == EXPECTED_TOLD


@EVERY
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_a_responses_agent(rig: Rig, codex: openai.OpenAI, model: str, streamed: bool) -> None:
    assert responses_agent(codex, model, streamed, undisturbed) == EXPECTED
    assert last_told(rig) == EXPECTED_TOLD


def outages(rig: Rig, vendor: str) -> Callable[[int], None]:
    """The vendor is down in every third group of four turns, so that the conversation moves there and back."""

    def at_turn(turn: int) -> None:
        if turn % 12 == 4:
            rig.break_vendor(vendor, mode="status")
        elif turn % 12 == 8:
            rig.heal()

    return at_turn


@MOVING
def test_a_messages_agent_through_outages(rig: Rig, claude: anthropic.Anthropic, model: str, first: str) -> None:
    assert messages_agent(claude, model, True, outages(rig, first)) == EXPECTED
    assert last_told(rig) == EXPECTED_TOLD


@MOVING
def test_a_responses_agent_through_outages(rig: Rig, codex: openai.OpenAI, model: str, first: str) -> None:
    assert responses_agent(codex, model, True, outages(rig, first)) == EXPECTED
    assert last_told(rig) == EXPECTED_TOLD


PATCHES = [plan(turn, "input") for turn in range(TURNS)]
PATCHES_TOLD = [(call.name, call.arguments, f"{turn}.{n}") for turn in range(TURNS) for n, call in enumerate(plan(turn, "input"))]
FREEFORM = ("apply_patch",)


@EVERY
@pytest.mark.parametrize("streamed", [True, False], ids=["streamed", "whole"])
def test_a_responses_agent_with_a_tool_that_takes_free_text(rig: Rig, codex: openai.OpenAI, model: str, streamed: bool) -> None:
    assert responses_agent(codex, model, streamed, undisturbed, FREEFORM) == PATCHES
    assert last_told(rig) == PATCHES_TOLD


@MOVING
def test_free_text_through_outages(rig: Rig, codex: openai.OpenAI, model: str, first: str) -> None:
    assert responses_agent(codex, model, True, outages(rig, first), FREEFORM) == PATCHES
    assert last_told(rig) == PATCHES_TOLD
