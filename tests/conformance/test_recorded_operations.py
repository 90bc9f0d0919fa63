"""Every recorded answer with vectors or ranks keeps its numbers: what the vendor's SDK decodes from its bytes is what the clients' SDKs
decode from what we made of them, and what the recorded request asks is asked of every other vendor."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import cohere
import httpx
import httpx2
import openai
import pytest
from google import genai
from google.genai import types

from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.canon import Counted, Request
from control_plane.dialects.operations import SIDES
from tests.conformance.conftest import RECORDINGS, Recording, load
from tests.conformance.ledger import Ledger

pytestmark = pytest.mark.long

OPENAI, COHERE, GEMINI = "openai-chat", "cohere-chat", "gemini-generate-content"
DIALECTS = {"cohere": COHERE, "gemini": GEMINI}  # all others have OpenAI's shape, or are named below
OWN_WORDS = {"voyage": "voyage"}
"""Whose answers have OpenAI's shape, or nearly, and whose requests do not: only providers speak it."""
EXCEPTIONS = {
    "bedrock/rerank.verc.amazon-bedrock-reranking.1": "another service of AWS, with another host",
    "ollama/embeddings.trac.test-ollama-embeddings-legacy.s0": "Ollama's own API",
    "vertexai/embeddings.rllm.embedding-basic-functionality-vertexai-text-embedding-004-can-handle-a-single-text.s1": "Vertex AI's predict",
}
PACKED_IN_BYTES = "perplexity/"
"""Vectors of 8-bit integers in base64, its default; the translator asks for floats."""


@dataclass(frozen=True)
class Numbers:
    """What an SDK's user sees: vectors, or (place, score) of the ranked; the tokens read, None where none are reported."""

    found: list[Any]
    tokens: int | None


@pytest.fixture(scope="module")
def operations() -> list[Recording]:
    if not RECORDINGS.exists():
        pytest.skip("no recordings here")
    return [recording for recording in load(("embeddings", "rerank")) if recording.name not in EXCEPTIONS]


def seen(dialect: str, operation: str, body: bytes) -> Numbers:
    """Decoded by the SDK of the dialect; no SDK of OpenAI's knows reranking, so there plain JSON is the truth."""
    plain = httpx.MockTransport(lambda _: httpx.Response(200, headers={"content-type": "application/json"}, content=body))
    if dialect == OPENAI and operation == "rerank":
        read = json.loads(body)
        results = read["results"] if "results" in read else read["data"]
        usage = read.get("usage", {})
        tokens = usage.get("prompt_tokens", usage.get("total_tokens"))
        return Numbers([(result["index"], result["relevance_score"]) for result in results], tokens)
    if dialect == OPENAI:
        answering = httpx2.MockTransport(lambda _: httpx2.Response(200, headers={"content-type": "application/json"}, content=body))
        with openai.OpenAI(api_key="k", base_url="http://mock", http_client=httpx2.Client(transport=answering), max_retries=0) as client:
            made = client.embeddings.create(model="m", input="x")
        found = [sorted(made.data, key=lambda item: item.index)[index].embedding for index in range(len(made.data))]
        return Numbers(found, (made.usage.prompt_tokens or made.usage.total_tokens) if made.usage else None)
    if dialect == GEMINI:
        options = types.HttpOptions(httpx_client=httpx.Client(transport=plain))
        embedded = genai.Client(api_key="k", http_options=options).models.embed_content(model="m", contents="x")
        usage_of = embedded.usage_metadata
        return Numbers([item.values for item in embedded.embeddings or ()], None if usage_of is None else usage_of.prompt_token_count)
    client_v2 = cohere.ClientV2("k", base_url="http://mock", httpx_client=httpx.Client(transport=plain), max_retries=0)
    if operation == "rerank":
        ranked = client_v2.rerank(model="m", query="q", documents=["d"])
        billed = ranked.meta.billed_units if ranked.meta else None
        return Numbers([(r.index, r.relevance_score) for r in ranked.results], None if billed is None else _whole(billed.input_tokens))
    vectors: Any = client_v2.embed(model="m", texts=["x"], input_type="search_query")
    return Numbers(vectors.embeddings.float_, _whole(vectors.meta.billed_units.input_tokens))


def _whole(number: float | None) -> int | None:
    return None if number is None else int(number)


def asked(dialect: str, operation: str, recording: Recording, count: int) -> Request:
    """The recorded request; where none was recorded, one with so many texts."""
    body = json.loads(recording.request) if recording.request else {"query": "q", "documents": ["d"] * 100, "input": ["x"] * count}
    if dialect != GEMINI:
        body.setdefault("model", "m")
    return SIDES[operation].clients[dialect].read_request(json.dumps(body).encode(), Call("m"))


def as_asked_by(client: str, operation: str, request: Any) -> Request:
    """The same texts, as a client of this dialect writes them."""
    if operation == "rerank":
        body: dict[str, Any] = {"model": "m", "query": request.query, "documents": request.documents}
    elif client == GEMINI:
        body = {"requests": [{"content": {"parts": [{"text": text}]}} for text in request.texts]}
    elif client == COHERE:
        body = {"model": "m", "texts": request.texts, "input_type": "search_query"}
    else:
        body = {"model": "m", "input": request.texts}
    return SIDES[operation].clients[client].read_request(json.dumps(body).encode(), Call("m"))


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}1"

    def now(self) -> int:
        return 1


def test_numbers_of_every_recorded_answer(operations: list[Recording], ledger: Ledger) -> None:
    replayed: set[tuple[str, str, str]] = set()
    for recording in operations:
        if recording.status != 200 or recording.name.startswith(PACKED_IN_BYTES):
            continue
        provider, operation = DIALECTS.get(recording.provider, OPENAI), recording.api
        spoken = OWN_WORDS.get(recording.provider, provider)
        truth = seen(provider, operation, recording.body)
        sides, request = SIDES[operation], asked(provider, operation, recording, len(truth.found))
        for client in sides.clients:
            wanted = as_asked_by(client, operation, request)
            reader = sides.providers[spoken].reader(wanted)
            reader.start(200, "application/json")
            events = [*reader.feed(recording.body), *reader.finish()]
            writer = sides.clients[client].writer(wanted, Ids())
            got = seen(client, operation, b"".join(writer.emit(event) for event in events) + writer.finish())
            close = [pytest.approx(numbers, rel=1e-6, abs=1e-9) for numbers in truth.found]
            unsaid = 0 if (client, operation) == (OPENAI, "embeddings") else None  # OpenAI's SDK has to be told a number
            tokens = got.tokens == (unsaid if truth.tokens is None else truth.tokens)
            equal = len(got.found) == len(truth.found) and got.found == close and tokens
            ledger.add(spoken, f"{client} ({operation})", equal=equal)
            assert equal, (recording.name, client, truth.tokens, got.tokens)
            replayed.add((spoken, client, operation))
    assert {(OPENAI, COHERE, "embeddings"), (COHERE, GEMINI, "embeddings")} <= replayed
    assert {
        (OPENAI, COHERE, "rerank"),
        (COHERE, OPENAI, "rerank"),
        ("voyage", COHERE, "rerank"),
        ("voyage", GEMINI, "embeddings"),
    } <= replayed
    ledger.settle()


def test_recorded_requests_are_asked_of_every_vendor(operations: list[Recording]) -> None:
    known = 0
    for recording in operations:
        if recording.request is None or recording.status != 200:
            continue
        dialect, operation = DIALECTS.get(recording.provider, OPENAI), recording.api
        request: Any = asked(dialect, operation, recording, 1)
        for name, provider in SIDES[operation].providers.items():
            made = provider.write_request(request, TargetFacts("cohere.embed-v4:0", "/models/{model}:embedContent"))
            told = _strings(json.loads(made.body))
            for said in request.texts if operation == "embeddings" else (request.query, *request.documents):
                assert said in told, (recording.name, name)
            known += 1
    assert known > 20


def test_recorded_counts_of_clouds() -> None:
    """Bedrock's own, of what Converse and InvokeModel would be sent; their requests are read as those of clients."""
    if not RECORDINGS.exists():
        pytest.skip("no recordings here")
    found = [recording for recording in load(("count-tokens",)) if recording.provider == "bedrock" and recording.status == 200]
    assert len(found) >= 2
    clients, providers = SIDES["count_tokens"].clients, SIDES["count_tokens"].providers
    for recording in found:
        assert recording.request is not None
        request = clients["bedrock-converse"].read_request(recording.request, Call("m"))
        assert request.messages
        reader = providers["bedrock-converse"].reader(request)
        reader.start(200, "application/json")
        counted = [event for event in [*reader.feed(recording.body), *reader.finish()] if isinstance(event, Counted)]
        assert [event.tokens for event in counted] == [json.loads(recording.body)["inputTokens"]]


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [text for item in inner for text in _strings(item)]


def test_recorded_errors_keep_their_class(operations: list[Recording]) -> None:
    failed = [recording for recording in operations if recording.status >= 400]
    assert len(failed) >= 3
    for recording in failed:
        spoken = OWN_WORDS.get(recording.provider) or DIALECTS.get(recording.provider, OPENAI)
        provider = SIDES[recording.api].providers[spoken]
        failure = provider.read_error(recording.status, recording.headers, recording.body)
        assert failure.kind in ("transient", "client_fault", "credentials"), recording.name
        assert failure.message
