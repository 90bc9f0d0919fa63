"""Simulated vendors, and the vendors' own SDKs pointed at them without retries."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import anthropic
import cohere
import httpx
import openai
import pytest
from google import genai
from google.genai import types

from control_plane.demo.simulators import Pace, Simulator


@pytest.fixture
async def openai_vendor() -> AsyncIterator[Simulator]:
    async with Simulator("openai", keys=["sk-a"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator


@pytest.fixture
async def anthropic_vendor() -> AsyncIterator[Simulator]:
    async with Simulator("anthropic", keys=["sk-a"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator


@pytest.fixture
async def gemini_vendor() -> AsyncIterator[Simulator]:
    async with Simulator("gemini", keys=["sk-a"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator


@pytest.fixture
async def gemini_client(gemini_vendor: Simulator) -> AsyncIterator[genai.Client]:
    """Its `aio` is the async client; on httpx, since its use of aiohttp warns."""
    async with httpx.AsyncClient() as transport:
        options = types.HttpOptions(base_url=gemini_vendor.url, timeout=5000, httpx_async_client=transport)
        with genai.Client(api_key="sk-a", http_options=options) as client:
            yield client


@pytest.fixture
async def openai_async(openai_vendor: Simulator) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(api_key="sk-a", base_url=f"{openai_vendor.url}/v1", max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture
def openai_sync(openai_vendor: Simulator) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(api_key="sk-a", base_url=f"{openai_vendor.url}/v1", max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture
async def anthropic_async(anthropic_vendor: Simulator) -> AsyncIterator[anthropic.AsyncAnthropic]:
    async with anthropic.AsyncAnthropic(api_key="sk-a", base_url=anthropic_vendor.url, max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture
def anthropic_sync(anthropic_vendor: Simulator) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(api_key="sk-a", base_url=anthropic_vendor.url, max_retries=0, timeout=5) as client:
        yield client


@pytest.fixture
async def cohere_vendor() -> AsyncIterator[Simulator]:
    async with Simulator("cohere", keys=["sk-a"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator


@pytest.fixture
async def cohere_async(cohere_vendor: Simulator) -> AsyncIterator[cohere.AsyncClientV2]:
    async with httpx.AsyncClient() as transport:
        yield cohere.AsyncClientV2("sk-a", base_url=cohere_vendor.url, timeout=5, httpx_client=transport, max_retries=0)


@pytest.fixture
def cohere_sync(cohere_vendor: Simulator) -> Iterator[cohere.ClientV2]:
    with httpx.Client() as transport:
        yield cohere.ClientV2("sk-a", base_url=cohere_vendor.url, timeout=5, httpx_client=transport, max_retries=0)
