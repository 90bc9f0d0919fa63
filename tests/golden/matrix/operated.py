"""Operations beside chat: each is asked in every client dialect that has it, and answered by every provider dialect."""

from __future__ import annotations

import base64
import json
from typing import Any, Final

from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.canon import Unfit
from control_plane.dialects.operations import SIDES
from control_plane.ir.operations import OPERATIONS
from tests.golden.matrix.asked import Outcome

TEXTS: Final = ("the gate", "the water")
VECTORS: Final = ((0.125, 2.5), (-0.75, 0.0625))
COUNT: Final = 12
RANKS: Final = ((1, 0.875), (0, 0.25))
_OPENAI, _COHERE, _GEMINI, _BEDROCK = "openai-chat", "cohere-chat", "gemini-generate-content", "bedrock-converse"
_RESPONSES, _MESSAGES = "openai-responses", "anthropic-messages"
_TASK: Final = {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2}
_RERANK: Final = {"model": "m", "query": "water", "documents": TEXTS, "top_n": 2}

ASKED: Final[dict[tuple[str, str], dict[str, Any]]] = {
    (_OPENAI, "embeddings"): {"model": "m", "input": TEXTS, "dimensions": 2},
    (_COHERE, "embeddings"): {"model": "m", "texts": TEXTS, "input_type": "search_query", "output_dimension": 2, "truncate": "END"},
    (_GEMINI, "embeddings"): {"content": {"parts": [{"text": TEXTS[0]}]}, **_TASK},
    (_GEMINI, "batch_embeddings"): {"requests": [{"content": {"parts": [{"text": text}]}, **_TASK} for text in TEXTS]},
    (_OPENAI, "rerank"): {**_RERANK, "return_documents": True},
    (_COHERE, "rerank"): {**_RERANK, "max_tokens_per_doc": 100},
    (_RESPONSES, "count_tokens"): {"model": "m", "instructions": TEXTS[0], "input": TEXTS[1]},
    (_MESSAGES, "count_tokens"): {"model": "m", "system": TEXTS[0], "messages": [{"role": "user", "content": TEXTS[1]}]},
    (_BEDROCK, "count_tokens"): {
        "input": {"converse": {"system": [{"text": TEXTS[0]}], "messages": [{"role": "user", "content": [{"text": TEXTS[1]}]}]}}
    },
    (_GEMINI, "count_tokens"): {"contents": [{"role": "user", "parts": [{"text": text} for text in TEXTS]}]},
}
"""What clients of each dialect say, with the settings that the dialect has."""

MODELS: Final = {_BEDROCK: "cohere.embed-v4:0"}


def answered(provider: str, operation: str, count: int) -> dict[str, Any]:
    """A provider's answer to `count` texts."""
    vectors = [list(vector) for vector in VECTORS[:count]]
    if operation == "rerank":
        return {"results": [{"index": index, "relevance_score": score} for index, score in RANKS]}
    if operation == "count_tokens":
        field = {_GEMINI: "totalTokens", _BEDROCK: "inputTokens", "anthropic-bedrock": "inputTokens"}.get(provider, "input_tokens")
        return {field: COUNT}
    if provider == _OPENAI:
        return {"data": [{"index": index, "embedding": vector} for index, vector in enumerate(vectors)], "usage": {"prompt_tokens": 7}}
    if provider == _GEMINI:
        return {"embeddings": [{"values": vector} for vector in vectors]}
    return {"embeddings": {"float": vectors}, "texts": TEXTS[:count]}


def outcome(client: str, provider: str, name: str) -> Outcome:
    offered = next((o for o in OPERATIONS if (o.dialect, o.name) == (client, name)), None)
    if offered is None:
        return Outcome("none")
    if client == provider:
        return Outcome("yes")  # it passes through
    sides = SIDES.get(name)
    if not offered.translated or sides is None or client not in sides.clients or provider not in sides.providers:
        return Outcome("no")
    speaks, serves = sides.clients[client], sides.providers[provider]
    request = speaks.read_request(json.dumps(ASKED[client, name]).encode(), Call("m") if offered.by_path else None)
    try:
        made = serves.write_request(request, TargetFacts(MODELS.get(provider, "up"), "/models/{model}"))
    except Unfit:
        return Outcome("no")
    asked = [text for text in TEXTS if text in _texts(made.body)]
    count = 1 if name == "embeddings" and client == _GEMINI else len(TEXTS)
    assert asked == list(TEXTS[:count]), f"{client} → {provider}: {name} loses texts"
    reader = serves.reader(request)
    reader.start(200, "application/json")
    events = [*reader.feed(json.dumps(answered(provider, name, count)).encode()), *reader.finish()]
    writer = speaks.writer(request, _Ids())
    got = json.loads(b"".join(writer.emit(event) for event in events) + writer.finish())
    expected = {"rerank": list(RANKS), "count_tokens": [COUNT]}.get(name, [list(vector) for vector in VECTORS[:count]])
    assert _numbers(got) == expected, f"{client} → {provider}"
    named = tuple(sorted({request.named(path) for path in made.dropped}))
    return Outcome("partly" if named else "yes", named)


def _texts(body: bytes) -> str:
    """A provider's request, and what InvokeModel has inside one in base64."""
    inner = json.loads(body).get("input")
    coded = inner.get("invokeModel", {}).get("body", "") if isinstance(inner, dict) else ""
    return body.decode() + base64.b64decode(coded).decode()


def _numbers(document: Any) -> list[Any]:
    """The vectors, ranks or count of any client's document."""
    for counted in ("totalTokens", "input_tokens", "inputTokens"):
        if counted in document:
            return [document[counted]]
    if "results" in document:
        return [(result["index"], result["relevance_score"]) for result in document["results"]]
    if "data" in document:
        return [item["embedding"] for item in document["data"]]
    if "embedding" in document:
        return [document["embedding"]["values"]]
    found = document["embeddings"]
    return list(found["float"]) if isinstance(found, dict) else [item["values"] for item in found]


class _Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}1"

    def now(self) -> int:
        return 1
