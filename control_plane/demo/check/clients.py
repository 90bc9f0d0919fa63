"""The client dialects as a client sees them: build a request, read an answer, judge an error."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from control_plane.demo.wire_client import Answer, call

TOOL_SCHEMAS: Final[Mapping[str, dict[str, Any]]] = {
    "get_weather": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
    "get_time": {"type": "object", "properties": {}},
}


class Failed(Exception):
    """A check that did not hold; the text says what was there instead."""


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as received; `arguments` decoded."""

    id: str
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True)
class Said:
    """An answer's meaning. `whole` says that the terminal event (or the complete document) was there."""

    text: str
    calls: tuple[Call, ...]
    finish: str | None
    input_tokens: int
    output_tokens: int
    whole: bool
    native: Any = None


class Client(Protocol):
    """A client dialect. Its methods raise Failed or ValueError for an answer that is not in the dialect."""

    @property
    def name(self) -> str: ...

    @property
    def vendor(self) -> str:
        """Whose own dialect it is: that vendor answers without translation."""
        ...

    @property
    def path(self) -> str: ...

    async def ask(
        self, base_url: str, model: str, text: str, *, stream: bool, tools: bool = False, timeout_s: float = 20.0
    ) -> tuple[Answer, dict[str, Any]]:
        """(answer, request body)."""
        ...

    async def give_results(self, base_url: str, asked: dict[str, Any], said: Said, results: Sequence[str]) -> Answer: ...

    async def post(self, base_url: str, body: object, headers: Mapping[str, str] | None = None, path: str | None = None) -> Answer: ...

    def read(self, answer: Answer, *, stream: bool) -> Said: ...

    def error(self, answer: Answer) -> str:
        """The message of an error answer."""
        ...


def _expect(condition: object, what: str) -> None:
    if not condition:
        raise Failed(what)


def check_ok(answer: Answer) -> None:
    """Raises Failed unless a complete 200 came."""
    if answer.ended != "complete" or answer.status != 200:
        raise Failed(f"status {answer.status}, ended {answer.ended}: {answer.body[:200]!r}")


class OpenAIClient:
    """Chat completions."""

    name = "openai"
    vendor = "openai"
    path: Final = "/v1/chat/completions"
    headers: Final = {"authorization": "Bearer demo"}

    async def ask(
        self, base_url: str, model: str, text: str, *, stream: bool, tools: bool = False, timeout_s: float = 20.0
    ) -> tuple[Answer, dict[str, Any]]:
        body: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}
        if stream:
            body["stream_options"] = {"include_usage": True}
        if tools:
            body["tools"] = [
                {"type": "function", "function": {"name": name, "parameters": schema}} for name, schema in TOOL_SCHEMAS.items()
            ]
        return await call(base_url + self.path, body, headers=self.headers, timeout_s=timeout_s), body

    async def give_results(self, base_url: str, asked: dict[str, Any], said: Said, results: Sequence[str]) -> Answer:
        made = [{"id": c.id, "type": "function", "function": {"name": c.name, "arguments": json.dumps(c.arguments)}} for c in said.calls]
        messages = [*asked["messages"], {"role": "assistant", "content": None, "tool_calls": made}]
        messages += [{"role": "tool", "tool_call_id": c.id, "content": r} for c, r in zip(said.calls, results, strict=True)]
        return await self.post(base_url, asked | {"messages": messages})

    async def post(self, base_url: str, body: object, headers: Mapping[str, str] | None = None, path: str | None = None) -> Answer:
        return await call(base_url + (path or self.path), body, headers=self.headers | dict(headers or {}))

    def read(self, answer: Answer, *, stream: bool) -> Said:
        check_ok(answer)
        return self._stream(answer) if stream else self._document(answer.json())

    def _document(self, document: Any) -> Said:
        _expect(document.get("object") == "chat.completion", f"not a chat completion: {document}")
        choice, usage = document["choices"][0], document["usage"]
        made = [
            Call(c["id"], c["function"]["name"], json.loads(c["function"]["arguments"])) for c in choice["message"].get("tool_calls") or ()
        ]
        text = choice["message"]["content"] or ""
        return Said(text, tuple(made), choice["finish_reason"], usage["prompt_tokens"], usage["completion_tokens"], True)

    def _stream(self, answer: Answer) -> Said:
        events = answer.events()
        whole = bool(events) and events[-1] == "[DONE]"
        text, finish, usage = "", None, dict[str, Any]()
        made: dict[int, dict[str, str]] = {}
        for event in events:
            if event == "[DONE]":
                continue
            _expect("error" not in event, f"an error in the stream: {event}")
            usage = event.get("usage") or usage
            for choice in event["choices"]:
                text += choice["delta"].get("content") or ""
                finish = choice.get("finish_reason") or finish
                for part in choice["delta"].get("tool_calls") or ():
                    one = made.setdefault(part["index"], {"id": "", "name": "", "arguments": ""})
                    one["id"] += part.get("id") or ""
                    one["name"] += part["function"].get("name") or ""
                    one["arguments"] += part["function"].get("arguments") or ""
        calls = tuple(Call(one["id"], one["name"], json.loads(one["arguments"])) for _, one in sorted(made.items()))
        return Said(text, calls, finish, usage.get("prompt_tokens", 0), usage.get("completion_tokens", 0), whole)

    def error(self, answer: Answer) -> str:
        document = answer.json()
        _expect(isinstance(document.get("error"), dict) and "type" in document["error"], f"not OpenAI's error shape: {document}")
        return str(document["error"]["message"])


class ResponsesClient:
    """Responses."""

    name = "responses"
    vendor = "openai"
    path: Final = "/v1/responses"
    headers: Final = {"authorization": "Bearer demo"}

    async def ask(
        self, base_url: str, model: str, text: str, *, stream: bool, tools: bool = False, timeout_s: float = 20.0
    ) -> tuple[Answer, dict[str, Any]]:
        body: dict[str, Any] = {"model": model, "input": [{"role": "user", "content": text}], "stream": stream, "store": False}
        if tools:
            body["tools"] = [
                {"type": "function", "name": name, "parameters": schema, "strict": False} for name, schema in TOOL_SCHEMAS.items()
            ]
        return await call(base_url + self.path, body, headers=self.headers, timeout_s=timeout_s), body

    async def give_results(self, base_url: str, asked: dict[str, Any], said: Said, results: Sequence[str]) -> Answer:
        made = [{"type": "function_call", "call_id": c.id, "name": c.name, "arguments": json.dumps(c.arguments)} for c in said.calls]
        given = [{"type": "function_call_output", "call_id": c.id, "output": r} for c, r in zip(said.calls, results, strict=True)]
        return await self.post(base_url, asked | {"input": [*asked["input"], *made, *given]})

    async def post(self, base_url: str, body: object, headers: Mapping[str, str] | None = None, path: str | None = None) -> Answer:
        return await call(base_url + (path or self.path), body, headers=self.headers | dict(headers or {}))

    def read(self, answer: Answer, *, stream: bool) -> Said:
        check_ok(answer)
        return self._stream(answer) if stream else self._document(answer.json())

    def _document(self, document: Any) -> Said:
        _expect(document.get("object") == "response" and not document["error"], f"not a response: {document}")
        items, usage = document["output"], document["usage"]
        text = "".join(part["text"] for item in items if item["type"] == "message" for part in item["content"])
        made = [Call(i["call_id"], i["name"], json.loads(i["arguments"])) for i in items if i["type"] == "function_call"]
        return Said(text, tuple(made), document["status"], usage["input_tokens"], usage["output_tokens"], True)

    def _stream(self, answer: Answer) -> Said:
        """What the last event says, which the deltas must have said before."""
        events = answer.events()
        text = ""
        arguments: dict[int, str] = {}
        for number, event in enumerate(events):
            kind = event["type"]
            _expect(kind not in ("error", "response.failed"), f"an error in the stream: {event}")
            _expect(event["sequence_number"] == number, f"event {number} is numbered {event['sequence_number']}")
            if kind == "response.output_text.delta":
                text += event["delta"]
            elif kind == "response.function_call_arguments.delta":
                arguments[event["output_index"]] = arguments.get(event["output_index"], "") + event["delta"]
        if not events or events[-1]["type"] not in ("response.completed", "response.incomplete"):
            return Said(text, (), None, 0, 0, False)
        said = self._document(events[-1]["response"])
        _expect(text == said.text, f"the deltas say {text!r}, the response {said.text!r}")
        told = [json.loads(arguments[index]) for index in sorted(arguments)]
        _expect(told == [one.arguments for one in said.calls], f"the deltas say {told}, the response {said.calls}")
        return said

    def error(self, answer: Answer) -> str:
        return OpenAIClient().error(answer)


class AnthropicClient:
    """Messages."""

    name = "anthropic"
    vendor = "anthropic"
    path: Final = "/v1/messages"
    headers: Final = {"x-api-key": "demo", "anthropic-version": "2023-06-01"}

    async def ask(
        self, base_url: str, model: str, text: str, *, stream: bool, tools: bool = False, timeout_s: float = 20.0
    ) -> tuple[Answer, dict[str, Any]]:
        body: dict[str, Any] = {"model": model, "max_tokens": 4000, "messages": [{"role": "user", "content": text}], "stream": stream}
        if tools:
            body["tools"] = [{"name": name, "input_schema": schema} for name, schema in TOOL_SCHEMAS.items()]
        return await call(base_url + self.path, body, headers=self.headers, timeout_s=timeout_s), body

    async def give_results(self, base_url: str, asked: dict[str, Any], said: Said, results: Sequence[str]) -> Answer:
        made = [{"type": "tool_use", "id": c.id, "name": c.name, "input": c.arguments} for c in said.calls]
        given = [{"type": "tool_result", "tool_use_id": c.id, "content": r} for c, r in zip(said.calls, results, strict=True)]
        messages = [*asked["messages"], {"role": "assistant", "content": made}, {"role": "user", "content": given}]
        return await self.post(base_url, asked | {"messages": messages})

    async def post(self, base_url: str, body: object, headers: Mapping[str, str] | None = None, path: str | None = None) -> Answer:
        return await call(base_url + (path or self.path), body, headers=self.headers | dict(headers or {}))

    def read(self, answer: Answer, *, stream: bool) -> Said:
        check_ok(answer)
        return self._stream(answer) if stream else self._document(answer.json())

    def _document(self, document: Any) -> Said:
        _expect(document.get("type") == "message", f"not a message: {document}")
        text = "".join(block["text"] for block in document["content"] if block["type"] == "text")
        made = [Call(block["id"], block["name"], block["input"]) for block in document["content"] if block["type"] == "tool_use"]
        usage = document["usage"]
        return Said(text, tuple(made), document["stop_reason"], usage["input_tokens"], usage["output_tokens"], True)

    def _stream(self, answer: Answer) -> Said:
        events = answer.events()
        text, finish, usage = "", None, dict[str, Any]()
        blocks: dict[int, dict[str, Any]] = {}
        for event in events:
            kind = event["type"]
            _expect(kind != "error", f"an error in the stream: {event}")
            if kind == "message_start":
                usage |= event["message"]["usage"]
            elif kind == "content_block_start":
                blocks[event["index"]] = dict(event["content_block"]) | {"json": ""}
            elif kind == "content_block_delta":
                text += event["delta"].get("text", "")
                blocks[event["index"]]["json"] += event["delta"].get("partial_json", "")
            elif kind == "message_delta":
                finish = event["delta"]["stop_reason"]
                usage |= {name: value for name, value in event["usage"].items() if value is not None}
        made = [Call(b["id"], b["name"], json.loads(b["json"] or "{}")) for _, b in sorted(blocks.items()) if b["type"] == "tool_use"]
        whole = bool(events) and events[-1]["type"] == "message_stop"
        return Said(text, tuple(made), finish, usage.get("input_tokens", 0), usage.get("output_tokens", 0), whole)

    def error(self, answer: Answer) -> str:
        document = answer.json()
        _expect(document.get("type") == "error" and "type" in document["error"], f"not Anthropic's error shape: {document}")
        return str(document["error"]["message"])


CLIENTS: Final[tuple[Client, ...]] = (OpenAIClient(), ResponsesClient(), AnthropicClient())
