"""Gemini on the wire: generateContent, streamGenerateContent, countTokens, models (ai.google.dev/api)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs, unquote

import msgspec

from control_plane.demo.simulators import gemini_errors as errors
from control_plane.demo.simulators.compose import Answer, answer
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.gemini_request import Generate, signature
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Event, Keys, Reply, VendorError, decode, encode
from control_plane.demo.simulators.tokens import PromptCache, count
from control_plane.demo.simulators.vectors import vector

MODELS: Final = (
    "gemini-3-pro-preview",
    "gemini-3.5-flash",
    "gemini-2.5-pro",
    "gemini-2.5-flash",
    "gemini-2.0-flash",
    "gemini-embedding-2",
    "gemini-embedding-001",
)
METHODS: Final = ("generateContent", "streamGenerateContent", "countTokens", "embedContent", "batchEmbedContents")
TASKS: Final = (
    "RETRIEVAL_QUERY", "RETRIEVAL_DOCUMENT", "SEMANTIC_SIMILARITY", "CLASSIFICATION", "CLUSTERING", "QUESTION_ANSWERING",
    "FACT_VERIFICATION", "CODE_RETRIEVAL_QUERY",
)  # fmt: skip
BATCH_MAX: Final = 100
STOP: Final = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP", "stop_sequence": "STOP"}
JSON: Final = "application/json; charset=UTF-8"
SSE: Final = "text/event-stream"
ROOTS: Final = ("/v1beta/models", "/v1/models")  # the vendor's SDK asks for the second
HEADERS: Final = b"server: scaffolding on HTTPServer2\r\nvary: Origin\r\nvary: X-Origin\r\nvary: Referer\r\n"


class Gemini:
    """The vendor: request in, reply out. `strict` also refuses what single models refuse."""

    heartbeat = b": keep-alive\n\n"

    def __init__(self, name: str, keys: Keys, models: Sequence[str] | None, minimum_cached_tokens: int, strict: bool) -> None:
        self.keys = keys
        self.models = tuple(MODELS if models is None else models)
        self._name = name
        self._strict = strict
        self._cache = PromptCache(minimum_cached_tokens)
        self._number = itertools.count(1)

    # the vendor protocol

    def answer(self, request: HttpRequest) -> Reply:
        try:
            return self._route(request, next(self._number))
        except VendorError as error:
            body = [error.body] if _method(request) == "streamGenerateContent" and not _sse(request) else error.body
            return Reply(error.status, HEADERS, _pretty(body), JSON)

    def failure(self, fault: Fault) -> Reply:
        return Reply(fault.status, HEADERS, _pretty(errors.for_fault(fault)), JSON)

    def error_event(self, fault: Fault) -> bytes:
        return b"data: " + encode(errors.for_fault(fault)) + b"\r\n\r\n"

    # routing

    def _route(self, request: HttpRequest, number: int) -> Reply:
        path, method = request.path, _method(request)
        root = next((root for root in ROOTS if path == root or path.startswith(f"{root}/")), None)
        if root is None:
            raise errors.not_found("Not Found")
        self._authenticate(request)
        if request.method == "GET" and method is None:
            return self._list(unquote(path.removeprefix(root).strip("/")))
        if request.method != "POST" or method not in METHODS:
            raise errors.not_found("Not Found")
        model = unquote(path.removeprefix(f"{root}/").rpartition(":")[0])
        if "*" not in self.models and model not in self.models:
            raise errors.no_model(model)
        body = body_of(request)
        if method == "embedContent":
            values, counted = _embedded(body, model)
            return Reply(200, HEADERS, _pretty({"embedding": values, **_read(counted, model)}), JSON, model=model)
        if method == "batchEmbedContents":
            requests = body.get("requests")
            if not isinstance(requests, list) or not 0 < len(requests) <= BATCH_MAX:
                raise errors.invalid(f"* BatchEmbedContentsRequest.requests: at most {BATCH_MAX} requests can be in one batch")
            made = [_embedded(item, model) for item in requests]
            counted = sum(tokens for _, tokens in made)
            return Reply(200, HEADERS, _pretty({"embeddings": [v for v, _ in made], **_read(counted, model)}), JSON, model=model)
        if method == "countTokens":
            inner = body.get("generateContentRequest", body)
            if not isinstance(inner, dict):
                raise errors.invalid("Invalid value at 'generate_content_request'")
            generated = Generate(inner, model, self._name, strict=False)
            return Reply(200, HEADERS, _pretty({"totalTokens": sum(generated.sizes)}), JSON, model=model)
        generate = Generate(body, model, f"{self._name}/{model}", strict=self._strict)
        return self._generate(generate, number, stream=method == "streamGenerateContent", sse=_sse(request))

    def _authenticate(self, request: HttpRequest) -> None:
        key = request.headers.get("x-goog-api-key") or parse_qs(request.query).get("key", [""])[0]
        if not key:
            raise errors.no_key()
        if not self.keys.accepts(key):
            raise errors.bad_key()

    def _list(self, wanted: str) -> Reply:
        if not wanted:
            return Reply(200, HEADERS, _pretty({"models": [_model(model) for model in self.models if model != "*"]}), JSON)
        if wanted not in self.models:
            raise errors.no_model(wanted)
        return Reply(200, HEADERS, _pretty(_model(wanted)), JSON)

    # answers

    def _generate(self, generate: Generate, number: int, *, stream: bool, sse: bool) -> Reply:
        result = answer(generate.ask)
        read, _ = self._cache.look(generate.model, generate.parts, generate.sizes)
        tail = {"modelVersion": generate.model, "responseId": f"sim{number:019x}"}
        usage = _usage(generate, read, result, result.tokens - len(result.reasoning))
        if not stream:
            parts = [part for part, _ in _joined(generate, result, number)]
            candidates = [_candidate(parts, index, STOP[result.finish]) for index in range(generate.candidates)]
            document = {"candidates": candidates, "usageMetadata": usage, **tail}
            return Reply(200, HEADERS, _pretty(document), JSON, model=generate.model, pace=generate.directive)
        chunks: list[tuple[dict[str, Any], bool]] = []
        said = 0
        for part, tokens in _pieces(generate, result, number):
            said += tokens
            known = _usage(generate, read, result, said)
            chunks += [({"candidates": [_candidate([part], i)], "usageMetadata": known, **tail}, True) for i in range(generate.candidates)]
        ending = {"text": "", "thoughtSignature": signature("")} if result.reasoning and not result.calls else {"text": ""}
        last = [_candidate([ending], index, STOP[result.finish]) for index in range(generate.candidates)]
        chunks.append(({"candidates": last, "usageMetadata": usage, **tail}, False))
        events = _framed(chunks, sse)
        return Reply(200, HEADERS, content_type=SSE if sse else JSON, events=events, model=generate.model, pace=generate.directive)


def _embedded(body: Any, model: str) -> tuple[dict[str, Any], int]:
    """The vector of one embedContent request, and the tokens of its text. Raises VendorError."""
    if not isinstance(body, dict) or body.keys() - {"model", "content", "taskType", "title", "outputDimensionality"}:
        raise errors.invalid("Invalid JSON payload received. Unknown name in an EmbedContentRequest: Cannot find field.")
    if body.get("model") not in (None, f"models/{model}"):
        raise errors.invalid("* EmbedContentRequest.model: must be the model of the path")
    if body.get("taskType") not in (None, *TASKS):
        raise errors.invalid("Invalid value at 'task_type'")
    content = body.get("content")
    parts = content.get("parts") if isinstance(content, dict) else None
    if not isinstance(parts, list) or not all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        raise errors.invalid("* EmbedContentRequest.content: contents is not specified")
    size = body.get("outputDimensionality") or 3072
    if not isinstance(size, int) or not 1 <= size <= 3072:
        raise errors.invalid("* EmbedContentRequest.output_dimensionality must be in the range [1, 3072]")
    text = "\n".join(part["text"] for part in parts)
    return {"values": vector(text, size)}, count(text)


def _read(tokens: int, model: str) -> dict[str, Any]:
    """The counts that only newer models give."""
    if model == "gemini-embedding-001":
        return {}
    return {"usageMetadata": {"promptTokenCount": tokens, "promptTokenDetails": [{"modality": "TEXT", "tokenCount": tokens}]}}


def _method(request: HttpRequest) -> str | None:
    """What follows the colon of the last part of the path."""
    _, colon, method = request.path.rpartition("/")[2].rpartition(":")
    return method if colon else None


def _sse(request: HttpRequest) -> bool:
    return parse_qs(request.query).get("alt") == ["sse"]


def body_of(request: HttpRequest) -> dict[str, Any]:
    try:
        body = decode(request.body)
    except ValueError as error:
        raise errors.invalid(f"Invalid JSON payload received. {str(error)[:100]}") from None
    if not isinstance(body, dict):
        raise errors.invalid("Invalid JSON payload received. Expected an object.")
    return body


def _pretty(document: object) -> bytes:
    """Whole answers are indented by two."""
    return msgspec.json.format(encode(document), indent=2) + b"\n"


def _framed(chunks: Sequence[tuple[dict[str, Any], bool]], sse: bool) -> list[Event]:
    """Server-sent events, or without alt=sse one JSON array that grows."""
    if sse:
        return [(b"data: " + encode(chunk) + b"\r\n\r\n", content) for chunk, content in chunks]
    last = len(chunks) - 1
    return [
        ((b"[" if i == 0 else b",\r\n") + encode(chunk) + (b"]" if i == last else b""), content)
        for i, (chunk, content) in enumerate(chunks)
    ]


def _candidate(parts: Sequence[dict[str, Any]], index: int, finish: str | None = None) -> dict[str, Any]:
    made: dict[str, Any] = {"content": {"parts": list(parts), "role": "model"}, "index": index}
    return made if finish is None else {**made, "finishReason": finish}


def _calls(generate: Generate, result: Answer, number: int) -> list[tuple[dict[str, Any], int]]:
    """Parts with their tokens. Thinking models sign the first call; the third generation numbers calls."""
    made: list[tuple[dict[str, Any], int]] = []
    for index, call in enumerate(result.calls):
        function: dict[str, Any] = {"name": call.name, "args": msgspec.Raw(call.arguments.encode())}
        if generate.version >= (3, 0):
            function["id"] = f"s{number:05x}{index:02x}"
        part: dict[str, Any] = {"functionCall": function}
        if index == 0 and generate.version >= (2, 5):
            part["thoughtSignature"] = signature(call.name)
        made.append((part, call.tokens))
    return made


def _joined(generate: Generate, result: Answer, number: int) -> list[tuple[dict[str, Any], int]]:
    parts: list[tuple[dict[str, Any], int]] = []
    if result.reasoning and generate.include_thoughts:
        parts.append(({"text": "".join(result.reasoning), "thought": True}, 0))
    if result.text:
        signed = {"thoughtSignature": signature("")} if result.reasoning else {}
        parts.append(({"text": "".join(result.text), **signed}, len(result.text)))
    return parts + _calls(generate, result, number)


def _pieces(generate: Generate, result: Answer, number: int) -> list[tuple[dict[str, Any], int]]:
    pieces: list[tuple[dict[str, Any], int]] = []
    if generate.include_thoughts:
        pieces += [({"text": token, "thought": True}, 0) for token in result.reasoning]
    pieces += [({"text": token}, 1) for token in result.text]
    return pieces + _calls(generate, result, number)


def _usage(generate: Generate, read: int, result: Answer, said: int) -> dict[str, Any]:
    """Counts so far; thoughts stand beside the candidates, and what is 0 is left out."""
    prompt, thoughts = sum(generate.sizes), len(result.reasoning)
    counts = {
        "promptTokenCount": prompt,
        "cachedContentTokenCount": read,
        "candidatesTokenCount": said * generate.candidates,
        "thoughtsTokenCount": thoughts,
        "totalTokenCount": prompt + said * generate.candidates + thoughts,
    }
    return {**{name: value for name, value in counts.items() if value}, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": prompt}]}


def _model(model: str) -> Mapping[str, Any]:
    return {
        "name": f"models/{model}",
        "version": "001",
        "displayName": model.replace("-", " ").title(),
        "inputTokenLimit": 1_048_576,
        "outputTokenLimit": 65_536,
        "supportedGenerationMethods": ["generateContent", "countTokens"],
    }
