"""Streams that break or go silent, as the edge filter ends them: what clients are told, and what counts as content."""

from __future__ import annotations

import json
from typing import Any

import lupa.luajit21 as lupa
import pytest

from control_plane.dialects.eventstream import EventStreamDecoder
from control_plane.kit.data_files import data_file

CUT, STALLED = b"provider_answer_cut", b"provider_answer_stalled"
CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "service_tier": "default", "obfuscation": "xyz"}


@pytest.fixture(scope="module")
def guard() -> Any:
    runtime = lupa.LuaRuntime(encoding=None)
    return runtime.execute(
        b"".join(data_file(f"lua/edge/{part}.lua").read_bytes() for part in ("clock", "guard")) + b"\nguard.clock = clock return guard"
    )


def data(*values: Any, event: str = "") -> bytes:
    head = f"event: {event}\n" if event else ""
    return b"".join((head + "data: " + (v if isinstance(v, str) else json.dumps(v)) + "\n\n").encode() for v in values)


def choice(**delta: Any) -> dict[str, Any]:
    return {**CHUNK, "choices": [{"index": 0, "delta": delta, "finish_reason": None, "logprobs": None}]}


def event(kind: str, **more: Any) -> bytes:
    return data({"type": kind, **more}, event=kind)


def gemini(*parts: Any, **more: Any) -> bytes:
    return data({"candidates": [{"content": {"parts": parts, "role": "model"}, "index": 0, **more}], "modelVersion": "gemini-2.5"})


HEARTBEATS = [
    ("openai-chat", b": keep-alive\n\n"),
    ("openai-chat", b":\n\n:\n\n"),
    ("openai-chat", data(choice())),
    ("openai-chat", data(choice(content=""))),
    ("openai-chat", data(choice(role="assistant", content=None, tool_calls=[]))),
    ("openai-chat", data({**CHUNK, "choices": [], "usage": {"prompt_tokens": 3}})),
    ("openai-chat", b": OPENROUTER PROCESSING\n\n" + data(choice(role="assistant", content=""))),
    ("openai-chat", data({**CHUNK, "choices": [{"text": "", "index": 0, "finish_reason": None}]})),
    ("anthropic-messages", event("ping")),
    ("anthropic-messages", b'event: ping\ndata: {"type": "ping"}\r\n\r\n'),
    ("anthropic-messages", event("message_start", message={"id": "m", "content": []})),
    ("anthropic-messages", event("content_block_delta", index=0, delta={"type": "text_delta", "text": ""})),
    ("openai-responses", event("response.in_progress", response={"id": "r", "instructions": "long"})),
    ("openai-responses", event("keepalive", sequence_number=7)),
    ("openai-responses", event("response.output_text.delta", delta="", item_id="i", logprobs=[])),
    ("gemini-generate-content", gemini({"text": ""})),
    ("gemini-generate-content", gemini()),
    ("gemini-generate-content", data({"usageMetadata": {"promptTokenCount": 1}})),
    ("cohere-chat", event("message-start", id="i")),
    ("cohere-chat", event("content-delta", index=0, delta={"message": {"content": {"text": ""}}})),
]
CONTENT = [
    ("openai-chat", data(choice(content="x"))),
    ("openai-chat", b": ping\n\n" + data(choice(content="{ not balanced"))),
    ("openai-chat", data(choice(reasoning_content="hm"))),
    ("openai-chat", data(choice(tool_calls=[{"index": 0, "function": {"arguments": "{"}}]))),
    ("openai-chat", data({**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})),
    ("openai-chat", data({**CHUNK, "choices": [{"text": "x", "index": 0}]})),
    ("openai-chat", b'data: {"id":"a piece of a long li'),
    ("openai-chat", b'ne"}'),
    ("anthropic-messages", event("content_block_delta", index=0, delta={"type": "text_delta", "text": "x"})),
    ("anthropic-messages", event("content_block_delta", index=0, delta={"type": "input_json_delta", "partial_json": '{"a"'})),
    ("anthropic-messages", event("message_delta", delta={"stop_reason": None}, usage={"output_tokens": 3})),
    ("anthropic-messages", event("content_block_stop", index=0)),
    ("openai-responses", event("response.output_text.delta", delta="x")),
    ("openai-responses", event("response.output_item.added", item={"type": "reasoning"})),
    ("gemini-generate-content", gemini({"text": "x"})),
    ("gemini-generate-content", gemini({"functionCall": {"name": "f", "args": {}}})),
    ("gemini-generate-content", gemini(finishReason="STOP")),
    ("cohere-chat", event("content-delta", index=0, delta={"message": {"content": {"text": "x"}}})),
    ("cohere-chat", event("tool-call-start", index=0, delta={"message": {"tool_calls": {"id": "t"}}})),
    ("cohere-chat", event("message-end", delta={"finish_reason": "COMPLETE"})),
]


@pytest.mark.parametrize(("dialect", "chunk"), HEARTBEATS)
def test_heartbeats_are_no_content(guard: Any, dialect: str, chunk: bytes) -> None:
    assert not guard.content(chunk, dialect.encode())


@pytest.mark.parametrize(("dialect", "chunk"), CONTENT)
def test_content_is_seen(guard: Any, dialect: str, chunk: bytes) -> None:
    assert guard.content(chunk, dialect.encode())


@pytest.mark.parametrize("code", [CUT, STALLED])
def test_exception_frame_is_sound(guard: Any, code: bytes) -> None:
    reader = EventStreamDecoder()
    (message,) = list(reader.feed(guard.event(b"bedrock-converse", code)))
    assert message.text(":message-type") == "exception"
    assert message.text(":exception-type") in ("internalServerException", "modelStreamErrorException")
    assert json.loads(message.payload)["message"]


@pytest.mark.parametrize("code", [CUT, STALLED])
@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic-messages", "gemini-generate-content", "cohere-chat"])
@pytest.mark.parametrize("before", [b"", b"data: {}\n\n", b"data: {}\r\n\r\n", b'data: {"half', b"data: {}\n", b"\n"])
def test_event_stands_alone_whatever_came_before(guard: Any, dialect: str, code: bytes, before: bytes) -> None:
    made = before + guard.ending(before, dialect.encode(), code)
    last = made.replace(b"\r\n", b"\n").replace(b"\n\ndata: [DONE]", b"").rstrip(b"\n").split(b"\n\n")[-1].strip(b"\n")
    document = json.loads(last.partition(b"data: ")[2])
    assert b"the provider" in last
    assert "error" in document or document["delta"]["finish_reason"] == "ERROR"
    assert json.loads(guard.document(dialect.encode(), code))


def test_clock_runs_in_milliseconds(guard: Any) -> None:
    import time

    began, at = time.monotonic(), guard.clock()
    time.sleep(0.05)
    assert 30 < guard.clock() - at < (time.monotonic() - began) * 1000 + 20
