"""What a route says about requests that a target cannot take whole, through the real gateway."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.live.gateway.rig import Rig, RigFactory, route


def with_policy(text: str, policy: str) -> str:
    return text.replace("  firstEventHold:", f"  {policy}\n  firstEventHold:")


REJECT = "unsupportedParams: reject"
ROUTES = (
    route("lenient", "anthropic")
    + with_policy(route("strict", "anthropic"), REJECT)
    + with_policy(route("strict-then-local", "anthropic", "local"), REJECT)
    + route("strip", "local")
    + with_policy(route("text", "local"), "foreignReasoning: text")
    + with_policy(route("refuse", "local"), "foreignReasoning: refuse")
    + with_policy(route("refuse-then-own", "local", "anthropic"), "foreignReasoning: refuse")
)
HELLO: list[Any] = [{"role": "user", "content": "hello"}]


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


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


@pytest.mark.parametrize("stream", [False, True])
def test_dropped_parameters_are_named_in_whole_and_streamed_answers(chat: openai.OpenAI, stream: bool) -> None:
    answer = chat.chat.completions.with_raw_response.create(
        model="lenient", messages=HELLO, seed=7, logit_bias={"1": 1}, service_tier="flex", stream=stream
    )
    assert set(answer.headers["x-headgate-dropped"].split(",")) == {"logit_bias", "service_tier", "seed"}
    answer.http_response.read()


@pytest.mark.parametrize("stream", [False, True])
def test_a_strict_route_refuses_and_names_every_field(chat: openai.OpenAI, stream: bool) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        chat.chat.completions.create(model="strict", messages=HELLO, seed=7, logit_bias={"1": 1}, service_tier="flex", stream=stream)
    assert caught.value.code == "unsupported_parameter"
    assert all(name in caught.value.message for name in ("seed", "logit_bias", "service_tier"))
    done = chat.chat.completions.create(model="strict", messages=HELLO, max_tokens=500)
    assert "heard: hello" in (done.choices[0].message.content or "")


def test_a_strict_route_goes_on_to_a_target_that_takes_everything(rig: Rig, chat: openai.OpenAI) -> None:
    answer = chat.chat.completions.with_raw_response.create(model="strict-then-local", messages=HELLO, seed=7)
    assert answer.headers["x-headgate-target"].startswith("local/")
    assert "x-headgate-dropped" not in answer.headers
    assert rig.vendors["local"].requests[-1].json()["seed"] == 7


def signed(client: anthropic.Anthropic, model: str) -> Any:
    """A second turn on `model`, after a first one that Anthropic has signed."""
    first = client.messages.create(
        model="lenient", max_tokens=3000, messages=HELLO, thinking={"type": "adaptive"}, extra_body={"output_config": {"effort": "high"}}
    )
    thinking = [block for block in first.content if block.type == "thinking"]
    assert thinking
    assert thinking[0].signature
    replayed: list[Any] = [*HELLO, {"role": "assistant", "content": [b.model_dump() for b in first.content]}, HELLO[0]]
    return client.messages.with_raw_response.create(model=model, max_tokens=300, messages=replayed), thinking[0]


def test_foreign_reasoning_by_policy(rig: Rig, messages: anthropic.Anthropic) -> None:
    answer, thinking = signed(messages, "strip")
    assert answer.headers["x-headgate-dropped"] == "messages.1.reasoning"
    sent = json.dumps(rig.vendors["local"].requests[-1].json())
    assert thinking.signature not in sent
    answer, thinking = signed(messages, "text")
    assert answer.headers["x-headgate-dropped"] == "messages.1.reasoning.signature"
    sent = json.dumps(rig.vendors["local"].requests[-1].json())
    assert thinking.signature not in sent
    assert "<thinking>" in sent
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.1\.reasoning"):
        signed(messages, "refuse")
    answer, _ = signed(messages, "refuse-then-own")
    assert answer.headers["x-headgate-target"].startswith("anthropic/")
