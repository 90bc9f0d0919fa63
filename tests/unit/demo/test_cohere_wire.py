"""Cohere's wire: shapes of answers, streams and errors as the vendor sends them."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from control_plane.demo.simulators import Fault, Simulator
from control_plane.demo.wire_client import Answer

Call = Callable[..., Coroutine[Any, Any, Answer]]
PLAIN, THINKER = "command-a-03-2025", "command-a-reasoning-08-2025"


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": PLAIN, "messages": [{"role": "user", "content": text}], **fields}


HELLO = said("hello there")
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}
CALL = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]}
RESULT = {"role": "tool", "tool_call_id": "c", "content": "r"}
USER = {"role": "user", "content": "q"}


async def test_a_whole_answer_has_the_vendors_shape(cohere: Simulator, call: Call) -> None:
    seen = await call(cohere, "/v2/chat", HELLO)
    document = seen.json()
    assert (seen.status, seen.headers["content-type"]) == (200, "application/json")
    assert list(document) == ["id", "message", "finish_reason", "usage"]
    text = "cohere/command-a-03-2025 heard: hello there"
    assert document["message"] == {"role": "assistant", "content": [{"type": "text", "text": text}]}
    assert document["finish_reason"] == "COMPLETE"
    assert document["usage"]["tokens"]["output_tokens"] > 0
    assert document["usage"]["cached_tokens"] == 0


@pytest.mark.parametrize("model", [PLAIN, THINKER])
async def test_a_stream_says_the_same_and_ends_as_the_vendors_does(cohere: Simulator, call: Call, model: str) -> None:
    whole = (await call(cohere, "/v2/chat", HELLO | {"model": model})).json()
    seen = await call(cohere, "/v2/chat", HELLO | {"model": model, "stream": True})
    assert seen.headers["content-type"] == "text/event-stream"
    assert seen.body.startswith(b"event: message-start\ndata: {")
    assert seen.body.endswith(b"data: [DONE]\n\n")
    events = seen.events()[:-1]
    said: dict[str, str] = {"text": "", "thinking": ""}
    for event in events:
        if event["type"] == "content-delta":
            for kind, token in event["delta"]["message"]["content"].items():
                said[kind] += token
    assert said == {"text": "", "thinking": ""} | {block["type"]: block[block["type"]] for block in whole["message"]["content"]}
    assert events[-1] == {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": whole["usage"]}}


async def test_calls_and_what_is_said_before_them(cohere: Simulator, call: Call) -> None:
    whole = (await call(cohere, "/v2/chat", said("f and f", tools=[TOOL]))).json()
    assert whole["finish_reason"] == "TOOL_CALL"
    assert [c["function"] for c in whole["message"]["tool_calls"]] == [{"name": "f", "arguments": "{}"}] * 2
    assert whole["message"]["tool_plan"] == "I will use f."
    assert "content" not in whole["message"]
    thinks = (await call(cohere, "/v2/chat", said("f", tools=[TOOL], model=THINKER))).json()
    assert [block["type"] for block in thinks["message"]["content"]] == ["thinking"]
    assert "tool_plan" not in thinks["message"]
    kinds = [e["type"] for e in (await call(cohere, "/v2/chat", said("f", tools=[TOOL], stream=True))).events()[:-1]]
    assert list(dict.fromkeys(kinds)) == [
        "message-start", "tool-plan-delta", "tool-call-start", "tool-call-delta", "tool-call-end", "message-end",
    ]  # fmt: skip


async def test_documents_are_cited_and_images_counted_beside_the_input(cohere: Simulator, call: Call) -> None:
    body = said("q", documents=[{"id": "d", "data": {"text": "x"}}], stream=True)
    (cited,) = [e for e in (await call(cohere, "/v2/chat", body)).events()[:-1] if e["type"] == "citation-start"]
    assert cited["delta"]["message"]["citations"]["sources"] == [{"type": "document", "id": "d", "document": {"id": "d", "text": "x"}}]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}
    usage = (await call(cohere, "/v2/chat", {"model": PLAIN, "messages": [{"role": "user", "content": [image]}]})).json()["usage"]
    assert usage["billed_units"]["input_tokens"] == usage["tokens"]["input_tokens"] + usage["tokens"]["image_tokens"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"model": PLAIN}, "messages must be at least one element"),
        ({"messages": [USER]}, "model is required"),
        (said("q", top_p=1), "unknown field: parameter 'top_p'"),
        (said("q", temperature=1.5), "temperature must be between 0 and 1"),
        (said("q", p=1), "p must be between 0.01 and 0.99"),
        (said("q", stop_sequences=["x"] * 6), "at most 5"),
        (said("q", thinking={"type": "enabled"}), "thinking is not supported by this model"),
        (said("q", thinking={"type": "on"}), "thinking.type"),
        (said("q", tools=[TOOL], strict_tools=True), "at least one required parameter"),
        (said("q", tool_choice="REQUIRED"), "together with tools"),
        (said("q", tools=[TOOL], tool_choice="auto"), "'REQUIRED' or 'NONE'"),
        (said("q", tools=[{"type": "function", "function": {"name": "f"}}]), "parameters must be a JSON schema"),
        (said("q", tools=[TOOL], response_format={"type": "json_object"}), "together with tools or documents"),
        (said("q", response_format={"type": "json_schema"}), "response_format.type"),
        (said("q", response_format={"type": "json_object", "json_schema": {"type": "array"}}), "top-level type is object"),
        ({"model": PLAIN, "messages": [{"role": "developer", "content": "x"}]}, "role must be one of"),
        ({"model": PLAIN, "messages": [USER, CALL]}, "all tool calls must be followed"),
        ({"model": PLAIN, "messages": [USER, CALL, USER]}, "all tool calls must be followed"),
        ({"model": PLAIN, "messages": [USER, RESULT]}, "does not match a preceding tool call"),
        ({"model": PLAIN, "messages": [USER, {"role": "assistant"}]}, "must have content or tool_calls"),
        ({"model": PLAIN, "messages": [USER, {"role": "assistant", "content": "x"}]}, "the last message must be of role"),
        ({"model": PLAIN, "messages": [{"role": "user", "content": [{"type": "document", "document": {}}]}]}, "no valid content"),
        (
            {"model": PLAIN, "messages": [{"role": "assistant", "content": [{"type": "thinking", "thinking": "x"}]}, USER]},
            "not supported by this model",
        ),
    ],
)
async def test_what_the_vendor_refuses(cohere: Simulator, call: Call, body: dict[str, Any], words: str) -> None:
    answer = await call(cohere, "/v2/chat", body)
    assert answer.status == 400
    assert set(answer.json()) == {"id", "message"}
    assert words in answer.json()["message"]


async def test_keys_and_paths(cohere: Simulator, call: Call) -> None:
    assert (await call(cohere, "/v2/chat", HELLO, headers={"authorization": "Bearer sk-b"})).status == 200
    for headers, words in (({}, "no api key supplied"), ({"authorization": "Bearer sk-x"}, "invalid api token")):
        refused = await call(cohere, "/v2/chat", HELLO, headers=headers)
        assert (refused.status, refused.json()["message"]) == (401, words)
    assert cohere.requests[0].key == "key-1"
    assert (await call(cohere, "/v2/chat", said("?", model="command-0"))).status == 404
    assert (await call(cohere, "/v1/chat", HELLO)).status == 404
    assert (await call(cohere, "/v2/chat", method="GET")).status == 405
    assert (await call(cohere, "/v1/models", method="GET")).json()["models"][0]["name"] == PLAIN
    assert (await call(cohere, f"/v1/models/{PLAIN}", method="GET")).json()["name"] == PLAIN


async def test_faults(cohere: Simulator, call: Call) -> None:
    cohere.fault = Fault(mode="status", status=429, retry_after_s=7)
    answer = await call(cohere, "/v2/chat", HELLO)
    assert (answer.status, answer.headers["retry-after"]) == (429, "7")
    assert "limited to" in answer.json()["message"]
    cohere.fault = Fault(mode="error_event", after=2)
    events = (await call(cohere, "/v2/chat", HELLO | {"stream": True})).events()
    assert [e["type"] for e in events[-2:]] == ["content-delta", "message-end"]
    assert events[-1]["delta"] == {"error": "service unavailable, please try again later", "finish_reason": "ERROR"}
    cohere.fault = Fault(mode="error_event")
    assert set((await call(cohere, "/v2/chat", HELLO)).json()) == {"id", "message"}
    cohere.fault = Fault(mode="cut", after=2, how="clean")
    cut = await call(cohere, "/v2/chat", HELLO | {"stream": True})
    assert b"message-end" not in cut.body
