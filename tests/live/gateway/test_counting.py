"""Token counting through the real gateway with the official SDKs, each on another vendor's provider."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types

from control_plane.signals.lines import RequestLine, decode
from tests.live.gateway.rig import MODELS, Rig, RigFactory, route

VENDORS = {
    "openai": "/v1/responses/input_tokens",
    "anthropic": "/v1/messages/count_tokens",
    "gemini": f"/v1beta/models/{MODELS['gemini']}:countTokens",
}
ROUTES = (
    "".join(route(f"via-{name}", name) for name in VENDORS)
    + route("anthropic-first", "anthropic", "gemini", first_token="1s")
    + route("plain", "local")
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


Count = Callable[[str, str], int]


@pytest.fixture
def counts(gpt: openai.OpenAI, claude: anthropic.Anthropic, gemini: genai.Client) -> dict[str, Count]:
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
    }


@pytest.mark.parametrize("vendor", list(VENDORS))
@pytest.mark.parametrize("client", list(VENDORS))
def test_every_client_counts_at_every_vendor(rig: Rig, counts: dict[str, Count], client: str, vendor: str) -> None:
    short, long = counts[client](f"via-{vendor}", TEXT), counts[client](f"via-{vendor}", TEXT * 5)
    seen = list(rig.vendors[vendor].requests)
    assert [request.path for request in seen[-2:]] == [VENDORS[vendor]] * 2
    assert 0 < short < long
    assert short == counts[vendor](f"via-{vendor}", TEXT)  # what the vendor says to its own clients


def test_instructions_and_tools_are_counted(claude: anthropic.Anthropic) -> None:
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = {"name": "weather", "description": "of a city", "input_schema": schema}
    more: dict[str, Any] = {"system": "answer in one word", "tools": [tool]}
    for vendor in VENDORS:
        asked: dict[str, Any] = {"model": f"via-{vendor}", "messages": [{"role": "user", "content": TEXT}]}
        assert claude.messages.count_tokens(**asked, **more).input_tokens > claude.messages.count_tokens(**asked).input_tokens


def test_the_next_provider_counts_when_the_first_fails(rig: Rig, counts: dict[str, Count]) -> None:
    rig.break_vendor("anthropic", mode="status", status=503)
    for client in VENDORS:
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
