"""Errors that a vendor words in its own way, and what it lacks: the shipped presets at work, through the whole gateway.

The vendor is a simulated one that answers as xAI does: a wrong key is a 400 like any other bad request.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import anthropic
import httpx
import openai
import pytest

from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Reply
from control_plane.kit import probe
from tests.live.gateway.rig import MODELS, Rig, RigFactory

MODELS_OF = {"grok": "llama-3.3-70b", "deep": "llama-3.3-70b", "anthropic": MODELS["anthropic"], "openai": MODELS["openai"]}
PROVIDERS = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: grok}}
spec:
  preset: xai
  breaker: {{enabled: false}}
  dialects: [openai-chat]
  baseUrl: "{local}/v1"
  allowInsecure: true
  credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: deep}}
spec:
  preset: deepseek
  breaker: {{enabled: false}}
  dialects: [openai-chat]
  baseUrl: "{local}/v1"
  allowInsecure: true
  credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]
"""
ROUTE = """
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  plan:
  - {{targets: [{{provider: {first}, model: {one}}}]}}
  - {{targets: [{{provider: {second}, model: {two}}}]}}
"""
WRONG_KEY = (
    b'{"code":"invalid-argument","error":"Incorrect API key provided: ca***ry. You can obtain an API key from https://console.x.ai."}'
)
BAD_FIELD = b'{"code":"invalid-argument","error":"Argument not supported on this model: presencePenalty"}'
HELLO = [{"role": "user", "content": "hello"}]
SCHEMA = {"type": "object", "properties": {}, "additionalProperties": False}


def plan(name: str, first: str, second: str) -> str:
    return ROUTE.format(name=name, first=first, second=second, one=MODELS_OF[first], two=MODELS_OF[second])


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(
        plan("smart", "grok", "anthropic")
        + plan("plain", "deep", "openai")
        + plan("lonely", "grok", "grok")
        + plan("roomy", "grok", "openai")
        + "  retry: {on: [transient, context_too_long]}\n",
        providers=PROVIDERS,
    )


@pytest.fixture
def refusal(rig: Rig) -> Iterator[list[bytes]]:
    """The vendor answers 400 with the last text in the list."""
    vendor, said = rig.vendors["local"], [WRONG_KEY]
    answer = vendor._wire.answer

    def refuses(request: HttpRequest) -> Reply:
        reply = answer(request)
        return Reply(400, b"", said[-1]) if request.path.endswith("/chat/completions") else reply

    vendor._wire.answer = refuses  # type: ignore[method-assign]
    for simulator in rig.vendors.values():
        simulator.clear()
    yield said
    vendor._wire.answer = answer  # type: ignore[method-assign]


def asked(rig: Rig, name: str) -> int:
    return len(rig.vendors[name].requests)


@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_key_that_is_a_400_fails_over_where_requests_are_translated(rig: Rig, refusal: list[bytes], stream: bool) -> None:
    with anthropic.Anthropic(base_url=rig.url, api_key="any", max_retries=0) as client:
        if stream:
            with client.messages.stream(model="smart", max_tokens=50, messages=HELLO) as answer:  # type: ignore[arg-type]
                assert answer.get_final_text().endswith("heard: hello")
        else:
            raw = client.messages.with_raw_response.create(model="smart", max_tokens=50, messages=HELLO)  # type: ignore[arg-type]
            assert raw.headers["x-headgate-attempts"] == "2"
    assert (asked(rig, "local"), asked(rig, "anthropic")) == (1, 1)


def test_the_last_targets_wrong_key_is_a_502_that_shows_no_key_and_counts_as_one(rig: Rig, refusal: list[bytes]) -> None:
    with (
        anthropic.Anthropic(base_url=rig.url, api_key="any", max_retries=0) as client,
        pytest.raises(anthropic.InternalServerError) as error,
    ):
        client.messages.create(model="lonely", max_tokens=50, messages=HELLO)  # type: ignore[arg-type]
    assert error.value.status_code == 502
    assert "upstream_credentials_exhausted" in str(error.value)
    assert "ca***ry" not in str(error.value)
    assert asked(rig, "local") == 2
    deadline = time.monotonic() + 10
    while not (counted := classes(rig, "grok/")).get("credential_dead"):
        assert time.monotonic() < deadline, counted
        time.sleep(0.1)


def classes(rig: Rig, target: str) -> dict[str, int]:
    """How attempts at a target have ended so far, by class, from the gateway's own metrics."""
    found: Counter[str] = Counter()
    for name, count in samples(rig).items():
        if name.startswith("headgate_attempts_total{") and f'target="{target}' in name:
            found[name.partition('class="')[2].partition('"')[0]] += int(count)
    return dict(found)


def test_another_400_of_the_same_vendor_is_the_clients_and_is_not_tried_again(rig: Rig, refusal: list[bytes]) -> None:
    refusal.append(BAD_FIELD)
    with anthropic.Anthropic(base_url=rig.url, api_key="any", max_retries=0) as client, pytest.raises(anthropic.BadRequestError) as error:
        client.messages.create(model="smart", max_tokens=50, messages=HELLO)  # type: ignore[arg-type]
    assert "presencePenalty" in str(error.value)
    assert (asked(rig, "local"), asked(rig, "anthropic")) == (1, 0)


@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_key_that_is_a_400_fails_over_on_the_passthrough_lane_too(rig: Rig, refusal: list[bytes], stream: bool) -> None:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="any", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="smart", messages=HELLO, stream=stream)  # type: ignore[arg-type]
    assert raw.headers["x-headgate-attempts"] == "2"
    assert (asked(rig, "local"), asked(rig, "anthropic")) == (1, 1)


SPENT = b'{"error":{"message":"You exceeded your current quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}'
LONG = (
    b'{"error": {"message": "maximum context length is 8192 tokens", "type": "invalid_request_error", "code": "context_length_exceeded"}}\n'
)
POLICY = b'{"error":{"message":"flagged","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}'


@pytest.mark.parametrize(
    ("said", "kind", "attempts", "client"),
    [
        (BAD_FIELD, "client_fault", 1, None),
        (LONG, "context_too_long", 1, None),
        (POLICY, "content_policy", 1, None),
        (SPENT, "quota_spent", 2, None),
        (WRONG_KEY, "credential_dead", 2, b"upstream_credentials_exhausted"),
    ],
    ids=["client_fault", "context_too_long", "content_policy", "quota_spent", "credential_dead"],
)
def test_what_nobody_can_serve_reaches_the_client_as_the_vendor_said_it(
    rig: Rig, refusal: list[bytes], said: bytes, kind: str, attempts: int, client: bytes | None
) -> None:
    refusal.append(said)
    before = classes(rig, "grok/")
    answer = httpx.post(f"{rig.url}/v1/chat/completions", json={"model": "lonely", "messages": HELLO}, timeout=20)
    assert answer.headers["x-headgate-fault"] == kind
    assert asked(rig, "local") == attempts
    if client is None:
        assert (answer.status_code, answer.content) == (400, said), "byte for byte"
    else:
        assert answer.status_code == 502
        assert client in answer.content
    deadline = time.monotonic() + 10
    while (counted := classes(rig, "grok/")).get(kind, 0) - before.get(kind, 0) < attempts:
        assert time.monotonic() < deadline, counted
        time.sleep(0.1)


def test_a_class_that_the_route_does_not_name_is_not_retried(rig: Rig, refusal: list[bytes]) -> None:
    url = f"{rig.url}/v1/chat/completions"
    refusal.append(LONG)
    assert httpx.post(url, json={"model": "roomy", "messages": HELLO}, timeout=20).headers["x-headgate-attempts"] == "2"
    assert (asked(rig, "local"), asked(rig, "openai")) == (1, 1)
    refusal.append(WRONG_KEY)
    assert httpx.post(url, json={"model": "roomy", "messages": HELLO}, timeout=20).status_code == 502
    assert (asked(rig, "local"), asked(rig, "openai")) == (2, 1)


def test_what_a_vendor_lacks_goes_to_the_next_target_without_asking_it(rig: Rig) -> None:
    for simulator in rig.vendors.values():
        simulator.clear()
    wanted = {"type": "json_schema", "schema": SCHEMA}
    with anthropic.Anthropic(base_url=rig.url, api_key="any", max_retries=0) as client:
        raw = client.messages.with_raw_response.create(
            model="plain",
            max_tokens=50,
            messages=HELLO,  # type: ignore[arg-type]
            extra_body={"output_config": {"format": wanted}},
        )
    assert raw.headers["x-headgate-target"] == f"openai/{MODELS['openai']}"
    assert raw.headers["x-headgate-attempts"] == "2"
    assert [request.path for request in rig.vendors["local"].requests if request.path != "/"] == [], "the harmless request alone"


def test_what_is_left_of_a_rate_limit_is_a_metric(rig: Rig) -> None:
    vendor = rig.vendors["local"]
    answer = vendor._wire.answer

    def tells(request: HttpRequest) -> Reply:
        reply = answer(request)
        told = b"x-ratelimit-remaining-requests: 299\r\nx-ratelimit-limit-requests: 300\r\n"
        kept = b"".join(line for line in reply.headers.splitlines(keepends=True) if not line.lower().startswith(b"x-ratelimit"))
        return replace(reply, headers=kept + told)

    vendor._wire.answer = tells  # type: ignore[method-assign]
    try:
        with anthropic.Anthropic(base_url=rig.url, api_key="any", max_retries=0) as client:
            client.messages.create(model="smart", max_tokens=50, messages=HELLO)  # type: ignore[arg-type]
    finally:
        vendor._wire.answer = answer  # type: ignore[method-assign]
    labels = f'{{provider="grok",target="grok/{MODELS_OF["grok"]}",unit="requests"}}'
    expected = {f"headgate_target_ratelimit_remaining{labels}": 299.0, f"headgate_target_ratelimit_limit{labels}": 300.0}
    deadline = time.monotonic() + 10
    while (found := {name: value for name, value in samples(rig).items() if name in expected}) != expected:
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def samples(rig: Rig) -> dict[str, float]:
    """The gateway's own metrics, by name with labels."""
    host, port = rig.gateway.admin
    _, text = rig.loop.run(probe.http(f"{host}:{port}", "GET", "/metrics"))
    lines = [line.rpartition(" ") for line in text.splitlines() if line and not line.startswith("#")]
    return {name: float(value) for name, _, value in lines}
