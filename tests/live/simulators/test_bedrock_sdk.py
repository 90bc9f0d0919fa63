"""boto3 against the simulated Bedrock, and Anthropic's client for it: what they parse, what they raise."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

import anthropic
import pytest
from botocore.exceptions import ClientError, EventStreamError
from urllib3.exceptions import ReadTimeoutError

from control_plane.demo.simulators import Fault, Pace, Simulator
from control_plane.demo.simulators.tokens import count
from tests.boto import MODEL, clients, streamed, tool, user, whole

CITY = {"type": "string"}


@pytest.fixture
async def vendor() -> AsyncIterator[Simulator]:
    async with Simulator("bedrock", keys=["AKIDEXAMPLE", "bedrock-key"], pace=Pace(delay_ms=1), minimum_cached_tokens=16) as simulator:
        yield simulator


@pytest.fixture
def bedrock() -> Iterator[Callable[..., Any]]:
    with clients() as make:
        yield make


async def run(call: Callable[..., Any], *args: Any, **fields: Any) -> Any:
    return await asyncio.to_thread(call, *args, **fields)


Ask = Callable[..., Awaitable[Any]]


@pytest.fixture
def both(vendor: Simulator, bedrock: Callable[..., Any]) -> Ask:
    client = bedrock(vendor.url)

    async def ask(**fields: Any) -> Any:
        return await _both(client, **fields)

    return ask


async def _both(client: Any, **fields: Any) -> Any:
    """The answer whole and streamed, which say the same."""
    one = whole(await run(client.converse, modelId=MODEL, **fields))
    other = await run(lambda: streamed(client.converse_stream(modelId=MODEL, **fields)))
    assert (one.text, one.reasoning, one.signature, one.stop, one.usage) == (
        other.text, other.reasoning, other.signature, other.stop, other.usage
    )  # fmt: skip
    assert [(call["name"], call["input"]) for call in one.calls] == [(call["name"], call["input"]) for call in other.calls]
    return other


async def test_text_and_usage(both: Ask) -> None:
    said = await both(messages=user("hello"), system=[{"text": "be brief"}], inferenceConfig={"maxTokens": 40})
    assert (said.text, said.stop) == (f"bedrock/{MODEL} heard: hello", "end_turn")
    assert said.usage["totalTokens"] == said.usage["inputTokens"] + said.usage["outputTokens"]


async def test_counting(vendor: Simulator, bedrock: Callable[..., Any]) -> None:
    client = bedrock(vendor.url)
    asked = {"messages": user("hello"), "system": [{"text": "be brief"}]}
    counted = await run(client.count_tokens, modelId=MODEL, input={"converse": asked})
    used = await run(client.converse, modelId=MODEL, **asked)
    assert counted["inputTokens"] == used["usage"]["inputTokens"] > 0
    messages = [{"role": "user", "content": "hello"}]
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "system": "be brief", "messages": messages}
    invoked = await run(client.count_tokens, modelId=MODEL, input={"invokeModel": {"body": json.dumps(body).encode()}})
    assert invoked["inputTokens"] == counted["inputTokens"]
    with pytest.raises(ClientError):
        await run(client.count_tokens, modelId="us.anthropic.claude-opus-4-6-v1", input={"converse": asked})
    with pytest.raises(ClientError, match="support counting"):
        await run(client.count_tokens, modelId="amazon.nova-pro-v1:0", input={"converse": asked})


async def test_tools_and_their_results(both: Ask) -> None:
    config = {"tools": [tool("weather", city=CITY), tool("clock", zone=CITY)], "toolChoice": {"auto": {}}}
    said = await both(messages=user("use weather and clock and weather"), toolConfig=config)
    assert [call["name"] for call in said.calls] == ["weather", "clock", "weather"]
    assert said.stop == "tool_use"
    forced = await both(messages=user("hello"), toolConfig={**config, "toolChoice": {"tool": {"name": "clock"}}})
    assert [call["name"] for call in forced.calls] == ["clock"]
    results = [
        {"toolResult": {"toolUseId": call["toolUseId"], "content": [{"json": {"is": call["name"]}}, {"text": ""}]}} for call in said.calls
    ]
    turns = [
        *user("use weather and clock and weather"),
        {"role": "assistant", "content": [{"toolUse": call} for call in said.calls]},
        {"role": "user", "content": results},
    ]
    assert '{"is":"clock"}' in (await both(messages=turns, toolConfig=config)).text
    with pytest.raises(ClientError, match="Expected toolResult blocks at"):
        await both(messages=[*turns[:2], {"role": "user", "content": results[1:]}], toolConfig=config)
    with pytest.raises(ClientError, match="toolConfig field must be defined"):
        await both(messages=turns)


async def test_reasoning_is_signed_and_checked(both: Ask) -> None:
    extra = {"thinking": {"type": "enabled", "budget_tokens": 1024}}
    said = await both(messages=user("hello"), additionalModelRequestFields=extra)
    assert said.reasoning
    assert said.signature
    block = {"reasoningContent": {"reasoningText": {"text": said.reasoning, "signature": said.signature}}}
    turns = [*user("hello"), {"role": "assistant", "content": [block, {"text": said.text}]}, *user("again")]
    assert (await both(messages=turns)).stop == "end_turn"
    block["reasoningContent"]["reasoningText"]["text"] += "!"
    with pytest.raises(ClientError, match="Invalid `signature`"):
        await both(messages=turns)


async def test_images_documents_a_schema_and_the_cache(vendor: Simulator, bedrock: Callable[..., Any], both: Ask) -> None:
    image = {"image": {"format": "png", "source": {"bytes": b"png"}}}
    document = {"document": {"format": "pdf", "name": "a report", "source": {"bytes": b"%PDF"}}}
    assert "saw 1 image" in (await both(messages=user("look", image, document))).text
    schema = '{"type":"object","properties":{"n":{"type":"integer"}},"additionalProperties":false}'
    shape = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "n"}}}}
    assert (await both(messages=user("count"), outputConfig=shape)).text == '{"n":7}'
    messages = user("long " * 50, {"cachePoint": {"type": "default"}})
    client = bedrock(vendor.url)
    first = await run(client.converse, modelId=MODEL, messages=messages)
    second = await run(client.converse, modelId=MODEL, messages=messages)
    assert first["usage"]["cacheWriteInputTokens"] == second["usage"]["cacheReadInputTokens"] > 0
    assert second["usage"]["totalTokens"] == first["usage"]["totalTokens"]


@pytest.mark.parametrize(
    ("status", "name", "inside"),
    [
        (400, "ValidationException", "validationException"),
        (403, "AccessDeniedException", "internalServerException"),
        (424, "ModelErrorException", "modelStreamErrorException"),
        (429, "ThrottlingException", "throttlingException"),
        (500, "InternalServerException", "internalServerException"),
        (503, "ServiceUnavailableException", "serviceUnavailableException"),
    ],
)
async def test_errors_before_a_stream_and_inside_one(
    vendor: Simulator, bedrock: Callable[..., Any], status: int, name: str, inside: str
) -> None:
    client = bedrock(vendor.url)
    vendor.fault = Fault(mode="status", status=status)
    with pytest.raises(ClientError) as caught:
        await run(client.converse, modelId=MODEL, messages=user("hello"))
    assert caught.value.response["Error"]["Code"] == name
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
    vendor.fault = Fault(mode="error_event", status=status, after=2)
    with pytest.raises(EventStreamError) as broken:
        await run(lambda: streamed(client.converse_stream(modelId=MODEL, messages=user("hello"))))
    assert broken.value.response["Error"]["Code"] == inside


async def test_what_it_refuses(vendor: Simulator, bedrock: Callable[..., Any]) -> None:
    with pytest.raises(ClientError, match="UnrecognizedClientException"):
        await run(bedrock(vendor.url, "AKIDOTHER").converse, modelId=MODEL, messages=user("hello"))
    client = bedrock(vendor.url)
    with pytest.raises(ClientError, match="model identifier is invalid"):
        await run(client.converse, modelId="nobody.knows-v1:0", messages=user("hello"))
    with pytest.raises(ClientError, match="must alternate"):
        await run(client.converse, modelId=MODEL, messages=user("a") + user("b"))
    with pytest.raises(ClientError, match="is blank"):
        await run(client.converse, modelId=MODEL, messages=user(" "))


async def test_a_stall_and_a_cut(vendor: Simulator, bedrock: Callable[..., Any]) -> None:
    vendor.fault = Fault(mode="stall", after=1, count=1)
    slow = bedrock(vendor.url, timeout=0.5)
    with pytest.raises(ReadTimeoutError):
        await run(lambda: streamed(slow.converse_stream(modelId=MODEL, messages=user("hello"))))
    vendor.fault = Fault(mode="cut", after=2, how="clean")
    said = await run(lambda: streamed(bedrock(vendor.url).converse_stream(modelId=MODEL, messages=user("hello"))))
    assert said.stop is None  # boto3 does not notice, so somebody else must


async def test_anthropics_client_for_bedrock(vendor: Simulator) -> None:
    fields: Any = {"model": MODEL, "max_tokens": 60, "messages": [{"role": "user", "content": "hello"}]}
    keys = {"aws_access_key": "AKIDEXAMPLE", "aws_secret_key": "made-up", "aws_region": "eu-central-1"}
    async with anthropic.AsyncAnthropicBedrock(**keys, base_url=vendor.url, max_retries=0) as client:  # type: ignore[arg-type]
        message = await client.messages.create(**fields)
        assert (message.content[0].text, message.stop_reason) == (f"bedrock/{MODEL} heard: hello", "end_turn")
        async with client.messages.stream(**fields) as stream:
            assert (await stream.get_final_message()).content[0].text == message.content[0].text  # type: ignore[union-attr]
        with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
            await client.messages.create(**{**fields, "max_tokens": -1})
        vendor.fault = Fault(mode="error_event", status=503, after=1)
        with pytest.raises(anthropic.APIError):
            async with client.messages.stream(**fields) as stream:
                await stream.get_final_message()
    paths = {recorded.path.rpartition("/")[2] for recorded in vendor.requests}
    assert paths == {"invoke", "invoke-with-response-stream"}


@pytest.mark.parametrize(("version", "size"), [("v1", 1536), ("v2:0", 1024)])
async def test_titans_embeddings(vendor: Simulator, bedrock: Callable[..., Any], version: str, size: int) -> None:
    client, model = bedrock(vendor.url), f"amazon.titan-embed-text-{version}"
    answer = await run(client.invoke_model, modelId=model, body=json.dumps({"inputText": "two words"}))
    read = json.loads(answer["body"].read())
    assert (len(read["embedding"]), read["inputTextTokenCount"]) == (size, count("two words"))
    assert ("embeddingsByType" in read) is (version == "v2:0")
    for bad in ({"inputText": ["a", "b"]}, {"inputText": "a", "odd": 1}, {"inputText": "a", "dimensions": 100}):
        with pytest.raises(ClientError, match="Malformed input request"):
            await run(client.invoke_model, modelId=model, body=json.dumps(bad))


async def test_coheres_embeddings(vendor: Simulator, bedrock: Callable[..., Any]) -> None:
    client = bedrock(vendor.url)

    async def ask(model: str, **body: Any) -> Any:
        answer = await run(client.invoke_model, modelId=model, body=json.dumps({"texts": ["a", "b"], **body}))
        assert answer["ResponseMetadata"]["HTTPHeaders"]["x-amzn-bedrock-input-token-count"] == str(2 * count("a"))
        return json.loads(answer["body"].read())

    plain = await ask("cohere.embed-multilingual-v3", input_type="search_query")
    assert (plain["response_type"], len(plain["embeddings"]), len(plain["embeddings"][0])) == ("embeddings_floats", 2, 1024)
    typed = await ask("cohere.embed-v4:0", input_type="search_query", embedding_types=["float"], output_dimension=256)
    assert (typed["response_type"], len(typed["embeddings"]["float"][0])) == ("embeddings_by_type", 256)
    with pytest.raises(ClientError, match="input_type must be"):
        await ask("cohere.embed-v4:0")
    with pytest.raises(ClientError, match="extraneous key"):
        await ask("cohere.embed-multilingual-v3", input_type="search_query", output_dimension=256)
