"""Cohere on the wire: chat of version 2 of the API, models (docs.cohere.com/reference)."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any, Final

from control_plane.demo.simulators import cohere_errors as errors
from control_plane.demo.simulators.cohere_request import Chat, Embed, Rerank
from control_plane.demo.simulators.compose import Answer, answer
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Event, Keys, Reply, VendorError, decode, encode, header_lines
from control_plane.demo.simulators.tokens import PromptCache
from control_plane.demo.simulators.vectors import packed, vector

MODELS: Final = (
    "command-a-03-2025",
    "command-a-reasoning-08-2025",
    "command-a-plus-05-2026",
    "command-r7b-12-2024",
    "command-r-08-2024",
    "embed-v4.0",
    "rerank-v3.5",
)
FINISH: Final = {"stop": "COMPLETE", "stop_sequence": "STOP_SEQUENCE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}
POSTS: Final = ("/v2/chat", "/v2/embed", "/v2/rerank")
SSE: Final = "text/event-stream"
DONE: Final = b"data: [DONE]\n\n"


class Cohere:
    """The vendor: request in, reply out. `strict` refuses unknown fields, and what single models refuse."""

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
        number = next(self._number)
        try:
            return self._route(request, number)
        except errors.Refused as error:
            return Reply(error.status, self._headers(number), encode(errors.document(error.message, number, error.error_type)))
        except VendorError as error:
            return Reply(error.status, self._headers(number), encode(error.body))

    def failure(self, fault: Fault) -> Reply:
        number = next(self._number)
        wait = {} if fault.retry_after_s is None else {"retry-after": f"{fault.retry_after_s:g}"}
        document = errors.document(errors.message_of(fault), number, fault.error_type)
        return Reply(fault.status, self._headers(number) + header_lines(wait), encode(document))

    def error_event(self, fault: Fault) -> bytes:
        """The last event of a stream says so: there is no event for errors alone."""
        reason = "TIMEOUT" if fault.status == 504 else "ERROR"
        return _event({"type": "message-end", "delta": {"error": errors.message_of(fault), "finish_reason": reason}})

    # routing

    def _route(self, request: HttpRequest, number: int) -> Reply:
        path = request.path
        if path not in (*POSTS, "/v1/models") and not path.startswith("/v1/models/"):
            raise errors.Refused(404, f"route '{path}' not found")
        if request.method != ("POST" if path in POSTS else "GET"):
            raise errors.Refused(405, "method not allowed")
        self._authenticate(request)
        if path not in POSTS:
            return self._list(path.removeprefix("/v1/models").strip("/"), number)
        body = _body(request)
        model = body.get("model")
        if not isinstance(model, str) or not model:
            raise errors.bad_request("model is required.")
        if "*" not in self.models and model not in self.models:
            raise errors.no_model(model)
        if path == "/v2/embed":
            return self._embed(Embed(body, strict=self._strict), model, number)
        if path == "/v2/rerank":
            return self._rerank(Rerank(body), model, number)
        return self._chat(Chat(body, model, f"{self._name}/{model}", strict=self._strict), number)

    def _authenticate(self, request: HttpRequest) -> None:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not key:
            raise errors.Refused(401, "no api key supplied")
        if not self.keys.accepts(key):
            raise errors.Refused(401, "invalid api token")

    def _headers(self, number: int) -> bytes:
        return header_lines({"x-debug-trace-id": f"{number:032x}", "server": "envoy"})

    def _list(self, wanted: str, number: int) -> Reply:
        cards = [{"name": model, "endpoints": ["chat"], "context_length": 256_000} for model in self.models if model != "*"]
        if not wanted:
            return Reply(200, self._headers(number), encode({"models": cards}))
        found = [card for card in cards if card["name"] == wanted]
        if not found:
            raise errors.no_model(wanted)
        return Reply(200, self._headers(number), encode(found[0]))

    # answers

    def _embed(self, embed: Embed, model: str, number: int) -> Reply:
        vectors = [vector(text, embed.size) for text in embed.texts]
        given: dict[str, Any] = {kind: [packed(v) for v in vectors] if kind == "base64" else vectors for kind in embed.kinds}
        document = {
            "id": errors.identity(number),
            "texts": embed.texts,
            "embeddings": given,
            "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": embed.tokens, "image_tokens": 0}},
            "response_type": "embeddings_by_type",
        }
        return Reply(200, self._headers(number), encode(document), model=model)

    def _rerank(self, rerank: Rerank, model: str, number: int) -> Reply:
        results = [{"index": index, "relevance_score": score} for index, score in rerank.ranked]
        meta = {"api_version": {"version": "2"}, "billed_units": {"search_units": 1}}
        return Reply(200, self._headers(number), encode({"id": errors.identity(number), "results": results, "meta": meta}), model=model)

    def _chat(self, chat: Chat, number: int) -> Reply:
        result = answer(chat.ask)
        read, _ = self._cache.look(chat.model, chat.parts, chat.sizes)
        usage = _usage(chat, read, result)
        identity, finish = errors.identity(number), FINISH[result.finish]
        headers = self._headers(number)
        if not chat.stream:
            document: dict[str, Any] = {"id": identity, "message": _message(chat, result, number), "finish_reason": finish, "usage": usage}
            if chat.logprobs:
                document["logprobs"] = [_logprob(token) for token in result.text]
            return Reply(200, headers, encode(document), model=chat.model, pace=chat.directive)
        return Reply(
            200,
            headers,
            content_type=SSE,
            events=_events(chat, result, identity, number, {"finish_reason": finish, "usage": usage}),
            model=chat.model,
            pace=chat.directive,
        )


def _body(request: HttpRequest) -> dict[str, Any]:
    if "application/json" not in request.headers.get("content-type", "").lower():
        raise errors.bad_request("the content type must be application/json")
    try:
        body = decode(request.body)
    except ValueError as error:
        raise errors.bad_request(f"the body is not valid JSON: {str(error)[:100]}") from None
    if not isinstance(body, dict):
        raise errors.bad_request("the body must be a JSON object")
    return body


def _event(payload: dict[str, Any]) -> bytes:
    return b"event: " + str(payload["type"]).encode() + b"\ndata: " + encode(payload) + b"\n\n"


def _plan(chat: Chat, result: Answer) -> tuple[str, ...]:
    """What a model that does not think says before it calls."""
    if not result.calls or not chat.plans:
        return ()
    return ("I", " will", " use", *(f" {name}" for name in dict.fromkeys(call.name for call in result.calls)), ".")


def _call(name: str, arguments: str, number: int, index: int) -> dict[str, Any]:
    return {"id": f"{name}_sim{number:06x}{index:03x}", "type": "function", "function": {"name": name, "arguments": arguments}}


def _citations(chat: Chat, result: Answer) -> list[dict[str, Any]]:
    """The first word of the answer is cited from the first document."""
    if not chat.documents or not result.text:
        return []
    identity, fields = chat.documents[0]
    word = result.text[0]
    source = {"type": "document", "id": identity, "document": {"id": identity, **fields}}
    return [{"start": 0, "end": len(word), "text": word, "sources": [source], "type": "TEXT_CONTENT"}]


def _logprob(token: str) -> dict[str, Any]:
    return {"text": token, "token_ids": [len(token)], "logprobs": [-0.25]}


def _message(chat: Chat, result: Answer, number: int) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant"}
    content = []
    if result.reasoning:
        content.append({"type": "thinking", "thinking": "".join(result.reasoning)})
    if result.text or not (result.calls or content):
        content.append({"type": "text", "text": "".join(result.text)})
    if content:
        message["content"] = content
    if plan := _plan(chat, result):
        message["tool_plan"] = "".join(plan)
    if result.calls:
        message["tool_calls"] = [_call(call.name, call.arguments, number, index) for index, call in enumerate(result.calls)]
    if citations := _citations(chat, result):
        message["citations"] = citations
    return message


def _events(chat: Chat, result: Answer, identity: str, number: int, ending: dict[str, Any]) -> Sequence[Event]:
    empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
    events: list[Event] = [(_event({"id": identity, "type": "message-start", "delta": {"message": empty}}), False)]

    def say(payload: dict[str, Any], content: bool) -> None:
        events.append((_event(payload), content))

    index = 0
    for kind, tokens in (("thinking", result.reasoning), ("text", result.text)):
        if not tokens:
            continue
        say({"type": "content-start", "index": index, "delta": {"message": {"content": {"type": kind, kind: ""}}}}, False)
        for token in tokens:
            logprob = {"logprobs": _logprob(token)} if chat.logprobs and kind == "text" else {}
            say({"type": "content-delta", "index": index, "delta": {"message": {"content": {kind: token}}}, **logprob}, True)
        say({"type": "content-end", "index": index}, False)
        index += 1
    for token in _plan(chat, result):
        say({"type": "tool-plan-delta", "delta": {"message": {"tool_plan": token}}}, True)
    for place, call in enumerate(result.calls):
        opening = {"message": {"tool_calls": _call(call.name, "", number, place)}}
        say({"type": "tool-call-start", "index": place, "delta": opening}, True)
        for fragment in call.fragments():
            delta = {"message": {"tool_calls": {"function": {"arguments": fragment}}}}
            say({"type": "tool-call-delta", "index": place, "delta": delta}, True)
        say({"type": "tool-call-end", "index": place}, False)
    for place, citation in enumerate(_citations(chat, result)):
        say({"type": "citation-start", "index": place, "delta": {"message": {"citations": citation}}}, True)
        say({"type": "citation-end", "index": place}, False)
    say({"type": "message-end", "delta": ending}, False)
    events.append((DONE, False))
    return events


def _usage(chat: Chat, read: int, result: Answer) -> dict[str, Any]:
    """Images are counted beside the input; what is billed has them, and not the vendor's own instructions."""
    prompt, output = sum(chat.sizes), result.tokens
    tokens: dict[str, Any] = {"input_tokens": prompt, "output_tokens": output}
    if result.reasoning:
        tokens["reasoning_tokens"] = len(result.reasoning)
    if chat.images:
        tokens["image_tokens"] = chat.image_tokens
    billed = {"input_tokens": prompt + chat.image_tokens, "output_tokens": output}
    return {"billed_units": billed, "tokens": tokens, "cached_tokens": read}
