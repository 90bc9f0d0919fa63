"""Google's SDK in its Vertex mode and Anthropic's client for Vertex against the simulated Vertex AI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anthropic
import httpx
import openai
import pytest
from anthropic import AsyncAnthropicVertex
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from control_plane.demo.simulators import Fault, Pace, Simulator

CLAUDE, FLASH = "claude-sonnet-4-5@20250929", "gemini-2.5-flash"
HELLO: Any = [{"role": "user", "content": "hello"}]
TOOLS: Any = [{"name": "get_weather", "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}}}]
DECLARED: Any = types.Tool(function_declarations=[types.FunctionDeclaration(name="get_weather")])


@pytest.fixture
async def vendor() -> AsyncIterator[Simulator]:
    async with Simulator("vertex", keys=["ya29.token"], pace=Pace(delay_ms=1), minimum_cached_tokens=16) as simulator:
        yield simulator


@pytest.fixture
async def google(vendor: Simulator) -> AsyncIterator[genai.Client]:
    async with google_client(vendor, "ya29.token") as client:
        yield client


@asynccontextmanager
async def google_client(vendor: Simulator, token: str) -> AsyncIterator[genai.Client]:
    """On httpx, since its use of aiohttp warns."""
    credentials: Any = Credentials(token)  # type: ignore[no-untyped-call]
    async with httpx.AsyncClient() as transport:
        options = types.HttpOptions(base_url=vendor.url, timeout=5000, httpx_async_client=transport)
        with genai.Client(vertexai=True, project="p-1", location="eu", credentials=credentials, http_options=options) as client:
            yield client


@pytest.fixture
async def claude(vendor: Simulator) -> AsyncIterator[AsyncAnthropicVertex]:
    made = AsyncAnthropicVertex(region="eu", project_id="p-1", access_token="ya29.token", base_url=f"{vendor.url}/v1", max_retries=0)
    async with made as client:
        yield client


async def test_gemini_whole_and_streamed(vendor: Simulator, google: genai.Client) -> None:
    whole = await google.aio.models.generate_content(model=FLASH, contents="hello")
    chunks = [chunk async for chunk in await google.aio.models.generate_content_stream(model=FLASH, contents="hello")]
    assert whole.text == "".join(chunk.text or "" for chunk in chunks) == f"vertex/{FLASH} heard: hello"
    assert vendor.requests[0].path == f"/v1beta1/projects/p-1/locations/eu/publishers/google/models/{FLASH}:generateContent"
    config = types.GenerateContentConfig(tools=[DECLARED])
    called = await google.aio.models.generate_content(model=FLASH, contents="get_weather", config=config)
    assert [call.name for call in called.function_calls or ()] == ["get_weather"]
    assert (await google.aio.models.count_tokens(model=FLASH, contents="hello")).total_tokens


async def test_what_google_refuses(vendor: Simulator, google: genai.Client) -> None:
    with pytest.raises(errors.ClientError) as unknown:
        await google.aio.models.generate_content(model="gemini-9", contents="hello")
    assert (unknown.value.code, unknown.value.status) == (404, "NOT_FOUND")
    async with httpx.AsyncClient(headers={"authorization": "Bearer ya29.token"}) as raw:
        path = f"{vendor.url}/v1/projects/p-1/locations/eu/publishers"
        body = {"contents": [{"parts": [{"text": "hi"}]}]}
        refused = await raw.post(f"{path}/google/models/{FLASH}:generateContent", json=body)
        assert "valid role" in refused.json()["error"]["message"]
        asked = {"model": CLAUDE, "max_tokens": 9, "messages": HELLO, "anthropic_version": "vertex-2023-10-16"}
        refused = await raw.post(f"{path}/anthropic/models/{CLAUDE}:rawPredict", json=asked)
        assert (refused.status_code, refused.json()["error"]["message"]) == (400, "model: Extra inputs are not permitted")
        del asked["model"], asked["anthropic_version"]
        refused = await raw.post(f"{path}/anthropic/models/{CLAUDE}:rawPredict", json=asked)
        assert "anthropic_version" in refused.json()["error"]["message"]
    async with google_client(vendor, "ya29.other") as other:
        with pytest.raises(errors.ClientError) as stranger:
            await other.aio.models.generate_content(model=FLASH, contents="hello")
        assert (stranger.value.code, stranger.value.status) == (401, "UNAUTHENTICATED")
    for status in (429, 500, 503):
        vendor.fault = Fault(mode="status", status=status)
        with pytest.raises(errors.APIError) as broken:
            await google.aio.models.generate_content(model=FLASH, contents="hello")
        assert broken.value.code == status


async def test_claude_is_counted(vendor: Simulator, claude: AsyncAnthropicVertex) -> None:
    short = await claude.messages.count_tokens(model=CLAUDE, messages=HELLO)
    long = await claude.messages.count_tokens(model=CLAUDE, messages=HELLO, system="be brief", tools=TOOLS)
    assert 0 < short.input_tokens < long.input_tokens
    assert vendor.requests[-1].path == "/v1/projects/p-1/locations/eu/publishers/anthropic/models/count-tokens:rawPredict"
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.count_tokens(model="claude-0", messages=HELLO)


async def test_openais_client_at_the_openai_compatible_path(vendor: Simulator) -> None:
    base = f"{vendor.url}/v1/projects/p-1/locations/eu/endpoints/openapi"
    async with openai.AsyncOpenAI(base_url=base, api_key="ya29.token", max_retries=0) as client:
        whole = await client.chat.completions.create(model=f"google/{FLASH}", messages=HELLO)
        assert whole.choices[0].message.content == f"vertex/google/{FLASH} heard: hello"
        chunks = [c async for c in await client.chat.completions.create(model=f"google/{FLASH}", messages=HELLO, stream=True)]
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == whole.choices[0].message.content
        for model, wrong in ((FLASH, openai.BadRequestError), ("google/none", openai.NotFoundError)):
            with pytest.raises(wrong):
                await client.chat.completions.create(model=model, messages=HELLO)


async def test_claude_whole_streamed_and_with_tools(vendor: Simulator, claude: AsyncAnthropicVertex) -> None:
    whole = await claude.messages.create(model=CLAUDE, max_tokens=99, messages=HELLO)
    async with claude.messages.stream(model=CLAUDE, max_tokens=99, messages=HELLO) as stream:
        streamed = await stream.get_final_message()
    assert whole.content[0].type == streamed.content[0].type == "text"
    assert whole.content[0].text == streamed.content[0].text == f"vertex/{CLAUDE} heard: hello"
    assert whole.usage == streamed.usage
    asked: Any = [{"role": "user", "content": "get_weather"}]
    called = await claude.messages.create(model=CLAUDE, max_tokens=99, messages=asked, tools=TOOLS)
    assert called.stop_reason == "tool_use"
    assert vendor.requests[0].path == f"/v1/projects/p-1/locations/eu/publishers/anthropic/models/{CLAUDE}:rawPredict"
    assert vendor.requests[1].path.endswith(":streamRawPredict")


async def test_claudes_errors(vendor: Simulator, claude: AsyncAnthropicVertex) -> None:
    with pytest.raises(anthropic.NotFoundError):
        await claude.messages.create(model="claude-9", max_tokens=9, messages=HELLO)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        await claude.messages.create(model=CLAUDE, max_tokens=-1, messages=HELLO)
    vendor.fault = Fault(mode="error_event", status=529, after=2)
    with pytest.raises(anthropic.APIStatusError, match="verloaded"):
        async with claude.messages.stream(model=CLAUDE, max_tokens=99, messages=HELLO) as stream:
            await stream.get_final_message()
    vendor.fault = Fault(mode="status", status=429)
    with pytest.raises(anthropic.RateLimitError):
        await claude.messages.create(model=CLAUDE, max_tokens=9, messages=HELLO)
