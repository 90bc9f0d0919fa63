"""Token counting through the real gateway with the official SDKs, each on another vendor's provider."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

import anthropic
import openai
import pytest
from botocore.exceptions import ClientError
from google import genai
from google.genai import types

from control_plane.signals.lines import RequestLine, decode
from tests.boto import clients, user
from tests.live.gateway.rig import MODELS, Rig, RigFactory, route

VENDORS = {
    "openai": "/v1/responses/input_tokens",
    "anthropic": "/v1/messages/count_tokens",
    "gemini": f"/v1beta/models/{MODELS['gemini']}:countTokens",
    "bedrock": f"/model/{quote(MODELS['bedrock'], safe='')}/count-tokens",
    "bedrock-claude": f"/model/{quote(MODELS['bedrock'], safe='')}/count-tokens",
    "vertex-claude": "/v1/projects/p-1/locations/eu/publishers/anthropic/models/count-tokens:rawPredict",
}
CLIENTS = ("openai", "anthropic", "gemini", "bedrock")
SIMULATED = {"bedrock-claude": "bedrock", "vertex-claude": "vertex"}
ROUTES = (
    "".join(route(f"via-{name}", name) for name in VENDORS)
    + route("anthropic-first", "anthropic", "gemini", first_token="1s")
    + route("plain", "local")
    + route("profile", "bedrock").replace(MODELS["bedrock"], "us.anthropic.claude-opus-4-6-v1")
    + route("clouds", "vertex-claude", "bedrock-claude", "bedrock", first_token="1s")
    + route("from-local", "local", "gemini")
)
TEXT = "how many tokens are these?"


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def gpt(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


@pytest.fixture
def claude(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as client:
        yield client


@pytest.fixture
def gemini(rig: Rig) -> genai.Client:
    return genai.Client(api_key="client-key", http_options=types.HttpOptions(base_url=rig.url))


@pytest.fixture(scope="module")
def boto(rig: Rig) -> Iterator[Any]:
    with clients() as make:
        yield make(rig.url)


Count = Callable[[str, str], int]


@pytest.fixture
def counts(gpt: openai.OpenAI, claude: anthropic.Anthropic, gemini: genai.Client, boto: Any) -> dict[str, Count]:
    def generate(model: str, text: str) -> int:
        total = gemini.models.count_tokens(model=model, contents=text).total_tokens
        assert total is not None
        return total

    def messages(model: str, text: str) -> int:
        return claude.messages.count_tokens(model=model, messages=[{"role": "user", "content": text}]).input_tokens

    return {
        "openai": lambda model, text: gpt.responses.input_tokens.count(model=model, input=text).input_tokens,
        "anthropic": messages,
        "gemini": generate,
        "bedrock": lambda model, text: int(boto.count_tokens(modelId=model, input={"converse": {"messages": user(text)}})["inputTokens"]),
    }


@pytest.mark.parametrize("vendor", list(VENDORS))
@pytest.mark.parametrize("client", CLIENTS)
def test_every_client_counts_at_every_vendor(rig: Rig, counts: dict[str, Count], client: str, vendor: str) -> None:
    short, long = counts[client](f"via-{vendor}", TEXT), counts[client](f"via-{vendor}", TEXT * 5)
    seen = list(rig.vendors[SIMULATED.get(vendor, vendor)].requests)
    assert [request.path for request in seen[-2:]] == [VENDORS[vendor]] * 2
    assert 0 < short < long
    own = {"bedrock-claude": "bedrock", "vertex-claude": "anthropic"}.get(vendor, vendor)
    assert short == counts[own](f"via-{vendor}", TEXT)  # what the vendor says to its own clients


def test_instructions_and_tools_are_counted(claude: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"name": "weather", "description": "of a city", "input_schema": schema}
    more: dict[str, Any] = {"system": "answer in one word", "tools": [tool]}
    for vendor in VENDORS:  # of Claude as well
        asked: dict[str, Any] = {"model": f"via-{vendor}", "messages": [{"role": "user", "content": TEXT}]}
        assert claude.messages.count_tokens(**asked, **more).input_tokens > claude.messages.count_tokens(**asked).input_tokens


def test_what_boto3_would_invoke_is_counted_too(rig: Rig, boto: Any) -> None:
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 5, "messages": [{"role": "user", "content": TEXT}]}
    for name in VENDORS:
        counted = boto.count_tokens(modelId=f"via-{name}", input={"invokeModel": {"body": json.dumps(body).encode()}})
        assert counted["inputTokens"] > 0
    with pytest.raises(ClientError, match=r"input\.invokeModel\.body"):
        boto.count_tokens(modelId="via-openai", input={"invokeModel": {"body": b"{}"}})


def test_an_inference_profile_is_counted_as_its_model(rig: Rig, counts: dict[str, Count]) -> None:
    for client in CLIENTS:
        assert counts[client]("profile", TEXT) > 0
        assert rig.vendors["bedrock"].requests[-1].path == "/model/anthropic.claude-opus-4-6-v1/count-tokens"


def test_clouds_stand_in_for_each_other(rig: Rig, counts: dict[str, Count]) -> None:
    rig.break_vendor("vertex", mode="status", status=503)
    for client in CLIENTS:
        assert counts[client]("clouds", TEXT) > 0
        assert "invokeModel" in rig.vendors["bedrock"].requests[-1].json()["input"]


def test_the_next_provider_counts_when_the_first_fails(rig: Rig, counts: dict[str, Count]) -> None:
    rig.break_vendor("anthropic", mode="status", status=503)
    for client in CLIENTS:
        assert counts[client]("anthropic-first", TEXT) == counts["gemini"]("via-gemini", TEXT)


def test_providers_without_counting_are_left_out(
    rig: Rig, counts: dict[str, Count], gpt: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    assert counts["anthropic"]("from-local", TEXT) == counts["gemini"]("via-gemini", TEXT)
    with pytest.raises(openai.NotFoundError, match="'plain' does not serve this operation"):
        gpt.responses.input_tokens.count(model="plain", input="x")
    with pytest.raises(anthropic.NotFoundError, match="'plain' does not serve this operation"):
        claude.messages.count_tokens(model="plain", messages=[{"role": "user", "content": "x"}])
    assert not rig.vendors["local"].requests


def test_what_cannot_be_counted_elsewhere_is_a_400_in_the_clients_words(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        gpt.responses.input_tokens.count(model="via-anthropic", input="x", previous_response_id="resp_1")
    assert (caught.value.param, caught.value.code) == ("previous_response_id", "unsupported_feature")
    with pytest.raises(anthropic.BadRequestError, match="messages"):
        claude.messages.count_tokens(model="via-openai", messages=[])
    with pytest.raises(anthropic.BadRequestError, match=r"tools\.0"):
        claude.messages.count_tokens(
            model="via-openai",
            messages=[{"role": "user", "content": "x"}],
            tools=[{"type": "web_search_20250305", "name": "web_search"}],
        )


def test_a_count_is_no_usage(rig: Rig, claude: anthropic.Anthropic) -> None:
    answer = claude.messages.with_raw_response.count_tokens(model="via-openai", messages=[{"role": "user", "content": TEXT}])
    identity = answer.headers["x-headgate-request-id"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for raw in rig.gateway.places.journal.read_bytes().splitlines():
            line = decode(raw)
            if isinstance(line, RequestLine) and line.id == identity:
                assert (line.status, line.operation, line.dialect) == (200, "count_tokens", "anthropic-messages")
                usage = line.meter().usage
                assert usage is None or (usage.input, usage.output) == (None, None)
                return
        time.sleep(0.05)
    raise AssertionError(f"no line of request {identity}")
