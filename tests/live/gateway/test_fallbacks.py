"""Targets that cannot take a request are passed by before it is sent, on both lanes: window, abilities, costs; and where errors lead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai

from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Reply
from tests.live.gateway.rig import MODELS, Rig, RigFactory

TWIN = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: twin}}
spec: {{preset: openai-compatible, baseUrl: "{local}/v1", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelCatalog
metadata: {{name: twin}}
spec:
  provider: twin
  checked: "2026-11-01"
  source: https://models.example/llama
  models: [{{id: llama-3.3-70b, contextWindow: 8192}}]
"""
"""The small model once more."""
CATALOGS = """
---
apiVersion: headgate.dev/v1alpha1
kind: ModelCatalog
metadata: {{name: small}}
spec:
  provider: local
  checked: "2026-11-01"
  source: https://models.example/llama
  models:
  - id: llama-3.3-70b
    contextWindow: 8192
    maxOutput: 2048
    modalities: {{input: [text], output: [text]}}
    capabilities: [structured-output]
    price: {{input: 1, output: 2}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelCatalog
metadata: {{name: large}}
spec:
  provider: anthropic
  checked: "2026-11-01"
  source: https://models.example/claude
  models:
  - id: claude-sonnet-5
    contextWindow: 200000
    maxOutput: 64000
    modalities: {{input: [text, image], output: [text]}}
    capabilities: [tools, structured-output]
    price: {{input: 3, output: 15}}
"""
ROUTE = """
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  plan:
{plan}
  {more}
"""


def route(name: str, *providers: str, more: str = "") -> str:
    plan = "\n".join(f"  - {{targets: [{{provider: {one}, model: {MODELS.get(one, MODELS['local'])}}}]}}" for one in providers)
    return ROUTE.format(name=name, plan=plan, more=more)


ON = "retry: {{on: [transient, rate_limited, {}]}}"
ROUTES = (
    route("windows", "local", "anthropic")
    + route("alike", "local", "gemini")
    + route("sent", "local", "anthropic", more="fallback: {contextWindow: send}")
    + route("able", "local", "anthropic", more="fallback: {capability: skip}")
    + route("told", "local", "twin", "anthropic", more=ON.format("context_too_long"))
    + route("no-larger", "local", "twin", more=ON.format("context_too_long"))
    + route("policy", "local", "anthropic", more=ON.format("content_policy"))
    + route("thrift", "anthropic", "local", more="maxCostPerRequest: 0.02")
)
LONG = "word " * 7_000  # 35 KB, some 8,700 tokens by estimate
PIXEL = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=CATALOGS + TWIN)


@pytest.fixture(autouse=True)
def fresh(rig: Rig) -> None:
    rig.heal()


def served(rig: Rig, lane: str, model: str, text: str, **more: Any) -> tuple[str, str]:
    """The target and the number of attempts. The clients' dialects: `local` is passthrough for openai, translated for anthropic."""
    if lane == "openai-chat":
        with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="any", max_retries=0) as client:
            messages: Any = [{"role": "user", "content": text}]
            headers = client.chat.completions.with_raw_response.create(model=model, messages=messages, **more).headers
    else:
        with anthropic.Anthropic(base_url=rig.url, api_key="any", max_retries=0) as anthropic_client:
            heard = anthropic_client.messages.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": text}],
                **{"max_tokens": 100, **more},
            )
            headers = heard.headers
    return headers["x-headgate-target"].partition("/")[0], headers["x-headgate-attempts"]


@pytest.mark.parametrize("lane", ["openai-chat", "anthropic-messages"])
def test_a_window_that_is_too_small_is_passed_by_for_long_requests_only(rig: Rig, lane: str) -> None:
    assert served(rig, lane, "windows", "short") == ("local", "1")
    assert served(rig, lane, "windows", LONG) == ("anthropic", "1")
    assert [len(rig.vendors[name].requests) for name in ("local", "anthropic")] == [1, 1]
    assert served(rig, lane, "windows", "short, with much to be said", max_tokens=15_000) == ("local", "1"), "short bodies are not measured"
    assert served(rig, lane, "sent", LONG) == ("local", "1")


def test_what_the_edge_measured_is_not_sent_on(rig: Rig) -> None:
    served(rig, "openai-chat", "windows", LONG)
    served(rig, "openai-chat", "thrift", "short")
    for vendor in rig.vendors.values():
        for request in vendor.requests:
            assert not [name for name in request.headers if name.lower().startswith("x-headgate-")], request.headers


@pytest.mark.parametrize("lane", ["openai-chat", "anthropic-messages"])
def test_what_a_target_lacks_leads_past_it(rig: Rig, lane: str) -> None:
    tools: list[Any] = TOOLS if lane == "openai-chat" else [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]
    assert served(rig, lane, "able", "plain") == ("local", "1")
    assert served(rig, lane, "able", "plain", tools=tools) == ("anthropic", "1")
    assert served(rig, lane, "able", 'about "tools": [1]') == ("local", "1")


def test_images_lead_past_a_target_without_eyes(rig: Rig) -> None:
    content = [{"type": "text", "text": "what is it?"}, {"type": "image_url", "image_url": {"url": PIXEL}}]
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="any", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="able", messages=[{"role": "user", "content": content}])  # type: ignore[list-item,misc]
    assert raw.headers["x-headgate-target"].startswith("anthropic/")
    assert raw.headers["x-headgate-attempts"] == "1"


@pytest.mark.parametrize("lane", ["openai-chat", "anthropic-messages"])
def test_a_ceiling_of_costs_leaves_out_what_is_too_dear_and_then_refuses(rig: Rig, lane: str) -> None:
    assert served(rig, lane, "thrift", "short") == ("anthropic", "1")
    assert served(rig, lane, "thrift", "short", max_tokens=2_000) == ("local", "1"), "2,000 tokens for 15 dollars a million"
    with pytest.raises((openai.BadRequestError, anthropic.BadRequestError), match="the maxCostPerRequest of route"):
        served(rig, lane, "thrift", LONG * 3)
    assert [len(rig.vendors[name].requests) for name in ("local", "anthropic")] == [1, 1]


def test_models_in_the_path_are_measured_too(rig: Rig) -> None:
    client = genai.Client(api_key="any", http_options={"base_url": rig.url})
    client.models.generate_content(model="alike", contents="short")
    client.models.generate_content(model="alike", contents=LONG)
    assert [len(rig.vendors[name].requests) for name in ("local", "gemini")] == [1, 1]
    client.close()


TOO_LONG = (
    b'{"error":{"message":"This model\'s maximum context length is 8192 tokens. However, your messages resulted in 9001 tokens.",'
    b'"type":"invalid_request_error","param":"messages","code":"context_length_exceeded"}}'
)
FILTERED = (
    b'{"error":{"message":"The response was filtered due to the prompt triggering the content management policy.","type":null,'
    b'"param":"prompt","code":"content_filter","status":400}}'
)
WITHHELD = (
    b'{"id":"c1","object":"chat.completion","created":1,"model":"llama-3.3-70b","choices":[{"index":0,"message":{"role":"assistant",'
    b'"content":null},"finish_reason":"content_filter"}],"usage":{"prompt_tokens":3,"completion_tokens":0,"total_tokens":3}}'
)
JSON = b"content-type: application/json\r\n"
DOUBTFUL = "word " * 4_000  # 20 KB, some 5,000 tokens by estimate: more than half of the small window


@pytest.fixture
def local_says(rig: Rig) -> Iterator[Callable[[int, bytes], None]]:
    """From now on the vendor behind `local` and `twin` answers that."""
    vendor = rig.vendors["local"]
    answer = vendor._wire.answer

    def says(status: int, body: bytes) -> None:
        def reply(request: HttpRequest) -> Reply:
            usual = answer(request)
            return Reply(status, JSON, body) if request.path.endswith("/chat/completions") else usual

        vendor._wire.answer = reply  # type: ignore[method-assign]

    yield says
    vendor._wire.answer = answer  # type: ignore[method-assign]


def asked(rig: Rig) -> list[int]:
    return [len([r for r in rig.vendors[name].requests if r.path != "/"]) for name in ("local", "anthropic")]


LANES = pytest.mark.parametrize("lane", ["openai-chat", "anthropic-messages"])
Says = Callable[[int, bytes], None]
REFUSED = (openai.BadRequestError, anthropic.BadRequestError)


@LANES
def test_a_vendors_word_that_a_request_is_too_long_leads_to_a_larger_window_only(rig: Rig, lane: str, local_says: Says) -> None:
    local_says(400, TOO_LONG)
    assert served(rig, lane, "told", DOUBTFUL) == ("anthropic", "2"), "and not to the twin, which stands before it"
    assert asked(rig) == [1, 1]


@LANES
@pytest.mark.parametrize("model", ["no-larger", "windows"])
def test_it_is_the_clients_where_no_larger_window_follows_or_the_route_does_not_ask(
    rig: Rig, lane: str, model: str, local_says: Says
) -> None:
    local_says(400, TOO_LONG)
    with pytest.raises(REFUSED, match="maximum context length"):
        served(rig, lane, model, DOUBTFUL)
    assert asked(rig) == [1, 0]


@LANES
def test_a_policy_error_is_the_clients_by_default_and_moves_on_where_a_route_asks(rig: Rig, lane: str, local_says: Says) -> None:
    local_says(400, FILTERED)
    with pytest.raises(REFUSED, match="content management policy"):
        served(rig, lane, "windows", "hello")
    assert asked(rig) == [1, 0]
    assert served(rig, lane, "policy", "hello") == ("anthropic", "2")


def test_a_withheld_answer_moves_on_in_translation_where_a_route_asks(rig: Rig, local_says: Says) -> None:
    local_says(200, WITHHELD)
    assert served(rig, "anthropic-messages", "policy", "hello") == ("anthropic", "2")
    assert served(rig, "anthropic-messages", "windows", "hello") == ("local", "1"), "handed back, with its reason to stop"
    assert served(rig, "openai-chat", "policy", "hello") == ("local", "1"), (
        "a 200 of the passthrough lane is on its way when its end is read"
    )


@LANES
def test_an_outage_still_leads_to_every_target(rig: Rig, lane: str) -> None:
    rig.break_vendor("local", mode="status", status=503)
    assert served(rig, lane, "told", DOUBTFUL) == ("anthropic", "2")
    assert served(rig, lane, "told", "short") == ("anthropic", "3")
