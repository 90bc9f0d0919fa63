"""Tab completion that fails over between vendors of different forms: OpenAI's completions, DeepSeek's under another path, Mistral's FIM."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from control_plane.demo.wire_client import call
from control_plane.kit import probe
from tests.live.gateway.rig import MODELS, ROUTE, Rig, RigFactory

PROVIDERS = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: mistral}}
spec: {{preset: mistral, baseUrl: "{local}/v1", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: deepseek}}
spec:
  preset: deepseek
  dialects: [openai-chat]
  baseUrl: "{local}"
  allowInsecure: true
  credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]
"""
LOCAL, INSTRUCT = MODELS["local"], "gpt-3.5-turbo-instruct"


def to(name: str, *targets: tuple[str, str], more: str = "") -> str:
    plan = "\n".join(f"    - {{targets: [{{provider: {p}, model: {m}}}]}}" for p, m in targets)
    return ROUTE.format(name=name, plan=plan, first_token="5s", hold="false") + more


ROUTES = (
    to("mistral-only", ("mistral", LOCAL))
    + to("openai-only", ("openai", INSTRUCT))
    + to("deepseek-only", ("deepseek", LOCAL))
    + to("openai-mistral", ("openai", INSTRUCT), ("mistral", LOCAL))
    + to("mistral-openai", ("mistral", LOCAL), ("openai", INSTRUCT))
    + to("strict", ("mistral", LOCAL), more="  unsupportedParams: reject\n")
)
ASKED: dict[str, Any] = {"prompt": "def f(", "suffix": "return a", "max_tokens": 90}
HEARD = "heard: def f( before return a"
BOTH = pytest.mark.parametrize("stream", [False, True])


@pytest.fixture(scope="module")
def started(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=PROVIDERS)


@pytest.fixture
def rig(started: Rig) -> Rig:
    started.heal()
    return started


@pytest.fixture
def client(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


def asked(rig: Rig, vendor: str) -> tuple[str, dict[str, Any]]:
    """Path and body of the last request that reached that vendor."""
    last = rig.vendors[vendor].requests[-1]
    assert last.body is not None
    return last.path, json.loads(last.body)


def completed(client: openai.OpenAI, model: str, stream: bool, **more: Any) -> tuple[str, str | None, int]:
    """Text, finish reason and tokens of the answer, which must be one that OpenAI's SDK takes for its own."""
    if not stream:
        done = client.completions.create(model=model, **ASKED, **more)
        assert done.object == "text_completion"
        assert done.usage is not None
        return done.choices[0].text, done.choices[0].finish_reason, done.usage.completion_tokens
    chunks = list(client.completions.create(model=model, **ASKED, **more, stream=True, stream_options={"include_usage": True}))
    said = [chunk.choices[0] for chunk in chunks[:-1]]
    assert (chunks[-1].choices, {chunk.object for chunk in chunks}) == ([], {"text_completion"})
    assert chunks[-1].usage is not None
    return "".join(choice.text for choice in said), said[-1].finish_reason, chunks[-1].usage.completion_tokens


def filled(rig: Rig, model: str, stream: bool, **more: Any) -> tuple[str, str, int]:
    """The same, in Mistral's form, read as its clients read it: every chunk has a choice, and the last has the usage too."""
    body = {"model": model, **ASKED, "stream": stream, **more}
    answer = rig.loop.run(call(f"{rig.url}/v1/fim/completions", body, headers={"authorization": "Bearer x"}))
    assert answer.status == 200, answer
    if not stream:
        document = answer.json()
        assert document["object"] == "chat.completion"
        choice = document["choices"][0]
        return choice["message"]["content"], choice["finish_reason"], document["usage"]["completion_tokens"]
    events = answer.events()
    assert events[-1] == "[DONE]"
    chunks = events[:-1]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    text = "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks)
    return text, chunks[-1]["choices"][0]["finish_reason"], chunks[-1]["usage"]["completion_tokens"]


@BOTH
def test_completions_served_by_fim(rig: Rig, client: openai.OpenAI, stream: bool) -> None:
    text, finish, tokens = completed(client, "mistral-only", stream, seed=3, stop=["@"])
    assert (text, finish) == (f"local/{LOCAL} {HEARD}", "stop")
    body = {"model": LOCAL, **ASKED, "random_seed": 3, "stop": ["@"]}
    assert asked(rig, "local") == ("/v1/fim/completions", body | ({"stream": True} if stream else {}))
    assert tokens > 0
    assert counted(rig, "headgate_tokens_total", 'route="mistral-only"', 'type="output"') >= tokens
    assert counted(rig, "headgate_requests_total", 'operation="completions"', 'outcome="ok"', 'lane="translation"') >= 1


@BOTH
@pytest.mark.parametrize(
    ("model", "vendor", "path", "upstream"),
    [("openai-only", "openai", "/v1/completions", INSTRUCT), ("deepseek-only", "local", "/beta/completions", LOCAL)],
)
def test_fim_served_by_completions(rig: Rig, model: str, vendor: str, path: str, upstream: str, stream: bool) -> None:
    text, finish, tokens = filled(rig, model, stream, random_seed=3)
    assert (text, finish) == (f"{vendor}/{upstream} {HEARD}", "stop")
    more = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    assert asked(rig, vendor) == (path, {"model": upstream, **ASKED, "seed": 3, **more})
    assert counted(rig, "headgate_tokens_total", f'route="{model}"', 'type="output"') >= tokens > 0


@BOTH
def test_each_form_fails_over_to_the_other(rig: Rig, client: openai.OpenAI, stream: bool) -> None:
    rig.break_vendor("openai", mode="status", status=503)
    assert completed(client, "openai-mistral", stream)[0] == f"local/{LOCAL} {HEARD}"
    assert filled(rig, "openai-mistral", stream)[0] == f"local/{LOCAL} {HEARD}"
    rig.heal()
    rig.break_vendor("local", mode="status", status=503)
    assert completed(client, "mistral-openai", stream)[0] == f"openai/{INSTRUCT} {HEARD}"
    assert asked(rig, "openai")[1]["model"] == INSTRUCT, "the original body, after a translated attempt"
    assert filled(rig, "mistral-openai", stream)[0] == f"openai/{INSTRUCT} {HEARD}"


def test_a_stream_that_fails_before_its_first_text_goes_on_elsewhere(rig: Rig, client: openai.OpenAI) -> None:
    rig.break_vendor("local", mode="error_event", after=0)
    assert completed(client, "mistral-openai", True)[0] == f"openai/{INSTRUCT} {HEARD}"
    rig.heal()
    rig.break_vendor("local", mode="cut", after=2)
    with pytest.raises(openai.APIError):
        completed(client, "mistral-only", True)


def test_what_is_dropped_is_named_and_may_be_rejected(rig: Rig, client: openai.OpenAI) -> None:
    raw = client.completions.with_raw_response.create(model="mistral-only", **ASKED, presence_penalty=1, logprobs=2, user="u")
    assert set(raw.headers["x-headgate-dropped"].split(",")) == {"presence_penalty", "logprobs", "user"}
    with pytest.raises(openai.BadRequestError) as refused:
        client.completions.create(model="strict", **ASKED, presence_penalty=1)
    assert refused.value.param == "presence_penalty"


def test_what_fim_cannot_do_goes_to_the_next_target(rig: Rig, client: openai.OpenAI) -> None:
    assert [choice.index for choice in client.completions.create(model="mistral-openai", **ASKED, n=2).choices] == [0, 1]
    with pytest.raises(openai.BadRequestError, match="n: cannot be expressed in fim"):
        client.completions.create(model="mistral-only", **ASKED, n=2)


def test_errors_arrive_in_the_clients_shape(rig: Rig, client: openai.OpenAI) -> None:
    with pytest.raises(openai.UnprocessableEntityError):  # the vendor's own, since this is its own form
        raise_for(rig, client, {"model": "mistral-only", "prompt": "x", "odd": 1})
    with pytest.raises(openai.BadRequestError, match="integer below minimum value"):
        raise_for(rig, client, {"model": "openai-only", "prompt": "x", "max_tokens": -1})
    with pytest.raises(openai.BadRequestError, match="prompt") as refused:
        raise_for(rig, client, {"model": "openai-only", "prompt": 7})
    assert refused.value.param == "prompt"


def raise_for(rig: Rig, client: openai.OpenAI, body: dict[str, Any]) -> None:
    client.post("/fim/completions", body=body, cast_to=object)


def counted(rig: Rig, *labels: str) -> float:
    """The sum of a metric over all lines that hold these labels, once there is one."""
    return rig.loop.run(_counted(rig, labels))


async def _counted(rig: Rig, labels: tuple[str, ...]) -> float:
    host, port = rig.gateway.admin
    for _ in range(100):
        _, text = await probe.http(f"{host}:{port}", "GET", "/metrics")
        lines = [line for line in text.splitlines() if line.startswith(labels[0]) and all(label in line for label in labels[1:])]
        if found := sum(float(line.rsplit(" ", 1)[1]) for line in lines):
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(labels)
