"""OpenAI's wire: shapes of answers, streams and errors as the vendor sends them."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from control_plane.demo.simulators import Simulator
from control_plane.demo.wire_client import Answer

Call = Callable[..., Coroutine[Any, Any, Answer]]
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there, simulator"}]}

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}},
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}},
]


async def test_a_whole_answer_has_the_vendors_shape(openai: Simulator, call: Call) -> None:
    seen = await call(openai, "/v1/chat/completions", CHAT)
    document = seen.json()
    assert seen.status == 200
    assert list(document) == ["id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"]
    assert document["choices"][0]["message"]["content"] == "openai/gpt-4o heard: hello there, simulator"
    assert document["model"] == "gpt-4o-2024-08-06"
    usage = document["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    for name in ("x-request-id", "openai-processing-ms", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-requests"):
        assert name in seen.headers


async def test_streamed_and_whole_mean_the_same(openai: Simulator, call: Call) -> None:
    whole = (await call(openai, "/v1/chat/completions", CHAT)).json()
    seen = await call(openai, "/v1/chat/completions", CHAT | {"stream": True, "stream_options": {"include_usage": True}})
    events = seen.events()
    assert seen.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert events[-1] == "[DONE]"
    assert events[-2]["choices"] == []
    assert events[-2]["usage"] == whole["usage"]
    assert all(event["usage"] is None for event in events[:-2])
    assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events[:-2]) == whole["choices"][0]["message"]["content"]
    assert [event["choices"][0]["finish_reason"] for event in events[:-2]][-2:] == [None, "stop"]
    assert len(seen.chunks) == len(events)


async def test_without_include_usage_a_stream_says_nothing_of_usage(openai: Simulator, call: Call) -> None:
    events = (await call(openai, "/v1/chat/completions", CHAT | {"stream": True})).events()
    assert all("usage" not in event for event in events[:-1])


async def test_parallel_calls_are_streamed_in_fragments_with_their_index(openai: Simulator, call: Call) -> None:
    body = CHAT | {"messages": [{"role": "user", "content": "get_weather and get_time"}], "tools": TOOLS, "stream": True}
    events = (await call(openai, "/v1/chat/completions", body)).events()[:-1]
    deltas: list[Any] = [entry for event in events for entry in event["choices"][0]["delta"].get("tool_calls", [])]
    assert [entry["function"]["name"] for entry in deltas if "id" in entry] == ["get_weather", "get_time"]
    joined = "".join(entry["function"]["arguments"] for entry in deltas if entry["index"] == 0)
    assert joined == '{"city":"the \\"city\\" of Zürich\\n→ sample"}'
    assert events[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
    assert events[-1]["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_tool_loop_goes_round(openai: Simulator, call: Call) -> None:
    ask = {"role": "user", "content": "get_time please"}
    first = (await call(openai, "/v1/chat/completions", CHAT | {"messages": [ask], "tools": TOOLS})).json()["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": first["tool_calls"][0]["id"], "content": "noon"}
    second = (await call(openai, "/v1/chat/completions", CHAT | {"messages": [ask, first, result], "tools": TOOLS})).json()
    assert second["choices"][0]["message"]["content"] == "openai/gpt-4o read the tool: noon"


async def test_structured_output_several_choices_and_reasoning(openai: Simulator, call: Call) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": True}}
    document = (await call(openai, "/v1/chat/completions", CHAT | {"response_format": wanted})).json()
    assert document["choices"][0]["message"]["content"] == '{"n":7}'
    document = (await call(openai, "/v1/chat/completions", CHAT | {"n": 3})).json()
    assert [choice["index"] for choice in document["choices"]] == [0, 1, 2]
    document = (await call(openai, "/v1/chat/completions", CHAT | {"model": "gpt-5", "reasoning_effort": "low"})).json()
    assert document["usage"]["completion_tokens_details"]["reasoning_tokens"] == 32


async def test_images_are_counted(openai: Simulator, call: Call) -> None:
    parts = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]
    document = (await call(openai, "/v1/chat/completions", CHAT | {"messages": [{"role": "user", "content": parts}]})).json()
    assert "saw 1 image: look" in document["choices"][0]["message"]["content"]
    assert document["usage"]["prompt_tokens"] > 85


async def test_a_long_prefix_seen_before_is_cached(openai: Simulator, call: Call) -> None:
    body = CHAT | {"messages": [{"role": "system", "content": "x" * 8000}, {"role": "user", "content": "hi"}]}
    usages = [(await call(openai, "/v1/chat/completions", body)).json()["usage"]["prompt_tokens_details"] for _ in range(2)]
    assert usages[0]["cached_tokens"] == 0
    assert usages[1]["cached_tokens"] == 1920  # 2,009 tokens, in steps of 128


async def test_embeddings_as_floats_and_base64_are_the_same_vector(openai: Simulator, call: Call) -> None:
    body = {"model": "text-embedding-3-small", "input": ["one", "two"], "dimensions": 8}
    floats = (await call(openai, "/v1/embeddings", body)).json()["data"]
    packed = (await call(openai, "/v1/embeddings", body | {"encoding_format": "base64"})).json()["data"]
    assert list(struct.unpack("<8f", base64.b64decode(packed[0]["embedding"]))) == pytest.approx(floats[0]["embedding"])
    assert floats[0]["embedding"] != floats[1]["embedding"]


async def test_models_are_listed_and_shown(openai: Simulator, call: Call) -> None:
    listed = (await call(openai, "/v1/models", method="GET")).json()
    assert listed["object"] == "list"
    assert "gpt-5" in [model["id"] for model in listed["data"]]
    assert (await call(openai, "/v1/models/gpt-5", method="GET")).json()["object"] == "model"
    assert (await call(openai, "/v1/models/gpt-99", method="GET")).status == 404


@pytest.mark.parametrize(
    ("body", "status", "code", "param", "words"),
    [
        (b"{", 400, None, None, "could not parse the JSON body"),
        (b'{"model":"\xff"}', 400, None, None, "could not parse the JSON body"),
        (b"[" * 3000 + b"]" * 3000, 400, None, None, "could not parse the JSON body"),
        (b'{"model":"gpt-4o","messages":' + b"[" * 600 + b"]" * 600 + b"}", 400, None, None, "could not parse the JSON body"),
        (b"[]", 400, None, None, "could not parse the JSON body"),
        ({}, 400, None, None, "you must provide a model parameter"),
        ({"model": 3}, 400, "invalid_type", "model", "expected a string"),
        ({"model": "gpt-99", "messages": []}, 404, "model_not_found", None, "`gpt-99` does not exist"),
        ({"model": "gpt-4o"}, 400, "missing_required_parameter", "messages", "'messages'"),
        ({"model": "gpt-4o", "messages": []}, 400, "empty_array", "messages", "empty array"),
        (CHAT | {"top_k": 3}, 400, "unknown_parameter", "top_k", "Unknown parameter"),
        (CHAT | {"model": "gpt-5", "max_tokens": 3}, 400, "unsupported_parameter", "max_tokens", "max_completion_tokens"),
        (CHAT | {"model": "gpt-5", "temperature": 0.5}, 400, "unsupported_value", "temperature", "Only the default (1)"),
        (CHAT | {"max_tokens": 0}, 400, "integer_below_minimum_value", "max_tokens", ">= 1"),
        (CHAT | {"temperature": 3}, 400, "decimal_out_of_range", "temperature", "out of range"),
        (CHAT | {"messages": [{"role": "robot", "content": "x"}]}, 400, "invalid_value", "messages[0].role", "'robot'"),
        (CHAT | {"messages": [{"role": "tool", "content": "x", "tool_call_id": "c"}]}, 400, None, "messages[0].role", "preceeding message"),
        (CHAT | {"tool_choice": "required"}, 400, None, "tool_choice", "only allowed when 'tools'"),
        (CHAT | {"stream_options": {}}, 400, None, "stream_options", "only allowed when 'stream'"),
    ],
)
async def test_bad_requests_get_the_vendors_errors(
    openai: Simulator, call: Call, body: Any, status: int, code: str | None, param: str | None, words: str
) -> None:
    seen = await call(openai, "/v1/chat/completions", body)
    error = seen.json()["error"]
    assert (seen.status, error["code"], error["param"]) == (status, code, param)
    assert words in error["message"]
    assert error["type"] == "invalid_request_error"


async def test_unanswered_tool_calls_are_refused(openai: Simulator, call: Call) -> None:
    made = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [{"role": "assistant", "content": None, "tool_calls": [made]}, {"role": "user", "content": "well?"}]
    error = (await call(openai, "/v1/chat/completions", CHAT | {"messages": messages})).json()["error"]
    assert "did not have response messages: call_1" in error["message"]


async def test_keys_paths_and_methods(openai: Simulator, call: Call) -> None:
    wrong = await call(openai, "/v1/chat/completions", CHAT, headers={"authorization": "Bearer sk-wrong-key-0123456789"})
    assert (wrong.status, wrong.json()["error"]["code"]) == (401, "invalid_api_key")
    assert "wrong-key" not in wrong.json()["error"]["message"]
    assert (await call(openai, "/v1/chat/completions", CHAT, headers={})).status == 401
    lost = await call(openai, "/v1/nothing", CHAT)
    assert (lost.status, lost.json()["error"]["message"]) == (404, "Invalid URL (POST /v1/nothing)")
    got = await call(openai, "/v1/chat/completions", method="GET")
    assert (got.status, got.headers["allow"]) == (405, "POST")


async def test_a_compatible_server_takes_what_the_vendor_refuses_and_shows_reasoning(call: Call) -> None:
    async with Simulator("openai", name="local", models=["*"], reasoning_field="reasoning_content") as local:
        body = CHAT | {"model": "anything", "top_k": 3, "messages": [{"role": "user", "content": "hi [[sim reasoning=3]]"}]}
        message = (await call(local, "/v1/chat/completions", body)).json()["choices"][0]["message"]
        assert message["reasoning_content"] == "Water runs through"
        assert message["content"].startswith("local/anything heard: hi")
        events = (await call(local, "/v1/chat/completions", body | {"stream": True})).events()[:-1]
        assert "".join(e["choices"][0]["delta"].get("reasoning_content", "") for e in events) == "Water runs through"
        assert all("obfuscation" not in event for event in events)
