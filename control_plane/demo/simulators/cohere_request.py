"""Reads and checks Cohere chat requests the way the vendor does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from control_plane.demo.simulators.cohere_errors import bad_request
from control_plane.demo.simulators.compose import Ask, Directive, Tool, read_directive
from control_plane.demo.simulators.ranking import ranked
from control_plane.demo.simulators.tokens import IMAGE_TOKENS, count

FIELDS: Final = frozenset({
    "model", "messages", "tools", "strict_tools", "documents", "citation_options", "response_format", "safety_mode", "max_tokens",
    "stop_sequences", "temperature", "seed", "frequency_penalty", "presence_penalty", "k", "p", "logprobs", "tool_choice", "thinking",
    "priority", "stream", "raw_prompting", "return_prompt",
})  # fmt: skip
RANGES: Final = {
    "temperature": (0, 1), "p": (0.01, 0.99), "k": (0, 500), "frequency_penalty": (0, 1), "presence_penalty": (0, 1),
    "max_tokens": (0, 1_000_000), "seed": (0, (1 << 64) - 1),
}  # fmt: skip
THOUGHTS: Final = 12  # tokens that a thinking model spends when nobody says how many
THINKS: Final = re.compile(r"reasoning|command-a-plus")
BLOCKS: Final = {
    "system": ("text",),
    "user": ("text", "image_url"),
    "assistant": ("text", "thinking"),
    "tool": ("text", "document"),
}
STOPS_MAX: Final = 5


class Chat:
    """A chat request that passed the vendor's checks. `documents`: ids and fields of what the answer may cite."""

    __slots__ = ("ask", "directive", "documents", "images", "logprobs", "model", "parts", "plans", "sizes", "stream")

    def __init__(self, body: Mapping[str, Any], model: str, speaker: str, *, strict: bool) -> None:
        """Raises VendorError. `strict`: refuse also unknown fields and what single models refuse."""
        self.model = model
        thinks = THINKS.search(model) is not None
        if strict:
            for name in body:
                if name not in FIELDS:
                    raise bad_request(f"unknown field: parameter '{name}' is not a valid field.")
        _numbers(body)
        self.parts: list[str] = []
        self.sizes: list[int] = []
        self.images = 0
        tools = self._tools(body)
        self.documents = _documents(body)
        for _, fields in self.documents:
            self._add(str(fields))
        text, images, results = self._messages(body, thinks=thinks or not strict)
        self.directive: Directive = read_directive("\n".join(self.parts) if any("[[sim " in part for part in self.parts) else "")
        self.stream: bool = body.get("stream") is True
        self.logprobs: bool = body.get("logprobs") is True
        schema = _format(body, beside=bool(tools or self.documents))
        thoughts = _thinking(body, thinks, strict=strict)
        if self.directive.reasoning is not None:
            thoughts = self.directive.reasoning
        self.plans = not thinks  # models that do not think say what they are about to do
        self.ask = Ask(
            speaker=speaker,
            text=text,
            images=images,
            tools=tools,
            choice=_choice(body, tools),
            tool_results=results,
            schema=schema,
            max_tokens=body.get("max_tokens"),
            stop=_stops(body),
            reasoning_tokens=thoughts,
            answer_tokens=self.directive.tokens,
        )

    def _add(self, text: str) -> None:
        self.parts.append(text)
        self.sizes.append(count(text) + 3)

    def _tools(self, body: Mapping[str, Any]) -> tuple[Tool, ...]:
        found: list[Tool] = []
        for index, tool in enumerate(_list(body, "tools")):
            function = tool.get("function") if isinstance(tool, dict) else None
            if not isinstance(function, dict) or tool.get("type") != "function":
                raise bad_request(f"tools[{index}]: type must be 'function', and a function must be given")
            name, schema = function.get("name"), function.get("parameters")
            if not isinstance(name, str) or not name:
                raise bad_request(f"tools[{index}].function.name must not be empty")
            if not isinstance(schema, dict):
                raise bad_request(f"tools[{index}].function.parameters must be a JSON schema object")
            if body.get("strict_tools") is True and not schema.get("required"):
                raise bad_request(f"tool '{name}' must have at least one required parameter when strict_tools is used")
            found.append(Tool(name, schema))
            self._add(f"{name}{function.get('description', '')}{schema}")
        return tuple(found)

    def _messages(self, body: Mapping[str, Any], *, thinks: bool) -> tuple[str, int, tuple[str, ...]]:
        """(text, images) of the last message of the user, and the results that all messages end with."""
        messages = body.get("messages")
        if not isinstance(messages, list) or not messages:
            raise bad_request("messages must be at least one element long.")
        text, images = "", 0
        results: list[str] = []
        pending: set[str] = set()
        for index, message in enumerate(messages):
            where = f"messages[{index}]"
            role = message.get("role") if isinstance(message, dict) else None
            if role not in BLOCKS:
                raise bad_request(f"{where}.role must be one of 'system', 'user', 'assistant' or 'tool'")
            said, shown = self._content(message, str(role), where, thinks=thinks)
            if role == "tool":
                if message.get("tool_call_id") not in pending:
                    raise bad_request(f"{where}: tool_call_id '{message.get('tool_call_id')}' does not match a preceding tool call")
                pending.discard(message["tool_call_id"])
                results.append(said)
                continue
            if pending:
                raise bad_request(f"{where}: all tool calls must be followed by tool messages; missing: {', '.join(sorted(pending))}")
            results.clear()
            if role == "user":
                text, images = said, shown
            elif role == "assistant":
                pending = self._calls(message, where)
                if not pending and not message.get("content"):
                    raise bad_request(f"{where}: an assistant message must have content or tool_calls")
        if pending:
            raise bad_request(f"all tool calls must be followed by tool messages; missing: {', '.join(sorted(pending))}")
        if messages[-1]["role"] not in ("user", "tool"):
            raise bad_request("the last message must be of role 'user' or 'tool'")
        return text, images, tuple(results)

    def _content(self, message: Mapping[str, Any], role: str, where: str, *, thinks: bool) -> tuple[str, int]:
        content = message.get("content")
        if content is None and role == "assistant":
            return "", 0
        if isinstance(content, str):
            self._add(content)
            return content, 0
        if not isinstance(content, list):
            raise bad_request(f"{where}.content must be a string or a list of blocks")
        texts: list[str] = []
        images = 0
        for number, block in enumerate(content):
            kind = block.get("type") if isinstance(block, dict) else None
            place = f"{where}.content[{number}]"
            if kind not in BLOCKS[role] or not isinstance(block.get(kind), dict if kind in ("image_url", "document") else str):
                raise bad_request(f"{place}: {kind!r} is no valid content of a {role} message")
            if kind == "thinking" and not thinks:
                raise bad_request(f"{place}: thinking is not supported by this model")
            if kind == "image_url":
                if not str(block["image_url"].get("url")).startswith(("https://", "http://", "data:image/")):
                    raise bad_request(f"{place}.image_url.url must be a URL or a data URI of an image")
                images += 1
                self.images += 1
            elif kind != "thinking":
                texts.append(block["text"] if kind == "text" else str(block["document"].get("data")))
        said = "\n".join(texts)
        self._add(said)
        return said, images

    def _calls(self, message: Mapping[str, Any], where: str) -> set[str]:
        if not isinstance(message.get("tool_plan", ""), str):
            raise bad_request(f"{where}.tool_plan must be a string")
        made: set[str] = set()
        for number, call in enumerate(_list(message, "tool_calls")):
            function = call.get("function") if isinstance(call, dict) else None
            if not isinstance(function, dict) or not isinstance(call.get("id"), str) or call.get("type") != "function":
                raise bad_request(f"{where}.tool_calls[{number}] must have an id, the type 'function' and a function")
            if not isinstance(function.get("name"), str) or not isinstance(function.get("arguments"), str):
                raise bad_request(f"{where}.tool_calls[{number}].function must have a name, and arguments as a string")
            made.add(call["id"])
            self._add(function["name"] + function["arguments"])
        return made

    @property
    def image_tokens(self) -> int:
        return self.images * IMAGE_TOKENS


EMBED_FIELDS: Final = frozenset({
    "model", "texts", "images", "inputs", "input_type", "output_dimension", "embedding_types", "truncate", "max_tokens", "priority",
})  # fmt: skip
INPUT_TYPES: Final = ("search_document", "search_query", "classification", "clustering", "image")
DIMENSIONS: Final = (256, 512, 1024, 1536)
TEXTS_MAX: Final = 96


class Embed:
    """An embed request of texts that passed the vendor's checks. `kinds`: the embedding types asked for."""

    def __init__(self, body: Mapping[str, Any], *, strict: bool) -> None:
        """Raises VendorError."""
        for name in body if strict else ():
            if name not in EMBED_FIELDS:
                raise bad_request(f"unknown field: parameter '{name}' is not a valid field.")
        if body.get("input_type") not in INPUT_TYPES:
            raise bad_request(f"input_type must be one of {', '.join(INPUT_TYPES)}")
        self.texts: list[str] = _list(body, "texts")
        for item in _list(body, "inputs"):
            content = item.get("content") if isinstance(item, dict) else None
            self.texts += [str(part.get("text")) for part in content or () if isinstance(part, dict)]
        if not self.texts or not all(isinstance(text, str) for text in self.texts):
            raise bad_request("at least one of texts, images or inputs must be given")
        if len(self.texts) > TEXTS_MAX:
            raise bad_request(f"total number of texts must be at most {TEXTS_MAX}, received {len(self.texts)}")
        self.size: int = body.get("output_dimension") or 1536
        if self.size not in DIMENSIONS:
            raise bad_request(f"output_dimension must be one of {DIMENSIONS}")
        self.kinds: list[str] = _list(body, "embedding_types") or ["float"]
        if not set(self.kinds) <= {"float", "base64"}:
            raise bad_request("only the embedding types float and base64 are simulated")
        self.tokens = sum(count(text) for text in self.texts)


class Rerank:
    """A rerank request that passed the vendor's checks. `ranked`: places of documents with their scores, best first."""

    def __init__(self, body: Mapping[str, Any]) -> None:
        """Raises VendorError."""
        query, documents = body.get("query"), _list(body, "documents")
        if not isinstance(query, str) or not query:
            raise bad_request("query must not be empty")
        if not documents or not all(isinstance(document, str) for document in documents):
            raise bad_request("documents must be a list of strings that is not empty")
        self.ranked = ranked(query, documents)[: body.get("top_n") or len(documents)]


def _list(body: Mapping[str, Any], name: str) -> list[Any]:
    value = body.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise bad_request(f"{name} must be a list")
    return value


def _numbers(body: Mapping[str, Any]) -> None:
    for name, (least, most) in RANGES.items():
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= most):
            raise bad_request(f"{name} must be between {least} and {most} inclusive.")


def _stops(body: Mapping[str, Any]) -> tuple[str, ...]:
    stops = _list(body, "stop_sequences")
    if len(stops) > STOPS_MAX or not all(isinstance(stop, str) for stop in stops):
        raise bad_request(f"stop_sequences must be at most {STOPS_MAX} strings")
    return tuple(stops)


def _documents(body: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    found = []
    for index, document in enumerate(_list(body, "documents")):
        if isinstance(document, str):
            document = {"data": {"text": document}}
        if not isinstance(document, dict) or not isinstance(document.get("data"), dict):
            raise bad_request(f"documents[{index}] must be a string, or an object with data")
        found.append((str(document.get("id") or f"doc:{index}"), document["data"]))
    return found


def _choice(body: Mapping[str, Any], tools: tuple[Tool, ...]) -> str:
    choice = body.get("tool_choice")
    if choice is None:
        return "auto"
    if not tools:
        raise bad_request("tool_choice may only be used together with tools")
    if choice not in ("REQUIRED", "NONE"):
        raise bad_request("tool_choice must be one of 'REQUIRED' or 'NONE'")
    return str(choice).lower()


def _format(body: Mapping[str, Any], *, beside: bool) -> object | None:
    wanted = body.get("response_format")
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if wanted is None or kind == "text":
        return None
    if kind != "json_object":
        raise bad_request("response_format.type must be one of 'text' or 'json_object'")
    if beside:
        raise bad_request("response_format is not supported together with tools or documents")
    schema = wanted.get("json_schema")
    if schema is not None and (not isinstance(schema, dict) or schema.get("type") != "object"):
        raise bad_request("response_format.json_schema must be a JSON schema whose top-level type is object")
    return schema or {}


def _thinking(body: Mapping[str, Any], thinks: bool, *, strict: bool) -> int:
    wanted = body.get("thinking")
    if wanted is None:
        return THOUGHTS if thinks else 0
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind not in ("enabled", "disabled"):
        raise bad_request("thinking.type must be one of 'enabled' or 'disabled'")
    budget = wanted.get("token_budget")
    if budget is not None and (isinstance(budget, bool) or not isinstance(budget, int) or budget < 1):
        raise bad_request("thinking.token_budget must be a positive integer")
    if not thinks:
        if strict:
            raise bad_request("thinking is not supported by this model")
        return 0
    if kind == "disabled":
        return 0
    return THOUGHTS if budget is None else min(THOUGHTS, budget)
