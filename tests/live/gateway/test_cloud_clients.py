"""Anthropic's SDKs for Vertex AI and Bedrock, pointed at the gateway, on providers of every kind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import pytest
from google.oauth2.credentials import Credentials

from tests.live.gateway.rig import MODELS, Rig, RigFactory, route

PROVIDERS = ("anthropic", "openai", "bedrock-claude", "vertex-claude")
ROUTES = "".join(route(f"via-{name}", name) for name in PROVIDERS) + route("both", "anthropic", "openai", first_token="1s")
HELLO: list[Any] = [{"role": "user", "content": "hello"}]
CLIENTS = pytest.mark.parametrize("client", ["vertex", "bedrock"], indirect=True)
TOOL: Any = {"name": "look", "input_schema": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}}

Client = anthropic.AnthropicVertex | anthropic.AnthropicBedrock


@pytest.fixture(scope="module")
def started(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


@pytest.fixture
def rig(started: Rig) -> Rig:
    started.heal()
    return started


@pytest.fixture
def client(rig: Rig, request: pytest.FixtureRequest) -> Iterator[Client]:
    made: Client
    if request.param == "vertex":
        signed_in = Credentials(token="ya29.client")  # type: ignore[no-untyped-call]
        made = anthropic.AnthropicVertex(
            base_url=f"{rig.url}/v1", project_id="p", region="eu", access_token="ya29.client", credentials=signed_in, max_retries=0
        )
    else:
        made = anthropic.AnthropicBedrock(
            base_url=rig.url, aws_region="eu-central-1", aws_access_key="AKIAEXAMPLE", aws_secret_key="secret", max_retries=0
        )
    with made:
        yield made


@CLIENTS
@pytest.mark.parametrize("provider", PROVIDERS)
def test_whole_and_streamed(rig: Rig, client: Client, provider: str) -> None:
    vendor = provider.removesuffix("-claude")
    done = client.messages.create(model=f"via-{provider}", max_tokens=900, messages=HELLO)
    assert done.content[-1].type == "text"
    assert done.content[-1].text == f"{vendor}/{MODELS[provider]} heard: hello"
    assert (done.stop_reason, done.usage.output_tokens > 0) == ("end_turn", True)
    with client.messages.stream(model=f"via-{provider}", max_tokens=900, messages=HELLO) as stream:
        final = stream.get_final_message()
    assert final.content[-1].type == "text"
    assert final.content[-1].text == done.content[-1].text
    assert (final.stop_reason, final.usage.output_tokens > 0) == ("end_turn", True)
    body = rig.vendors[vendor].requests[-1].body
    assert body is not None
    assert (b"anthropic_version" in body) == provider.endswith("-claude")


@CLIENTS
def test_tools_come_through(client: Client) -> None:
    with client.messages.stream(model="via-openai", max_tokens=900, messages=HELLO, tools=[TOOL], tool_choice={"type": "any"}) as stream:
        final = stream.get_final_message()
    assert final.stop_reason == "tool_use"
    assert final.content[-1].type == "tool_use"
    assert final.content[-1].name == "look"


@CLIENTS
def test_failover(rig: Rig, client: Client) -> None:
    rig.break_vendor("anthropic", mode="status", status=529)
    with client.messages.stream(model="both", max_tokens=900, messages=HELLO) as stream:
        assert stream.get_final_text() == f"openai/{MODELS['openai']} heard: hello"


@CLIENTS
def test_a_stream_that_breaks_ends_as_an_error(rig: Rig, client: Client) -> None:
    rig.break_vendor("anthropic", mode="error_event", after=2)
    with pytest.raises(anthropic.APIError), client.messages.stream(model="via-anthropic", max_tokens=900, messages=HELLO) as stream:
        stream.get_final_message()


@CLIENTS
def test_errors(rig: Rig, client: Client) -> None:
    with pytest.raises(anthropic.NotFoundError, match="does not exist"):
        client.messages.create(model="nobody", max_tokens=9, messages=HELLO)
    with pytest.raises(anthropic.BadRequestError, match="max_tokens"):
        client.messages.create(model="via-openai", max_tokens=9, messages=HELLO, extra_body={"max_tokens": "x"})
    rig.break_vendor("openai", mode="status", status=429)
    with pytest.raises(anthropic.RateLimitError):
        client.messages.create(model="via-openai", max_tokens=9, messages=HELLO)
