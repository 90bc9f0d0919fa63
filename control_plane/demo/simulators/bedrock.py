"""Bedrock's runtime on the wire: Converse, and invoke for Anthropic's models, each whole and as an event stream; embeddings.

Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_Operations_Amazon_Bedrock_Runtime.html
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from control_plane.demo.simulators import bedrock_errors as errors
from control_plane.demo.simulators.anthropic import LATEST, Anthropic
from control_plane.demo.simulators.anthropic_request import COUNT_FIELDS
from control_plane.demo.simulators.bedrock_embed import embedded
from control_plane.demo.simulators.bedrock_request import Converse, signature
from control_plane.demo.simulators.compose import Answer, answer
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Event, Keys, Reply, VendorError, decode, encode
from control_plane.demo.simulators.tokens import PromptCache
from control_plane.dialects.eventstream import CONTENT_TYPE, encode_event

MODELS: Final = (
    "anthropic.claude-sonnet-4-5-20250929-v1:0",
    "us.anthropic.claude-opus-4-6-v1",
    "us.anthropic.claude-opus-4-7",
    "amazon.nova-2-lite-v1:0",
    "amazon.nova-pro-v1:0",
    "openai.gpt-oss-120b-1:0",
    "amazon.titan-embed-text-v1",
    "amazon.titan-embed-text-v2:0",
    "cohere.embed-multilingual-v3",
    "cohere.embed-v4:0",
)
STOP: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "stop_sequence": "stop_sequence"}
OPERATIONS: Final = ("converse", "converse-stream", "invoke", "invoke-with-response-stream", "count-tokens")
PROFILES: Final = ("us.", "eu.", "apac.", "jp.", "global.")  # of models, across regions; counting knows models alone
INVOKE_VERSION: Final = "bedrock-2023-05-31"
_PADDING: Final = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class Bedrock:
    """The vendor: request in, reply out."""

    heartbeat = encode_event("contentBlockDelta", b'{"contentBlockIndex":0,"delta":{"text":""},"p":"ab"}')

    def __init__(self, name: str, keys: Keys, models: Sequence[str] | None, minimum_cached_tokens: int, strict: bool) -> None:
        self.keys = keys
        self.models = tuple(MODELS if models is None else models)
        self._name = name
        self._cache = PromptCache(minimum_cached_tokens)
        self._anthropic = Anthropic(name, Keys(None), ("*",), minimum_cached_tokens, strict)
        self._number = itertools.count(1)

    # the vendor protocol

    def answer(self, request: HttpRequest) -> Reply:
        number = next(self._number)
        try:
            return self._route(request, number)
        except VendorError as error:
            return Reply(error.status, _request_id(number) + error.headers, encode(error.body))

    def failure(self, fault: Fault) -> Reply:
        headers, body = errors.for_fault(fault)
        return Reply(fault.status, _request_id(next(self._number)) + headers, encode(body))

    def error_event(self, fault: Fault) -> bytes:
        return errors.exception(fault)

    # routing

    def _route(self, request: HttpRequest, number: int) -> Reply:
        root, _, operation = request.path.rpartition("/")
        if not root.startswith("/model/") or operation not in OPERATIONS or request.method != "POST":
            raise errors.not_found()
        self._authenticate(request.headers.get("authorization", ""))
        model = unquote(root.removeprefix("/model/"))
        models = tuple(_base(known) for known in self.models) if operation == "count-tokens" else self.models
        if "*" not in models and model not in models:
            raise errors.no_model()
        try:
            body = decode(request.body)
        except ValueError:
            raise errors.malformed("Unable to parse the request body") from None
        if not isinstance(body, dict):
            raise errors.malformed("Unable to parse the request body")
        if operation == "count-tokens":
            return self._count(body, model, number)
        if operation.startswith("invoke"):
            return self._invoke(body, model, number, stream=operation != "invoke")
        return self._converse(Converse(body, model, f"{self._name}/{model}"), number, stream=operation == "converse-stream")

    def _authenticate(self, authorization: str) -> None:
        """A Bedrock API key as bearer token, or a signature: of that only the id of the access key is looked at."""
        scheme, _, rest = authorization.partition(" ")
        if scheme == "AWS4-HMAC-SHA256":
            if not self.keys.accepts(rest.partition("Credential=")[2].partition("/")[0]):
                raise errors.bad_signature()
        elif scheme.lower() != "bearer" or not rest:
            raise errors.no_key()
        elif not self.keys.accepts(rest):
            raise errors.bad_key()

    # invoke

    def _invoke(self, body: dict[str, Any], model: str, number: int, *, stream: bool) -> Reply:
        """Anthropic's models with their own messages; the model and the wish for a stream stand in the path alone."""
        if "embed" in model:
            if stream:
                raise errors.invalid("The model is unsupported for streaming.")
            document, read = embedded(model, body)
            headers = _request_id(number) + b"X-Amzn-Bedrock-Input-Token-Count: %d\r\n" % read
            return Reply(200, headers, encode(document), model=model)
        if "anthropic" not in model:
            raise errors.by_model("extraneous key [messages] is not permitted")
        version = body.get("anthropic_version")
        if version not in (INVOKE_VERSION, LATEST):  # the latter since version 2 of the vendor's SDKs
            raise errors.by_model(f"anthropic_version: Field required; expected {INVOKE_VERSION}")
        for name in ("model", "stream"):
            if name in body:
                raise errors.by_model(f"{name}: Extra inputs are not permitted")
        if not isinstance(body.get("anthropic_beta", []), list):
            raise errors.by_model("anthropic_beta: Input should be a valid list in the body")
        kept = {key: value for key, value in body.items() if key not in ("anthropic_version", "anthropic_beta")}
        try:
            reply = self._anthropic.message(
                {**kept, "model": model, "stream": stream}, f"{self._name}/{model}", number, latest=version == LATEST
            )
        except VendorError as error:
            raise errors.invalid(str(error.body["error"]["message"])) from None
        headers = _request_id(number)
        if reply.events is None:
            return Reply(200, headers, reply.body, model=model, pace=reply.pace)
        events = [(_chunk(event), content) for event, content in reply.events if not event.startswith(b"event: ping")]
        return Reply(200, headers, content_type=CONTENT_TYPE, events=events, model=model, pace=reply.pace)

    # counting

    def _count(self, body: dict[str, Any], model: str, number: int) -> Reply:
        """What either operation would have read; only Claude's models can be counted."""
        given = body.get("input")
        if not isinstance(given, dict) or len(given) != 1 or set(body) != {"input"}:
            raise errors.malformed("1 validation error detected: Value at 'input' failed to satisfy constraint: Member must not be null")
        if "anthropic" not in model:
            raise errors.invalid("The provided model doesn't support counting tokens.")
        if "converse" in given:
            size = sum(Converse(given["converse"], model, self._name).sizes)
        else:
            try:
                inner = decode(base64.b64decode(given["invokeModel"]["body"], validate=True))
                messages = {name: value for name, value in inner.items() if name in COUNT_FIELDS}
            except (KeyError, TypeError, ValueError, AttributeError):
                raise errors.malformed("Unable to parse the request body") from None
            if inner.get("anthropic_version") not in (INVOKE_VERSION, LATEST) or "max_tokens" not in inner or "messages" not in inner:
                raise errors.by_model("anthropic_version, max_tokens and messages are required")
            try:
                size = decode(self._anthropic.count({**messages, "model": model}, number).body)["input_tokens"]
            except VendorError as error:
                raise errors.invalid(str(error.body["error"]["message"])) from None
        return Reply(200, _request_id(number), encode({"inputTokens": size}), model=model)

    # converse

    def _converse(self, converse: Converse, number: int, *, stream: bool) -> Reply:
        result = answer(converse.ask)
        measured = {"usage": self._usage(converse, result), "metrics": {"latencyMs": 17}}
        headers = _request_id(number)
        if stream:
            events = _stream(result, measured, number)
            return Reply(200, headers, content_type=CONTENT_TYPE, events=events, model=converse.model, pace=converse.directive)
        message = {"role": "assistant", "content": _content(result, number)}
        document = {"output": {"message": message}, "stopReason": STOP[result.finish], **measured}
        return Reply(200, headers, encode(document), model=converse.model, pace=converse.directive)

    def _usage(self, converse: Converse, result: Answer) -> dict[str, Any]:
        """Usage as billed: `inputTokens` is what the cache neither held nor took."""
        read = written = 0
        if until := converse.cache_until:
            read, written = self._cache.look(converse.model, converse.parts[:until], converse.sizes[:until])
        total = sum(converse.sizes)
        usage = {"inputTokens": total - read - written, "outputTokens": result.tokens, "totalTokens": total + result.tokens}
        return {**usage, "cacheReadInputTokens": read, "cacheWriteInputTokens": written}


def _base(model: str) -> str:
    return next((model.removeprefix(profile) for profile in PROFILES if model.startswith(profile)), model)


def _request_id(number: int) -> bytes:
    return b"x-amzn-RequestId: 00000000-0000-4000-8000-%012x\r\n" % number


def _frame(name: str, document: Mapping[str, Any]) -> bytes:
    """An event, with the padding that hides how long each token is."""
    body = encode(document)
    return encode_event(name, encode({**document, "p": _PADDING[: 1 + len(body) * 7 % len(_PADDING)]}))


def _chunk(event: bytes) -> bytes:
    """An event of Anthropic's stream inside one of Bedrock's."""
    data = event.partition(b"\ndata: ")[2].rstrip(b"\n")
    return _frame("chunk", {"bytes": base64.b64encode(data).decode()})


def _tool_id(number: int, index: int) -> str:
    return f"tooluse_Sim{number:015x}{index:03x}"


def _content(result: Answer, number: int) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if result.reasoning:
        text = "".join(result.reasoning)
        blocks.append({"reasoningContent": {"reasoningText": {"text": text, "signature": signature(text)}}})
    if result.text:
        blocks.append({"text": "".join(result.text)})
    for index, call in enumerate(result.calls):
        arguments = msgspec.Raw(call.arguments.encode())
        blocks.append({"toolUse": {"toolUseId": _tool_id(number, index), "name": call.name, "input": arguments}})
    return blocks


def _stream(result: Answer, measured: Mapping[str, Any], number: int) -> list[Event]:
    events: list[Event] = [(_frame("messageStart", {"role": "assistant"}), False)]
    block = 0

    def deltas(pieces: Sequence[dict[str, Any]]) -> None:
        nonlocal block
        events.extend((_frame("contentBlockDelta", {"contentBlockIndex": block, "delta": piece}), True) for piece in pieces)
        events.append((_frame("contentBlockStop", {"contentBlockIndex": block}), False))
        block += 1

    if result.reasoning:
        thoughts = [{"reasoningContent": {"text": piece}} for piece in result.reasoning]
        deltas([*thoughts, {"reasoningContent": {"signature": signature("".join(result.reasoning))}}])
    if result.text:
        deltas([{"text": piece} for piece in result.text])
    for index, call in enumerate(result.calls):
        use = {"toolUseId": _tool_id(number, index), "name": call.name}
        events.append((_frame("contentBlockStart", {"contentBlockIndex": block, "start": {"toolUse": use}}), True))
        deltas([{"toolUse": {"input": piece}} for piece in call.fragments()] if call.arguments != "{}" else [])
    events.append((_frame("messageStop", {"stopReason": STOP[result.finish]}), False))
    events.append((_frame("metadata", measured), False))
    return events
