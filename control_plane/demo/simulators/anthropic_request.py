"""Reads and checks Anthropic messages requests the way the vendor does (its error texts name the field first)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Mapping
from typing import Any, Final

from control_plane.demo.simulators.anthropic_errors import invalid
from control_plane.demo.simulators.compose import Ask, Directive, Tool, read_directive
from control_plane.demo.simulators.tokens import IMAGE_TOKENS, count

MESSAGE_FIELDS: Final = frozenset({
    "model", "messages", "max_tokens", "cache_control", "container", "context_management", "diagnostics", "fallbacks", "inference_geo",
    "mcp_servers", "metadata", "output_config", "output_format", "service_tier", "speed", "stop_sequences", "stream", "system",
    "temperature", "thinking", "tool_choice", "tools", "top_k", "top_p", "user_profile_id", "workspace_id",
})  # fmt: skip
COUNT_FIELDS: Final = frozenset({
    "model", "messages", "cache_control", "context_management", "mcp_servers", "output_config", "output_format", "speed", "system",
    "thinking", "tool_choice", "tools",
})  # fmt: skip
IMAGE_TYPES: Final = frozenset({"image/jpeg", "image/png", "image/gif", "image/webp"})
THINKING_MINIMUM: Final = 1024
SAMPLING_FIELDS: Final = frozenset({"temperature", "top_p", "top_k"})  # gone in API version 2026-10-21, refused by the newest models
_NEWEST: Final = re.compile(r"claude-[a-z]+-5(-.*)?")  # no sampling parameters, no thinking budget, no prefill, system messages allowed
_UNSAMPLED: Final = re.compile(r"claude-opus-4-[78](-.*)?")  # the same, but for system messages
_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,128}")
_EFFORT_TOKENS: Final = {"low": 16, "medium": 32, "high": 64, "xhigh": 96, "max": 128}


def signature(thinking: str) -> str:
    """The signature of a thinking block: only what this vendor signed is accepted back."""
    return base64.b64encode(
        b"simulated-signature:" + hashlib.sha256(b"headgate-demo" + thinking.encode(errors="replace")).digest()
    ).decode()


class Message:
    """A messages request that passed the vendor's checks."""

    __slots__ = ("_newest", "ask", "cache_until", "directive", "images", "model", "parts", "results", "sizes", "stream")

    def __init__(self, body: Mapping[str, Any], speaker: str, *, latest: bool, strict: bool, counting: bool = False) -> None:
        """Raises VendorError. `counting` reads a count_tokens request, which has no max_tokens; `latest`: API version 2026-10-21."""
        for name in body:
            if name not in (COUNT_FIELDS if counting else MESSAGE_FIELDS) or (latest and name in SAMPLING_FIELDS):
                raise invalid(f"{name}: Extra inputs are not permitted")
        self.model: str = body["model"]
        name = self.model.rpartition("anthropic.")[2]  # Bedrock's names have more in front
        self._newest = bool(_NEWEST.fullmatch(name))
        if strict and (self._newest or _UNSAMPLED.fullmatch(name)):
            _check_newest(body)
        self.stream: bool = body.get("stream") is True
        self.parts: list[str] = []
        self.sizes: list[int] = []
        self.cache_until = 0  # number of parts up to the last cache marker
        self.images = 0
        self.results: tuple[str, ...] = ()
        limit = None if counting else _limit(body)
        tools = self._read_tools(body.get("tools"))
        self._read_system(body.get("system"))
        text = self._read_messages(body["messages"])
        if body.get("cache_control") is not None:  # automatic caching: everything up to here
            self.cache_until = len(self.parts)
        self.directive: Directive = read_directive("\n".join(self.parts) if any("[[sim " in part for part in self.parts) else "")
        choice, parallel = _read_choice(body.get("tool_choice"), tools)
        stop = body.get("stop_sequences") or ()
        if not isinstance(stop, (list, tuple)) or not all(isinstance(s, str) for s in stop):
            raise invalid("stop_sequences: Input should be a valid list")
        if any(not s.strip() for s in stop):
            raise invalid("stop_sequences: each stop sequence must contain non-whitespace")
        self.ask = Ask(
            speaker=speaker,
            text=text,
            images=self.images,
            tools=tools,
            choice=choice,
            parallel=parallel,
            tool_results=self.results,
            schema=_read_format(body),
            max_tokens=limit,
            stop=tuple(stop),
            reasoning_tokens=_read_thinking(body, limit, choice, self.directive),
            answer_tokens=self.directive.tokens,
            begun=_begun(body["messages"]),
        )

    def _add(self, text: str, extra: int, block: object = None) -> None:
        self.parts.append(text)
        self.sizes.append(count(text) + extra)
        if isinstance(block, dict) and block.get("cache_control") is not None:
            self.cache_until = len(self.parts)

    def _read_system(self, system: Any) -> None:
        if system is None:
            return
        if isinstance(system, str):
            self._add(system, 3)
            return
        if not isinstance(system, list):
            raise invalid("system: Input should be a valid list")
        for number, block in enumerate(system):
            if not isinstance(block, dict) or block.get("type") != "text" or not isinstance(block.get("text"), str):
                raise invalid(f"system.{number}.type: Input should be 'text'")
            self._add(block["text"], 3, block)

    def _read_tools(self, tools: Any) -> tuple[Tool, ...]:
        if tools is None:
            return ()
        if not isinstance(tools, list):
            raise invalid("tools: Input should be a valid list")
        found: list[Tool] = []
        for number, tool in enumerate(tools):
            if not isinstance(tool, dict):
                raise invalid(f"tools.{number}: Input should be a valid dictionary")
            if tool.get("type", "custom") not in (None, "custom"):
                self._add(str(tool.get("name")), 0, tool)  # a server tool: accepted, never called
                continue
            name, schema = tool.get("name"), tool.get("input_schema")
            if not isinstance(name, str):
                raise invalid(f"tools.{number}.custom.name: Field required")
            if not _NAME.fullmatch(name):
                raise invalid(f"tools.{number}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'")
            if not isinstance(schema, dict):
                raise invalid(f"tools.{number}.custom.input_schema: Field required")
            if schema.get("type") != "object":
                raise invalid(
                    f"tools.{number}.custom.input_schema.type: Field required"
                    if "type" not in schema
                    else f"tools.{number}.custom.input_schema.type: Input should be 'object'"
                )
            if any(tool_found.name == name for tool_found in found):
                raise invalid("tools: Tool names must be unique.")
            found.append(Tool(name, schema))
            self._add(f"{name}{tool.get('description', '')}{schema}", 0, tool)
        return tuple(found)

    def _read_messages(self, messages: list[Any]) -> str:
        """Text of the last user message."""
        if not messages:
            raise invalid("messages: at least one message is required")
        asked = ""
        pending: dict[str, None] = {}  # tool_use ids of the previous assistant message
        for number, message in enumerate(messages):
            where = f"messages.{number}"
            if not isinstance(message, dict):
                raise invalid(f"{where}: Input should be a valid dictionary")
            role = message.get("role")
            if role == "system" and not self._newest:
                raise invalid(
                    'messages: Unexpected role "system". The Messages API accepts a top-level `system` parameter, '
                    'not "system" as an input message role.'
                )
            if role not in ("user", "assistant", "system"):
                raise invalid(f"{where}.role: Field required" if role is None else f"{where}.role: Input should be 'user' or 'assistant'")
            content = message.get("content")
            if isinstance(content, str):
                content = [{"type": "text", "text": content}]
            if not isinstance(content, list):
                raise invalid(f"{where}.content: Field required" if content is None else f"{where}.content: Input should be a valid list")
            if not content and not (role == "assistant" and number == len(messages) - 1):
                raise invalid(f"{where}: all messages must have non-empty content except for the optional final assistant message")
            pending, text = self._read_blocks(content, role, number, pending)
            if role == "user":
                asked = text
        if pending:
            raise _unanswered(len(messages) - 1, pending)
        return asked

    def _read_blocks(self, content: list[Any], role: str, number: int, pending: dict[str, None]) -> tuple[dict[str, None], str]:
        """One message's blocks: (tool_use ids that the next message must answer, its text)."""
        opened: dict[str, None] = {}
        texts: list[str] = []
        results: list[str] = []
        images = 0
        for index, block in enumerate(content):
            where = f"messages.{number}.content.{index}"
            kind = block.get("type") if isinstance(block, dict) else None
            if kind == "text":
                texts.append(_text(block, where))
                self._add(texts[-1], 3, block)
            elif kind == "image" and role == "user":
                _check_image(block.get("source"), where)
                images += 1
                self._add("", IMAGE_TOKENS, block)
            elif kind == "document" and role == "user":
                self._add(str(block.get("source")), 3, block)
            elif kind == "tool_use" and role == "assistant":
                opened[_tool_use(block, where)] = None
                self._add(f"{block['name']}{block['input']}", 3, block)
            elif kind == "tool_result" and role == "user":
                text, seen = _tool_result(block, where, pending)
                results.append(text)
                images += seen
                self._add(text, 3 + seen * IMAGE_TOKENS, block)
            elif kind in ("thinking", "redacted_thinking") and role == "assistant":
                _check_thinking(block, where)
            else:
                raise _bad_block(kind, role, where)
        if role == "user":
            if pending:
                raise _unanswered(number - 1, pending)
            self.results, self.images = tuple(results), images
        elif pending:
            raise _unanswered(number - 1, pending)
        return opened, "\n".join(texts)


def _begun(messages: Any) -> str:
    """The beginning of the answer, which the last message may be. It must not end with white space, as at the vendor."""
    last = messages[-1] if messages else {}
    if last.get("role") != "assistant":
        return ""
    content = last.get("content")
    if not isinstance(content, str):
        content = "".join(block.get("text", "") for block in content or () if isinstance(block, dict))
    if content != content.rstrip():
        raise invalid("messages: final assistant content cannot end with trailing whitespace")
    return content


def _check_newest(body: Mapping[str, Any]) -> None:
    """What the newest models refuse whatever the API version."""
    for name in SAMPLING_FIELDS:
        if body.get(name) is not None:
            raise invalid(f"`{name}` is deprecated for this model.")
    thinking = body.get("thinking")
    if isinstance(thinking, dict) and thinking.get("type") == "enabled":
        raise invalid(
            '"thinking.type.enabled" is not supported for this model. Use "thinking.type.adaptive" and "output_config.effort" '
            "to control thinking behavior."
        )
    messages = body["messages"]
    if messages and isinstance(messages[-1], dict) and messages[-1].get("role") == "assistant":
        raise invalid("This model does not support assistant message prefill. The conversation must end with a user message.")


def _bad_block(kind: object, role: str, where: str) -> Exception:
    if kind is None:
        return invalid(f"{where}.type: Field required")
    expected = "'document', 'image', 'text', 'tool_result'" if role == "user" else "'redacted_thinking', 'text', 'thinking', 'tool_use'"
    return invalid(f"{where}: Input tag '{kind}' found using 'type' does not match any of the expected tags: {expected}")


def _unanswered(number: int, pending: Mapping[str, None]) -> Exception:
    return invalid(
        f"messages.{number}: `tool_use` ids were found without `tool_result` blocks immediately after: {', '.join(pending)}. "
        "Each `tool_use` block must have a corresponding `tool_result` block in the next message."
    )


def _text(block: Mapping[str, Any], where: str) -> str:
    text = block.get("text")
    if not isinstance(text, str):
        raise invalid(f"{where}.text: Field required" if text is None else f"{where}.text: Input should be a valid string")
    if not text:
        raise invalid("messages: text content blocks must be non-empty")
    return text


def _tool_use(block: Mapping[str, Any], where: str) -> str:
    for name in ("id", "name", "input"):
        if block.get(name) is None:
            raise invalid(f"{where}.tool_use.{name}: Field required")
    if not isinstance(block["input"], dict):
        raise invalid(f"{where}.tool_use.input: Input should be a valid dictionary")
    if not re.fullmatch(r"[a-zA-Z0-9_-]+", str(block["id"])):
        raise invalid(f"{where}.tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'")
    return str(block["id"])


def _tool_result(block: Mapping[str, Any], where: str, pending: dict[str, None]) -> tuple[str, int]:
    answered = block.get("tool_use_id")
    if answered is None:
        raise invalid(f"{where}.tool_result.tool_use_id: Field required")
    if answered not in pending:
        raise invalid(
            f"{where}: unexpected `tool_use_id` found in `tool_result` blocks: {answered}. "
            "Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
        )
    del pending[answered]
    content = block.get("content")
    if content is None or isinstance(content, str):
        return content or "", 0
    if not isinstance(content, list):
        raise invalid(f"{where}.tool_result.content: Input should be a valid list")
    texts, images = [], 0
    for index, inner in enumerate(content):
        place = f"{where}.tool_result.content.{index}"
        kind = inner.get("type") if isinstance(inner, dict) else None
        if kind == "text":
            texts.append(_text(inner, place))
        elif kind == "image":
            _check_image(inner.get("source"), place)
            images += 1
        else:
            raise invalid(f"{place}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'image', 'text'")
    return "\n".join(texts), images


def _check_thinking(block: Mapping[str, Any], where: str) -> None:
    if block["type"] == "redacted_thinking":
        if not isinstance(block.get("data"), str):
            raise invalid(f"{where}.redacted_thinking.data: Field required")
        return
    for name in ("thinking", "signature"):
        if not isinstance(block.get(name), str):
            raise invalid(f"{where}.thinking.{name}: Field required")
    if block["signature"] != signature(block["thinking"]):
        raise invalid(f"{where}: Invalid `signature` in `thinking` block")


def _check_image(source: Any, where: str) -> None:
    kind = source.get("type") if isinstance(source, dict) else None
    if kind == "url" and isinstance(source.get("url"), str):
        if not source["url"].startswith("https://"):
            raise invalid("Only HTTPS URLs are supported.")
        return
    if kind != "base64":
        raise invalid(f"{where}.image.source: Field required")
    if source.get("media_type") not in IMAGE_TYPES:
        raise invalid(f"{where}.image.source.base64.media_type: Input should be 'image/jpeg', 'image/png', 'image/gif' or 'image/webp'")
    try:
        base64.b64decode(source.get("data") or "!", validate=True)
    except (binascii.Error, TypeError, ValueError):
        raise invalid(f"{where}.image.source.base64.data: Invalid base64 data") from None


def _limit(body: Mapping[str, Any]) -> int:
    limit = body.get("max_tokens")
    if limit is None:
        raise invalid("max_tokens: Field required")
    if isinstance(limit, bool) or not isinstance(limit, int):
        raise invalid("max_tokens: Input should be a valid integer")
    if limit < 1:
        raise invalid("max_tokens: Input should be greater than or equal to 1")
    if limit > 128_000:
        raise invalid(f"max_tokens: {limit} > 128000, which is the maximum allowed number of output tokens for {body['model']}")
    for name in ("temperature", "top_p"):
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1):
            raise invalid(f"{name}: range: 0..1")
    return limit


def _read_choice(choice: Any, tools: tuple[Tool, ...]) -> tuple[str, bool]:
    if choice is None:
        return "auto", True
    kind = choice.get("type") if isinstance(choice, dict) else None
    if kind not in ("auto", "any", "tool", "none"):
        raise invalid("tool_choice: Input tag found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'")
    if not tools and kind != "none":
        raise invalid("tool_choice: tool_choice may only be specified while providing tools.")
    parallel = choice.get("disable_parallel_tool_use") is not True
    if kind == "tool":
        name = choice.get("name")
        if all(tool.name != name for tool in tools):
            raise invalid(f"tool_choice: Tool '{name}' not found in provided tools")
        return f"={name}", parallel
    return {"auto": "auto", "any": "required", "none": "none"}[str(kind)], parallel


def _read_format(body: Mapping[str, Any]) -> object | None:
    config = body.get("output_config")
    wanted = config.get("format") if isinstance(config, dict) else body.get("output_format")
    if wanted is None:
        return None
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema" or not isinstance(wanted.get("schema"), dict):
        raise invalid("output_config.format.schema: Field required")
    return dict(wanted["schema"])


def _read_thinking(body: Mapping[str, Any], limit: int | None, choice: str, directive: Directive) -> int:
    """Thinking tokens: none unless the request enables thinking."""
    thinking = body.get("thinking")
    kind = thinking.get("type") if isinstance(thinking, dict) else None
    if thinking is not None and kind not in ("enabled", "disabled", "adaptive", "between_tools"):
        raise invalid(
            "thinking: Input tag found using 'type' does not match any of the expected tags: "
            "'adaptive', 'between_tools', 'disabled', 'enabled'"
        )
    if kind in (None, "disabled", "between_tools"):
        return 0
    if choice == "required" or choice.startswith("="):
        raise invalid("Thinking may not be enabled when tool_choice forces tool use.")
    config = body.get("output_config")
    effort = config.get("effort") if isinstance(config, dict) else None
    tokens = _EFFORT_TOKENS.get(str(effort), 32) if directive.reasoning is None else directive.reasoning
    if kind == "adaptive":
        return tokens if limit is None else min(tokens, limit // 2)
    budget = thinking.get("budget_tokens") if isinstance(thinking, dict) else None
    if not isinstance(budget, int):
        raise invalid("thinking.enabled.budget_tokens: Field required")
    if budget < THINKING_MINIMUM:
        raise invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
    if limit is not None and budget >= limit:
        raise invalid(
            "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at "
            "https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size"
        )
    if body.get("temperature") not in (None, 1):
        raise invalid("`temperature` may only be set to 1 when thinking is enabled.")
    return min(tokens, budget)
