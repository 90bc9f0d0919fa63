"""The simulators say nothing that the vendors did not say: fields of answers against recorded traffic, where it is at hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from control_plane.demo.simulators import Simulator
from control_plane.demo.wire_client import Answer

Call = Callable[..., Coroutine[Any, Any, Answer]]

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "recordings"
FREE_FORM = {"input"}  # a tool's arguments
RARE = {"cache_write_tokens", "incomplete_details"}  # newer than most recordings, and of cut answers; in the vendor's SDK
HINTS = {"output_tokens_details", "stop_details"}  # newer than most recordings; in the vendor's SDK

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings beside the repository")


def fields(value: Any, path: str = "") -> Iterator[str]:
    """Every field in a document as a path, without positions in lists."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield f"{path}.{name}"
            if name not in FREE_FORM:
                yield from fields(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner, path)


def recorded(provider: str, api: str) -> tuple[set[str], set[str]]:
    """Fields seen in whole answers and in stream events."""
    whole, streamed = set[str](), set[str]()
    for line in (RECORDINGS / "index.jsonl").read_text().splitlines():
        row = json.loads(line)
        if (row["provider"], row["api"]) != (provider, api) or row["status"] != 200:
            continue
        if row["framing"] == "sse":
            for data in (RECORDINGS / row["body_file"]).read_text(errors="replace").splitlines():
                if data.startswith("data:") and "{" in data:
                    streamed |= set(fields(json.loads(data[5:])))
        elif row["framing"] == "json":
            whole |= set(fields(json.loads((RECORDINGS / row["file"]).read_text())["response"]["body"]))
    assert len(whole) > 10
    assert len(streamed) > 10
    return whole, streamed


async def test_openai(openai: Simulator, call: Call) -> None:
    whole, streamed = recorded("openai", "openai-chat")
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"a": {}}}}}]
    for text in ("hello", "look_up twice: look_up"):
        body = {"model": "gpt-5", "messages": [{"role": "user", "content": text}], "tools": tools}
        assert set(fields((await call(openai, "/v1/chat/completions", body)).json())) - whole == set()
        options = {"stream": True, "stream_options": {"include_usage": True}}
        for event in (await call(openai, "/v1/chat/completions", body | options)).events()[:-1]:
            assert set(fields(event)) - streamed == set()


async def test_openai_responses(openai: Simulator, call: Call) -> None:
    whole, streamed = recorded("openai", "openai-responses")
    closed = {"type": "object", "properties": {"a": {}}, "required": ["a"], "additionalProperties": False}
    tools = [{"type": "function", "name": "look_up", "parameters": closed}]
    for text in ("hello", "look_up twice: look_up", "[[sim tokens=400]]"):
        body: dict[str, Any] = {
            "model": "gpt-5",
            "input": text,
            "tools": tools,
            "max_output_tokens": 300,
            "include": ["reasoning.encrypted_content"],
        }
        body |= {"reasoning": {"effort": "low", "summary": "auto"}}
        answer = (await call(openai, "/v1/responses", body)).json()
        answer["tools"] = []  # what was asked, repeated
        assert {path for path in set(fields(answer)) - whole if not RARE & set(path.split("."))} == set()
        for event in (await call(openai, "/v1/responses", body | {"stream": True})).events():
            if "response" in event:
                event["response"]["tools"] = []
            assert {path for path in set(fields(event)) - streamed if not RARE & set(path.split("."))} == set()


async def test_cohere(cohere: Simulator, call: Call) -> None:
    whole, streamed = recorded("cohere", "cohere-chat")
    streamed |= {path.replace(".message.", ".delta.message.") for path in whole}  # few streams were recorded
    streamed |= {path.replace(".usage", ".delta.usage") for path in whole}
    streamed |= {".delta.message.content.thinking"}  # in the vendor's SDK
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"a": {}}}}}]
    for model in ("command-a-03-2025", "command-a-plus-05-2026"):
        for text in ("hello", "look_up twice: look_up"):
            body = {"model": model, "messages": [{"role": "user", "content": text}], "tools": tools, "documents": ["d"]}
            assert set(fields((await call(cohere, "/v2/chat", body)).json())) - whole == set()
            for event in (await call(cohere, "/v2/chat", body | {"stream": True})).events()[:-1]:
                assert set(fields(event)) - streamed == set()


async def test_anthropic(anthropic: Simulator, call: Call) -> None:
    whole, streamed = recorded("anthropic", "anthropic-messages")
    tools = [{"name": "look_up", "input_schema": {"type": "object", "properties": {"a": {}}}}]
    for text in ("hello", "look_up twice: look_up"):
        body = {"model": "claude-sonnet-5", "max_tokens": 999, "messages": [{"role": "user", "content": text}], "tools": tools}
        body |= {"thinking": {"type": "adaptive"}}
        invented = set(fields((await call(anthropic, "/v1/messages", body)).json())) - whole
        assert {path for path in invented if not HINTS & set(path.split("."))} == set()
        for event in (await call(anthropic, "/v1/messages", body | {"stream": True})).events():
            invented = set(fields(event)) - streamed
            assert {path for path in invented if not HINTS & set(path.split("."))} == set()
