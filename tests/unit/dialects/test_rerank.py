"""Reranking: what a client's request means, what each provider is asked and answers, and what the client gets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.rerank.canon import RerankRequest
from control_plane.dialects.rerank.registry import CLIENTS, RERANKERS
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError

OPENAI, COHERE = "openai-chat", "cohere-chat"
VOYAGE, TEI, SGLANG, NVIDIA = "voyage", "tei", "sglang-rerank", "nvidia-rerank"
ASKED: dict[str, Any] = {"query": "q", "documents": ["a", "b", "c"]}


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}made"

    def now(self) -> int:
        return 1


def read(client: str, **body: Any) -> RerankRequest:
    request = CLIENTS[client].read_request(json.dumps({"model": "m", **ASKED, **body}).encode())
    assert isinstance(request, RerankRequest)
    return request


def ask(client: str, provider: str, options: dict[str, object] | None = None, **body: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    request = read(client, **body)
    made = RERANKERS[provider].write_request(request, TargetFacts("up", "/v1/rerank", options or {}))
    return json.loads(made.body), tuple(map(request.named, made.dropped))


def answer(client: str, provider: str, document: bytes, **body: Any) -> bytes:
    """The client's document of a provider's."""
    request = read(client, **body)
    reader, writer = RERANKERS[provider].reader(request), CLIENTS[client].writer(request, Ids())
    reader.start(200, "application/json")
    events = [*reader.feed(document[:7]), *reader.feed(document[7:]), *reader.finish()]
    assert [type(event) for event in events] == [canon.Start, canon.Ranked, canon.UsageUpdate, canon.Stop, canon.End]
    return b"".join(writer.emit(event) for event in events) + writer.finish()


def test_what_the_providers_are_asked() -> None:
    plain = {"model": "up", **ASKED, "top_n": 2}
    assert ask(COHERE, OPENAI, top_n=2, max_tokens_per_doc=9, priority=1) == (plain, ("priority", "max_tokens_per_doc"))
    assert ask(OPENAI, COHERE, top_n=2, max_tokens_per_doc=9, return_documents=False, user="u", odd=1) == (
        {**plain, "max_tokens_per_doc": 9},
        ("odd", "user"),
    )
    assert ask(OPENAI, OPENAI, user="u") == ({"model": "up", **ASKED, "user": "u"}, ())
    assert ask(OPENAI, COHERE, documents=[{"text": "a"}, "b"])[0]["documents"] == ["a", "b"]
    assert ask(COHERE, OPENAI, {"rename_params": {"top_n": "top_k"}}, top_n=2)[0] == {"model": "up", **ASKED, "top_k": 2}


def test_what_servers_with_words_of_their_own_are_asked() -> None:
    dropped = ("priority", "max_tokens_per_doc")
    asked: dict[str, Any] = {"top_n": 2, "max_tokens_per_doc": 9, "priority": 1}
    assert ask(COHERE, VOYAGE, **asked) == ({"model": "up", **ASKED, "top_k": 2}, dropped)
    assert ask(COHERE, SGLANG, **asked) == ({"model": "up", **ASKED, "top_n": 2}, dropped)
    assert ask(COHERE, TEI, **asked) == ({"query": "q", "texts": ["a", "b", "c"], "truncate": True}, dropped)
    passages = [{"text": text} for text in ASKED["documents"]]
    assert ask(COHERE, NVIDIA, **asked) == ({"model": "up", "query": {"text": "q"}, "passages": passages, "truncate": "END"}, dropped)
    for provider in (VOYAGE, SGLANG, TEI, NVIDIA):
        assert ask(OPENAI, provider, user="u", odd=1)[1] == ("odd", "user")
        with pytest.raises(canon.Unfit) as unfit:
            ask(OPENAI, provider, documents=[{"image": "u"}])
        assert unfit.value.field == "documents.0"


@pytest.mark.parametrize(
    ("client", "provider", "body", "field"),
    [
        (COHERE, OPENAI, {"relevant_spans": {"mode": "enabled"}}, "relevant_spans"),
        (OPENAI, COHERE, {"documents": ["a", {"image": "u"}]}, "documents.1"),
        (OPENAI, COHERE, {"documents": [{"text": "a", "title": "t"}]}, "documents.0"),
        (OPENAI, COHERE, {"query": {"image": "u"}}, "query"),
    ],
)
def test_what_a_provider_cannot_do_is_unfit(client: str, provider: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(canon.Unfit) as unfit:
        ask(client, provider, **body)
    assert unfit.value.field == field


@pytest.mark.parametrize("client", [OPENAI, COHERE])
@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"query": None}, "query"),
        ({"query": ""}, "query"),
        ({"query": 5}, "query"),
        ({"documents": []}, "documents"),
        ({"documents": "a"}, "documents"),
        ({"documents": ["a", 5]}, "documents.1"),
        ({"documents": [{"text": 5}]}, "documents.0.text"),
        ({"top_n": 0}, "top_n"),
        ({"top_n": "2"}, "top_n"),
        ({"model": ""}, "model"),
    ],
)
def test_a_bad_request_names_its_field(client: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(ClientProtocolError) as caught:
        read(client, **body)
    assert (caught.value.status, caught.value.param) == (400, param)


RANKED = b'{"id":"i","model":"e","results":[{"index":2,"relevance_score":0.70000000000000001},{"index":0,"relevance_score":-1e-3}]'
FROM_VLLM = RANKED + b',"usage":{"prompt_tokens":7,"total_tokens":9}}'
FROM_COHERE = RANKED + b',"meta":{"api_version":{"version":"2"},"billed_units":{"search_units":1}}}'
FROM_VOYAGE = b'{"object":"list","data":[{"relevance_score":0.5,"index":1,"document":"b"}],"model":"r","usage":{"total_tokens":9}}'


def test_what_a_client_gets() -> None:
    cohere = answer(COHERE, OPENAI, FROM_VLLM)
    assert b"0.70000000000000001" in cohere  # no number changes on its way
    assert json.loads(cohere) == {
        "id": "i",
        "results": [{"index": 2, "relevance_score": 0.7}, {"index": 0, "relevance_score": -0.001}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 7}},
    }
    assert json.loads(answer(OPENAI, COHERE, FROM_COHERE)) == {
        "id": "i",
        "model": "m",
        "results": [
            {"index": 2, "relevance_score": 0.7, "document": {"text": "c"}},
            {"index": 0, "relevance_score": -0.001, "document": {"text": "a"}},
        ],
    }
    assert json.loads(answer(OPENAI, COHERE, FROM_COHERE, return_documents=False))["results"][0] == {"index": 2, "relevance_score": 0.7}
    assert json.loads(answer(COHERE, VOYAGE, FROM_VOYAGE)) == {
        "id": "made",
        "results": [{"index": 1, "relevance_score": 0.5}],
        "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": 9}},
    }
    assert len(json.loads(answer(COHERE, OPENAI, FROM_VLLM, top_n=1))["results"]) == 1  # a server that does not know top_n


FROM_TEI = b'[{"index":2,"score":0.70000000000000001},{"index":0,"score":-1e-3,"text":"a"}]'
FROM_SGLANG = b'[{"score":0.70000000000000001,"document":"c","index":2,"meta_info":{}},{"score":-1e-3,"document":"a","index":0}]'
FROM_NVIDIA = (
    b'{"rankings":[{"index":2,"logit":0.70000000000000001},{"index":0,"logit":-1e-3}],"usage":{"prompt_tokens":7,"total_tokens":9}}'
)


@pytest.mark.parametrize(
    ("provider", "document", "read_tokens"), [(TEI, FROM_TEI, None), (SGLANG, FROM_SGLANG, None), (NVIDIA, FROM_NVIDIA, 7)]
)
def test_what_clients_get_of_servers_with_words_of_their_own(provider: str, document: bytes, read_tokens: int | None) -> None:
    got = answer(COHERE, provider, document)
    assert b"0.70000000000000001" in got
    assert json.loads(got)["results"] == [{"index": 2, "relevance_score": 0.7}, {"index": 0, "relevance_score": -0.001}]
    assert json.loads(got)["meta"]["billed_units"] == ({} if read_tokens is None else {"input_tokens": read_tokens})
    shown = json.loads(answer(OPENAI, provider, document, top_n=1))
    assert shown["results"] == [{"index": 2, "relevance_score": 0.7, "document": {"text": "c"}}]
    assert shown.get("usage") == (None if read_tokens is None else {"prompt_tokens": 7, "total_tokens": 7})


@pytest.mark.parametrize("provider", [OPENAI, COHERE, VOYAGE, TEI, SGLANG, NVIDIA])
@pytest.mark.parametrize(
    "body",
    [
        b"{}",
        b'{"results":[{"index":0}]}',
        b'{"results":[{"index":3,"relevance_score":1}]}',
        b'{"results":[{"index":-1,"relevance_score":1}]}',
        b'{"results":[{"index":0,"relevance_score":1},{"index":0,"relevance_score":1}]}',
        b'{"results":[{"index":0,"relevance_score":"x"}]}',
        b'{"results":[{"index":"0","relevance_score":1}]}',
        b'{"message":"no"}',
        b'[{"index":3,"score":1}]',
        b'[{"index":0,"relevance_score":1}]',
        b'{"rankings":[{"index":0,"score":1}]}',
        b'{"data":[{"index":9,"relevance_score":1}]}',
        b'["a"]',
        b"",
        b"[" * 9999,
    ],
)
def test_what_is_no_answer(provider: str, body: bytes) -> None:
    reader = RERANKERS[provider].reader(read(OPENAI))
    reader.start(200, "application/json")
    reader.feed(body)
    with pytest.raises(ProviderProtocolError):
        reader.finish()


def test_a_stream_is_no_answer() -> None:
    reader = RERANKERS[OPENAI].reader(read(OPENAI))
    reader.start(200, "text/event-stream")
    with pytest.raises(ProviderProtocolError, match="a stream"):
        reader.feed(b"data: {}\n\n")


def test_errors_are_those_of_the_dialect() -> None:
    failure = RERANKERS[OPENAI].read_error(429, {"retry-after": "7"}, b'{"error":{"message":"slow down","type":"x"}}')
    assert (failure.kind, failure.retry_after) == ("rate_limited", 7)
    assert json.loads(CLIENTS[COHERE].writer(read(COHERE), Ids()).fail(failure)) == {"message": "slow down"}
