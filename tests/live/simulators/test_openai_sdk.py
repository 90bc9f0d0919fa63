"""The simulated OpenAI is good enough for OpenAI's own SDK, sync and async."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam
from pydantic import BaseModel

from control_plane.demo.simulators import Fault, Simulator

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello there"}]
TOOLS: list[ChatCompletionToolParam] = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    },
    {"type": "function", "function": {"name": "get_time", "parameters": {"type": "object", "properties": {}}}},
]


class Point(BaseModel):
    x: int
    label: str


async def test_whole_and_streamed_async(openai_async: openai.AsyncOpenAI) -> None:
    whole = await openai_async.chat.completions.create(model="gpt-4o", messages=ASK)
    stream = await openai_async.chat.completions.create(model="gpt-4o", messages=ASK, stream=True, stream_options={"include_usage": True})
    chunks = [chunk async for chunk in stream]
    assert whole.choices[0].message.content == "openai/gpt-4o heard: hello there"
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
    assert chunks[-1].usage == whole.usage


async def test_whole_and_streamed_sync(openai_sync: openai.OpenAI) -> None:
    def both() -> tuple[str | None, str]:
        whole = openai_sync.chat.completions.create(model="gpt-4o", messages=ASK)
        with openai_sync.chat.completions.create(model="gpt-4o", messages=ASK, stream=True) as stream:
            return whole.choices[0].message.content, "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    whole, streamed = await asyncio.to_thread(both)
    assert whole == streamed == "openai/gpt-4o heard: hello there"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_tool_loop(openai_async: openai.AsyncOpenAI, streamed: bool) -> None:
    messages: list[ChatCompletionMessageParam] = [{"role": "user", "content": "get_weather and get_time, both"}]
    if streamed:
        async with openai_async.chat.completions.stream(model="gpt-5", messages=messages, tools=TOOLS) as stream:
            first = (await stream.get_final_completion()).choices[0]
    else:
        first = (await openai_async.chat.completions.create(model="gpt-5", messages=messages, tools=TOOLS)).choices[0]  # type: ignore[assignment]
    assert first.finish_reason == "tool_calls"
    calls = [call for call in first.message.tool_calls or [] if call.type == "function"]
    assert [call.function.name for call in calls] == ["get_weather", "get_time"]
    assert json.loads(calls[0].function.arguments) == {"city": 'the "city" of Zürich\n→ sample'}
    messages.append(
        {
            "role": "assistant",
            "tool_calls": [
                {"id": call.id, "type": "function", "function": {"name": call.function.name, "arguments": call.function.arguments}}
                for call in calls
            ],
        }
    )
    messages += [{"role": "tool", "tool_call_id": call.id, "content": f"result {n}"} for n, call in enumerate(calls)]
    last = await openai_async.chat.completions.create(model="gpt-5", messages=messages, tools=TOOLS)
    assert last.choices[0].message.content == "openai/gpt-5 read the tool: result 0 | result 1"
    assert last.usage is not None
    assert last.usage.completion_tokens_details is not None
    assert last.usage.completion_tokens_details.reasoning_tokens == 64


async def test_a_forced_tool_and_structured_output(openai_async: openai.AsyncOpenAI) -> None:
    forced = await openai_async.chat.completions.create(
        model="gpt-4o", messages=ASK, tools=TOOLS, tool_choice={"type": "function", "function": {"name": "get_time"}}
    )
    calls = forced.choices[0].message.tool_calls
    assert calls is not None
    assert [call.function.name for call in calls if call.type == "function"] == ["get_time"]
    parsed = await openai_async.chat.completions.parse(model="gpt-4o", messages=ASK, response_format=Point)
    assert parsed.choices[0].message.parsed == Point(x=7, label='the "label" of Zürich\n→ sample')


async def test_embeddings_and_models(openai_async: openai.AsyncOpenAI) -> None:
    # the SDK asks for base64 unless told otherwise, and decodes it
    one = await openai_async.embeddings.create(model="text-embedding-3-small", input="hello")
    two = await openai_async.embeddings.create(model="text-embedding-3-small", input="hello", encoding_format="float")
    assert one.data[0].embedding == pytest.approx(two.data[0].embedding)
    assert len(one.data[0].embedding) == 1536
    assert "gpt-5" in [model.id async for model in openai_async.models.list()]
    assert (await openai_async.models.retrieve("gpt-5")).id == "gpt-5"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.AuthenticationError),
        (403, openai.PermissionDeniedError),
        (404, openai.NotFoundError),
        (422, openai.UnprocessableEntityError),
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
    ],
)
async def test_statuses_become_the_sdks_errors(
    openai_async: openai.AsyncOpenAI, openai_vendor: Simulator, status: int, kind: type[openai.APIStatusError]
) -> None:
    openai_vendor.fault = Fault(mode="status", status=status)
    with pytest.raises(kind) as caught:
        await openai_async.chat.completions.create(model="gpt-4o", messages=ASK)
    assert caught.value.status_code == status
    assert caught.value.request_id


@pytest.mark.parametrize(
    ("overrides", "kind", "code"),
    [
        ({"model": "gpt-99"}, openai.NotFoundError, "model_not_found"),
        ({"model": "gpt-5", "max_tokens": 5}, openai.BadRequestError, "unsupported_parameter"),
        ({"messages": []}, openai.BadRequestError, "empty_array"),
    ],
)
async def test_bad_requests_become_the_sdks_errors(
    openai_async: openai.AsyncOpenAI, overrides: dict[str, Any], kind: type[openai.APIStatusError], code: str
) -> None:
    with pytest.raises(kind) as caught:
        await openai_async.chat.completions.create(**({"model": "gpt-4o", "messages": ASK} | overrides))
    assert caught.value.code == code


async def test_a_wrong_key_is_an_authentication_error(openai_async: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        await openai_async.with_options(api_key="sk-wrong").chat.completions.create(model="gpt-4o", messages=ASK)
    assert caught.value.code == "invalid_api_key"


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(mode="error_event", status=500), openai.APIError),
        (Fault(mode="error_event", status=500, after=2), openai.APIError),
        (Fault(mode="cut", after=2), openai.APIConnectionError),
        (Fault(mode="cut", after=2, how="fin"), openai.APIConnectionError),
        (Fault(mode="stall", after=2), openai.APITimeoutError),
        (Fault(mode="refuse"), openai.APIConnectionError),
        (Fault(mode="black_hole"), openai.APITimeoutError),
        (Fault(mode="unconnectable"), openai.APITimeoutError),
    ],
)
async def test_faults_become_the_sdks_errors(
    openai_async: openai.AsyncOpenAI, openai_vendor: Simulator, fault: Fault, kind: type[Exception]
) -> None:
    openai_vendor.fault = fault
    with pytest.raises(kind):
        async for _ in await openai_async.with_options(timeout=0.5).chat.completions.create(model="gpt-4o", messages=ASK, stream=True):
            pass


async def test_a_clean_early_end_looks_complete_to_the_sdk(openai_async: openai.AsyncOpenAI, openai_vendor: Simulator) -> None:
    openai_vendor.fault = Fault(mode="cut", after=2, how="clean")
    chunks = [chunk async for chunk in await openai_async.chat.completions.create(model="gpt-4o", messages=ASK, stream=True)]
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * 3
