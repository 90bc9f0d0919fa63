"""Anthropic's wire: shapes of answers, streams and errors as the vendor sends them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from control_plane.demo.simulators import Simulator
from control_plane.demo.wire_client import Answer

Call = Callable[..., Coroutine[Any, Any, Answer]]
MESSAGE: dict[str, Any] = {
    "model": "claude-sonnet-5",
    "max_tokens": 500,
    "messages": [{"role": "user", "content": "hello there, simulator"}],
}
LATEST = {"x-api-key": "sk-a", "anthropic-version": "2026-10-21"}

TOOLS = [
    {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}},
    {"name": "get_time", "input_schema": {"type": "object", "properties": {}}},
]
HAIKU = MESSAGE | {"model": "claude-haiku-4-5"}


def said(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def test_a_whole_answer_has_the_vendors_shape(anthropic: Simulator, call: Call) -> None:
    seen = await call(anthropic, "/v1/messages", MESSAGE)
    document = seen.json()
    assert seen.status == 200
    assert (document["type"], document["role"], document["stop_reason"]) == ("message", "assistant", "end_turn")
    assert document["content"] == [{"type": "text", "text": "anthropic/claude-sonnet-5 heard: hello there, simulator"}]
    assert document["usage"]["cache_read_input_tokens"] == 0
    for name in ("request-id", "anthropic-ratelimit-requests-limit", "anthropic-ratelimit-input-tokens-reset"):
        assert name in seen.headers


async def test_streamed_and_whole_mean_the_same(anthropic: Simulator, call: Call) -> None:
    whole = (await call(anthropic, "/v1/messages", MESSAGE)).json()
    seen = await call(anthropic, "/v1/messages", MESSAGE | {"stream": True})
    events = seen.events()
    kinds = [event["type"] for event in events]
    assert kinds[:3] == ["message_start", "content_block_start", "ping"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
    assert events[0]["message"]["content"] == []
    assert events[-2]["delta"]["stop_reason"] == "end_turn"
    assert events[-2]["usage"]["output_tokens"] == whole["usage"]["output_tokens"]
    assert events[0]["message"]["usage"]["input_tokens"] == whole["usage"]["input_tokens"]
    assert "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta") == whole["content"][0]["text"]
    names = [line for line in seen.body.decode().split("\n") if line.startswith("event: ")]
    assert [name.removeprefix("event: ") for name in names] == kinds


async def test_parallel_tools_and_thinking_stream_as_blocks(anthropic: Simulator, call: Call) -> None:
    body = HAIKU | said("get_weather and get_time") | {"tools": TOOLS, "stream": True, "max_tokens": 5000}
    events = (await call(anthropic, "/v1/messages", body | {"thinking": {"type": "enabled", "budget_tokens": 1024}})).events()
    starts = [event["content_block"] for event in events if event["type"] == "content_block_start"]
    assert [block["type"] for block in starts] == ["thinking", "tool_use", "tool_use"]
    assert starts[1]["input"] == {}
    deltas = [(event["index"], event["delta"]) for event in events if event["type"] == "content_block_delta"]
    assert [delta["type"] for index, delta in deltas if index == 0][-1] == "signature_delta"
    assert "".join(delta["partial_json"] for index, delta in deltas if index == 1) == '{"city":"the \\"city\\" of Zürich\\n→ sample"}'
    assert [delta["partial_json"] for index, delta in deltas if index == 2] == [""]
    assert events[-2]["delta"]["stop_reason"] == "tool_use"


async def test_thinking_goes_round_only_with_its_own_signature(anthropic: Simulator, call: Call) -> None:
    thinking = {"thinking": {"type": "adaptive"}, "tools": TOOLS}
    first = (await call(anthropic, "/v1/messages", MESSAGE | said("get_time") | thinking)).json()
    result = {"type": "tool_result", "tool_use_id": first["content"][-1]["id"], "content": [{"type": "text", "text": "noon"}]}
    history = [*said("get_time")["messages"], {"role": "assistant", "content": first["content"]}, {"role": "user", "content": [result]}]
    second = (await call(anthropic, "/v1/messages", MESSAGE | {"messages": history} | thinking)).json()
    assert second["content"][-1]["text"] == "anthropic/claude-sonnet-5 read the tool: noon"
    first["content"][0]["signature"] = "Zm9yZWlnbg=="
    refused = await call(anthropic, "/v1/messages", MESSAGE | {"messages": history} | thinking)
    assert (refused.status, refused.json()["error"]["message"]) == (
        400,
        "messages.1.content.0: Invalid `signature` in `thinking` block",
    )


async def test_marked_prefixes_are_written_then_read(anthropic: Simulator, call: Call) -> None:
    system = [{"type": "text", "text": "x" * 8000, "cache_control": {"type": "ephemeral"}}]
    usages = [(await call(anthropic, "/v1/messages", MESSAGE | {"system": system})).json()["usage"] for _ in range(2)]
    assert [(u["cache_creation_input_tokens"], u["cache_read_input_tokens"]) for u in usages] == [(2003, 0), (0, 2003)]
    assert usages[0]["input_tokens"] == usages[1]["input_tokens"] < 20


async def test_counting_agrees_with_the_bill(anthropic: Simulator, call: Call) -> None:
    counted = (await call(anthropic, "/v1/messages/count_tokens", said("hello there, simulator") | {"model": "claude-sonnet-5"})).json()
    assert counted == {"input_tokens": (await call(anthropic, "/v1/messages", MESSAGE)).json()["usage"]["input_tokens"]}


async def test_models_are_listed_in_pages_and_shown(anthropic: Simulator, call: Call) -> None:
    first = (await call(anthropic, "/v1/models?limit=2", method="GET")).json()
    assert (len(first["data"]), first["has_more"]) == (2, True)
    rest = (await call(anthropic, f"/v1/models?after_id={first['last_id']}", method="GET")).json()
    assert not rest["has_more"]
    assert [model["id"] for model in first["data"] + rest["data"]] == list(anthropic.models)
    assert (await call(anthropic, "/v1/models/claude-haiku-4-5", method="GET")).json()["id"] == "claude-haiku-4-5-20251001"
    assert (await call(anthropic, "/v1/models/claude-9", method="GET")).status == 404


@pytest.mark.parametrize(
    ("body", "status", "kind", "words"),
    [
        (b"{", 400, "invalid_request_error", "not valid JSON"),
        (b'{"model":"\xff"}', 400, "invalid_request_error", "not valid UTF-8"),
        (b"[" * 3000 + b"]" * 3000, 400, "invalid_request_error", "nested too deeply"),
        (b"[]", 400, "invalid_request_error", "valid dictionary"),
        ({}, 400, "invalid_request_error", "model: Field required"),
        ({"model": "claude-sonnet-5"}, 400, "invalid_request_error", "messages: Field required"),
        ({"model": "claude-9", "messages": []}, 404, "not_found_error", "model: claude-9"),
        ({"model": "claude-sonnet-5"} | said("x"), 400, "invalid_request_error", "max_tokens: Field required"),
        (MESSAGE | {"max_tokens": 0}, 400, "invalid_request_error", "greater than or equal to 1"),
        (MESSAGE | {"messages": []}, 400, "invalid_request_error", "at least one message"),
        (MESSAGE | {"n": 2}, 400, "invalid_request_error", "n: Extra inputs are not permitted"),
        (MESSAGE | said(""), 400, "invalid_request_error", "text content blocks must be non-empty"),
        (MESSAGE | {"temperature": 1}, 400, "invalid_request_error", "`temperature` is deprecated for this model."),
        (HAIKU | {"temperature": 1.5}, 400, "invalid_request_error", "temperature: range: 0..1"),
        (MESSAGE | {"thinking": {"type": "enabled", "budget_tokens": 1024}}, 400, "invalid_request_error", "not supported for this model"),
        (HAIKU | {"thinking": {"type": "enabled", "budget_tokens": 1024}}, 400, "invalid_request_error", "must be greater than"),
        (HAIKU | {"messages": [{"role": "system", "content": "x"}]}, 400, "invalid_request_error", 'Unexpected role "system"'),
        (MESSAGE | {"tools": [{"name": "bad name", "input_schema": {}}]}, 400, "invalid_request_error", "should match pattern"),
        (MESSAGE | {"tool_choice": {"type": "any"}}, 400, "invalid_request_error", "only be specified while providing tools"),
    ],
)
async def test_bad_requests_get_the_vendors_errors(anthropic: Simulator, call: Call, body: Any, status: int, kind: str, words: str) -> None:
    seen = await call(anthropic, "/v1/messages", body)
    document = seen.json()
    assert (seen.status, document["type"], document["error"]["type"]) == (status, "error", kind)
    assert words in document["error"]["message"]
    assert document["request_id"] == seen.headers["request-id"]


@pytest.mark.parametrize("missing", [True, False])
async def test_tool_results_must_match_calls(anthropic: Simulator, call: Call, missing: bool) -> None:
    made = {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_2", "content": "x"}]}
    messages = said("x")["messages"] + ([made, *said("y")["messages"]] if missing else [made, result])
    message = (await call(anthropic, "/v1/messages", MESSAGE | {"messages": messages})).json()["error"]["message"]
    assert ("without `tool_result` blocks immediately after: toolu_1" if missing else "unexpected `tool_use_id` found") in message


async def test_the_latest_version_refuses_sampling_even_on_older_models(anthropic: Simulator, call: Call) -> None:
    assert (await call(anthropic, "/v1/messages", HAIKU | {"temperature": 1})).status == 200
    assert (await call(anthropic, "/v1/messages", HAIKU | {"temperature": 1}, headers=LATEST)).status == 400


async def test_keys_versions_paths_and_methods(anthropic: Simulator, call: Call) -> None:
    async def refused(headers: dict[str, str]) -> tuple[int, str]:
        seen = await call(anthropic, "/v1/messages", MESSAGE, headers=headers)
        return seen.status, seen.json()["error"]["message"]

    version = {"anthropic-version": "2023-06-01"}
    assert await refused(version) == (401, "x-api-key header is required")
    assert await refused(version | {"x-api-key": "sk-no"}) == (401, "invalid x-api-key")
    assert await refused(version | {"authorization": "Bearer sk-no"}) == (401, "Invalid bearer token")
    assert await refused({"x-api-key": "sk-a"}) == (400, "anthropic-version: header is required")
    bearer = {"authorization": "Bearer sk-a"} | version
    assert (await call(anthropic, "/v1/messages", MESSAGE, headers=bearer)).status == 200
    assert (await call(anthropic, "/v1/nothing", MESSAGE)).json()["error"] == {"type": "not_found_error", "message": "Not Found"}
    assert (await call(anthropic, "/v1/messages", method="GET")).status == 405
