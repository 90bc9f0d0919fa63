"""Azure OpenAI behind the gateway, by the v1 API and by deployment, for clients of OpenAI, AzureOpenAI and Anthropic."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest

from control_plane.demo.simulators import Fault, Pace, Simulator
from tests.live.gateway.rig import MODELS, Loop, Rig, RigFactory, route

KEY = "azure-canary-4715"
PROVIDERS = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{{{name: azure}}}}
spec: {{{{preset: azure-openai, baseUrl: "{url}/openai/v1", allowInsecure: true, credentials: [{{{{secretRef: {{{{env: AZURE}}}}}}}}]}}}}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{{{name: deployed}}}}
spec: {{{{preset: azure-openai-deployments, baseUrl: "{url}", allowInsecure: true, credentials: [{{{{secretRef: {{{{env: AZURE}}}}}}}}]}}}}
"""
MODELS.update({"azure": "gpt-5-mini", "deployed": "gpt-4.1"})


@pytest.fixture(scope="module")
def rigged(make_rig: RigFactory) -> Iterator[tuple[Rig, Simulator]]:

    azure = Simulator("azure", keys=[KEY], pace=Pace(delay_ms=1), port=0)

    loop = Loop()
    loop.run(azure.__aenter__())
    routes = route("v1", "azure") + route("dated", "deployed")
    routes += route("after", "anthropic", "deployed", "azure") + route("mixed", "deployed", "openai")
    rig = make_rig(routes, providers=PROVIDERS.format(url=azure.url), env={"AZURE": KEY})
    yield rig, azure
    loop.run(azure.__aexit__(None, None, None))
    loop.close()


@pytest.fixture
def rig(rigged: tuple[Rig, Simulator]) -> Rig:
    rigged[0].heal()
    rigged[1].clear()
    return rigged[0]


@pytest.fixture
def azure(rigged: tuple[Rig, Simulator], rig: Rig) -> Simulator:
    return rigged[1]


def said(model: str) -> str:
    return f"azure/{model} heard: hello"


@pytest.mark.parametrize(("name", "model"), [("v1", "gpt-5-mini"), ("dated", "gpt-4.1")])
def test_openai_clients_pass_through(rig: Rig, azure: Simulator, name: str, model: str) -> None:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        whole = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hello"}])
        assert whole.choices[0].message.content == said(model)
        stream = client.chat.completions.create(model=name, messages=[{"role": "user", "content": "hello"}], stream=True)
        assert "".join(c.choices[0].delta.content or "" for c in stream if c.choices) == said(model)
        assert client.embeddings.create(model=name, input="x").data
    seen = azure.requests[0]
    assert seen.key == "key-0"
    assert "authorization" not in seen.headers
    dated = (f"/openai/deployments/{model}/chat/completions", "api-version=2024-10-21")
    wanted = ("/openai/v1/chat/completions", "") if name == "v1" else dated
    assert (seen.path, seen.query) == wanted


def test_a_clients_query_is_kept_but_not_another_api_version(rig: Rig, azure: Simulator) -> None:
    extra = {"trace": "1", "api-version": "2023-05-15"}
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(model="dated", messages=[{"role": "user", "content": "hello"}], extra_query=extra)
    assert answer.choices[0].message.content == said("gpt-4.1")
    assert azure.requests[0].path == "/openai/deployments/gpt-4.1/chat/completions"
    assert sorted(azure.requests[0].query.split("&")) == ["api-version=2024-10-21", "trace=1"]


def test_azures_own_client_has_its_deployment_renamed(rig: Rig, azure: Simulator) -> None:
    with openai.AzureOpenAI(azure_endpoint=rig.url, api_version="2023-05-15", api_key="none", max_retries=0) as client:
        answer = client.chat.completions.create(model="dated", messages=[{"role": "user", "content": "hello"}])
    assert answer.choices[0].message.content == said("gpt-4.1")
    assert azure.requests[0].path == "/openai/deployments/gpt-4.1/chat/completions"
    assert azure.requests[0].query == "api-version=2024-10-21"


@pytest.mark.parametrize(("name", "model"), [("v1", "gpt-5-mini"), ("dated", "gpt-4.1")])
def test_anthropic_clients_are_translated(rig: Rig, azure: Simulator, name: str, model: str) -> None:
    with anthropic.Anthropic(base_url=rig.url, api_key="none", max_retries=0) as client:
        whole = client.messages.create(model=name, max_tokens=100, messages=[{"role": "user", "content": "hello"}])
        assert whole.content[0].type == "text"
        assert whole.content[0].text == said(model)
        with client.messages.stream(model=name, max_tokens=100, messages=[{"role": "user", "content": "hello"}]) as stream:
            assert stream.get_final_text() == said(model)
    paths = {request.path for request in azure.requests}
    assert paths == ({"/openai/v1/chat/completions"} if name == "v1" else {f"/openai/deployments/{model}/chat/completions"})


def test_responses_pass_through_to_the_v1_api_and_are_translated_for_deployments(rig: Rig, azure: Simulator) -> None:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        assert client.responses.create(model="v1", input="hello").output_text == said("gpt-5-mini")
        assert client.responses.create(model="dated", input="hello").output_text == said("gpt-4.1")
    assert [request.path for request in azure.requests] == ["/openai/v1/responses", "/openai/deployments/gpt-4.1/chat/completions"]


def test_after_another_vendors_failure_the_path_is_azures(rig: Rig, azure: Simulator) -> None:
    rig.break_vendor("anthropic", mode="status", status=503)
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        raw = client.chat.completions.with_raw_response.create(model="after", messages=[{"role": "user", "content": "hello"}])
    assert raw.headers["x-headgate-attempts"] == "2"
    assert azure.requests[0].path == "/openai/deployments/gpt-4.1/chat/completions"


def test_azures_429_goes_to_the_next_vendor_with_that_vendors_own_path(rig: Rig, azure: Simulator) -> None:
    azure.fault = Fault(mode="status", status=429)
    try:
        with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
            raw = client.chat.completions.with_raw_response.create(model="mixed", messages=[{"role": "user", "content": "hello"}])
        assert raw.headers["x-headgate-target"] == "openai/gpt-5"
        seen = rig.vendors["openai"].requests[-1]
        assert (seen.path, seen.query) == ("/v1/chat/completions", "")
    finally:
        azure.fault = None


def test_the_content_filter_is_told_in_the_clients_own_words(rig: Rig) -> None:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="none", max_retries=0) as client:
        with pytest.raises(openai.BadRequestError) as native:
            client.chat.completions.create(model="v1", messages=[{"role": "user", "content": "[[azure filter]]"}])
        assert native.value.code == "content_filter"
    with anthropic.Anthropic(base_url=rig.url, api_key="none", max_retries=0) as client:
        with pytest.raises(anthropic.BadRequestError, match="content management policy") as translated:
            client.messages.create(model="dated", max_tokens=9, messages=[{"role": "user", "content": "[[azure filter]]"}])
        assert translated.value.body["error"]["type"] == "invalid_request_error"  # type: ignore[index]
