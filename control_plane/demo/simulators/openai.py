"""OpenAI on the wire: chat completions, responses, embeddings, models (platform.openai.com/docs/api-reference).

Its other operations are in modules of their own.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import struct
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from control_plane.demo.simulators import openai_completions as completions
from control_plane.demo.simulators import openai_errors as errors
from control_plane.demo.simulators import openai_media as media
from control_plane.demo.simulators import openai_responses as responses
from control_plane.demo.simulators.compose import Answer, Call, answer
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.form import read_form
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.openai_files import Files
from control_plane.demo.simulators.openai_request import Chat
from control_plane.demo.simulators.openai_responses_request import Responses
from control_plane.demo.simulators.openai_stored import Store
from control_plane.demo.simulators.ranking import ranked
from control_plane.demo.simulators.reply import Event, Keys, Reply, VendorError, decode, encode, header_lines
from control_plane.demo.simulators.tokens import PromptCache, count

MODELS: Final = (
    "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5.2", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini", "o3", "o4-mini",
    "text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002", "gpt-3.5-turbo-instruct", *media.MODELS,
)  # fmt: skip
SNAPSHOTS: Final = {
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5-nano": "gpt-5-nano-2025-08-07",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
}  # the vendor names the snapshot that answered
DIMENSIONS: Final = {"text-embedding-3-large": 3072}  # 1,536 for the others
FINISH: Final = {"stop": "stop", "stop_sequence": "stop", "length": "length", "tool_calls": "tool_calls"}
SSE: Final = "text/event-stream; charset=utf-8"
DONE: Final = b"data: [DONE]\n\n"
JSON_PATHS: Final = frozenset({
    "/v1/chat/completions", "/v1/responses", "/v1/responses/input_tokens", "/v1/embeddings", "/v1/rerank", "/v1/completions",
    "/v1/fim/completions", "/beta/completions",
    "/v1/images/generations", "/v1/audio/speech", "/v1/moderations",
})  # fmt: skip
FORM_PATHS: Final = frozenset({"/v1/images/edits", "/v1/images/variations", "/v1/audio/transcriptions", "/v1/audio/translations"})
_PADDING: Final = "aB3dE5gH7jK9mN1pQ"


class OpenAI:
    """The vendor: request in, reply out. `strict` refuses unknown parameters as the vendor does; compatible servers do not.

    `reasoning_field` ("reasoning_content", "reasoning") is where compatible servers show reasoning; the vendor itself hides it.
    """

    heartbeat = b": keep-alive\n\n"

    def __init__(
        self, name: str, keys: Keys, models: Sequence[str] | None, minimum_cached_tokens: int, strict: bool, reasoning_field: str | None
    ) -> None:
        self.keys = keys
        self.models = tuple(MODELS if models is None else models)
        self._any_model = "*" in self.models
        self._known = frozenset(self.models)
        self._name = name
        self._vendor = name == "openai"
        self._strict = strict
        self._reasoning_field = reasoning_field
        self._cache = PromptCache(minimum_cached_tokens)
        self._stored = Store()
        self._number = itertools.count(1)
        self._files = Files(lambda path, body: self._modelled(path, body, next(self._number)))
        self._static = header_lines(
            {
                "access-control-expose-headers": "X-Request-ID",
                "openai-organization": "simulated",
                "openai-processing-ms": "12",
                "openai-version": "2020-10-01",
                "x-ratelimit-limit-requests": "10000",
                "x-ratelimit-limit-tokens": "30000000",
                "x-ratelimit-remaining-requests": "9999",
                "x-ratelimit-reset-requests": "6ms",
                "x-ratelimit-reset-tokens": "0s",
            }
        )

    # the vendor protocol

    def answer(self, request: HttpRequest) -> Reply:
        number = next(self._number)
        try:
            reply = self._route(request, number)
        except VendorError as error:
            return Reply(error.status, self._headers(number, 0) + error.headers, encode(error.body))
        return reply

    def failure(self, fault: Fault) -> Reply:
        headers = b"x-request-id: req_%032x\r\n" % next(self._number)
        return Reply(fault.status, headers + header_lines(errors.fault_headers(fault)), encode(errors.for_fault(fault)))

    def error_event(self, fault: Fault) -> bytes:
        return _event(errors.for_fault(fault))

    # routing

    def _route(self, request: HttpRequest, number: int) -> Reply:
        path = request.path
        if path.startswith("/v1/responses/") and path != "/v1/responses/input_tokens":
            self._authenticate(request.headers)
            if (stored := self._stored.call(request.method, path)) is None:
                raise errors.unknown_url(request.method, path)
            return Reply(200, self._headers(number, 0), encode(stored))
        if path.startswith(("/v1/files", "/v1/batches")):
            self._authenticate(request.headers)
            return self._files.answer(request, number, self._headers(number, 0))
        post = path in JSON_PATHS or path in FORM_PATHS
        unknown = not post and path != "/v1/models" and not path.startswith("/v1/models/")
        foreign = path in ("/v1/fim/completions", "/v1/rerank", "/beta/completions")  # as compatible servers and vendors have it
        if unknown or (self._vendor and foreign):
            raise errors.unknown_url(request.method, path)
        if request.method != ("POST" if post else "GET"):
            raise errors.wrong_method("POST" if post else "GET")
        self._authenticate(request.headers)
        if not post:
            return self._list(path, number)
        if path in FORM_PATHS:
            return self._form(request, number)
        if "application/json" not in request.headers.get("content-type", "").lower():
            raise errors.bad_request(f"Unsupported content type: '{request.headers.get('content-type', '')}'. Expected 'application/json'.")
        try:
            body = decode(request.body)
        except ValueError:
            raise errors.not_json() from None
        if not isinstance(body, dict):
            raise errors.not_json()
        return self._modelled(path, body, number)

    def _modelled(self, path: str, body: Mapping[str, Any], number: int) -> Reply:
        model = body.get("model")
        if model is None:
            raise errors.bad_request("you must provide a model parameter")
        if not isinstance(model, str):
            raise errors.wrong_type("model", "a string", model)
        self._check_model(model, path)
        return self._json(path, body, number)

    def _json(self, path: str, body: Mapping[str, Any], number: int) -> Reply:
        """The operations whose requests are JSON; the model is known."""
        if path == "/v1/chat/completions":
            return self._chat(body, number)
        if path == "/v1/rerank":
            return self._rerank(body, number)
        if path == "/v1/responses":
            return self._responses(body, number)
        if path == "/v1/responses/input_tokens":
            return self._input_tokens(body, number)
        if path == "/v1/embeddings":
            return self._embeddings(body, number)
        if path in ("/v1/completions", "/v1/fim/completions", "/beta/completions"):
            return self._completions(body, number, fim=path == "/v1/fim/completions")
        headers = self._headers(number, 0)
        if path == "/v1/moderations":
            return media.moderations(body, number, headers)
        if path == "/v1/audio/speech":
            return media.speech(body, headers)
        return media.images(body, f"{self._name}/{body['model']}", headers, self._strict)

    def _form(self, request: HttpRequest, number: int) -> Reply:
        """The operations whose requests bring files."""
        try:
            form = read_form(request.headers.get("content-type", ""), request.body)
        except ValueError as error:
            raise errors.bad_request(f"Could not parse multipart form: {error}") from None
        if "model" not in form:
            raise errors.missing("model")
        self._check_model(form["model"], request.path)
        speaker, headers = f"{self._name}/{form['model']}", self._headers(number, 0)
        if request.path.startswith("/v1/images/"):
            return media.edited(form, speaker, headers, variation=request.path.endswith("variations"))
        return media.transcribed(form, speaker, headers, translated=request.path.endswith("translations"))

    def _check_model(self, model: str, path: str) -> None:
        if not self._any_model and model not in self._known:
            raise errors.unknown_response_model(model) if path.startswith("/v1/responses") else errors.unknown_model(model)

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key.strip():
            raise errors.no_key()
        if not self.keys.accepts(key.strip()):
            raise errors.wrong_key(key.strip())

    def _headers(self, number: int, tokens: int) -> bytes:
        return b"%sx-ratelimit-remaining-tokens: %d\r\nx-request-id: req_%032x\r\n" % (self._static, 30_000_000 - tokens, number)

    # models

    def _list(self, path: str, number: int) -> Reply:
        wanted = path.removeprefix("/v1/models").strip("/")
        if wanted:
            if wanted not in self._known:
                raise VendorError(404, errors.document(f"The model '{wanted}' does not exist", param="model", code="model_not_found"))
            return Reply(200, self._headers(number, 0), encode(self._model(wanted)))
        listed = [self._model(model) for model in self.models if model != "*"]
        return Reply(200, self._headers(number, 0), encode({"object": "list", "data": listed}))

    def _model(self, model: str) -> dict[str, Any]:
        return {"id": model, "object": "model", "created": 1754425777, "owned_by": "system" if self._vendor else self._name}

    # embeddings

    def _embeddings(self, body: Mapping[str, Any], number: int) -> Reply:
        given = body.get("input")
        if given is None:
            raise errors.missing("input")
        inputs = given if isinstance(given, list) and not all(isinstance(item, int) for item in given) else [given]
        if not inputs or any(item in ("", []) or not isinstance(item, (str, list)) for item in inputs):
            raise errors.bad_request(
                "'$.input' is invalid. Please check the API reference: https://platform.openai.com/docs/api-reference."
            )
        encoding = body.get("encoding_format") or "float"
        if encoding not in ("float", "base64"):
            raise errors.bad_request(
                f"Invalid value: '{encoding}'. Supported values are: 'float' and 'base64'.", "encoding_format", "invalid_value"
            )
        size = body.get("dimensions") or DIMENSIONS.get(body["model"], 1536)
        if not isinstance(size, int) or not 1 <= size <= 3072:
            raise errors.bad_request(f"Invalid value for 'dimensions' = {size}. Must be between 1 and 3072.", "dimensions")
        tokens = sum(count(item) if isinstance(item, str) else len(item) for item in inputs)
        data = []
        for index, item in enumerate(inputs):
            vector = _vector(str(item), size)
            shown: object = list(struct.unpack(f"<{size}f", vector)) if encoding == "float" else base64.b64encode(vector).decode()
            data.append({"object": "embedding", "index": index, "embedding": shown})
        document = {"object": "list", "data": data, "model": body["model"], "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
        return Reply(200, self._headers(number, tokens), encode(document), model=body["model"])

    # reranking

    def _rerank(self, body: Mapping[str, Any], number: int) -> Reply:
        """As vLLM has it (https://docs.vllm.ai/en/stable/serving/openai_compatible_server): documents are always repeated."""
        query, documents = body.get("query"), body.get("documents")
        if not isinstance(query, str):
            raise errors.missing("query")
        if not isinstance(documents, list) or not all(isinstance(document, str) for document in documents):
            raise errors.bad_request("'documents' must be a list of strings", "documents")
        shown = [
            {"index": place, "document": {"text": documents[place]}, "relevance_score": score}
            for place, score in ranked(query, documents)[: body.get("top_n") or len(documents)]
        ]
        tokens = sum(count(text) for text in [*documents, query])
        usage = {"prompt_tokens": tokens, "total_tokens": tokens}
        document = {"id": f"rerank-{number:016x}", "model": body["model"], "usage": usage, "results": shown}
        return Reply(200, self._headers(number, tokens), encode(document), model=body["model"])

    # completions of plain text

    def _completions(self, body: Mapping[str, Any], number: int, *, fim: bool) -> Reply:
        read = completions.read_fim if fim else completions.read
        asked = read(body, f"{self._name}/{body['model']}", self._strict if not fim else True)
        headers = self._headers(number, asked.usage["total_tokens"])
        if asked.stream:
            events = (completions.fim_events if fim else completions.events)(asked, number)
            return Reply(200, headers, content_type=SSE, events=events, model=asked.model, pace=asked.directive)
        document = (completions.fim_document if fim else completions.document)(asked, number)
        return Reply(200, headers, encode(document), model=asked.model, pace=asked.directive)

    # responses

    def _responses(self, body: Mapping[str, Any], number: int) -> Reply:
        asked = Responses(body, f"{self._name}/{body['model']}", self._strict, self._stored.of(body.get("previous_response_id")))
        result = answer(asked.ask)
        cached, _ = self._cache.look(asked.model, asked.tool_parts + asked.parts, asked.tool_sizes + asked.sizes)
        usage = responses.usage_of(sum(asked.sizes) + sum(asked.tool_sizes), cached - cached % 128, result)
        model = SNAPSHOTS.get(asked.model, asked.model) if self._vendor else asked.model
        output = responses.output_items(asked, result, number)
        status = "incomplete" if result.finish == "length" else "completed"
        document = responses.document(asked, model, number, status, output, usage)
        if asked.store:
            self._stored.keep(document, asked.items)
        headers = self._headers(number, usage["total_tokens"])
        if not asked.stream:
            return Reply(200, headers, encode(document), model=asked.model, pace=asked.directive)
        stream = responses.EventStream(number)
        begun = responses.document(asked, model, number, "in_progress", [], None)
        stream.lifecycle("response.created", begun)
        stream.lifecycle("response.in_progress", begun)
        for index, item in enumerate(output):
            stream.item(index, item, result)
        stream.lifecycle(f"response.{status}", document)
        events = stream.events
        return Reply(200, headers, content_type=SSE, events=events, model=asked.model, pace=asked.directive, failing=responses.error_event)

    def _input_tokens(self, body: Mapping[str, Any], number: int) -> Reply:
        """The tokens of a request that is not answered."""
        asked = Responses(body, self._name, self._strict, self._stored.of(body.get("previous_response_id")))
        document = {"object": "response.input_tokens", "input_tokens": sum(asked.sizes) + sum(asked.tool_sizes)}
        return Reply(200, self._headers(number, 0), encode(document), model=body["model"])

    # chat

    def _chat(self, body: Mapping[str, Any], number: int) -> Reply:
        messages = body.get("messages")
        if messages is None:
            raise errors.missing("messages")
        if not isinstance(messages, list):
            raise errors.wrong_type("messages", "an array of objects", messages)
        if not messages:
            raise errors.bad_request(
                "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
                "messages",
                "empty_array",
            )
        chat = Chat(body, f"{self._name}/{body['model']}", self._strict)
        result = answer(chat.ask)
        cached, _ = self._cache.look(chat.model, chat.tool_parts + chat.parts, chat.tool_sizes + chat.sizes)
        usage = _usage(sum(chat.sizes) + sum(chat.tool_sizes), cached - cached % 128, result, chat.choices)
        model = SNAPSHOTS.get(chat.model, chat.model) if self._vendor else chat.model
        head: dict[str, Any] = {
            "id": f"chatcmpl-Sim{number:026x}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": model,
        }
        tail = {"service_tier": "default", "system_fingerprint": "fp_simulated1"}
        headers = self._headers(number, usage["total_tokens"])
        if chat.stream:
            events = self._stream(head | {"object": "chat.completion.chunk"} | tail, chat, result, usage, number)
            return Reply(200, headers, content_type=SSE, events=events, model=chat.model, pace=chat.directive)
        choices = [
            {"index": index, "message": self._message(result, number, index), "logprobs": None, "finish_reason": FINISH[result.finish]}
            for index in range(chat.choices)
        ]
        document = head | {"choices": choices, "usage": usage} | tail
        return Reply(200, headers, encode(document), model=chat.model, pace=chat.directive)

    def _message(self, result: Answer, number: int, choice: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None if result.calls else _choice_text("".join(result.text), choice)}
        if result.calls:
            calls = enumerate(result.calls)
            message["tool_calls"] = [_call(call, _call_id(number, choice, index), call.arguments) for index, call in calls]
        if self._reasoning_field and result.reasoning:
            message[self._reasoning_field] = "".join(result.reasoning)
        return message | {"refusal": None, "annotations": []}

    def _stream(self, head: dict[str, Any], chat: Chat, result: Answer, usage: dict[str, Any], number: int) -> list[Event]:
        extra = b',"usage":null' if chat.include_usage else b""
        if self._vendor:
            extra += b',"obfuscation":"%s"' % _PADDING[: 5 + number % 12].encode()
        prefix = b"data: " + encode(head)[:-1] + b',"choices":[{"index":%d,"delta":'
        events: list[Event] = []

        def add(choice: int, delta: dict[str, Any], finish: str | None = None, *, content: bool = True) -> None:
            ending = b',"logprobs":null,"finish_reason":%s}]%s}\n\n' % (encode(finish), extra)
            events.append((prefix % choice + encode(delta) + ending, content))

        for choice in range(chat.choices):
            opening: dict[str, Any] = {"role": "assistant", "content": None if result.calls else ""}
            add(choice, opening if result.calls else opening | {"refusal": None}, content=False)
        if self._reasoning_field:
            for token in result.reasoning:
                add(0, {self._reasoning_field: token})
        ending = b',"logprobs":null,"finish_reason":null}]' + extra + b"}\n\n"
        for choice in range(chat.choices):
            start = prefix % choice
            events += [(start + b'{"content":' + encode(token) + b"}" + ending, True) for token in result.text]
            if choice and result.text:
                add(choice, {"content": _choice_text("", choice)})
            for index, call in enumerate(result.calls):
                add(choice, {"tool_calls": [{"index": index} | _call(call, _call_id(number, choice, index), "")]})
                kind, field = ("custom", "input") if call.freeform else ("function", "arguments")
                for fragment in call.fragments():
                    add(choice, {"tool_calls": [{"index": index, kind: {field: fragment}}]})
        for choice in range(chat.choices):
            add(choice, {}, FINISH[result.finish], content=False)
        if chat.include_usage:
            events.append((_event(head | {"choices": [], "usage": usage}), False))
        events.append((DONE, False))
        return events


def _event(document: Mapping[str, Any]) -> bytes:
    return b"data: " + encode(document) + b"\n\n"


def _choice_text(text: str, choice: int) -> str:
    """Choices after the first say which they are, so that a mix-up shows."""
    return f"{text} (choice {choice})" if choice else text


def _call(call: Call, identity: str, said: str) -> dict[str, Any]:
    if call.freeform:
        return {"id": identity, "type": "custom", "custom": {"name": call.name, "input": said}}
    return {"id": identity, "type": "function", "function": {"name": call.name, "arguments": said}}


def _call_id(number: int, choice: int, index: int) -> str:
    return f"call_{number:018x}{choice:03x}{index:03x}"


def _usage(prompt: int, cached: int, result: Answer, choices: int) -> dict[str, Any]:
    completion = result.tokens * choices
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": len(result.reasoning) * choices,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _vector(text: str, size: int) -> bytes:
    """A unit vector of float32 from the text: equal texts give equal vectors."""
    seed = hashlib.shake_256(text.encode(errors="replace")).digest(size)
    values = [byte - 127.5 for byte in seed]
    norm = sum(value * value for value in values) ** 0.5
    return struct.pack(f"<{size}f", *(value / norm for value in values))
