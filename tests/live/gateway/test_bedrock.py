"""boto3 through the gateway on providers of every dialect, every SDK on a Bedrock provider, and failover between them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from botocore.exceptions import ClientError, EventStreamError

from control_plane.demo.simulators.record import Recorded
from tests.boto import Said, clients, streamed, tool, user, whole
from tests.live.gateway.rig import ANSWERS, BEDROCK_KEYS, KEYS, MODELS, Rig, RigFactory, route
from tests.live.gateway.test_sdks import anthropic_tools, openai_tools

ROUTES = (
    route("via-openai", "openai")
    + route("via-answers", "answers")
    + route("via-anthropic", "anthropic")
    + route("via-gemini", "gemini")
    + route("via-bedrock", "bedrock")
    + route("bedrock-first", "bedrock", "openai", first_token="1s", hold=True)
    + route("openai-first", "openai", "bedrock", first_token="1s", hold=True)
    + route("bedrock-anthropic", "bedrock", "anthropic", first_token="1s", hold=True)
)
PROVIDERS = ("openai", "answers", "anthropic", "gemini", "bedrock")
EVERY = pytest.mark.parametrize("provider", PROVIDERS)
SAID = {name: f"{'openai' if name == 'answers' else name}/{MODELS[name]}" for name in PROVIDERS}
CITY = {"type": "string"}
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=ANSWERS)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture(scope="module")
def boto(rig: Rig) -> Iterator[Any]:
    with clients() as make:
        yield make(rig.url)


@pytest.fixture
def ask(boto: Any) -> Callable[..., Said]:
    """The answer of a model, whole and streamed, which say the same."""

    def both(model: str, **fields: Any) -> Said:
        one, other = whole(boto.converse(modelId=model, **fields)), streamed(boto.converse_stream(modelId=model, **fields))
        assert (one.text, one.reasoning, one.stop) == (other.text, other.reasoning, other.stop)
        assert bool(one.signature) == bool(other.signature)
        assert [(c["name"], c["input"]) for c in one.calls] == [(c["name"], c["input"]) for c in other.calls]
        assert one.usage == other.usage
        return other

    return both


def last(rig: Rig, vendor: str) -> Recorded:
    return rig.vendors["openai" if vendor == "answers" else vendor].requests[-1]


# ------------------------------------------------------------------------------------------------------------ boto3


@EVERY
def test_text_and_usage(rig: Rig, ask: Callable[..., Said], provider: str) -> None:
    said = ask(f"via-{provider}", messages=user("hello"), system=[{"text": "be brief"}], inferenceConfig={"maxTokens": 900})
    assert said.text == f"{SAID[provider]} heard: hello"
    assert said.stop == "end_turn"
    assert said.usage["outputTokens"] > 0
    assert said.usage["totalTokens"] == said.usage["inputTokens"] + said.usage["outputTokens"] > said.usage["outputTokens"]


@EVERY
def test_tools(rig: Rig, ask: Callable[..., Said], provider: str) -> None:
    config = {"tools": [tool("get_weather", city=CITY), tool("clock", zone=CITY)]}
    question = user("use get_weather and clock and get_weather")
    said = ask(f"via-{provider}", messages=question, toolConfig=config)
    assert [call["name"] for call in said.calls] == ["get_weather", "clock", "get_weather"]
    assert said.calls[0]["input"] == {"city": 'the "city" of Zürich\n→ sample'}
    assert said.stop == "tool_use"
    assert len({call["toolUseId"] for call in said.calls}) == 3
    results = [{"toolResult": {"toolUseId": call["toolUseId"], "content": [{"json": {"degrees": n}}]}} for n, call in enumerate(said.calls)]
    turns = [*question, {"role": "assistant", "content": [{"toolUse": c} for c in said.calls]}, {"role": "user", "content": results}]
    assert "degrees" in ask(f"via-{provider}", messages=turns, toolConfig=config).text
    for choice, wanted in (({"any": {}}, "get_weather"), ({"tool": {"name": "clock"}}, "clock")):
        forced = ask(f"via-{provider}", messages=user("hello"), toolConfig={**config, "toolChoice": choice})
        assert [call["name"] for call in forced.calls] == [wanted]


@EVERY
def test_images_documents_and_a_schema(rig: Rig, ask: Callable[..., Said], provider: str) -> None:
    image = {"image": {"format": "png", "source": {"bytes": PNG}}}
    notes = {"document": {"format": "txt", "name": "notes", "source": {"bytes": b"the notes"}}}
    assert "saw 1 image" in ask(f"via-{provider}", messages=user("look", image)).text
    if provider in ("anthropic", "gemini", "bedrock"):
        assert ask(f"via-{provider}", messages=user("read", notes)).stop == "end_turn"
    schema = json.dumps({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": False})
    shape = {"textFormat": {"type": "json_schema", "structure": {"jsonSchema": {"schema": schema, "name": "n"}}}}
    assert ask(f"via-{provider}", messages=user("count"), outputConfig=shape).text == '{"n":7}'


@EVERY
def test_reasoning_and_its_replay(rig: Rig, ask: Callable[..., Said], boto: Any, provider: str) -> None:
    adaptive = provider in ("anthropic", "answers")
    extra = {"thinking": {"type": "adaptive"} if adaptive else {"type": "enabled", "budget_tokens": 1024}}
    said = ask(f"via-{provider}", messages=user("think [[sim reasoning=6]]"), additionalModelRequestFields=extra)
    if provider != "openai":  # its chat completions show none
        assert said.reasoning
    blocks: list[Any] = [{"text": said.text}]
    if said.reasoning:
        told = {"text": said.reasoning, **({"signature": said.signature} if said.signature else {})}
        blocks.insert(0, {"reasoningContent": {"reasoningText": told}})
    turns = [*user("think"), {"role": "assistant", "content": blocks}, *user("go on")]
    assert ask(f"via-{provider}", messages=turns, additionalModelRequestFields=extra).stop == "end_turn"


ERRORS = {
    400: ("ValidationException", "validationException"),
    429: ("ThrottlingException", "throttlingException"),
    500: ("InternalServerException", "internalServerException"),
    503: ("ServiceUnavailableException", "serviceUnavailableException"),
}


@EVERY
@pytest.mark.parametrize("status", ERRORS)
def test_errors_before_a_stream(rig: Rig, boto: Any, provider: str, status: int) -> None:
    rig.break_vendor("openai" if provider == "answers" else provider, mode="status", status=status)
    for call in (boto.converse, boto.converse_stream):
        with pytest.raises(ClientError) as caught:
            call(modelId=f"via-{provider}", messages=user("hello"))
        assert caught.value.response["Error"]["Code"] == ERRORS[status][0]
        assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status
        assert caught.value.response["Error"]["Message"]


@EVERY
def test_errors_inside_a_stream(rig: Rig, boto: Any, provider: str) -> None:
    rig.break_vendor("openai" if provider == "answers" else provider, mode="error_event", status=503, after=3)
    with pytest.raises(EventStreamError) as broken:
        streamed(boto.converse_stream(modelId=f"via-{provider}", messages=user("hello")))
    assert broken.value.response["Error"]["Code"].endswith("Exception")


@EVERY
@pytest.mark.parametrize("fault", [{"mode": "cut", "after": 3}, {"mode": "cut", "after": 3, "how": "fin"}])
def test_a_cut_is_never_a_clean_end(rig: Rig, boto: Any, provider: str, fault: dict[str, Any]) -> None:
    rig.break_vendor("openai" if provider == "answers" else provider, **fault)
    try:
        said = streamed(boto.converse_stream(modelId=f"via-{provider}", messages=user("hello")))
    except Exception:  # of boto3, urllib3 or the stream: any but a whole answer
        return
    assert said.stop is None


def test_dead_keys_and_what_the_vendor_says_of_them(rig: Rig, boto: Any) -> None:
    rig.break_vendor("bedrock", mode="status", status=403, message="Credential=secret is not valid")
    with pytest.raises(ClientError) as caught:
        boto.converse(modelId="via-bedrock", messages=user("hello"))
    assert caught.value.response["Error"]["Code"] == "ServiceUnavailableException"
    assert "secret" not in str(caught.value)


def test_signatures_and_keys_of_clients_reach_no_provider(rig: Rig, boto: Any) -> None:
    for provider in PROVIDERS:
        boto.converse(modelId=f"via-{provider}", messages=user("hello"))
        headers = last(rig, provider).headers
        assert not [name for name in headers if name.startswith(("x-amz-", "amz-sdk"))], headers
        assert "x-headgate-call" not in headers
    assert last(rig, "bedrock").key == "key-0"  # the gateway's own
    seen = str([vars_of for provider in PROVIDERS for vars_of in last(rig, provider).headers.values()])
    assert not any(secret in seen for secret in ("AKIDEXAMPLE", *BEDROCK_KEYS.values(), *KEYS.values()))


def test_what_the_gateway_answers_itself(rig: Rig, boto: Any) -> None:
    with pytest.raises(ClientError) as unknown:
        boto.converse(modelId="via-bedrok", messages=user("hello"))
    assert unknown.value.response["Error"]["Code"] == "ResourceNotFoundException"
    assert "did you mean 'via-bedrock'" in str(unknown.value)
    with pytest.raises(ClientError) as unfit:
        boto.converse(modelId="via-openai", messages=user("hello"), guardrailConfig={"guardrailIdentifier": "g", "guardrailVersion": "1"})
    assert unfit.value.response["Error"]["Code"] == "ValidationException"
    assert "guardrailConfig" in str(unfit.value)


# -------------------------------------------------------------------------------------------------------- other SDKs


def test_openai_on_bedrock(rig: Rig) -> None:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        done = client.chat.completions.create(model="via-bedrock", messages=HELLO)
        assert done.choices[0].message.content == f"{SAID['bedrock']} heard: hello"
        chunks = list(
            client.chat.completions.create(model="via-bedrock", messages=HELLO, stream=True, stream_options={"include_usage": True})
        )
        assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices) == done.choices[0].message.content
        assert chunks[-1].usage == done.usage
        messages: list[Any] = [{"role": "user", "content": "call get_weather and get_weather"}]
        called = client.chat.completions.create(model="via-bedrock", messages=messages, tools=openai_tools())
        calls = called.choices[0].message.tool_calls or []
        assert [call.type == "function" and call.function.name for call in calls] == ["get_weather"] * 2
        messages.append(called.choices[0].message.model_dump(exclude_none=True))
        messages += [{"role": "tool", "tool_call_id": call.id, "content": "sunny"} for call in calls]
        again = client.chat.completions.create(model="via-bedrock", messages=messages, tools=openai_tools())
        assert "sunny" in (again.choices[0].message.content or "")
        answer = client.responses.create(model="via-bedrock", input="hello", reasoning={"effort": "low", "summary": "auto"})
        assert answer.output_text == f"{SAID['bedrock']} heard: hello"
        assert answer.output[0].type == "reasoning"


def test_anthropic_on_bedrock(rig: Rig) -> None:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as client:
        fields: Any = {
            "model": "via-bedrock",
            "max_tokens": 3000,
            "messages": HELLO,
            "thinking": {"type": "enabled", "budget_tokens": 1024},
        }
        whole_one = client.messages.create(**fields)
        assert [block.type for block in whole_one.content] == ["thinking", "text"]
        with client.messages.stream(**fields) as stream:
            final = stream.get_final_message()
        assert [block.type for block in final.content] == ["thinking", "text"]
        turns = [*HELLO, {"role": "assistant", "content": [b.model_dump(exclude_none=True) for b in whole_one.content]}, *HELLO]
        again = client.messages.create(**{**fields, "messages": turns})
        assert again.stop_reason == "end_turn"
        assert "reasoningContent" in last(rig, "bedrock").json()["messages"][1]["content"][0]
        called = client.messages.create(
            model="via-bedrock", max_tokens=300, messages=[{"role": "user", "content": "get_weather"}], tools=anthropic_tools()
        )
        assert called.stop_reason == "tool_use"


# ---------------------------------------------------------------------------------------------------------- failover

FAULTS: dict[str, dict[str, Any]] = {
    "an error": {"mode": "status", "status": 503},
    "a refused connection": {"mode": "refuse"},
    "an error as the first event": {"mode": "error_event", "status": 503},
    "garbage": {"mode": "garbage"},
    "an empty answer": {"mode": "empty"},
    "no first event": {"mode": "late_first_event", "delay_ms": 5000},
    "a dead key": {"mode": "status", "status": 403},
}


@pytest.mark.parametrize("model", ["bedrock-first", "openai-first", "bedrock-anthropic"])
@pytest.mark.parametrize("fault", FAULTS)
def test_failover_both_ways(rig: Rig, boto: Any, model: str, fault: str) -> None:
    first, second = {
        "bedrock-first": ("bedrock", "openai"),
        "openai-first": ("openai", "bedrock"),
        "bedrock-anthropic": ("bedrock", "anthropic"),
    }[model]
    rig.break_vendor(first, **FAULTS[fault])
    said = streamed(boto.converse_stream(modelId=model, messages=user("hello")))
    assert (said.text, said.stop) == (f"{SAID[second]} heard: hello", "end_turn")
    if fault == "an error as the first event" and first == "bedrock":
        return  # whole answers have no events, and this vendor no error documents in a 200
    assert whole(boto.converse(modelId=model, messages=user("hello"))).text == f"{SAID[second]} heard: hello"
