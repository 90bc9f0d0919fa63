"""The simulated Gemini is good enough for Google's own SDK, sync and async."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import httpx
import pytest
from google import genai
from google.genai import errors, types

from control_plane.demo.simulators import Fault, Simulator
from control_plane.demo.simulators.tokens import count

FLASH, NEW = "gemini-2.5-flash", "gemini-3.5-flash"
CITY: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS: list[Any] = [
    types.Tool(
        function_declarations=[
            types.FunctionDeclaration(name="get_weather", description="Weather", parameters_json_schema=CITY),
            types.FunctionDeclaration(name="get_time"),
        ]
    )
]
PIXEL = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


def config(**fields: Any) -> types.GenerateContentConfig:
    return types.GenerateContentConfig(automatic_function_calling=types.AutomaticFunctionCallingConfig(disable=True), **fields)


async def test_whole_and_streamed_async(gemini_client: genai.Client) -> None:
    whole = await gemini_client.aio.models.generate_content(model=FLASH, contents="hello there")
    stream = await gemini_client.aio.models.generate_content_stream(model=FLASH, contents="hello there")
    chunks = [chunk async for chunk in stream]
    assert whole.text == "".join(chunk.text or "" for chunk in chunks) == "gemini/gemini-2.5-flash heard: hello there"
    assert whole.candidates is not None
    last = chunks[-1]
    assert last.candidates is not None
    assert whole.candidates[0].finish_reason == last.candidates[0].finish_reason == types.FinishReason.STOP
    assert whole.usage_metadata == last.usage_metadata
    assert whole.usage_metadata is not None
    assert whole.usage_metadata.thoughts_token_count == 8


async def test_whole_and_streamed_sync(gemini_client: genai.Client) -> None:
    def both() -> tuple[str | None, str]:
        whole = gemini_client.models.generate_content(model=FLASH, contents="hello there")
        stream = gemini_client.models.generate_content_stream(model=FLASH, contents="hello there")
        return whole.text, "".join(chunk.text or "" for chunk in stream)

    whole, streamed = await asyncio.to_thread(both)
    assert whole == streamed == "gemini/gemini-2.5-flash heard: hello there"


@pytest.mark.parametrize("model", [FLASH, NEW])
@pytest.mark.parametrize("streamed", [True, False])
async def test_a_tool_loop_with_thoughts(gemini_client: genai.Client, model: str, streamed: bool) -> None:
    asked: list[Any] = [types.UserContent("get_weather and get_time, both")]
    wanted = config(tools=TOOLS, thinking_config=types.ThinkingConfig(include_thoughts=True), system_instruction="be brief")
    if streamed:
        stream = await gemini_client.aio.models.generate_content_stream(model=model, contents=asked, config=wanted)
        parts = [part async for chunk in stream for part in chunk.parts or []]
    else:
        parts = list((await gemini_client.aio.models.generate_content(model=model, contents=asked, config=wanted)).parts or [])
    assert "".join(part.text or "" for part in parts if part.thought).startswith("Water")
    signed = [part for part in parts if part.function_call]
    calls = [part.function_call for part in signed if part.function_call]
    assert [(call.name, call.args) for call in calls] == [("get_weather", {"city": 'the "city" of Zürich\n→ sample'}), ("get_time", {})]
    assert [part.thought_signature is not None for part in signed] == [True, False]
    assert all((call.id is not None) is (model == NEW) for call in calls)
    asked.append(types.Content(role="model", parts=[part for part in parts if part.text != ""]))
    answers = [types.FunctionResponse(id=c.id, name=c.name, response={"output": f"result {n}"}) for n, c in enumerate(calls)]
    asked.append(types.Content(role="user", parts=[types.Part(function_response=answer) for answer in answers]))
    last = await gemini_client.aio.models.generate_content(model=model, contents=asked, config=wanted)
    assert last.text == f"gemini/{model} read the tool: result 0 | result 1"


async def test_the_newest_demand_their_signature(gemini_client: genai.Client) -> None:
    call = types.Part(function_call=types.FunctionCall(name="get_time", args={}))
    answer = types.Part(function_response=types.FunctionResponse(name="get_time", response={"output": "noon"}))
    asked: list[Any] = [types.UserContent("?"), types.Content(role="model", parts=[call]), types.Content(role="user", parts=[answer])]
    done = await gemini_client.aio.models.generate_content(model=FLASH, contents=asked, config=config(tools=TOOLS))
    assert done.text == "gemini/gemini-2.5-flash read the tool: noon"
    with pytest.raises(errors.ClientError, match="missing a thought_signature"):
        await gemini_client.aio.models.generate_content(model=NEW, contents=asked, config=config(tools=TOOLS))
    call.thought_signature = b"made up"
    with pytest.raises(errors.ClientError, match="signature is not valid"):
        await gemini_client.aio.models.generate_content(model=NEW, contents=asked, config=config(tools=TOOLS))


async def test_a_forced_tool_an_image_and_structured_output(gemini_client: genai.Client) -> None:
    calling = types.FunctionCallingConfig(mode=types.FunctionCallingConfigMode.ANY, allowed_function_names=["get_time"])
    forced = await gemini_client.aio.models.generate_content(
        model=FLASH, contents="hi", config=config(tools=TOOLS, tool_config=types.ToolConfig(function_calling_config=calling))
    )
    assert [call.name for call in forced.function_calls or []] == ["get_time"]
    image = types.Part.from_bytes(data=PIXEL, mime_type="image/png")
    seen = await gemini_client.aio.models.generate_content(model=FLASH, contents=[image, "look"])
    assert seen.text == "gemini/gemini-2.5-flash heard and saw 1 image: look"
    made = await gemini_client.aio.models.generate_content(
        model=FLASH, contents="?", config=config(response_mime_type="application/json", response_json_schema=CITY)
    )
    assert made.text == '{"city":"the \\"city\\" of Zürich\\n→ sample"}'


async def test_counting_models_and_limits(gemini_client: genai.Client) -> None:
    counted = await gemini_client.aio.models.count_tokens(model=FLASH, contents="hello there")
    assert (counted.total_tokens or 0) > 0
    assert [model.name async for model in await gemini_client.aio.models.list()][-1] == "models/gemini-embedding-001"
    cut = await gemini_client.aio.models.generate_content(model="gemini-2.0-flash", contents="?", config=config(max_output_tokens=1))
    assert cut.candidates is not None
    assert cut.candidates[0].finish_reason == types.FinishReason.MAX_TOKENS


async def test_errors_have_the_vendors_classes(gemini_client: genai.Client, gemini_vendor: Simulator) -> None:
    ask = gemini_client.aio.models.generate_content
    with pytest.raises(errors.ClientError) as caught:
        await ask(model="gemini-0", contents="?")
    assert (caught.value.code, caught.value.status) == (404, "NOT_FOUND")
    with pytest.raises(errors.ClientError) as caught:
        await ask(model=FLASH, contents="?", config=config(temperature=3.0))
    assert (caught.value.code, caught.value.status) == (400, "INVALID_ARGUMENT")
    gemini_vendor.fault = Fault(mode="status", status=503)
    with pytest.raises(errors.ServerError) as broken:
        await ask(model=FLASH, contents="?")
    assert (broken.value.code, broken.value.status) == (503, "UNAVAILABLE")
    await gemini_vendor.heal()
    gemini_vendor.set_keys(["other"])
    with pytest.raises(errors.ClientError, match="API key not valid"):
        await ask(model=FLASH, contents="?")


async def test_an_error_inside_a_stream(gemini_client: genai.Client, gemini_vendor: Simulator) -> None:
    gemini_vendor.fault = Fault(mode="error_event", after=2, status=503)
    stream = await gemini_client.aio.models.generate_content_stream(model=FLASH, contents="one two three four")
    assert (await anext(stream)).text == "gemini/gemin"
    assert (await anext(stream)).text
    with pytest.raises(errors.APIError):
        await anext(stream)


async def test_embeddings(gemini_client: genai.Client) -> None:
    wanted = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=8)
    made = await gemini_client.aio.models.embed_content(model="gemini-embedding-001", contents=["a", "b"], config=wanted)
    assert [len(item.values or []) for item in made.embeddings or []] == [8, 8]
    with pytest.raises(errors.ClientError, match="output_dimensionality"):
        await gemini_client.aio.models.embed_content(
            model="gemini-embedding-001", contents="a", config=types.EmbedContentConfig(output_dimensionality=9999)
        )


async def test_one_embedding_and_its_tokens(gemini_vendor: Simulator, gemini_client: genai.Client) -> None:
    counted = await gemini_client.aio.models.embed_content(model="gemini-embedding-2", contents="a word")
    assert counted.usage_metadata is not None
    assert counted.usage_metadata.prompt_token_count == count("a word")
    older = await gemini_client.aio.models.embed_content(model="gemini-embedding-001", contents="a word")
    assert older.usage_metadata is None
    async with httpx.AsyncClient() as plain:
        one = await plain.post(
            f"{gemini_vendor.url}/v1beta/models/gemini-embedding-2:embedContent",
            headers={"x-goog-api-key": "sk-a"},
            json={"content": {"parts": [{"text": "a word"}]}, "outputDimensionality": 8},
        )
    answered = types.EmbedContentResponse.model_validate({"embeddings": [one.json()["embedding"]]})
    assert answered.embeddings is not None
    assert len(answered.embeddings[0].values or []) == 8
