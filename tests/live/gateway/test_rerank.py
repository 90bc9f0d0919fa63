"""Reranking through the real gateway: Cohere's SDK on a server like vLLM, plain HTTP on Cohere, and failover both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import openai
import pytest

from control_plane.demo.simulators.ranking import ranked
from control_plane.demo.simulators.vectors import vector
from tests.live.gateway.rig import Rig, RigFactory
from tests.live.gateway.test_embeddings import route

VLLM = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: vllm}}
spec: {{preset: vllm, baseUrl: "{local}/v1", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
"""
OTHERS = {
    "voyage": "rerank-2.5",
    "tei": "bge-reranker",
    "sglang": "BAAI/bge-reranker-v2-m3",
    "nvidia": "nvidia/llama-3.2-nv-rerankqa-1b-v2",
}
RERANKER = "llama-3.3-70b"  # what the rig's local server has
ROUTES = (
    route("via-cohere", ("cohere", "rerank-v3.5"))
    + route("via-vllm", ("vllm", RERANKER))
    + route("cohere-first", ("cohere", "rerank-v3.5"), ("vllm", RERANKER))
    + route("vllm-first", ("vllm", RERANKER), ("cohere", "rerank-v3.5"))
    + "".join(route(f"via-{name}", (name, model)) for name, model in OTHERS.items())
    + route("all-of-them", *OTHERS.items(), ("cohere", "rerank-v3.5"))
    + route("voyage-vectors", ("voyage", "voyage-3.5"))
    + route("tei-vectors", ("tei", "nomic-embed"))
    + route("claude", ("anthropic", "claude-sonnet-5"))
)
QUERY, DOCUMENTS = "ruby on rails", ["Paris größer", "a ruby", "ruby on rails 漢字"]
WANTED = ranked(QUERY, DOCUMENTS)
MODELS = pytest.mark.parametrize("model", ["via-cohere", "via-vllm", *(f"via-{name}" for name in OTHERS)])
"""Every shape that a provider's reranking has."""


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(ROUTES, providers=VLLM)


@pytest.fixture(autouse=True)
def healed(rig: Rig) -> None:
    rig.heal()


@pytest.fixture
def client(rig: Rig) -> Iterator[cohere.ClientV2]:
    with httpx.Client(timeout=20) as transport:
        yield cohere.ClientV2("client-key", base_url=rig.url, httpx_client=transport, max_retries=0)


def plain(rig: Rig, model: str, **body: Any) -> httpx.Response:
    return httpx.post(f"{rig.url}/v1/rerank", json={"model": model, "query": QUERY, "documents": DOCUMENTS, **body}, timeout=20)


@MODELS
def test_coheres_sdk(rig: Rig, client: cohere.ClientV2, model: str) -> None:
    done = client.rerank(model=model, query=QUERY, documents=DOCUMENTS, top_n=2)
    assert [(result.index, result.relevance_score) for result in done.results] == WANTED[:2]
    assert done.id
    everything = client.rerank(model=model, query=QUERY, documents=DOCUMENTS)
    assert [(result.index, result.relevance_score) for result in everything.results] == WANTED
    if model == "via-vllm":
        seen = rig.vendors["local"].requests[-1]
        assert (seen.path, seen.json()) == ("/v1/rerank", {"model": RERANKER, "query": QUERY, "documents": DOCUMENTS})
        assert everything.meta is not None
        assert everything.meta.billed_units is not None
        assert (everything.meta.billed_units.input_tokens or 0) > 0


@MODELS
@pytest.mark.parametrize("repeated", [True, False])
def test_plain_clients(rig: Rig, model: str, repeated: bool) -> None:
    answer = plain(rig, model, top_n=2, return_documents=repeated)
    assert answer.status_code == 200
    assert [(result["index"], result["relevance_score"]) for result in answer.json()["results"]] == WANTED[:2]
    if repeated:
        assert answer.json()["results"][0]["document"] == {"text": DOCUMENTS[WANTED[0][0]]}
    elif model == "via-cohere":
        assert "document" not in answer.json()["results"][0]


@pytest.mark.parametrize(("model", "broken"), [("cohere-first", "cohere"), ("vllm-first", "local")])
def test_failover_both_ways(rig: Rig, client: cohere.ClientV2, model: str, broken: str) -> None:
    for fault in ({"mode": "status", "status": 503}, {"mode": "status", "status": 429}, {"mode": "refuse"}):
        rig.heal()
        rig.break_vendor(broken, **fault)
        done = client.with_raw_response.rerank(model=model, query=QUERY, documents=DOCUMENTS)
        assert [(result.index, result.relevance_score) for result in done.data.results] == WANTED
        assert done.headers["x-headgate-target"] == (f"vllm/{RERANKER}" if broken == "cohere" else "cohere/rerank-v3.5")
        assert [result["index"] for result in plain(rig, model).json()["results"]] == [index for index, _ in WANTED]


def test_what_servers_with_words_of_their_own_are_asked(rig: Rig, client: cohere.ClientV2) -> None:
    asked = {"query": QUERY, "documents": DOCUMENTS}
    wanted: dict[str, tuple[str, dict[str, Any]]] = {
        "voyage": ("/v1/rerank", {"model": OTHERS["voyage"], **asked, "top_k": 2}),
        "tei": ("/rerank", {"query": QUERY, "texts": DOCUMENTS, "truncate": True}),
        "sglang": ("/v1/rerank", {"model": OTHERS["sglang"], **asked, "top_n": 2}),
        "nvidia": (
            "/v1/ranking",
            {"model": OTHERS["nvidia"], "query": {"text": QUERY}, "passages": [{"text": text} for text in DOCUMENTS], "truncate": "END"},
        ),
    }
    for name, (path, body) in wanted.items():
        client.rerank(model=f"via-{name}", query=QUERY, documents=DOCUMENTS, top_n=2)
        seen = rig.vendors[name].requests[-1]
        assert (seen.path, seen.json(), seen.key) == (path, body, "key-0")


def test_each_takes_over_from_the_one_before(rig: Rig, client: cohere.ClientV2) -> None:
    said = []
    for name in (*OTHERS, None):
        done = client.with_raw_response.rerank(model="all-of-them", query=QUERY, documents=DOCUMENTS)
        assert [(result.index, result.relevance_score) for result in done.data.results] == WANTED
        said.append(done.headers["x-headgate-target"].partition("/")[0])
        if name is not None:
            rig.break_vendor(name, mode="status", status=424 if name == "tei" else 503)
    assert said == [*OTHERS, "cohere"]


@pytest.mark.parametrize("model", ["voyage-vectors", "tei-vectors"])
def test_their_embeddings(rig: Rig, client: cohere.ClientV2, model: str) -> None:
    with openai.OpenAI(base_url=f"{rig.url}/v1", api_key="client-key", max_retries=0) as gpt:
        made = gpt.embeddings.create(model=model, input=DOCUMENTS, dimensions=256)
        assert [item.embedding for item in made.data] == [vector(text, 256) for text in DOCUMENTS]
        assert made.usage.total_tokens > 0
        with pytest.raises(openai.NotFoundError, match="does not serve"):
            gpt.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}])
    asked = client.embed(model=model, input_type="search_query", texts=DOCUMENTS, embedding_types=["float"], output_dimension=256)
    assert asked.embeddings.float_ == [vector(text, 256) for text in DOCUMENTS]
    if model == "voyage-vectors":
        seen = rig.vendors["voyage"].requests[-1].json()
        assert seen == {"model": "voyage-3.5", "input": DOCUMENTS, "output_dimension": 256, "input_type": "query"}


def test_their_errors_keep_their_class(rig: Rig, client: cohere.ClientV2) -> None:
    for name in OTHERS:
        rig.break_vendor(name, mode="status", status=429, retry_after_s=7)
        with pytest.raises(cohere.TooManyRequestsError):
            client.rerank(model=f"via-{name}", query=QUERY, documents=DOCUMENTS)


def test_what_a_vendor_cannot_do(rig: Rig, client: cohere.ClientV2) -> None:
    spans = cohere.RerankRelevantSpans(mode="enabled")
    with pytest.raises(cohere.BadRequestError, match="relevant_spans: cannot be expressed in openai-chat"):
        client.rerank(model="via-vllm", query=QUERY, documents=DOCUMENTS, relevant_spans=spans)
    with pytest.raises(cohere.BadRequestError, match="query"):
        client.rerank(model="via-vllm", query="", documents=DOCUMENTS)
    with pytest.raises(cohere.NotFoundError, match="does not serve"):
        client.rerank(model="claude", query=QUERY, documents=DOCUMENTS)
    raw = client.with_raw_response.rerank(model="via-vllm", query=QUERY, documents=DOCUMENTS, max_tokens_per_doc=9, priority=1)
    assert raw.headers["x-headgate-dropped"] == "priority,max_tokens_per_doc"
    refused = plain(rig, "via-cohere", documents=[{"image": "u"}])
    assert (refused.status_code, refused.json()["error"]["param"]) == (400, "documents.0")


def test_errors_keep_their_class(rig: Rig, client: cohere.ClientV2) -> None:
    rig.break_vendor("local", mode="status", status=429, retry_after_s=7)
    with pytest.raises(cohere.TooManyRequestsError):
        client.rerank(model="via-vllm", query=QUERY, documents=DOCUMENTS)
    rig.break_vendor("cohere", mode="status", status=429, retry_after_s=7)
    limited = plain(rig, "via-cohere")
    assert (limited.status_code, limited.headers["retry-after"]) == (429, "7")
    assert limited.json()["error"]["type"]
