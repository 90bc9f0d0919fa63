"""Embeddings and reranking through the real gateway with the official SDKs: translated where vendors differ, else untouched."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import openai
import pytest
from google import genai
from google.genai import errors, types

from control_plane.demo.simulators.tokens import count
from control_plane.demo.simulators.vectors import vector
from control_plane.signals.lines import RequestLine, decode
from tests.live.gateway.rig import Rig, RigFactory

MODELS = {"openai": "text-embedding-3-small", "cohere": "embed-v4.0", "gemini": "gemini-embedding-001"}
TITAN = "amazon.titan-embed-text-v2:0"
ROUTE = """
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  plan:
{plan}
  timeouts: {{connect: 500ms, firstToken: 2s, idle: 20s, total: 2m}}
"""
TEXTS = ["the gate lets water in", "größer → 漢字"]


def route(name: str, *targets: tuple[str, str]) -> str:
    plan = "\n".join(f"    - {{targets: [{{provider: {provider}, model: {model}}}]}}" for provider, model in targets)
    return ROUTE.format(name=name, plan=plan)


ROUTES = (
    "".join(route(f"via-{name}", (name, model)) for name, model in MODELS.items())
    + route("openai-first", *((name, MODELS[name]) for name in ("openai", "cohere", "gemini")))
    + route("cohere-first", *((name, MODELS[name]) for name in ("cohere", "openai")))
    + route("gemini-embedding-2", ("gemini", "gemini-embedding-2"))
    + route("gemini-first", ("gemini", "gemini-embedding-2"), ("cohere", "embed-v4.0"))
    + route("titan", ("bedrock", TITAN))
    + route("bedrock-cohere", ("bedrock", "cohere.embed-v4:0"))
    + route("titan-first", ("bedrock", TITAN), ("openai", MODELS["openai"]))
    + route("claude", ("anthropic", "claude-sonnet-5"))
    + route("ranks", ("cohere", "rerank-v3.5"))
)


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def gpt(rig: Rig) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as made:
        yield made


@pytest.fixture
def client(rig: Rig) -> Iterator[cohere.ClientV2]:
    with httpx.Client(timeout=20) as transport:
        yield cohere.ClientV2("client-key", base_url=rig.url, httpx_client=transport, max_retries=0)


@pytest.fixture
def google(rig: Rig) -> Iterator[genai.Client]:
    with genai.Client(api_key="client-key", http_options=types.HttpOptions(base_url=rig.url)) as made:
        yield made


def values(made: types.EmbedContentResponse) -> list[list[float] | None]:
    return [item.values for item in made.embeddings or ()]


@pytest.mark.parametrize("model", ["via-openai", "via-cohere", "via-gemini", "gemini-embedding-2", "bedrock-cohere"])
def test_gemini_clients(rig: Rig, gpt: openai.OpenAI, google: genai.Client, model: str) -> None:
    config = types.EmbedContentConfig(output_dimensionality=256, task_type="RETRIEVAL_QUERY")
    contents: Any = [types.Content(parts=[types.Part(text=text)]) for text in TEXTS]
    made = google.models.embed_content(model=model, contents=contents, config=config)
    native = gpt.embeddings.create(model="via-openai", input=TEXTS, dimensions=256)
    wanted = [item.embedding for item in native.data] if model == "via-openai" else [vector(text, 256) for text in TEXTS]
    assert values(made) == wanted
    counted = model not in ("via-gemini", "bedrock-cohere")
    assert (made.usage_metadata is not None and (made.usage_metadata.prompt_token_count or 0) > 0) is counted
    if "gemini" in model:
        seen = rig.vendors["gemini"].requests[-1]
        upstream = MODELS["gemini"] if model == "via-gemini" else model
        assert (seen.path, seen.key) == (f"/v1beta/models/{upstream}:batchEmbedContents", "key-0")
        assert {item["model"] for item in seen.json()["requests"]} == {f"models/{upstream}"}


@pytest.mark.parametrize("model", ["via-openai", "via-cohere", "via-gemini", "titan"])
def test_gemini_clients_ask_for_one(rig: Rig, gpt: openai.OpenAI, model: str) -> None:
    """Google's SDK always asks for a batch; its documentation shows this call."""
    body = {"model": f"models/{model}", "content": {"parts": [{"text": "x"}]}, "outputDimensionality": 256, "title": "t"}
    answer = httpx.post(f"{rig.url}/v1beta/models/{model}:embedContent", json=body, timeout=20)
    wanted = gpt.embeddings.create(model="via-openai", input="x", dimensions=256).data[0].embedding if model == "via-openai" else None
    assert answer.json()["embedding"]["values"] == (wanted or vector("x", 256))
    dropped = None if model == "via-gemini" else "title"
    assert answer.headers.get("x-headgate-dropped") == dropped


def test_what_gemini_clients_are_refused(rig: Rig, google: genai.Client) -> None:
    with pytest.raises(errors.ClientError, match=r"requests\.0\.content\.parts\.0: cannot be expressed in openai-chat") as unfit:
        google.models.embed_content(model="via-openai", contents=types.Part.from_bytes(data=b"x", mime_type="image/png"))
    assert (unfit.value.code, unfit.value.status) == (400, "INVALID_ARGUMENT")
    with pytest.raises(errors.ClientError, match="does not serve"):
        google.models.embed_content(model="claude", contents="x")
    rig.break_vendor("openai", mode="status", status=429)
    with pytest.raises(errors.ClientError) as limited:
        google.models.embed_content(model="via-openai", contents="x")
    assert (limited.value.code, limited.value.status) == (429, "RESOURCE_EXHAUSTED")


def test_gemini_clients_fail_over_and_back(rig: Rig, google: genai.Client) -> None:
    for broken, model in (("gemini", "gemini-first"), ("openai", "openai-first")):
        rig.heal()
        rig.break_vendor(broken, mode="status", status=503)
        config = types.EmbedContentConfig(output_dimensionality=256)
        assert values(google.models.embed_content(model=model, contents="x", config=config)) == [vector("x", 256)]


def test_bedrock(rig: Rig, gpt: openai.OpenAI, client: cohere.ClientV2) -> None:
    made = gpt.embeddings.create(model="titan", input="two words", dimensions=256, encoding_format="float")
    assert (made.data[0].embedding, made.usage.prompt_tokens) == (vector("two words", 256), count("two words"))
    seen = rig.vendors["bedrock"].requests[-1]
    assert (seen.json(), seen.key) == ({"inputText": "two words", "dimensions": 256}, "key-0")
    assert seen.path in (f"/model/{TITAN}/invoke", f"/model/{TITAN.replace(':', '%3A')}/invoke")
    with pytest.raises(openai.BadRequestError, match="embeds one text at once"):
        gpt.embeddings.create(model="titan", input=TEXTS)
    raw = gpt.embeddings.with_raw_response.create(model="titan-first", input=TEXTS)
    assert raw.headers["x-headgate-target"] == f"openai/{MODELS['openai']}"
    many: Any = client.embed(model="bedrock-cohere", texts=TEXTS, input_type="search_query", output_dimension=256)
    assert many.embeddings.float_ == [vector(text, 256) for text in TEXTS]
    assert rig.vendors["bedrock"].requests[-1].json()["input_type"] == "search_query"
    rig.break_vendor("bedrock", mode="status", status=429)
    with pytest.raises(cohere.TooManyRequestsError):
        client.embed(model="bedrock-cohere", texts=TEXTS, input_type="search_query")


@pytest.mark.parametrize("model", ["via-cohere", "via-gemini"])
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_openai_clients(rig: Rig, gpt: openai.OpenAI, model: str, encoding: Any) -> None:
    made = gpt.embeddings.create(model=model, input=TEXTS, dimensions=256, encoding_format=encoding)
    if encoding == "float":
        assert [item.embedding for item in made.data] == [vector(text, 256) for text in TEXTS]
    else:
        assert [isinstance(item.embedding, str) for item in made.data] == [True, True]
    usual = gpt.embeddings.create(model=model, input=TEXTS[0], dimensions=256)  # the SDK asks for base64 and unpacks it
    assert usual.data[0].embedding == vector(TEXTS[0], 256)
    assert (usual.usage.prompt_tokens > 0) is (model == "via-cohere")  # Gemini does not count
    assert [item.index for item in made.data] == [0, 1]


@pytest.mark.parametrize("model", ["via-cohere", "via-openai", "via-gemini"])
def test_cohere_clients(gpt: openai.OpenAI, client: cohere.ClientV2, model: str) -> None:
    made: Any = client.embed(model=model, texts=TEXTS, input_type="search_query", output_dimension=256, embedding_types=["float", "base64"])
    native = gpt.embeddings.create(model="via-openai", input=TEXTS, dimensions=256)
    wanted = [item.embedding for item in native.data] if model == "via-openai" else [vector(text, 256) for text in TEXTS]
    assert made.embeddings.float_ == wanted
    assert len(made.embeddings.base64) == 2
    assert made.texts == TEXTS
    assert ((made.meta.billed_units.input_tokens or 0) > 0) is (model != "via-gemini")


def test_what_the_vendors_see(rig: Rig, client: cohere.ClientV2, gpt: openai.OpenAI) -> None:
    client.embed(model="via-gemini", texts=TEXTS, input_type="search_query")
    seen = rig.vendors["gemini"].requests[-1]
    assert (seen.path, seen.key) == ("/v1beta/models/gemini-embedding-001:batchEmbedContents", "key-0")
    assert [item["taskType"] for item in seen.json()["requests"]] == ["RETRIEVAL_QUERY"] * 2
    raw = gpt.embeddings.with_raw_response.create(model="via-cohere", input="x", user="u", extra_body={"input_type": "query"})
    assert raw.headers["x-headgate-dropped"] == "user"
    seen = rig.vendors["cohere"].requests[-1]
    assert (seen.path, seen.json()["input_type"]) == ("/v2/embed", "search_query")
    client.embed(model="via-cohere", texts=["x"], input_type="search_document", priority=7)
    assert rig.vendors["cohere"].requests[-1].json()["priority"] == 7, "untranslated, so byte for byte"


def test_failover(rig: Rig, client: cohere.ClientV2, gpt: openai.OpenAI) -> None:
    rig.break_vendor("openai", mode="status", status=503)
    raw = gpt.embeddings.with_raw_response.create(model="openai-first", input=TEXTS, encoding_format="float", dimensions=256)
    assert (raw.headers["x-headgate-target"], raw.headers["x-headgate-attempts"]) == ("cohere/embed-v4.0", "2")
    rig.break_vendor("cohere", mode="garbage")
    raw = gpt.embeddings.with_raw_response.create(model="openai-first", input=TEXTS, encoding_format="float", dimensions=256)
    assert raw.headers["x-headgate-target"] == "gemini/gemini-embedding-001"
    assert [item.embedding for item in raw.parse().data] == [vector(text, 256) for text in TEXTS]
    rig.heal()
    rig.break_vendor("cohere", mode="refuse")
    assert client.embed(model="cohere-first", texts=TEXTS, input_type="clustering").embeddings.float_


def test_what_cannot_be_done_goes_to_the_next_or_names_its_field(gpt: openai.OpenAI, client: cohere.ClientV2) -> None:
    raw = gpt.embeddings.with_raw_response.create(model="cohere-first", input=[[1, 2, 3]], encoding_format="float")
    assert raw.headers["x-headgate-target"] == "openai/text-embedding-3-small"
    with pytest.raises(openai.BadRequestError, match="input: cohere-chat embeds texts only"):
        gpt.embeddings.create(model="via-cohere", input=[1, 2, 3])
    with pytest.raises(cohere.BadRequestError, match=r"embedding_types\.0"):
        client.embed(model="via-openai", texts=["x"], input_type="search_query", embedding_types=["int8"])
    with pytest.raises(cohere.BadRequestError, match="input_type"):
        client.embed(model="via-openai", texts=["x"], input_type=None)
    for ask in (
        lambda: client.embed(model="claude", texts=["x"], input_type="search_query"),
        lambda: client.rerank(model="via-openai", query="q", documents=["d"]),
    ):
        with pytest.raises(cohere.NotFoundError, match="does not serve"):
            ask()


def test_vendors_errors_keep_their_class(rig: Rig, gpt: openai.OpenAI, client: cohere.ClientV2) -> None:
    for vendor in ("cohere", "gemini"):
        rig.break_vendor(vendor, mode="status", status=429, retry_after_s=7)
        with pytest.raises(openai.RateLimitError) as limited:
            gpt.embeddings.create(model=f"via-{vendor}", input="x")
        assert limited.value.response.headers["retry-after"] == "7"
    rig.break_vendor("openai", mode="status", status=429)
    with pytest.raises(cohere.TooManyRequestsError):
        client.embed(model="via-openai", texts=["x"], input_type="search_query")


def test_reranking_passes_through(rig: Rig, client: cohere.ClientV2) -> None:
    done = client.rerank(model="ranks", query="ruby", documents=["Paris", "a ruby", "ruby on rails"], top_n=2)
    assert [(result.index, result.relevance_score) for result in done.results] == [(1, 0.5), (2, 0.5)]
    seen = rig.vendors["cohere"].requests[-1]
    assert (seen.path, seen.json()["model"], seen.key) == ("/v2/rerank", "rerank-v3.5", "key-0")


def test_tokens_are_journalled_on_both_lanes(rig: Rig, gpt: openai.OpenAI, client: cohere.ClientV2) -> None:
    told: dict[str, int] = {}
    for model in ("via-openai", "gemini-embedding-2"):  # translated, and untouched
        body = {"content": {"parts": [{"text": "two words"}]}}
        answer = httpx.post(f"{rig.url}/v1beta/models/{model}:embedContent", json=body, timeout=20)
        told[answer.headers["x-headgate-request-id"]] = answer.json()["usageMetadata"]["promptTokenCount"]
    for model in ("via-openai", "via-cohere"):
        raw = gpt.embeddings.with_raw_response.create(model=model, input=TEXTS)
        told[raw.headers["x-headgate-request-id"]] = raw.parse().usage.prompt_tokens
        made = client.with_raw_response.embed(model=model, texts=TEXTS, input_type="search_query")
        billed: Any = made.data.meta
        told[made.headers["x-headgate-request-id"]] = billed.billed_units.input_tokens
    deadline, found = time.monotonic() + 15, dict[str, Any]()
    while time.monotonic() < deadline and set(found) != set(told):
        time.sleep(0.2)
        for text in rig.gateway.places.journal.read_bytes().splitlines():
            line = decode(text)
            if isinstance(line, RequestLine) and line.id in told:
                assert line.operation == "embeddings"
                meter = line.meter()
                assert meter.complete
                found[line.id] = None if meter.usage is None else meter.usage.input
    assert found == told
    assert all(json.dumps(count) != "0" for count in told.values())
