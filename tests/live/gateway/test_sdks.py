"""The official SDKs through the real gateway: sync and async, streamed and whole, with tools, against both vendors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.live.gateway.rig import Rig, RigFactory, route

TOOL = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
    "additionalProperties": False,
}
ROUTES = route("via-openai", "openai") + route("via-anthropic", "anthropic")


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


@pytest.fixture
def openai_client(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


@pytest.fixture
def anthropic_client(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as client:
        yield client


MODELS = pytest.mark.parametrize("model", ["via-openai", "via-anthropic"])


def openai_tools() -> list[Any]:
    return [{"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": TOOL}}]


def anthropic_tools() -> list[Any]:
    return [{"name": "get_weather", "description": "Weather", "input_schema": TOOL}]


def said(model: str) -> str:
    return {"via-openai": "openai/gpt-5 heard: hello", "via-anthropic": "anthropic/claude-sonnet-5 heard: hello"}[model]


@MODELS
def test_openai_whole(openai_client: openai.OpenAI, model: str) -> None:
    done = openai_client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
    assert done.choices[0].message.content == said(model)
    assert done.choices[0].finish_reason == "stop"
    assert done.usage is not None
    assert done.usage.prompt_tokens > 0
    assert done.usage.completion_tokens > 0


@MODELS
@pytest.mark.parametrize("include_usage", [False, True])
def test_openai_streamed(openai_client: openai.OpenAI, model: str, include_usage: bool) -> None:
    asked: Any = {"stream_options": {"include_usage": True}} if include_usage else {}
    chunks = list(openai_client.chat.completions.create(model=model, stream=True, messages=[{"role": "user", "content": "hello"}], **asked))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == said(model)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
    usage = [c.usage for c in chunks if c.usage]
    assert len(usage) == include_usage
    assert all(c.choices for c in chunks) is not include_usage


@MODELS
def test_openai_tool_loop(openai_client: openai.OpenAI, model: str) -> None:
    messages: list[Any] = [{"role": "user", "content": "call get_weather and get_weather"}]
    first = openai_client.chat.completions.create(model=model, messages=messages, tools=openai_tools()).choices[0]
    assert first.finish_reason == "tool_calls"
    calls = first.message.tool_calls or []
    assert [c.function.name for c in calls if c.type == "function"] == ["get_weather", "get_weather"]
    assert all(json.loads(c.function.arguments)["city"] for c in calls if c.type == "function")
    messages.append(first.message.model_dump(exclude_none=True))
    messages += [{"role": "tool", "tool_call_id": c.id, "content": f"sunny {i}"} for i, c in enumerate(calls)]
    last = openai_client.chat.completions.create(model=model, messages=messages, tools=openai_tools()).choices[0]
    assert "sunny 0" in (last.message.content or "")
    assert "sunny 1" in (last.message.content or "")


@MODELS
def test_openai_streamed_tool_arguments(openai_client: openai.OpenAI, model: str) -> None:
    forced: Any = {"type": "function", "function": {"name": "get_weather"}}
    stream = openai_client.chat.completions.create(
        model=model, stream=True, messages=[{"role": "user", "content": "hi"}], tools=openai_tools(), tool_choice=forced
    )
    fragments = [t.function for c in stream if c.choices for t in c.choices[0].delta.tool_calls or () if t.function]
    assert [f.name for f in fragments if f.name] == ["get_weather"]
    assert len(fragments) > 2
    assert json.loads("".join(f.arguments or "" for f in fragments))["city"]


@MODELS
@pytest.mark.parametrize("deployment", [None, "another name"])
def test_azure_clients_name_the_model_in_the_path(rig: Rig, model: str, deployment: str | None) -> None:
    """As Azure does, the gateway goes by the deployment, whatever the body says."""
    named: Any = {"azure_deployment": model} if deployment else {}
    with openai.AzureOpenAI(azure_endpoint=rig.url, api_key="client-key", api_version="2024-10-21", max_retries=0, **named) as client:
        asked: Any = {"model": deployment or model, "messages": [{"role": "user", "content": "hello"}]}
        assert client.chat.completions.create(**asked).choices[0].message.content == said(model)
        chunks = list(client.chat.completions.create(stream=True, **asked))
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == said(model)
        if model == "via-openai":
            assert client.embeddings.create(model=deployment or model, input="hello").data[0].embedding
    other = openai.AzureOpenAI(azure_endpoint=rig.url, api_key="client-key", api_version="2024-10-21", max_retries=0)
    with other, pytest.raises(openai.NotFoundError, match="did you mean 'via-"):
        other.chat.completions.create(model="via-opena", messages=[{"role": "user", "content": "hello"}])


@MODELS
def test_anthropic_whole(anthropic_client: anthropic.Anthropic, model: str) -> None:
    done = anthropic_client.messages.create(model=model, max_tokens=300, messages=[{"role": "user", "content": "hello"}])
    assert [b.text for b in done.content if b.type == "text"] == [said(model)]
    assert done.stop_reason == "end_turn"
    assert done.usage.input_tokens > 0
    assert done.usage.output_tokens > 0


@MODELS
def test_anthropic_streamed(anthropic_client: anthropic.Anthropic, model: str) -> None:
    with anthropic_client.messages.stream(model=model, max_tokens=300, messages=[{"role": "user", "content": "hello"}]) as stream:
        assert "".join(stream.text_stream) == said(model)
        done = stream.get_final_message()
    assert done.stop_reason == "end_turn"
    assert done.usage.output_tokens > 0


@MODELS
@pytest.mark.parametrize("streamed", [False, True])
def test_anthropic_tool_loop(anthropic_client: anthropic.Anthropic, model: str, streamed: bool) -> None:
    messages: list[Any] = [{"role": "user", "content": "call get_weather and get_weather"}]

    def ask() -> Any:
        request: Any = {"model": model, "max_tokens": 500, "messages": messages, "tools": anthropic_tools(), "system": "be brief"}
        if not streamed:
            return anthropic_client.messages.create(**request)
        with anthropic_client.messages.stream(**request) as stream:
            return stream.get_final_message()

    first = ask()
    assert first.stop_reason == "tool_use"
    calls = [b for b in first.content if b.type == "tool_use"]
    assert [(c.name, bool(c.input["city"])) for c in calls] == [("get_weather", True)] * 2
    messages.append({"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in first.content]})
    messages.append(
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": c.id, "content": f"sunny {i}"} for i, c in enumerate(calls)]}
    )
    text = "".join(b.text for b in ask().content if b.type == "text")
    assert "sunny 0" in text
    assert "sunny 1" in text


@MODELS
async def test_async_clients(rig: Rig, model: str) -> None:
    async with openai.AsyncOpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        done = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
        assert done.choices[0].message.content == said(model)
        stream = await client.chat.completions.create(model=model, stream=True, messages=[{"role": "user", "content": "hello"}])
        assert "".join([c.choices[0].delta.content or "" async for c in stream if c.choices]) == said(model)
    async with anthropic.AsyncAnthropic(base_url=rig.url, api_key="client-key", max_retries=0) as other:
        message = await other.messages.create(model=model, max_tokens=300, messages=[{"role": "user", "content": "hello"}])
        assert [b.text for b in message.content if b.type == "text"] == [said(model)]
        async with other.messages.stream(model=model, max_tokens=300, messages=[{"role": "user", "content": "hello"}]) as events:
            assert "".join([text async for text in events.text_stream]) == said(model)


@MODELS
def test_images_reach_the_other_vendor(openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic, model: str) -> None:
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    parts: Any = [{"type": "text", "text": "hello"}, {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{pixel}"}}]
    done = openai_client.chat.completions.create(model=model, messages=[{"role": "user", "content": parts}])
    assert "1 image" in (done.choices[0].message.content or "")
    source: Any = {"type": "base64", "media_type": "image/png", "data": pixel}
    blocks: Any = [{"type": "text", "text": "hello"}, {"type": "image", "source": source}]
    message = anthropic_client.messages.create(model=model, max_tokens=300, messages=[{"role": "user", "content": blocks}])
    assert "1 image" in "".join(b.text for b in message.content if b.type == "text")


def test_vendors_errors_keep_their_class(rig: Rig, openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    """With a single target there is nobody to fail over to: the client sees the vendor's error in its own dialect."""
    for model, vendor in (("via-openai", "openai"), ("via-anthropic", "anthropic")):
        rig.break_vendor(vendor, mode="status", status=429, retry_after_s=7)
        try:
            with pytest.raises(openai.RateLimitError) as caught:
                openai_client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hello"}])
            assert caught.value.response.headers["retry-after"] == "7"
            with pytest.raises(anthropic.RateLimitError):
                anthropic_client.messages.create(model=model, max_tokens=300, messages=[{"role": "user", "content": "hello"}])
        finally:
            rig.heal()


def test_models_lists(openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    assert sorted(m.id for m in openai_client.models.list()) == ["via-anthropic", "via-openai"]
    assert openai_client.models.retrieve("via-openai").id == "via-openai"
    assert sorted(m.id for m in anthropic_client.models.list()) == ["via-anthropic", "via-openai"]
    assert anthropic_client.models.retrieve("via-anthropic").id == "via-anthropic"


def test_embeddings_and_token_counting_pass_through(openai_client: openai.OpenAI, anthropic_client: anthropic.Anthropic) -> None:
    assert len(openai_client.embeddings.create(model="via-openai", input="hello").data[0].embedding) > 8
    count = anthropic_client.messages.count_tokens(model="via-anthropic", messages=[{"role": "user", "content": "hello"}])
    assert count.input_tokens > 0
    with pytest.raises(openai.NotFoundError, match="does not serve"):
        openai_client.embeddings.create(model="via-anthropic", input="hello")
