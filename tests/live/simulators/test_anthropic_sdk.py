"""The simulated Anthropic is good enough for Anthropic's own SDK, sync and async."""

from __future__ import annotations

import asyncio
from typing import Any

import anthropic
import pytest
from anthropic.types import MessageParam, ToolParam

from control_plane.demo.simulators import Fault, Simulator

ASK: list[MessageParam] = [{"role": "user", "content": "hello there"}]
TOOLS: list[ToolParam] = [
    {"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}},
    {"name": "get_time", "input_schema": {"type": "object", "properties": {}}},
]
SONNET = "claude-sonnet-5"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


async def test_whole_and_streamed_async(anthropic_async: anthropic.AsyncAnthropic) -> None:
    whole = await anthropic_async.messages.create(model=SONNET, max_tokens=100, messages=ASK)
    async with anthropic_async.messages.stream(model=SONNET, max_tokens=100, messages=ASK) as stream:
        text = "".join([piece async for piece in stream.text_stream])
        final = await stream.get_final_message()
    assert whole.content[0].type == "text"
    assert whole.content[0].text == text == "anthropic/claude-sonnet-5 heard: hello there"
    assert (final.stop_reason, final.usage.input_tokens, final.usage.output_tokens) == (
        whole.stop_reason,
        whole.usage.input_tokens,
        whole.usage.output_tokens,
    )


async def test_whole_and_streamed_sync(anthropic_sync: anthropic.Anthropic) -> None:
    def both() -> tuple[str, str]:
        whole = anthropic_sync.messages.create(model=SONNET, max_tokens=100, messages=ASK)
        assert whole.content[0].type == "text"
        with anthropic_sync.messages.stream(model=SONNET, max_tokens=100, messages=ASK) as stream:
            return whole.content[0].text, stream.get_final_text()

    whole, streamed = await asyncio.to_thread(both)
    assert whole == streamed == "anthropic/claude-sonnet-5 heard: hello there"


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_tool_loop_with_thinking(anthropic_async: anthropic.AsyncAnthropic, streamed: bool) -> None:
    messages: list[MessageParam] = [{"role": "user", "content": "get_weather and get_time, both"}]
    options: dict[str, Any] = {"model": SONNET, "max_tokens": 4000, "tools": TOOLS, "thinking": {"type": "adaptive"}}
    if streamed:
        async with anthropic_async.messages.stream(messages=messages, **options) as stream:
            first: Any = await stream.get_final_message()
    else:
        first = await anthropic_async.messages.create(messages=messages, **options)
    assert [block.type for block in first.content] == ["thinking", "tool_use", "tool_use"]
    assert first.stop_reason == "tool_use"
    assert first.content[1].input == {"city": 'the "city" of Zürich\n→ sample'}
    assert first.content[2].input == {}
    messages.append({"role": "assistant", "content": first.content})
    results: Any = [{"type": "tool_result", "tool_use_id": block.id, "content": f"result {n}"} for n, block in enumerate(first.content[1:])]
    messages.append({"role": "user", "content": results})
    last = await anthropic_async.messages.create(messages=messages, **options)
    assert last.content[-1].type == "text"
    assert last.content[-1].text == "anthropic/claude-sonnet-5 read the tool: result 0 | result 1"


async def test_a_forced_tool_and_an_image(anthropic_async: anthropic.AsyncAnthropic) -> None:
    forced = await anthropic_async.messages.create(
        model=SONNET, max_tokens=100, messages=ASK, tools=TOOLS, tool_choice={"type": "tool", "name": "get_time"}
    )
    assert [block.name for block in forced.content if block.type == "tool_use"] == ["get_time"]
    image: Any = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}}
    content: Any = [image, {"type": "text", "text": "look"}]
    seen = await anthropic_async.messages.create(model=SONNET, max_tokens=100, messages=[{"role": "user", "content": content}])
    assert seen.content[0].type == "text"
    assert seen.content[0].text == "anthropic/claude-sonnet-5 heard and saw 1 image: look"


async def test_counting_and_models(anthropic_async: anthropic.AsyncAnthropic) -> None:
    counted = await anthropic_async.messages.count_tokens(model=SONNET, messages=ASK)
    assert counted.input_tokens == (await anthropic_async.messages.create(model=SONNET, max_tokens=9, messages=ASK)).usage.input_tokens
    assert len([model.id async for model in anthropic_async.models.list(limit=2)]) == 5  # three pages
    assert (await anthropic_async.models.retrieve(SONNET)).display_name == "Claude Sonnet 5"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (403, anthropic.PermissionDeniedError),
        (404, anthropic.NotFoundError),
        (413, anthropic.APIStatusError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (503, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_statuses_become_the_sdks_errors(
    anthropic_async: anthropic.AsyncAnthropic, anthropic_vendor: Simulator, status: int, kind: type[anthropic.APIStatusError]
) -> None:
    anthropic_vendor.fault = Fault(mode="status", status=status)
    with pytest.raises(kind) as caught:
        await anthropic_async.messages.create(model=SONNET, max_tokens=100, messages=ASK)
    assert caught.value.status_code == status
    assert caught.value.request_id


async def test_bad_requests_become_the_sdks_errors(anthropic_async: anthropic.AsyncAnthropic) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await anthropic_async.messages.create(model="claude-9", max_tokens=100, messages=ASK)
    with pytest.raises(anthropic.BadRequestError) as caught:
        await anthropic_async.messages.create(model="claude-haiku-4-5", max_tokens=100, messages=ASK, extra_body={"temperature": 1})
    assert "temperature" in caught.value.message
    with pytest.raises(anthropic.AuthenticationError):
        await anthropic_async.with_options(api_key="wrong").messages.create(model=SONNET, max_tokens=100, messages=ASK)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault(mode="error_event", status=529), anthropic.APIStatusError),
        (Fault(mode="error_event", status=529, after=2), anthropic.APIStatusError),
        (Fault(mode="refuse"), anthropic.APIConnectionError),
        (Fault(mode="black_hole"), anthropic.APITimeoutError),
        (Fault(mode="cut", after=2), Exception),  # the SDK lets its HTTP library's error through
        (Fault(mode="stall", after=2, heartbeat_ms=0), Exception),
    ],
)
async def test_faults_become_the_sdks_errors(
    anthropic_async: anthropic.AsyncAnthropic, anthropic_vendor: Simulator, fault: Fault, kind: type[Exception]
) -> None:
    anthropic_vendor.fault = fault
    with pytest.raises(kind):
        async with anthropic_async.with_options(timeout=0.5).messages.stream(model=SONNET, max_tokens=100, messages=ASK) as stream:
            await stream.get_final_message()
