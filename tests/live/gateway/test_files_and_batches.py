"""Files and batches through the real gateway with the vendors' SDKs: no model in them, so the query says whose they are."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest

from tests.live.gateway.rig import MODELS, Rig, RigFactory, route

SECOND = """
---
apiVersion: headgate.dev/v1alpha1
kind: Preset
metadata: {{name: second}}
spec:
  title: Another account
  dialects:
    openai-chat: {{path: /chat/completions, operations: {{files: "/files?kept=here", batches: /batches}}}}
  auth: {{header: authorization, prefix: "Bearer "}}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: second}}
spec: {{preset: second, baseUrl: "{local}/v1", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
"""
ROUTES = (
    route("alone", "openai")
    + route("claude", "anthropic")
    + route("mixed", "anthropic", "openai")
    + route("both", "openai", "local").replace("provider: local", "provider: second")
    + route("turned", "local", "openai").replace("provider: local", "provider: second")
    + route("small", "openai").rstrip()
    + "\n  maxRequestBytes: 64Ki\n"
)
FIRST: dict[str, Any] = {"model": "alone"}


@pytest.fixture(scope="module")
def started(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=SECOND)


@pytest.fixture
def rig(started: Rig) -> Rig:
    started.heal()
    return started


@pytest.fixture
def client(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0, default_query=FIRST) as client:
        yield client


@pytest.fixture
def claude(rig: Rig) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=rig.url, api_key="client-key", max_retries=0, default_query={"model": "claude"}) as client:
        yield client


def line(identity: str, model: str, text: str) -> bytes:
    body = {"model": model, "messages": [{"role": "user", "content": text}]}
    return json.dumps({"custom_id": identity, "method": "POST", "url": "/v1/chat/completions", "body": body}).encode() + b"\n"


# ---------------------------------------------------------------------------------------------------- OpenAI


def test_a_file_is_uploaded_listed_fetched_and_deleted(rig: Rig, client: openai.OpenAI) -> None:
    content = bytes(range(256)) * 4096 * 3  # 3 MiB that are no text
    made = client.files.create(file=("a b.bin", content), purpose="user_data")
    assert (made.filename, made.bytes, made.purpose) == ("a b.bin", len(content), "user_data")
    seen = rig.vendors["openai"].requests[-1]
    assert (seen.method, seen.path, seen.query) == ("POST", "/v1/files", "")
    assert client.files.retrieve(made.id).id == made.id
    assert made.id in [file.id for file in client.files.list(purpose="user_data", limit=100)]
    seen = rig.vendors["openai"].requests[-1]
    assert (seen.path, sorted(seen.query.split("&"))) == ("/v1/files", ["limit=100", "purpose=user_data"])
    with client.files.with_streaming_response.content(made.id) as answer:
        assert b"".join(answer.iter_bytes()) == content
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError, match="No such File object"):
        client.files.retrieve(made.id)


def test_a_batch_from_its_file_to_its_results(rig: Rig, client: openai.OpenAI) -> None:
    lines = line("one", MODELS["openai"], "hello") + line("two", "alone", "hello")  # names of models in a file are the vendor's
    given = client.files.create(file=("in.jsonl", lines), purpose="batch")
    made = client.batches.create(input_file_id=given.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={"k": "v"})
    assert made.request_counts is not None
    assert (made.request_counts.completed, made.request_counts.failed, made.metadata) == (1, 1, {"k": "v"})
    assert client.batches.retrieve(made.id).status == "completed"
    assert made.id in [batch.id for batch in client.batches.list(limit=50)]
    assert made.output_file_id is not None
    assert made.error_file_id is not None
    output = json.loads(client.files.content(made.output_file_id).text)
    assert output["custom_id"] == "one"
    assert output["response"]["body"]["choices"][0]["message"]["content"] == f"openai/{MODELS['openai']} heard: hello"
    assert "does not exist" in client.files.content(made.error_file_id).text
    with pytest.raises(openai.ConflictError, match="Cannot cancel"):
        client.batches.cancel(made.id)


def test_what_is_made_is_the_first_providers_and_every_provider_is_asked_for_it(rig: Rig, client: openai.OpenAI) -> None:
    made = client.files.create(file=("a", b"first"), purpose="user_data", extra_query={"model": "both"})
    other = client.files.with_raw_response.create(file=("b", b"second"), purpose="user_data", extra_query={"model": "turned"})
    assert other.headers["x-headgate-target"] == "second/*"
    seen = rig.vendors["local"].requests[-1]
    assert (seen.path, seen.query) == ("/v1/files", "kept=here")
    found = client.files.with_raw_response.content(other.parse().id, extra_query={"model": "both"})
    assert (found.content, found.headers["x-headgate-attempts"]) == (b"second", "2")
    seen = rig.vendors["local"].requests[-1]
    assert (seen.path, seen.query) == (f"/v1/files/{other.parse().id}/content", "kept=here")
    assert client.files.content(made.id, extra_query={"model": "turned"}).content == b"first"
    listed = [file.id for file in client.files.list(extra_query={"model": "turned"})]
    assert other.parse().id in listed
    assert made.id not in listed


def test_no_write_goes_to_another_account_when_the_first_fails(rig: Rig, client: openai.OpenAI) -> None:
    before = len(rig.vendors["local"].requests)
    rig.break_vendor("openai", mode="status", status=503)
    with pytest.raises(openai.InternalServerError):
        client.files.create(file=("a", b"x"), purpose="user_data", extra_query={"model": "both"})
    with pytest.raises(openai.InternalServerError):
        client.files.list(extra_query={"model": "both"})
    with pytest.raises(openai.InternalServerError):
        client.batches.create(input_file_id="file-1", endpoint="/v1/responses", completion_window="24h", extra_query={"model": "both"})
    assert len(rig.vendors["local"].requests) == before


def test_uploads_are_bounded_by_the_route(client: openai.OpenAI) -> None:
    client.files.create(file=("a", bytes(60_000)), purpose="user_data", extra_query={"model": "small"})
    with pytest.raises(openai.APIStatusError) as caught:
        client.files.create(file=("a", bytes(70_000)), purpose="user_data", extra_query={"model": "small"})
    assert caught.value.status_code == 413


def test_calls_without_a_model_say_what_to_add(rig: Rig) -> None:
    before = len(rig.vendors["openai"].requests)
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="k", max_retries=0) as bare:
        calls = (
            bare.files.list,
            lambda: bare.files.create(file=("a", b"x"), purpose="batch"),
            lambda: bare.files.content("file-1"),
            bare.batches.list,
            lambda: bare.batches.create(input_file_id="f", endpoint="/v1/responses", completion_window="24h"),
            lambda: bare.batches.cancel("batch_1"),
        )
        for call in calls:
            with pytest.raises(openai.BadRequestError, match=r"add '\?model='") as caught:
                call()
            assert caught.value.code == "missing_model"
        for model, wanted in (("alon", "does not exist"), ("claude", "does not serve this operation")):
            with pytest.raises(openai.NotFoundError, match=wanted) as missing:
                bare.files.create(file=("a", b"x"), purpose="batch", extra_query={"model": model})
            assert missing.value.code == "model_not_found"
        with pytest.raises(openai.APIStatusError) as wrong:
            bare.put("/files?model=alone", cast_to=object)
        assert wrong.value.status_code == 405
    assert len(rig.vendors["openai"].requests) == before


@pytest.mark.parametrize("path", ["files/..%2fbatches", "files/file-1/content/x", "files/%2e%2e", "batches/b/results", "files/"])
def test_no_other_path_of_a_provider_can_be_reached(rig: Rig, client: openai.OpenAI, path: str) -> None:
    before = len(rig.vendors["openai"].requests)
    with pytest.raises(openai.APIStatusError) as caught:
        client.get(f"/{path}", cast_to=object)
    assert caught.value.status_code in (400, 404)
    assert len(rig.vendors["openai"].requests) == before


# ---------------------------------------------------------------------------------------------------- Anthropic


def test_message_batches(rig: Rig, claude: anthropic.Anthropic) -> None:
    asked: list[Any] = [
        {"custom_id": name, "params": {"model": model, "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}}
        for name, model in (("one", MODELS["anthropic"]), ("two", "claude"))
    ]
    made = claude.messages.batches.create(requests=asked)
    seen = rig.vendors["anthropic"].requests[-1]
    assert (seen.method, seen.path, seen.query) == ("POST", "/v1/messages/batches", "")
    assert made.processing_status == "ended"
    assert claude.messages.batches.retrieve(made.id).id == made.id
    assert made.id in [batch.id for batch in claude.messages.batches.list(limit=100)]
    results = {result.custom_id: result.result for result in claude.messages.batches.results(made.id)}
    assert results["one"].type == "succeeded"
    assert results["one"].message.content[0].type == "text"
    assert results["two"].type == "errored"
    with pytest.raises(anthropic.BadRequestError, match="already ended"):
        claude.messages.batches.cancel(made.id)
    assert claude.messages.batches.delete(made.id).id == made.id
    with pytest.raises(anthropic.NotFoundError, match="not found"):
        claude.messages.batches.retrieve(made.id)


def test_the_results_stay_at_the_gateway(claude: anthropic.Anthropic) -> None:
    """The vendor's own address would get the key of the gateway's client."""
    message: Any = {"model": MODELS["anthropic"], "max_tokens": 50, "messages": [{"role": "user", "content": "hello"}]}
    made = claude.messages.batches.create(requests=[{"custom_id": "one", "params": message}])
    path = f"/v1/messages/batches/{made.id}/results"
    assert made.results_url == path
    assert claude.messages.batches.retrieve(made.id).results_url == path
    assert {b.results_url for b in claude.messages.batches.list() if b.id == made.id} == {path}


def test_anthropics_files_are_told_from_openais(rig: Rig, claude: anthropic.Anthropic, client: openai.OpenAI) -> None:
    both = {"model": "mixed"}
    mine = client.files.create(file=("a.txt", b"openai's"), purpose="user_data", extra_query=both)
    made = claude.beta.files.upload(file=("b.txt", b"anthropic's"), extra_query=both)
    assert made.filename == "b.txt"
    assert rig.vendors["anthropic"].requests[-1].path == "/v1/files"
    assert next(file.id for file in claude.beta.files.list(extra_query=both)) == made.id
    assert claude.beta.files.retrieve_metadata(made.id, extra_query=both).size_bytes == 11
    assert claude.beta.files.download(made.id, extra_query=both).read() == b"anthropic's"
    assert client.files.content(mine.id, extra_query=both).content == b"openai's"
    claude.beta.files.delete(made.id, extra_query=both)
    with pytest.raises(anthropic.NotFoundError):
        claude.beta.files.retrieve_metadata(made.id, extra_query=both)


def test_anthropic_clients_hear_what_is_missing_in_their_own_words(rig: Rig) -> None:
    with anthropic.Anthropic(base_url=rig.url, api_key="k", max_retries=0) as bare:
        for call in (bare.messages.batches.list, lambda: bare.messages.batches.retrieve("b"), bare.beta.files.list):
            with pytest.raises(anthropic.BadRequestError, match=r"add '\?model='") as caught:
                call()
            assert caught.value.body["type"] == "error"  # type: ignore[index]
        with pytest.raises(anthropic.NotFoundError):
            bare.messages.batches.list(extra_query={"model": "alone"})


def test_the_journal_names_the_operation(rig: Rig, client: openai.OpenAI) -> None:
    identity = client.files.with_raw_response.list().headers["x-headgate-request-id"]
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        found = [line for line in rig.gateway.places.journal.read_text().splitlines() if identity in line]
        if any("files alone" in line for line in found):
            return
        time.sleep(0.05)
    raise AssertionError(f"no line of request {identity} that names the operation")
