"""Models that refuse parameters which others take: the shipped presets know them, so that requests reach them without.

The simulated vendors refuse in the vendors' own words; the first test makes sure that they do.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.live.gateway.rig import ANSWERS, KEYS, Rig, RigFactory, route

PLAN = """
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
{policy}  plan:
  - {{targets: [{{provider: {provider}, model: {model}}}]}}
"""
OPUS = "us.anthropic.claude-opus-4-7"
REJECT = "  unsupportedParams: reject\n"
ROUTES = (
    route("claude", "anthropic")
    + route("gpt", "openai")
    + route("answers", "answers")
    + PLAN.format(name="opus", provider="bedrock-claude", model=OPUS, policy="")
    + PLAN.format(name="converse", provider="bedrock", model=OPUS, policy="")
    + PLAN.format(name="strict", provider="anthropic", model="claude-sonnet-5", policy=REJECT)
    + PLAN.format(name="next", provider="anthropic", model="claude-sonnet-5", policy=REJECT)
    + "  - {targets: [{provider: local, model: llama-3.3-70b}]}\n"
    + PLAN.format(name="own", provider="acme", model="llama-3.3-70b", policy="")
    + PLAN.format(name="older", provider="anthropic", model="claude-haiku-4-5", policy="")
)
OWN = """
---
apiVersion: headgate.dev/v1alpha1
kind: Preset
metadata: {{name: acme}}
spec:
  title: Acme
  dialects: {{openai-chat: {{path: /chat/completions}}}}
  auth: {{header: authorization, prefix: "Bearer "}}
  options: {{max_tokens_field: max_tokens}}
  lacks: [{{features: [temperature], models: ["llama-*"]}}]
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: acme}}
spec: {{preset: acme, baseUrl: "{local}/v1", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
"""
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=ANSWERS + OWN)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def chat(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


@pytest.fixture
def messages(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0) as client:
        yield client


def asked(rig: Rig, vendor: str) -> dict[str, Any]:
    """The body of the last request that reached that vendor."""
    document = json.loads(rig.vendors[vendor].requests[-1].body or b"")
    assert isinstance(document, dict)
    return document


def test_the_vendors_refuse_them(rig: Rig) -> None:
    with (
        openai.OpenAI(base_url=f"{rig.vendors['openai'].url}/v1", api_key=KEYS["SIM_OPENAI_KEY"], max_retries=0) as client,
        pytest.raises(openai.BadRequestError, match="'temperature' does not support"),
    ):
        client.chat.completions.create(model="gpt-5", messages=HELLO, temperature=0.5)
    headers, body = {"anthropic-version": "2023-06-01"}, {"temperature": 0.5}
    with (
        anthropic.Anthropic(base_url=rig.vendors["anthropic"].url, api_key=KEYS["SIM_ANTHROPIC_KEY"], max_retries=0) as client,
        pytest.raises(anthropic.BadRequestError, match="`temperature` is deprecated for this model"),
    ):
        client.messages.create(model="claude-sonnet-5", max_tokens=9, messages=HELLO, extra_body=body, extra_headers=headers)


@pytest.mark.parametrize("model", ["claude", "opus", "converse"])
@pytest.mark.parametrize("stream", [False, True])
def test_claude_gets_no_sampling_parameters_and_they_are_named(chat: openai.OpenAI, model: str, stream: bool) -> None:
    raw = chat.chat.completions.with_raw_response.create(model=model, messages=HELLO, temperature=0.2, top_p=0.9, stream=stream)
    assert set(raw.headers["x-headgate-dropped"].split(",")) == {"temperature", "top_p"}
    answer: Any = raw.parse()
    if stream:
        text = "".join(chunk.choices[0].delta.content or "" for chunk in answer if chunk.choices)
    else:
        text = answer.choices[0].message.content or ""
    assert text.endswith("heard: hello")


@pytest.mark.parametrize("model", ["gpt", "answers"])
@pytest.mark.parametrize("stream", [False, True])
def test_reasoning_models_of_openai_get_none_either(messages: anthropic.Anthropic, model: str, stream: bool) -> None:
    sampled = {"temperature": 0.2, "top_p": 0.9, "top_k": 4}
    raw = messages.messages.with_raw_response.create(model=model, max_tokens=900, messages=HELLO, stream=stream, extra_body=sampled)
    assert set(raw.headers["x-headgate-dropped"].split(",")) == set(sampled)
    answer: Any = raw.parse()
    if stream:
        kinds = [event.type for event in answer]
        assert kinds[-1] == "message_stop"
    else:
        assert answer.content[-1].text.endswith("heard: hello")


def test_claude_on_a_cloud_keeps_what_only_claude_knows(messages: anthropic.Anthropic, rig: Rig) -> None:
    said: dict[str, Any] = {"temperature": 0.2, "metadata": {"user_id": "u"}, "output_config": {"effort": "low"}}
    raw = messages.messages.with_raw_response.create(model="opus", max_tokens=90, messages=HELLO, extra_body=said)
    assert raw.headers["x-headgate-dropped"] == "temperature"
    body = asked(rig, "bedrock")
    assert "temperature" not in body
    assert (body["metadata"], body["output_config"]) == (said["metadata"], said["output_config"])


def test_a_preset_of_ones_own_says_it_in_the_same_way(messages: anthropic.Anthropic, rig: Rig) -> None:
    raw = messages.messages.with_raw_response.create(
        model="own", max_tokens=90, messages=HELLO, extra_body={"temperature": 0.2, "top_p": 0.5}
    )
    assert raw.headers["x-headgate-dropped"] == "temperature"
    assert (asked(rig, "local").get("temperature"), asked(rig, "local")["top_p"]) == (None, 0.5)


def test_an_older_model_of_the_same_vendor_gets_what_was_said(rig: Rig, chat: openai.OpenAI) -> None:
    raw = chat.chat.completions.with_raw_response.create(model="older", messages=HELLO, temperature=0.2)
    assert "x-headgate-dropped" not in raw.headers
    assert asked(rig, "anthropic")["temperature"] == 0.2


def test_a_route_that_rejects_answers_400_naming_the_parameter(rig: Rig, chat: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        chat.chat.completions.create(model="strict", messages=HELLO, temperature=0.2)
    assert refused.value.param == "temperature"
    assert all(request.path == "/" for request in rig.vendors["anthropic"].requests), "only the harmless request"


def test_a_route_that_rejects_goes_to_the_next_target(rig: Rig, chat: openai.OpenAI) -> None:
    raw = chat.chat.completions.with_raw_response.create(model="next", messages=HELLO, temperature=0.2)
    assert raw.headers["x-headgate-target"] == "local/llama-3.3-70b"
    assert asked(rig, "local")["temperature"] == 0.2
