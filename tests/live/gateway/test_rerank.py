"""Reranking through the real gateway: Cohere's SDK on a server like vLLM, plain HTTP on Cohere, and failover both ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import pytest

from control_plane.demo.simulators.ranking import ranked
from tests.live.gateway.rig import Rig, RigFactory
from tests.live.gateway.test_embeddings import route

VLLM = """
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: vllm}}
spec: {{preset: vllm, baseUrl: "{local}/v1", allowInsecure: true, credentials: [{{secretRef: {{env: SIM_LOCAL_KEY}}}}]}}
"""
RERANKER = "llama-3.3-70b"  # what the rig's local server has
ROUTES = (
    route("via-cohere", ("cohere", "rerank-v3.5"))
    + route("via-vllm", ("vllm", RERANKER))
    + route("cohere-first", ("cohere", "rerank-v3.5"), ("vllm", RERANKER))
    + route("vllm-first", ("vllm", RERANKER), ("cohere", "rerank-v3.5"))
    + route("claude", ("anthropic", "claude-sonnet-5"))
)
QUERY, DOCUMENTS = "ruby on rails", ["Paris größer", "a ruby", "ruby on rails 漢字"]
WANTED = ranked(QUERY, DOCUMENTS)
MODELS = pytest.mark.parametrize("model", ["via-cohere", "via-vllm"])


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
