"""Targets that cannot take a request are passed by before it is sent, on both lanes: too small a window, too high a cost, a lacking ability."""

from __future__ import annotations

import anthropic
import openai
import pytest
from google import genai

from tests.live.gateway.rig import MODELS, Rig, RigFactory

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
    plan = "\n".join(f"  - {{targets: [{{provider: {one}, model: {MODELS[one]}}}]}}" for one in providers)
    return ROUTE.format(name=name, plan=plan, more=more)


ROUTES = (
    route("windows", "local", "anthropic")
    + route("alike", "local", "gemini")
    + route("sent", "local", "anthropic", more="fallback: {contextWindow: send}")
    + route("able", "local", "anthropic", more="fallback: {capability: skip}")
    + route("thrift", "anthropic", "local", more="maxCostPerRequest: 0.02")
)
LONG = "word " * 7_000  # 35 KB, some 8,700 tokens by estimate
PIXEL = "data:image/png;base64," + "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=CATALOGS)


@pytest.fixture(autouse=True)
def fresh(rig: Rig) -> None:
    rig.heal()


def served(rig: Rig, lane: str, model: str, text: str, **more: object) -> tuple[str, str]:
    """The target and the number of attempts. The clients' dialects: `local` is passthrough for openai, translated for anthropic."""
    if lane == "openai-chat":
        with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="any", max_retries=0) as client:
            messages = [{"role": "user", "content": text}]
            raw = client.chat.completions.with_raw_response.create(model=model, messages=messages, **more)  # type: ignore[call-overload]
    else:
        with anthropic.Anthropic(base_url=rig.url, api_key="any", max_retries=0) as anthropic_client:
            raw = anthropic_client.messages.with_raw_response.create(
                model=model,
                messages=[{"role": "user", "content": text}],
                **{"max_tokens": 100, **more},  # type: ignore[arg-type]
            )
    return raw.headers["x-headgate-target"].partition("/")[0], raw.headers["x-headgate-attempts"]


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
    tools: list[object] = TOOLS if lane == "openai-chat" else [{"name": "look", "input_schema": {"type": "object", "properties": {}}}]
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
    with pytest.raises(
        (openai.BadRequestError, anthropic.BadRequestError), match=r"maxCostPerRequest of route \"thrift\"|maxCostPerRequest"
    ):
        served(rig, lane, "thrift", LONG * 3)
    assert [len(rig.vendors[name].requests) for name in ("local", "anthropic")] == [1, 1]


def test_models_in_the_path_are_measured_too(rig: Rig) -> None:
    client = genai.Client(api_key="any", http_options={"base_url": rig.url})
    client.models.generate_content(model="alike", contents="short")
    client.models.generate_content(model="alike", contents=LONG)
    assert [len(rig.vendors[name].requests) for name in ("local", "gemini")] == [1, 1]
    client.close()
