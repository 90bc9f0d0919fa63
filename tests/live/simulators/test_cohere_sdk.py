"""The simulated Cohere is good enough for the vendor's own SDK, sync and async."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from typing import Any

import cohere
import pytest

from control_plane.demo.simulators import Fault, Simulator

PLAIN, THINKER = "command-a-03-2025", "command-a-reasoning-08-2025"
CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOLS: list[Any] = [
    {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": CITY}},
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}},
]
HELLO: list[Any] = [{"role": "user", "content": "hello there"}]


def text(events: list[Any]) -> str:
    return "".join(e.delta.message.content.text or "" for e in events if e.type == "content-delta")


async def test_whole_and_streamed_async(cohere_async: cohere.AsyncClientV2) -> None:
    whole: Any = await cohere_async.chat(model=PLAIN, messages=HELLO)
    events: list[Any] = [event async for event in cohere_async.chat_stream(model=PLAIN, messages=HELLO)]
    assert whole.message.content[0].text == text(events) == f"cohere/{PLAIN} heard: hello there"
    assert whole.finish_reason == events[-1].delta.finish_reason == "COMPLETE"
    assert whole.usage == events[-1].delta.usage
    assert whole.usage.tokens.input_tokens > 0


async def test_whole_and_streamed_sync(cohere_sync: cohere.ClientV2) -> None:
    def both() -> tuple[Any, list[Any]]:
        return cohere_sync.chat(model=PLAIN, messages=HELLO), list(cohere_sync.chat_stream(model=PLAIN, messages=HELLO))

    whole, events = await asyncio.to_thread(both)
    assert whole.message.content[0].text == text(events)


@pytest.mark.parametrize("model", [PLAIN, THINKER])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_tool_loop(cohere_async: cohere.AsyncClientV2, model: str, streamed: bool) -> None:
    messages: list[Any] = [{"role": "system", "content": "be brief"}, {"role": "user", "content": "get_weather and get_time, both"}]
    if streamed:
        events: list[Any] = [e async for e in cohere_async.chat_stream(model=model, messages=messages, tools=TOOLS)]
        calls: list[Any] = [e.delta.message.tool_calls for e in events if e.type == "tool-call-start"]
        for event in events:
            if event.type == "tool-call-delta":
                calls[event.index].function.arguments += event.delta.message.tool_calls.function.arguments
        plan = "".join(e.delta.message.tool_plan for e in events if e.type == "tool-plan-delta")
        thought = "".join(e.delta.message.content.thinking or "" for e in events if e.type == "content-delta")
        replay: dict[str, Any] = {"role": "assistant", "tool_calls": calls}
    else:
        message: Any = (await cohere_async.chat(model=model, messages=messages, tools=TOOLS)).message
        calls, plan = message.tool_calls, message.tool_plan or ""
        thought = "".join(b.thinking for b in message.content or [] if b.type == "thinking")
        replay = message
    assert [(c.function.name, json.loads(c.function.arguments)) for c in calls] == [
        ("get_weather", {"city": 'the "city" of Zürich\n→ sample'}),
        ("get_time", {}),
    ]
    assert (bool(plan), thought.startswith("Water")) == (model == PLAIN, model == THINKER)
    messages.append(replay)
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"result {n}"} for n, call in enumerate(calls)]
    last: Any = await cohere_async.chat(model=model, messages=messages, tools=TOOLS)
    said = "".join(b.text for b in last.message.content if b.type == "text")
    assert said == f"cohere/{model} read the tool: result 0 | result 1"


async def test_choices_formats_images_and_documents(cohere_async: cohere.AsyncClientV2) -> None:
    forced: Any = await cohere_async.chat(model=PLAIN, messages=HELLO, tools=TOOLS, tool_choice="REQUIRED")
    assert [c.function.name for c in forced.message.tool_calls] == ["get_weather"]
    asked: list[Any] = [{"role": "user", "content": "get_time"}]
    none: Any = await cohere_async.chat(model=PLAIN, messages=asked, tools=TOOLS, tool_choice="NONE")
    assert none.message.tool_calls is None
    made: Any = await cohere_async.chat(model=PLAIN, messages=HELLO, response_format=cohere.JsonObjectResponseFormatV2(json_schema=CITY))
    assert set(json.loads(made.message.content[0].text)) == {"city"}
    image = [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,QUJD"}}]
    shown: list[Any] = [{"role": "user", "content": image}]
    seen: Any = await cohere_async.chat(model=PLAIN, messages=shown)
    assert seen.message.content[0].text == f"cohere/{PLAIN} heard and saw 1 image: look"
    cited: Any = await cohere_async.chat(
        model=PLAIN, messages=HELLO, documents=[cohere.Document(id="d", data={"text": "x"})], logprobs=True
    )
    assert cited.message.citations[0].sources[0].document == {"id": "d", "text": "x"}
    assert cited.logprobs[0].logprobs == [-0.25]
    short: Any = await cohere_async.chat(model=PLAIN, messages=HELLO, max_tokens=1)
    assert short.finish_reason == "MAX_TOKENS"
    stopped: Any = await cohere_async.chat(model=PLAIN, messages=HELLO, stop_sequences=["there"])
    assert stopped.finish_reason == "STOP_SEQUENCE"


async def test_errors_have_the_vendors_classes(cohere_async: cohere.AsyncClientV2, cohere_vendor: Simulator) -> None:
    with pytest.raises(cohere.NotFoundError, match="command-0"):
        await cohere_async.chat(model="command-0", messages=HELLO)
    with pytest.raises(cohere.BadRequestError, match="temperature"):
        await cohere_async.chat(model=PLAIN, messages=HELLO, temperature=3)
    for status, error in (
        (429, cohere.TooManyRequestsError),
        (500, cohere.InternalServerError),
        (503, cohere.ServiceUnavailableError),
        (504, cohere.GatewayTimeoutError),
    ):
        cohere_vendor.fault = Fault(mode="status", status=status)
        with pytest.raises(error):
            await cohere_async.chat(model=PLAIN, messages=HELLO)
    await cohere_vendor.heal()
    cohere_vendor.set_keys(["other"])
    with pytest.raises(cohere.UnauthorizedError, match="invalid api token"):
        await cohere_async.chat(model=PLAIN, messages=HELLO)


async def test_an_error_inside_a_stream(cohere_async: cohere.AsyncClientV2, cohere_vendor: Simulator) -> None:
    cohere_vendor.fault = Fault(mode="error_event", after=2, status=504)
    events: list[Any] = [event async for event in cohere_async.chat_stream(model=PLAIN, messages=HELLO)]
    assert text(events)
    assert (events[-1].type, events[-1].delta.finish_reason) == ("message-end", "TIMEOUT")
    assert events[-1].delta.error == "request timed out, please try again later"


async def test_embeddings_and_reranking(cohere_async: cohere.AsyncClientV2) -> None:
    made: Any = await cohere_async.embed(
        model="embed-v4.0", texts=["a", "b"], input_type="search_document", output_dimension=256, embedding_types=["float", "base64"]
    )
    assert [len(vector) for vector in made.embeddings.float_] == [256, 256]
    packed = [struct.unpack("<256f", base64.b64decode(text)) for text in made.embeddings.base64]
    assert [list(values) for values in packed] == made.embeddings.float_
    assert made.embeddings.float_[0] != made.embeddings.float_[1]
    assert (made.texts, made.meta.billed_units.input_tokens) == (["a", "b"], 2)
    ranked = await cohere_async.rerank(model="rerank-v3.5", query="ruby", documents=["Paris", "Ruby on Rails"], top_n=1)
    assert [result.index for result in ranked.results] == [1]
    with pytest.raises(cohere.BadRequestError, match="input_type"):
        await cohere_async.embed(model="embed-v4.0", texts=["a"], input_type="other")
    with pytest.raises(cohere.BadRequestError, match="at most 96"):
        await cohere_async.embed(model="embed-v4.0", texts=["a"] * 97, input_type="search_query")
