"""The simulated Azure OpenAI is good enough for the official SDK, by deployment and by the v1 API."""

from __future__ import annotations

from collections.abc import AsyncIterator

import openai
import pytest
from openai.types.chat import ChatCompletionMessageParam

from control_plane.demo.simulators import Pace, Simulator

ASK: list[ChatCompletionMessageParam] = [{"role": "user", "content": "hello there"}]


@pytest.fixture
async def azure() -> AsyncIterator[Simulator]:
    async with Simulator("azure", keys=["azure-key", "entra-token"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator


def by_deployment(azure: Simulator, key: str | None = "azure-key", token: str | None = None) -> openai.AsyncAzureOpenAI:
    return openai.AsyncAzureOpenAI(azure_endpoint=azure.url, api_version="2024-10-21", api_key=key, azure_ad_token=token, max_retries=0)


async def test_chat_by_deployment_with_a_key_and_with_a_token(azure: Simulator) -> None:
    async with by_deployment(azure) as keyed, by_deployment(azure, key=None, token="entra-token") as signed_in:
        for client in (keyed, signed_in):
            whole = await client.chat.completions.create(model="gpt-5", messages=ASK)
            assert whole.choices[0].message.content == "azure/gpt-5 heard: hello there"
            assert whole.choices[0].model_extra is not None
            assert whole.choices[0].model_extra["content_filter_results"]["hate"]["severity"] == "safe"
    assert azure.requests[0].path == "/openai/deployments/gpt-5/chat/completions"
    assert azure.requests[0].query == "api-version=2024-10-21"


async def test_streams_begin_with_what_the_filter_says_of_the_prompt(azure: Simulator) -> None:
    async with by_deployment(azure) as client:
        stream = await client.chat.completions.create(model="gpt-5", messages=ASK, stream=True, stream_options={"include_usage": True})
        chunks = [chunk async for chunk in stream]
    assert chunks[0].choices == []
    assert chunks[0].model_extra is not None
    assert "prompt_filter_results" in chunks[0].model_extra
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == "azure/gpt-5 heard: hello there"
    assert chunks[-1].usage is not None


async def test_embeddings_and_the_v1_api(azure: Simulator) -> None:
    async with by_deployment(azure) as client:
        assert (await client.embeddings.create(model="text-embedding-3-small", input="x")).data
    async with openai.AsyncOpenAI(base_url=f"{azure.url}/openai/v1", api_key="azure-key", max_retries=0) as client:
        assert (await client.chat.completions.create(model="gpt-5", messages=ASK)).choices[0].message.content
        assert (await client.responses.create(model="gpt-5", input="hello")).output_text


async def test_errors_are_azures(azure: Simulator) -> None:
    async with by_deployment(azure) as client:
        with pytest.raises(openai.BadRequestError) as filtered:
            await client.chat.completions.create(model="gpt-5", messages=[{"role": "user", "content": "[[azure filter]]"}])
        assert filtered.value.code == "content_filter"
        with pytest.raises(openai.NotFoundError) as missing:
            await client.chat.completions.create(model="gpt-9", messages=ASK)
        assert missing.value.code == "DeploymentNotFound"
    async with by_deployment(azure, key="wrong") as client:
        with pytest.raises(openai.AuthenticationError, match="invalid subscription key"):
            await client.chat.completions.create(model="gpt-5", messages=ASK)
