"""What OpenAI keeps: stored responses through the real gateway with the official SDK, and features that need them on other targets."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from control_plane.signals.lines import RequestLine, decode
from tests.live.gateway.rig import ANSWERS, Rig, RigFactory, route

SECOND = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: second}}
spec:
  preset: openai-compatible
  baseUrl: "{local}/v1"
  allowInsecure: true
  dialects: [openai-responses]
  credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]
"""
"""Another account, which keeps responses of its own."""

BOTH = route("both", "answers", "answers", first_token="1s").replace(
    "provider: answers, model: gpt-5", "provider: second, model: llama-3.3-70b", 1
)
ROUTES = (
    route("alone", "answers") + route("elsewhere", "anthropic") + route("with-anthropic", "answers", "anthropic", first_token="1s") + BOTH
)
QUERY: dict[str, Any] = {"model": "alone"}


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=ANSWERS + SECOND)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def client(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as client:
        yield client


def test_a_stored_response_is_fetched_listed_and_deleted(rig: Rig, client: openai.OpenAI) -> None:
    made = client.responses.create(model="alone", input="hello")
    fetched = client.responses.retrieve(made.id, extra_query=QUERY)
    assert (fetched.id, fetched.output_text, fetched.usage) == (made.id, made.output_text, made.usage)
    seen = rig.vendors["openai"].requests[-1]
    assert (seen.method, seen.path, seen.query) == ("GET", f"/v1/responses/{made.id}", "")
    (item,) = client.responses.input_items.list(made.id, limit=5, extra_query=QUERY).data
    assert '"text":"hello"' in item.to_json(indent=None)
    seen = rig.vendors["openai"].requests[-1]
    assert (seen.path, seen.query) == (f"/v1/responses/{made.id}/input_items", "limit=5")
    with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
        client.responses.cancel(made.id, extra_query=QUERY)
    client.responses.delete(made.id, extra_query=QUERY)
    with pytest.raises(openai.NotFoundError, match=f"Response with id '{made.id}' not found"):
        client.responses.retrieve(made.id, extra_query=QUERY)


def test_the_model_may_stand_in_the_clients_defaults(rig: Rig) -> None:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="k", max_retries=0, default_query=QUERY) as client:
        made = client.responses.create(model="alone", input="hello")
        assert client.responses.retrieve(made.id, include=["reasoning.encrypted_content", "message.output_text.logprobs"]).id == made.id
        assert rig.vendors["openai"].requests[-1].query.count("include") == 2


def test_every_provider_of_the_plan_is_asked(rig: Rig, client: openai.OpenAI) -> None:
    """Who made it is not remembered: a 404 asks the next one."""
    made = client.responses.create(model="alone", input="hello")
    answer = client.responses.with_raw_response.retrieve(made.id, extra_query={"model": "both"})
    assert answer.headers["x-headgate-attempts"] == "2"
    assert answer.headers["x-headgate-target"] == "answers/*"
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.responses.retrieve("resp_nobody", extra_query={"model": "both"})
    rig.break_vendor("local", mode="refuse")
    assert client.responses.retrieve(made.id, extra_query={"model": "both"}).id == made.id


def test_calls_without_a_model_say_what_to_add(rig: Rig, client: openai.OpenAI) -> None:
    for query in ({}, {"model": ""}, {"model": "m" * 201}):
        with pytest.raises(openai.BadRequestError, match=r"add '\?model='") as caught:
            client.responses.retrieve("resp_1", extra_query=query)
        assert caught.value.code == "missing_model"
    with pytest.raises(openai.BadRequestError, match=r"add '\?model='"):
        client.get("/responses/resp_1?model=alone&model=both", cast_to=object)
    wanted = "no model of this gateway fits the request|The model '[*]' does not exist"
    for model in ("alon", "elsewhere", "*"):  # unknown, without a provider that keeps responses, and what stands for no model
        with pytest.raises(openai.NotFoundError, match=wanted) as missing:
            client.responses.retrieve("resp_1", extra_query={"model": model})
        assert missing.value.code == "model_not_found"
    assert not rig.vendors["openai"].requests


@pytest.mark.parametrize(
    "path", ["..%2ffiles", "%2e%2e%2ffiles", "resp_1/..%2f..%2ffiles", "resp_1%3fx", "resp_1/files", "resp_1/cancel/x"]
)
def test_no_other_path_of_a_provider_can_be_reached(rig: Rig, client: openai.OpenAI, path: str) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.get(f"/responses/{path}?model=alone", cast_to=object)
    assert caught.value.status_code in (400, 404)
    assert not rig.vendors["openai"].requests


STATEFUL: list[dict[str, Any]] = [{"previous_response_id": "resp_1"}, {"background": True}, {"conversation": "conv_1"}]


@pytest.mark.parametrize("fields", STATEFUL, ids=lambda fields: next(iter(fields)))
def test_what_needs_the_vendors_memory_is_a_400_that_names_it_elsewhere(client: openai.OpenAI, fields: dict[str, Any]) -> None:
    (name,) = fields
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="elsewhere", input="hello", **fields)
    assert (caught.value.param, caught.value.code) == (name, "unsupported_feature")


def test_failover_never_loses_the_vendors_memory_in_silence(rig: Rig, client: openai.OpenAI) -> None:
    made = client.responses.create(model="with-anthropic", input="hello")
    again = client.responses.create(model="with-anthropic", input="more", previous_response_id=made.id)
    assert again.previous_response_id == made.id
    rig.break_vendor("openai", mode="status", status=503)
    with pytest.raises(openai.BadRequestError) as caught:
        client.responses.create(model="with-anthropic", input="more", previous_response_id=made.id)
    assert caught.value.param == "previous_response_id"
    assert not rig.vendors["anthropic"].requests or rig.vendors["anthropic"].requests[-1].path == "/"
    rig.heal()
    with pytest.raises(openai.BadRequestError, match="not found") as caught:  # the other account's own answer
        client.responses.create(model="both", input="more", previous_response_id=made.id)
    assert caught.value.code == "previous_response_not_found"


def test_a_fetched_response_is_not_metered_again(rig: Rig, client: openai.OpenAI) -> None:
    made = client.responses.create(model="alone", input="hello")
    identity = client.responses.with_raw_response.retrieve(made.id, extra_query=QUERY).headers["x-headgate-request-id"]
    line = line_of(rig, identity)
    assert (line.status, line.operation, line.dialect) == (200, "stored", "openai-responses")
    assert line.meter().usage is None


def line_of(rig: Rig, identity: str) -> RequestLine:
    """The access journal's line of a request, once it is there."""
    journal = rig.gateway.places.journal
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        for raw in journal.read_bytes().splitlines():
            line = decode(raw)
            if isinstance(line, RequestLine) and line.id == identity:
                return line
        time.sleep(0.05)
    raise AssertionError(f"no line of request {identity}")
