"""Gemini's wire: shapes of answers, streams and errors as the vendor sends them."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from control_plane.demo.simulators import Fault, Simulator
from control_plane.demo.wire_client import Answer

Call = Callable[..., Coroutine[Any, Any, Answer]]
FLASH = "/v1beta/models/gemini-2.5-flash"
SSE = f"{FLASH}:streamGenerateContent?alt=sse"


def said(text: str, **fields: Any) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}], **fields}


HELLO = said("hello there")


async def test_a_whole_answer_has_the_vendors_shape(gemini: Simulator, call: Call) -> None:
    seen = await call(gemini, f"{FLASH}:generateContent", HELLO)
    document = seen.json()
    assert seen.status == 200
    assert seen.headers["content-type"] == "application/json; charset=UTF-8"
    assert seen.body.startswith(b'{\n  "candidates": [\n')
    (candidate,) = document["candidates"]
    assert candidate["content"]["role"] == "model"
    assert candidate["content"]["parts"][0]["text"] == "gemini/gemini-2.5-flash heard: hello there"
    assert (candidate["index"], candidate["finishReason"]) == (0, "STOP")
    usage = document["usageMetadata"]
    assert usage["totalTokenCount"] == usage["promptTokenCount"] + usage["candidatesTokenCount"] + usage["thoughtsTokenCount"]
    assert document["modelVersion"] == "gemini-2.5-flash"


async def test_streamed_whole_and_as_an_array_mean_the_same(gemini: Simulator, call: Call) -> None:
    whole = (await call(gemini, f"{FLASH}:generateContent", HELLO)).json()
    seen = await call(gemini, SSE, HELLO)
    assert seen.headers["content-type"] == "text/event-stream"
    assert seen.body.endswith(b"}\r\n\r\n")
    assert b"[DONE]" not in seen.body
    events = seen.events()
    array = await call(gemini, f"{FLASH}:streamGenerateContent", HELLO)
    assert array.headers["content-type"] == "application/json; charset=UTF-8"
    for chunks in (events, array.json()):
        texts = [part["text"] for chunk in chunks for part in chunk["candidates"][0]["content"]["parts"]]
        assert "".join(texts) == whole["candidates"][0]["content"]["parts"][0]["text"]
        assert ["finishReason" in chunk["candidates"][0] for chunk in chunks] == [*[False] * (len(chunks) - 1), True]
        assert chunks[-1]["usageMetadata"] == whole["usageMetadata"]
        assert len(chunks) > 3


async def test_both_spellings_of_names(gemini: Simulator, call: Call) -> None:
    body = said("?", generation_config={"max_output_tokens": 9, "thinking_config": {"thinking_budget": 0}})
    answer = (await call(gemini, f"{FLASH}:generateContent", body)).json()
    assert answer["candidates"][0]["finishReason"] == "STOP"
    assert "thoughtsTokenCount" not in answer["usageMetadata"]


TOOLS = [{"functionDeclarations": [{"name": "f"}]}]
CALL = {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {}}}]}
RESULT = {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"output": "r"}}}]}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "contents is not specified"),
        (said("?", temperature=1), 'Unknown name "temperature"'),
        (said("?", generationConfig={"max_tokens": 1}), "Unknown name \"max_tokens\" at 'generationConfig'"),
        ({"contents": [{"role": "assistant", "parts": [{"text": "?"}]}]}, "valid role: user, model"),
        ({"contents": [{"role": "user", "parts": []}]}, "parts must not be empty"),
        ({"contents": [{"role": "user", "parts": [{"thought": True}]}]}, "must have one initialized field"),
        ({"contents": [*HELLO["contents"], CALL], "tools": TOOLS}, "end with a user role"),
        ({"contents": [*HELLO["contents"], CALL, *HELLO["contents"]], "tools": TOOLS}, "function call turn comes immediately"),
        ({"contents": [*HELLO["contents"], RESULT], "tools": TOOLS}, "function response turn comes immediately"),
        (said("?", tools=[{"functionDeclarations": [{"name": "1 bad"}]}]), "Invalid function name"),
        (
            said("?", toolConfig={"functionCallingConfig": {"mode": "AUTO", "allowedFunctionNames": ["f"]}}, tools=TOOLS),
            "set allowed_function",
        ),
        (said("?", tools=TOOLS, generationConfig={"responseMimeType": "application/json"}), "is unsupported"),
        (said("?", generationConfig={"presencePenalty": 1}), "Penalty is not enabled"),
        (said("?", generationConfig={"stopSequences": ["a"] * 6}), "up to 5"),
        (said("?", generationConfig={"temperature": 2.5}), "temperature must be in the range"),
        (said("?", generationConfig={"thinkingConfig": {"thinkingLevel": "low"}}), "Thinking level is not supported"),
    ],
)
async def test_what_the_vendor_refuses(gemini: Simulator, call: Call, body: dict[str, Any], words: str) -> None:
    answer = await call(gemini, f"{FLASH}:generateContent", body)
    assert answer.status == 400
    error = answer.json()["error"]
    assert (error["code"], error["status"]) == (400, "INVALID_ARGUMENT")
    assert words in error["message"]


async def test_keys_and_paths(gemini: Simulator, call: Call) -> None:
    path = f"{FLASH}:generateContent"
    assert (await call(gemini, path, HELLO, headers={"x-goog-api-key": "sk-b"})).status == 200
    assert (await call(gemini, path + "?key=sk-b", HELLO, headers={})).status == 200
    for key in ({"authorization": "Bearer sk-a"}, {"x-api-key": "sk-a"}, {}):
        assert (await call(gemini, path, HELLO, headers=key)).status == 403
    wrong = await call(gemini, path, HELLO, headers={"x-goog-api-key": "sk-x"})
    assert (wrong.status, wrong.json()["error"]["details"][0]["reason"]) == (400, "API_KEY_INVALID")
    assert gemini.requests[0].key == "key-1"
    assert "sk-b" not in str(gemini.requests[0].headers)
    for other in ("/v1/chat/completions", "/", "/v1beta/models/gemini-2.5-flash:nonsense", "/v1beta/models/gemini-0:generateContent"):
        assert (await call(gemini, other, HELLO)).status == 404
    assert (await call(gemini, "/v1beta/models", method="GET")).json()["models"][0]["name"] == "models/gemini-3-pro-preview"
    assert (await call(gemini, FLASH, method="GET")).json()["name"] == "models/gemini-2.5-flash"


async def test_errors_of_an_array_stream_are_in_an_array(gemini: Simulator, call: Call) -> None:
    (error,) = (await call(gemini, f"{FLASH}:streamGenerateContent", {})).json()
    assert error["error"]["code"] == 400


async def test_faults(gemini: Simulator, call: Call) -> None:
    gemini.fault = Fault(mode="status", status=429, retry_after_s=7.5)
    answer = await call(gemini, SSE, HELLO)
    details = {item["@type"].rpartition(".")[2]: item for item in answer.json()["error"]["details"]}
    assert (answer.status, details["RetryInfo"]["retryDelay"]) == (429, "7.5s")
    assert "PerMinute" in details["QuotaFailure"]["violations"][0]["quotaId"]
    gemini.fault = Fault(mode="error_event", after=2)
    events = (await call(gemini, SSE, HELLO)).events()
    assert ["error" in event for event in events] == [False, False, True]
    assert events[-1]["error"]["status"] == "UNAVAILABLE"
    gemini.fault = Fault(mode="cut", after=2, how="clean")
    cut = await call(gemini, SSE, HELLO)
    assert len(cut.events()) == 2
    assert b"finishReason" not in cut.body


async def test_several_candidates(gemini: Simulator, call: Call) -> None:
    body = said("?", generationConfig={"candidateCount": 2})
    whole = (await call(gemini, f"{FLASH}:generateContent", body)).json()
    assert [candidate["index"] for candidate in whole["candidates"]] == [0, 1]
    events = (await call(gemini, SSE, body)).events()
    assert [c["index"] for e in events for c in e["candidates"] if "finishReason" in c] == [0, 1]
    assert json.dumps(events[-1]["usageMetadata"]) == json.dumps(whole["usageMetadata"])
