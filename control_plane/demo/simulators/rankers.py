"""Vendors and servers without chat on the wire: Voyage AI, Hugging Face's TEI, SGLang's reranking, NVIDIA's ranking.

Sources: https://docs.voyageai.com/reference/reranker-api and …/embeddings-api, https://huggingface.github.io/text-embeddings-inference,
https://docs.sglang.io/docs/supported-models/rerank_models, https://docs.nvidia.com/nim/nemo-retriever/text-reranking/latest.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, Literal

from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.ranking import ranked
from control_plane.demo.simulators.reply import Keys, Reply, VendorError, decode, encode, header_lines
from control_plane.demo.simulators.tokens import count
from control_plane.demo.simulators.vectors import packed, vector

Kind = Literal["voyage", "tei", "sglang", "nvidia"]
MODELS: Final[Mapping[str, tuple[str, ...]]] = {
    "voyage": ("voyage-3.5", "rerank-2.5"),
    "tei": ("*",),  # one model, which no request names
    "sglang": ("BAAI/bge-reranker-v2-m3",),
    "nvidia": ("nvidia/llama-3.2-nv-rerankqa-1b-v2",),
}
TEI_TOKENS: Final = 512  # longer texts are refused unless they may be cut

Body = Mapping[str, Any]


class Ranker:
    """The vendor: request in, reply out."""

    heartbeat = b": keep-alive\n\n"

    def __init__(self, kind: Kind, keys: Keys, models: Sequence[str] | None) -> None:
        self.keys = keys
        self.models = MODELS[kind] if models is None else tuple(models)
        self._kind = kind
        self._number = itertools.count(1)

    # the vendor protocol

    def answer(self, request: HttpRequest) -> Reply:
        try:
            return self._route(request)
        except VendorError as error:
            return Reply(error.status, error.headers, encode(error.body))

    def failure(self, fault: Fault) -> Reply:
        headers = {"retry-after": f"{fault.retry_after_s:g}"} if fault.retry_after_s is not None else {}
        document = _refusal(self._kind, fault.status, fault.message or "something went wrong").body
        return Reply(fault.status, header_lines(headers), encode(document))

    def error_event(self, fault: Fault) -> bytes:
        """None of them streams."""
        return b"data: " + encode(_refusal(self._kind, fault.status, fault.message or "something went wrong").body) + b"\n\n"

    # routing

    def _route(self, request: HttpRequest) -> Reply:
        work = OPERATIONS[self._kind].get(request.path)
        if work is None or request.method != "POST":
            raise _refusal(self._kind, 404, "Not Found")
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if not self.keys.accepts(key if scheme == "Bearer" else ""):
            raise _refusal(self._kind, 401, "Provided API key is invalid.")
        try:
            body = decode(request.body)
        except ValueError as error:
            raise _refusal(self._kind, 400, f"the body is not valid JSON: {str(error)[:100]}") from None
        if not isinstance(body, dict):
            raise _refusal(self._kind, 422, "the body must be an object")
        model = str(body.get("model", ""))
        if "*" not in self.models and model not in self.models:
            raise _refusal(self._kind, 404 if self._kind != "voyage" else 400, f"Model {model} is not supported.")
        return Reply(200, header_lines({"x-request-id": f"sim-{next(self._number)}"}), encode(work(body)), model=model or "tei")


def _refusal(kind: Kind, status: int, message: str) -> VendorError:
    if kind == "tei":
        words = {401: "Unauthorized", 413: "Validation", 422: "Tokenizer", 424: "Backend", 429: "Overloaded"}
        return VendorError(status, {"error": message, "error_type": words.get(status, "Unknown")})
    if kind == "sglang":
        return VendorError(status, {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": status})
    return VendorError(status, {"detail": message})


def _fields(kind: Kind, body: Body, needed: Collection[str], known: Collection[str]) -> None:
    """Both vendors refuse what they do not know."""
    for name in needed:
        if name not in body:
            raise _refusal(kind, 422 if kind != "voyage" else 400, f"{name}: Field required")
    for name in body:
        if name not in known and name not in needed:
            raise _refusal(kind, 422 if kind != "voyage" else 400, f"Argument '{name}' is not supported by our API.")


def _texts(kind: Kind, name: str, value: object) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(text, str) for text in value):
        raise _refusal(kind, 422 if kind != "voyage" else 400, f"{name}: Input should be a list of strings")
    return value


def _voyage_rerank(body: Body) -> object:
    _fields("voyage", body, ("query", "documents", "model"), ("top_k", "return_documents", "truncation"))
    documents = _texts("voyage", "documents", body["documents"])
    repeated = body.get("return_documents") is True
    data = [
        {"relevance_score": score, "index": place, **({"document": documents[place]} if repeated else {})}
        for place, score in ranked(body["query"], documents)[: body.get("top_k")]
    ]
    read = sum(count(text) for text in documents) + count(body["query"]) * len(documents)
    return {"object": "list", "data": data, "model": body["model"], "usage": {"total_tokens": read}}


def _voyage_embeddings(body: Body) -> object:
    _fields("voyage", body, ("input", "model"), ("input_type", "truncation", "output_dimension", "output_dtype", "encoding_format"))
    given = body["input"]
    texts = _texts("voyage", "input", [given] if isinstance(given, str) else given)
    if body.get("input_type") not in (None, "query", "document"):
        raise _refusal("voyage", 400, "Value of 'input_type' must be null, 'query' or 'document'.")
    if body.get("encoding_format") not in (None, "base64"):
        raise _refusal("voyage", 400, "Value of 'encoding_format' must be null or 'base64'.")
    size = body.get("output_dimension") or 1024
    vectors = [vector(text, size) for text in texts]
    shown = [packed(values) if body.get("encoding_format") else values for values in vectors]
    data = [{"object": "embedding", "embedding": values, "index": index} for index, values in enumerate(shown)]
    return {"object": "list", "data": data, "model": body["model"], "usage": {"total_tokens": sum(map(count, texts))}}


def _tei_rerank(body: Body) -> object:
    if not isinstance(body.get("query"), str) or "texts" not in body:
        raise _refusal("tei", 422, "Failed to deserialize the JSON body into the target type: missing field `texts`")
    texts = _texts("tei", "texts", body["texts"])
    longest = max(count(text) for text in texts) + count(body["query"])
    if longest > TEI_TOKENS and body.get("truncate") is not True:
        raise _refusal("tei", 413, f"Input validation error: `inputs` must have less than {TEI_TOKENS} tokens. Given: {longest}")
    repeated = body.get("return_text") is True
    return [
        {"index": place, **({"text": texts[place]} if repeated else {}), "score": score} for place, score in ranked(body["query"], texts)
    ]


def _tei_embeddings(body: Body) -> object:
    given = body.get("input")
    texts = _texts("tei", "input", [given] if isinstance(given, str) else given)
    data = [
        {"object": "embedding", "embedding": packed(values) if body.get("encoding_format") == "base64" else values, "index": index}
        for index, values in enumerate(vector(text, body.get("dimensions") or 768) for text in texts)
    ]
    read = sum(map(count, texts))
    return {"object": "list", "data": data, "model": "tei", "usage": {"prompt_tokens": read, "total_tokens": read}}


def _sglang_rerank(body: Body) -> object:
    documents = _texts("sglang", "documents", body.get("documents"))
    if not isinstance(body.get("query"), str) or not body["query"]:
        raise _refusal("sglang", 400, "Query cannot be empty or whitespace only")
    places = ranked(body["query"], documents)[: body.get("top_n")]
    return [{"score": score, "document": documents[place], "index": place, "meta_info": {"prompt_tokens": 7}} for place, score in places]


def _nvidia_ranking(body: Body) -> object:
    _fields("nvidia", body, ("model", "query", "passages"), ("truncate",))
    try:
        query, passages = body["query"]["text"], [passage["text"] for passage in body["passages"]]
    except (TypeError, KeyError):
        raise _refusal("nvidia", 422, "passages: Input should be objects with text") from None
    if body.get("truncate", "NONE") not in ("NONE", "END"):
        raise _refusal("nvidia", 422, "truncate: Input should be 'NONE' or 'END'")
    read = sum(count(text) for text in passages) + count(query)
    rankings = [{"index": place, "logit": score} for place, score in ranked(query, passages)]
    return {"rankings": rankings, "usage": {"prompt_tokens": read, "total_tokens": read}}


OPERATIONS: Final[Mapping[str, Mapping[str, Callable[[Body], object]]]] = {
    "voyage": {"/v1/rerank": _voyage_rerank, "/v1/embeddings": _voyage_embeddings},
    "tei": {"/rerank": _tei_rerank, "/v1/embeddings": _tei_embeddings},
    "sglang": {"/v1/rerank": _sglang_rerank},
    "nvidia": {"/v1/ranking": _nvidia_ranking, "/v1/retrieval/reranking": _nvidia_ranking},
}
"""By vendor and path; the last of them is a hosted model's."""
