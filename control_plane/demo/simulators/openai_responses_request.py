"""Reads and checks OpenAI Responses requests the way the vendor does."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final

from control_plane.demo.simulators import openai_errors as errors
from control_plane.demo.simulators.compose import Ask, Directive, Tool, read_directive
from control_plane.demo.simulators.openai_request import (
    REASONING_TOKENS,
    REASONS,
    check_grammar,
    check_image,
    check_name,
    function_tools,
    integer,
)
from control_plane.demo.simulators.reply import VendorError
from control_plane.demo.simulators.tokens import IMAGE_TOKENS, count

FIELDS: Final = frozenset({
    "background", "context_management", "conversation", "include", "input", "instructions", "max_output_tokens", "max_tool_calls",
    "metadata", "model", "moderation", "parallel_tool_calls", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options",
    "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options", "temperature",
    "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
})  # fmt: skip
ROLES: Final = ("user", "assistant", "system", "developer")
INCLUDABLE: Final = (
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources", "message.input_image.image_url",
    "computer_call_output.output.image_url", "code_interpreter_call.outputs", "reasoning.encrypted_content", "message.output_text.logprobs",
)  # fmt: skip
ENCRYPTED: Final = "reasoning.encrypted_content"
MIN_OUTPUT_TOKENS: Final = 16
SAID_IN: Final = {"function_call": "arguments", "custom_tool_call": "input"}
"""Types of calls: the field that holds what is said to the tool."""
OUTPUT_OF: Final = {f"{kind}_output": kind for kind in SAID_IN}


class Responses:
    """A request that passed the vendor's checks. `earlier`: the items of the response that it continues."""

    __slots__ = (
        *("ask", "body", "directive", "encrypted", "items", "model", "parts", "sizes", "store", "stream", "summary"),
        *("tool_parts", "tool_sizes"),
    )

    def __init__(self, body: Mapping[str, Any], speaker: str, strict: bool, earlier: Sequence[Mapping[str, Any]]) -> None:
        """Raises VendorError."""
        self.body = body
        self.model: str = body["model"]
        if strict:
            _check_options(body, self.model)
        self.parts: list[str] = []
        self.sizes: list[int] = []
        self.tool_parts: list[str] = []
        self.tool_sizes: list[int] = []
        tools = _read_tools(body.get("tools"), self.tool_parts, self.tool_sizes)
        given = body.get("input")
        fresh = [{"role": "user", "content": given}] if isinstance(given, str) else given
        if not isinstance(fresh, list):
            raise errors.missing("input") if fresh is None else errors.wrong_type("input", "one of a string or array of objects", fresh)
        self.items: list[Mapping[str, Any]] = [*earlier, *fresh]
        if isinstance(instructions := body.get("instructions"), str):
            self.parts.append(instructions)
            self.sizes.append(count(instructions) + 4)
        spoken = _Conversation(self.items, self.parts, self.sizes, strict)
        self.directive: Directive = read_directive("\n".join(self.parts) if any("[[sim " in part for part in self.parts) else "")
        self.stream: bool = body.get("stream") is True
        self.store: bool = body.get("store") is not False
        include = body.get("include") or ()
        for position, word in enumerate(include):
            if word not in INCLUDABLE:
                allowed = ", ".join(f"'{name}'" for name in INCLUDABLE)
                raise errors.bad_request(
                    f"Invalid value: '{word}'. Supported values are: {allowed}.", f"include[{position}]", "invalid_value"
                )
        self.encrypted: bool = ENCRYPTED in include
        if self.encrypted and strict and not REASONS.match(self.model):
            raise errors.bad_request("Encrypted content is not supported with this model.", "include")
        reasoning = body.get("reasoning") or {}
        self.summary: bool = reasoning.get("summary") is not None
        self.ask = Ask(
            speaker=speaker,
            text=spoken.text,
            images=spoken.images,
            tools=tools,
            choice=_read_choice(body.get("tool_choice"), tools),
            parallel=body.get("parallel_tool_calls") is not False,
            tool_results=tuple(spoken.results),
            schema=_read_format((body.get("text") or {}).get("format")),
            max_tokens=body.get("max_output_tokens"),
            reasoning_tokens=_reasoning(body, self.model, self.directive),
            answer_tokens=self.directive.tokens,
        )


class _Conversation:
    """What the input says: text and images of the last user message, results of calls at its end."""

    def __init__(self, items: Sequence[Any], parts: list[str], sizes: list[int], strict: bool) -> None:
        self.text = ""
        self.images = 0
        self.results: list[str] = []
        self._strict = strict
        calls: dict[str, str] = {}  # of which type
        answered: set[str] = set()
        for number, item in enumerate(items):
            where = f"input[{number}]"
            if not isinstance(item, dict):
                raise errors.wrong_type(where, "an object", item)
            kind = item.get("type") or ("message" if "role" in item else None)
            said, images = "", 0
            if kind not in OUTPUT_OF:  # what was called before is not what the input ends with
                self.results.clear()
            if kind == "message":
                said, images = self._message(item, where)
            elif kind in SAID_IN:
                for name in ("call_id", "name", SAID_IN[kind]):
                    if not isinstance(item.get(name), str):
                        raise errors.missing(f"{where}.{name}")
                calls[item["call_id"]] = kind
                said = item["name"] + item[SAID_IN[kind]]
            elif kind in OUTPUT_OF:
                said, images = self._output(item, where, calls)
                answered.add(item["call_id"])
            elif kind == "reasoning":
                said = self._reasoning(item, where)
            else:
                message = (
                    f"Invalid value: '{kind}'. Supported values are: 'message', 'reasoning', 'function_call' and 'function_call_output'."
                )
                raise errors.bad_request(message, f"{where}.type", "invalid_value")
            parts.append(said)
            sizes.append(count(said) + 4 + images * IMAGE_TOKENS)
        if missing := [call for call in calls if call not in answered]:
            raise errors.bad_request(f"No tool output found for function call {missing[0]}.", "input")

    def _message(self, item: Mapping[str, Any], where: str) -> tuple[str, int]:
        role = item.get("role")
        if role not in ROLES:
            raise errors.bad_request(
                f"Invalid value: '{role}'. Supported values are: 'assistant', 'system', 'developer', and 'user'.",
                f"{where}.role",
                "invalid_value",
            )
        said, images = _content(item.get("content"), f"{where}.content", str(role))
        if role == "user":
            self.text, self.images = said, images
        return said, images

    def _output(self, item: Mapping[str, Any], where: str, calls: Mapping[str, str]) -> tuple[str, int]:
        call_id = item.get("call_id")
        if not isinstance(call_id, str):
            raise errors.missing(f"{where}.call_id")
        kind = OUTPUT_OF[item["type"]]
        if calls.get(call_id) != kind:
            raise errors.bad_request(f"No tool call found for {kind.replace('_', ' ')} output with call_id {call_id}.", "input")
        said, images = _content(item.get("output"), f"{where}.output", "user")
        self.results.append(said)
        return said, images

    def _reasoning(self, item: Mapping[str, Any], where: str) -> str:
        """Checks what the vendor checks: that the encrypted content is its own, and belongs to the item's id."""
        identity, sealed = item.get("id"), item.get("encrypted_content")
        if not isinstance(item.get("summary"), list):
            raise errors.missing(f"{where}.summary")
        if self._strict and not sealed:
            message = f"Item with id '{identity}' not found. Items are not persisted when `store` is set to false."
            raise VendorError(404, errors.document(message, param="input"))
        if self._strict and not opens(sealed, identity):
            message = f"The encrypted content for item {identity} could not be verified. Reason: Encrypted content could not be decrypted."
            raise errors.bad_request(message, None, "invalid_encrypted_content")
        return "".join(str(part.get("text", "")) for part in item["summary"] if isinstance(part, dict))


def seal(identity: str) -> str:
    """Encrypted reasoning of the item `identity`."""
    return "gAAAA" + base64.urlsafe_b64encode(f"{identity}|{_digest(identity)}".encode()).decode()


def opens(sealed: object, identity: object) -> bool:
    """Whether this vendor sealed it, and for that item where it is named."""
    if not isinstance(sealed, str) or not sealed.startswith("gAAAA"):
        return False
    try:
        inner, _, digest = base64.urlsafe_b64decode(sealed[5:]).decode().partition("|")
    except ValueError:
        return False
    return digest == _digest(inner) and identity in (None, inner)


def _digest(identity: str) -> str:
    return hashlib.sha256(f"simulated {identity}".encode()).hexdigest()


def _check_options(body: Mapping[str, Any], model: str) -> None:
    for name in body:
        if name not in FIELDS:
            raise errors.bad_request(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if REASONS.match(model):
        for name in ("temperature", "top_p"):
            if body.get(name) not in (None, 1):
                raise errors.bad_request(f"Unsupported parameter: '{name}' is not supported with this model.", name)
    integer(body, "max_output_tokens", None, MIN_OUTPUT_TOKENS, 1_000_000)
    reasoning = body.get("reasoning")
    if reasoning is not None and not isinstance(reasoning, dict):
        raise errors.wrong_type("reasoning", "an object", reasoning)
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise errors.bad_request("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")


def _content(content: Any, where: str, role: str) -> tuple[str, int]:
    """(text, number of images)."""
    if isinstance(content, str):
        return content, 0
    if not isinstance(content, list):
        raise errors.missing(where) if content is None else errors.wrong_type(where, "one of a string or array of objects", content)
    allowed = ("output_text", "refusal") if role == "assistant" else ("input_text", "input_image", "input_file")
    texts: list[str] = []
    images = 0
    for number, part in enumerate(content):
        place = f"{where}[{number}]"
        if not isinstance(part, dict):
            raise errors.wrong_type(place, "an object", part)
        kind = part.get("type")
        if kind not in allowed:
            names = " and ".join(f"'{name}'" for name in allowed)
            raise errors.bad_request(f"Invalid value: '{kind}'. Supported values are: {names}.", f"{place}.type", "invalid_value")
        if kind in ("input_text", "output_text", "refusal"):
            field = "refusal" if kind == "refusal" else "text"
            if not isinstance(part.get(field), str):
                raise errors.missing(f"{place}.{field}")
            texts.append(part[field])
        elif kind == "input_image":
            if part.get("file_id") is None:
                check_image({"url": part.get("image_url")}, f"{place}.image_url")
            images += 1
    return "\n".join(texts), images


def _read_tools(tools: Any, parts: list[str], sizes: list[int]) -> tuple[Tool, ...]:
    found = []
    for number, tool in function_tools(tools):
        name = tool.get("name")
        if not isinstance(name, str):
            raise errors.missing(f"tools[{number}].name")
        check_name(name, f"tools[{number}].name")
        custom = tool["type"] == "custom"
        if custom:
            check_grammar(tool.get("format") or {}, f"tools[{number}].format")
        parameters = tool.get("parameters")
        if not custom and tool.get("strict") is not False and isinstance(parameters, dict):
            _check_strict(name, parameters, number)
        found.append(Tool(name, parameters, custom))
        sizes.append(count(name) + count(str(tool.get("description") or "")) + count(str(parameters)))
        parts.append(name)
    return tuple(found)


def _check_strict(name: str, schema: Mapping[str, Any], number: int) -> None:
    """Strict is the default here; it demands closed objects whose properties are all required."""
    if schema.get("additionalProperties") is not False or set(schema.get("required") or ()) != set(schema.get("properties") or ()):
        message = f"Invalid schema for function '{name}': 'additionalProperties' is required to be supplied and to be false."
        raise errors.bad_request(message, f"tools[{number}].parameters", "invalid_function_parameters")


def _read_choice(choice: Any, tools: tuple[Tool, ...]) -> str:
    if choice is None or (isinstance(choice, str) and choice in ("none", "auto")):
        return choice or "auto"
    if choice == "required" and tools:
        return "required"
    if isinstance(choice, dict) and any((choice.get("type"), choice.get("name")) == (_kind(tool), tool.name) for tool in tools):
        return f"={choice['name']}"
    raise errors.bad_request(f"Tool choice '{choice}' not found in 'tools' parameter.", "tool_choice")


def _kind(tool: Tool) -> str:
    return "custom" if tool.freeform else "function"


def _read_format(wanted: Any) -> object | None:
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if wanted is None or kind == "text":
        return None
    if kind == "json_object":
        return {}
    if kind != "json_schema":
        message = f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'."
        raise errors.bad_request(message, "text.format.type", "invalid_value")
    for name, form in (("name", str), ("schema", dict)):
        if not isinstance(wanted.get(name), form):
            raise errors.missing(f"text.format.{name}")
    schema: object = wanted["schema"]
    return schema


def _reasoning(body: Mapping[str, Any], model: str, directive: Directive) -> int:
    if directive.reasoning is not None:
        return directive.reasoning
    effort = (body.get("reasoning") or {}).get("effort")
    if effort is not None and effort not in REASONING_TOKENS:
        message = f"Invalid value: '{effort}'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', and 'xhigh'."
        raise errors.bad_request(message, "reasoning.effort", "invalid_value")
    if not REASONS.match(model):
        return 0
    limit = body.get("max_output_tokens")
    tokens = REASONING_TOKENS[effort or "medium"]
    return tokens if limit is None else min(tokens, limit // 2)  # leaves room for an answer, so that small limits stay useful in tests
