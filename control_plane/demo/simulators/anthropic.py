"""Anthropic on the wire: messages, token counting, models (docs.anthropic.com/en/api)."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qs

import msgspec

from control_plane.demo.simulators import anthropic_errors as errors
from control_plane.demo.simulators.anthropic_batches import BATCHES, FILES, Kept
from control_plane.demo.simulators.anthropic_request import Message, signature
from control_plane.demo.simulators.compose import Answer, answer
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.http1 import HttpRequest
from control_plane.demo.simulators.reply import Event, Keys, Reply, VendorError, decode, encode, header_lines
from control_plane.demo.simulators.tokens import PromptCache

MODELS: Final = ("claude-opus-5", "claude-sonnet-5", "claude-haiku-4-5-20251001", "claude-sonnet-4-5-20250929", "claude-opus-4-5-20251101")
ALIASES: Final = {
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-opus-4-5": "claude-opus-4-5-20251101",
}
STOP: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "stop_sequence": "stop_sequence"}
SSE: Final = "text/event-stream; charset=utf-8"
PING: Final = b'event: ping\ndata: {"type": "ping"}\n\n'
LATEST: Final = "2026-10-21"  # the vendor's SDKs send it since their 2.0; it refuses sampling parameters
VERSIONS: Final = frozenset({"2023-01-01", "2023-06-01", LATEST})


class Anthropic:
    """The vendor: request in, reply out. `strict` also refuses what its newest models no longer take."""

    heartbeat = PING

    def __init__(self, name: str, keys: Keys, models: Sequence[str] | None, minimum_cached_tokens: int, strict: bool) -> None:
        self.keys = keys
        self.models = tuple(MODELS if models is None else models)
        self._any_model = "*" in self.models
        self._known = frozenset(self.models) | (ALIASES.keys() if models is None else frozenset())
        self._name = name
        self._strict = strict
        self._cache = PromptCache(minimum_cached_tokens)
        self._number = itertools.count(1)
        self._kept = Kept(self._batched)

    # the vendor protocol

    def answer(self, request: HttpRequest) -> Reply:
        number = next(self._number)
        try:
            return self._route(request, number)
        except VendorError as error:
            headers = b"%sx-should-retry: false\r\n%s" % (_request_id(number), error.headers)
            return Reply(error.status, headers, encode({**error.body, "request_id": f"req_sim{number:021x}"}))

    def failure(self, fault: Fault) -> Reply:
        number = next(self._number)
        body = errors.for_fault(fault) | {"request_id": f"req_sim{number:021x}"}
        return Reply(fault.status, _request_id(number) + header_lines(errors.fault_headers(fault)), encode(body))

    def error_event(self, fault: Fault) -> bytes:
        body = errors.for_fault(fault) | {"request_id": f"req_sim{next(self._number):021x}"}
        return b"event: error\ndata: " + encode(body) + b"\n\n"

    # routing

    def _route(self, request: HttpRequest, number: int) -> Reply:
        path = request.path
        if path.startswith((BATCHES, FILES)):
            self._authenticate(request.headers)
            return self._kept.answer(request, number, _headers(number))
        post = path in ("/v1/messages", "/v1/messages/count_tokens")
        if not post and path != "/v1/models" and not path.startswith("/v1/models/"):
            raise errors.not_found("Not Found")
        if request.method != ("POST" if post else "GET"):
            raise errors.wrong_method("POST" if post else "GET")
        self._authenticate(request.headers)
        if not post:
            return self._list(path, request.query, number)
        body = self._body(request)
        latest = request.headers["anthropic-version"] == LATEST
        if path == "/v1/messages":
            return self.message(body, f"{self._name}/{body['model']}", number, latest=latest)
        return self.count(body, number, latest=latest)

    def count(self, body: Mapping[str, Any], number: int, *, latest: bool = False) -> Reply:
        """The answer to the body of a counting request. Raises VendorError."""
        counted = Message(body, self._name, latest=latest, strict=self._strict, counting=True)
        return Reply(200, _headers(number), encode({"input_tokens": sum(counted.sizes)}), model=counted.model)

    def _authenticate(self, headers: Mapping[str, str]) -> None:
        """The key comes as `x-api-key` or, from the vendor's SDKs since 2.0, as a bearer token."""
        key = headers.get("x-api-key")
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if not key and (scheme.lower() != "bearer" or not bearer):
            raise errors.unauthorized("x-api-key header is required")
        if not self.keys.accepts(key or bearer):
            raise errors.unauthorized("invalid x-api-key" if key else "Invalid bearer token")
        version = headers.get("anthropic-version")
        if version is None:
            raise errors.invalid("anthropic-version: header is required")
        if version not in VERSIONS:
            raise errors.invalid(f"anthropic-version: {version} is not a valid version")

    def _body(self, request: HttpRequest) -> dict[str, Any]:
        if "application/json" not in request.headers.get("content-type", "").lower():
            raise errors.invalid("content-type: must be application/json")
        try:
            body = decode(request.body)
        except ValueError as error:
            reason = (
                "nested too deeply"
                if "deeply" in str(error)
                else "not valid JSON"
                if isinstance(error, msgspec.DecodeError)
                else "not valid UTF-8"
            )
            raise errors.invalid(f"The request body is {reason}") from None
        if not isinstance(body, dict):
            raise errors.invalid("Input should be a valid dictionary or object to extract fields from")
        return self._checked(body)

    def _batched(self, params: Mapping[str, Any]) -> Reply:
        """A request of a batch, which streams nothing."""
        body = self._checked({**params, "stream": False})
        return self.message(body, f"{self._name}/{body['model']}", next(self._number))

    def _checked(self, body: dict[str, Any]) -> dict[str, Any]:
        for name, kind in (("model", str), ("messages", list)):
            if name not in body:
                raise errors.invalid(f"{name}: Field required")
            if not isinstance(body[name], kind):
                raise errors.invalid(f"{name}: Input should be a valid {'string' if kind is str else 'list'}")
        if not self._any_model and body["model"] not in self._known:
            raise errors.not_found(f"model: {body['model']}")
        return body

    # models

    def _list(self, path: str, query: str, number: int) -> Reply:
        wanted = path.removeprefix("/v1/models").strip("/")
        if wanted:
            wanted = ALIASES.get(wanted, wanted)
            if wanted not in self.models:
                raise errors.not_found(f"model: {wanted}")
            return Reply(200, _headers(number), encode(_model(wanted)))
        options = parse_qs(query)
        listed = [model for model in self.models if model != "*"]
        after = options.get("after_id", [""])[0]
        if after in listed:
            listed = listed[listed.index(after) + 1 :]
        limit = options.get("limit", ["20"])[0]
        if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
            raise errors.invalid("limit: Input should be between 1 and 1000")
        page = listed[: int(limit)]
        document = {
            "data": [_model(model) for model in page],
            "has_more": len(page) < len(listed),
            "first_id": page[0] if page else None,
            "last_id": page[-1] if page else None,
        }
        return Reply(200, _headers(number), encode(document))

    # messages

    def message(self, body: Mapping[str, Any], speaker: str, number: int, *, latest: bool = False) -> Reply:
        """The answer to the body of a messages request. Raises VendorError."""
        message = Message(body, speaker, latest=latest, strict=self._strict)
        result = answer(message.ask)
        usage = self._usage(message, result)
        head: dict[str, Any] = {
            "model": ALIASES.get(message.model, message.model),
            "id": f"msg_01Sim{number:019x}",
            "type": "message",
            "role": "assistant",
        }
        if message.stream:
            events = _stream(head, result, usage, number)
            return Reply(200, _headers(number), content_type=SSE, events=events, model=message.model, pace=message.directive)
        document = head | {
            "content": _content(result, number),
            "stop_reason": STOP[result.finish],
            "stop_sequence": result.stop_sequence,
            "stop_details": None,
            "usage": usage,
        }
        return Reply(200, _headers(number), encode(document), model=message.model, pace=message.directive)

    def _usage(self, message: Message, result: Answer) -> dict[str, Any]:
        """Usage as billed: `input_tokens` is what the cache neither held nor took."""
        read = written = 0
        if until := message.cache_until:
            read, written = self._cache.look(message.model, message.parts[:until], message.sizes[:until])
        usage: dict[str, Any] = {
            "input_tokens": sum(message.sizes) - read - written,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": read,
            "cache_creation": {"ephemeral_5m_input_tokens": written, "ephemeral_1h_input_tokens": 0},
            "output_tokens": result.tokens,
            "service_tier": "standard",
            "inference_geo": "not_available",
        }
        if result.reasoning:
            usage["output_tokens_details"] = {"thinking_tokens": len(result.reasoning)}
        return usage


def _request_id(number: int) -> bytes:
    return b"request-id: req_sim%021x\r\n" % number


class _Limits:
    """The rate limit headers, made once a second because they carry times."""

    second = 0
    lines = b""


def _headers(number: int) -> bytes:
    now = int(time.time())
    if now != _Limits.second:
        _Limits.second = now
        reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
        limits = {"requests": 10_000, "tokens": 12_000_000, "input-tokens": 10_000_000, "output-tokens": 2_000_000}
        _Limits.lines = header_lines(
            {
                f"anthropic-ratelimit-{kind}-{part}": str(value)
                for kind, limit in limits.items()
                for part, value in (("limit", limit), ("remaining", limit - 1), ("reset", reset))
            }
        )
    return _Limits.lines + _request_id(number)


def _model(model: str) -> dict[str, Any]:
    shown = model.replace("-", " ").title()
    return {
        "type": "model",
        "id": model,
        "display_name": shown,
        "created_at": "2026-06-29T00:00:00Z",
        "max_input_tokens": 1_000_000,
        "max_tokens": 128_000,
    }


def _tool_id(number: int, index: int) -> str:
    return f"toolu_01Sim{number:016x}{index:03x}"


def _content(result: Answer, number: int) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if result.reasoning:
        thinking = "".join(result.reasoning)
        blocks.append({"type": "thinking", "thinking": thinking, "signature": signature(thinking)})
    if result.text:
        blocks.append({"type": "text", "text": "".join(result.text)})
    for index, call in enumerate(result.calls):
        blocks.append({"type": "tool_use", "id": _tool_id(number, index), "name": call.name, "input": msgspec.Raw(call.arguments.encode())})
    return blocks


def _event(kind: str, document: Mapping[str, Any]) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (kind.encode(), encode({"type": kind, **document}))


def _stream(head: dict[str, Any], result: Answer, usage: dict[str, Any], number: int) -> list[Event]:
    opening = head | {"content": [], "stop_reason": None, "stop_sequence": None, "usage": usage | {"output_tokens": 1}}
    events: list[Event] = [(_event("message_start", {"message": opening}), False)]
    block = 0

    def open_block(content: dict[str, Any], *, is_content: bool = False) -> None:
        events.append((_event("content_block_start", {"index": block, "content_block": content}), is_content))
        if block == 0:
            events.append((PING, False))

    def deltas(kind: str, field: str, pieces: Sequence[str]) -> None:
        start = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":{"type":"%s","%s":' % (
            block,
            kind.encode(),
            field.encode(),
        )
        events.extend((start + encode(piece) + b"}}\n\n", True) for piece in pieces)

    def close_block() -> None:
        nonlocal block
        events.append((_event("content_block_stop", {"index": block}), False))
        block += 1

    if result.reasoning:
        open_block({"type": "thinking", "thinking": "", "signature": ""})
        deltas("thinking_delta", "thinking", result.reasoning)
        deltas("signature_delta", "signature", (signature("".join(result.reasoning)),))
        close_block()
    if result.text:
        open_block({"type": "text", "text": ""})
        deltas("text_delta", "text", result.text)
        close_block()
    for index, call in enumerate(result.calls):
        open_block({"type": "tool_use", "id": _tool_id(number, index), "name": call.name, "input": {}}, is_content=True)
        deltas("input_json_delta", "partial_json", ("", *call.fragments()) if call.arguments != "{}" else ("",))
        close_block()
    ending = {
        "delta": {"stop_reason": STOP[result.finish], "stop_sequence": result.stop_sequence, "stop_details": None},
        "usage": {key: value for key, value in usage.items() if key.endswith("_tokens") or key == "output_tokens_details"},
    }
    events += [(_event("message_delta", ending), False), (_event("message_stop", {}), False)]
    return events
