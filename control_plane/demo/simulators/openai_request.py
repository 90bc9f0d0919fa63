"""Reads and checks OpenAI chat and embedding requests the way the vendor does."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from control_plane.demo.simulators import openai_errors as errors
from control_plane.demo.simulators.compose import Ask, Directive, Tool, read_directive
from control_plane.demo.simulators.tokens import IMAGE_TOKENS, count

CHAT_FIELDS: Final = frozenset({
    "messages", "model", "audio", "frequency_penalty", "function_call", "functions", "logit_bias", "logprobs", "max_completion_tokens",
    "max_tokens", "metadata", "modalities", "moderation", "n", "parallel_tool_calls", "prediction", "presence_penalty",
    "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "response_format", "safety_identifier",
    "seed", "service_tier", "stop", "store", "stream", "stream_options", "temperature", "tool_choice", "tools", "top_logprobs", "top_p",
    "user", "verbosity", "web_search_options",
})  # fmt: skip
ROLES: Final = frozenset({"system", "developer", "user", "assistant", "tool", "function"})
REASONING_TOKENS: Final = {"none": 0, "minimal": 0, "low": 32, "medium": 64, "high": 128, "xhigh": 256}
REASONS: Final = re.compile(r"(gpt-5|o[134])(?!\d)")
NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Chat:
    """A chat request that passed the vendor's checks: what to answer, and the input with its tokens per message."""

    __slots__ = ("ask", "choices", "directive", "include_usage", "model", "parts", "sizes", "stream", "tool_parts", "tool_sizes")

    def __init__(self, body: Mapping[str, Any], speaker: str, strict: bool) -> None:
        """Raises VendorError."""
        self.model: str = body["model"]
        messages = body["messages"]
        if strict:
            _check_options(body, self.model)
        self.parts: list[str] = []
        self.sizes: list[int] = []
        self.tool_parts: list[str] = []
        self.tool_sizes: list[int] = []
        tools = _read_tools(body.get("tools"), self.tool_parts, self.tool_sizes, strict)
        images = _read_messages(messages, self.parts, self.sizes)
        last = messages[-1]
        text = self.parts[_last_user(messages)] if last["role"] != "tool" else ""
        self.directive: Directive = read_directive("\n".join(self.parts) if any("[[sim " in part for part in self.parts) else "")
        self.stream: bool = body.get("stream") is True
        options = body.get("stream_options")
        if options is not None and not self.stream:
            raise errors.bad_request("The 'stream_options' parameter is only allowed when 'stream' is enabled.", "stream_options")
        self.include_usage: bool = isinstance(options, dict) and options.get("include_usage") is True
        self.choices = integer(body, "n", 1, 1, 128)
        stop = body.get("stop") or ()
        limit = body.get("max_completion_tokens")
        self.ask = Ask(
            speaker=speaker,
            text=text,
            images=images,
            tools=tools,
            choice=_read_choice(body.get("tool_choice"), tools),
            parallel=body.get("parallel_tool_calls") is not False,
            tool_results=_trailing_results(messages, self.parts),
            schema=_read_format(body.get("response_format")),
            max_tokens=limit if limit is not None else body.get("max_tokens"),
            stop=(stop,) if isinstance(stop, str) else tuple(stop),
            reasoning_tokens=_reasoning(body, self.model, self.directive),
            answer_tokens=self.directive.tokens,
            begun=_begun(body),
        )


def _begun(body: Mapping[str, Any]) -> str:
    """The beginning of the answer, for servers that go on with one when they are told to: as Mistral is, or as vLLM is."""
    last = body["messages"][-1]
    told = last.get("prefix") is True or (body.get("continue_final_message") is True and body.get("add_generation_prompt") is False)
    content = last.get("content")
    return content if told and last["role"] == "assistant" and isinstance(content, str) else ""


def _check_options(body: Mapping[str, Any], model: str) -> None:
    for name in body:
        if name not in CHAT_FIELDS:
            raise errors.bad_request(f"Unknown parameter: '{name}'.", name, "unknown_parameter")
    if REASONS.match(model):
        if body.get("max_tokens") is not None:
            raise errors.bad_request(
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
                "max_tokens",
                "unsupported_parameter",
            )
        for name, default in (("temperature", 1), ("top_p", 1), ("presence_penalty", 0), ("frequency_penalty", 0)):
            value = body.get(name)
            if value is not None and value != default:
                raise errors.bad_request(
                    f"Unsupported value: '{name}' does not support {value} with this model. "
                    f"Only the default ({default}) value is supported.",
                    name,
                    "unsupported_value",
                )
    for name in ("max_tokens", "max_completion_tokens"):
        integer(body, name, None, 1, 1_000_000)
    for name, low, high in (("temperature", 0, 2), ("top_p", 0, 1)):
        value = body.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise errors.wrong_type(name, "a decimal", value)
        if value is not None and not low <= value <= high:
            raise errors.bad_request(f"Invalid '{name}': decimal out of range: {value}.", name, "decimal_out_of_range")


def integer(body: Mapping[str, Any], name: str, default: Any, low: int, high: int) -> Any:
    """The number, `default` where none was sent. Raises VendorError."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int):
        raise errors.wrong_type(name, "an integer", value)
    if not low <= value <= high:
        edge = f"a value >= {low}" if value < low else f"a value <= {high}"
        side = "below minimum" if value < low else "above maximum"
        message = f"Invalid '{name}': integer {side} value. Expected {edge}, but got {value} instead."
        raise errors.bad_request(message, name, f"integer_{side.replace(' ', '_')}_value")
    return value


def _read_messages(messages: Any, parts: list[str], sizes: list[int]) -> int:
    """Fills text and tokens per message and returns the number of images of the last user message."""
    images = 0
    open_calls: dict[str, None] = {}  # ids of the last assistant message's calls that have no result yet
    for number, message in enumerate(messages):
        where = f"messages[{number}]"
        if not isinstance(message, dict):
            raise errors.wrong_type(where, "an object", message)
        role = message.get("role")
        if role not in ROLES:
            if role is None:
                raise errors.missing(f"{where}.role")
            raise errors.bad_request(
                f"Invalid value: '{role}'. Supported values are: 'system', 'assistant', 'user', 'function', 'tool', and 'developer'.",
                f"{where}.role",
                "invalid_value",
            )
        if role == "tool":
            call = message.get("tool_call_id")
            if call is None:
                raise errors.missing(f"{where}.tool_call_id")
            if call not in open_calls:
                raise errors.bad_request(
                    "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.",
                    f"{where}.role",
                )
            del open_calls[call]
        elif open_calls:
            raise errors.bad_request(
                "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
                f"The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
                where,
            )
        text, seen = _content(message.get("content"), f"{where}.content", role)
        if role == "user":
            images = seen
        calls = message.get("tool_calls")
        if calls is not None:
            text += _read_calls(calls, where, open_calls)
        elif message.get("content") is None and role != "assistant":
            raise errors.bad_request("Invalid value for 'content': expected a string, got null.", f"{where}.content")
        parts.append(text)
        sizes.append(count(text) + 4 + seen * IMAGE_TOKENS)  # 4: role and separators
    if open_calls:
        raise errors.bad_request(
            "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "
            f"The following tool_call_ids did not have response messages: {', '.join(open_calls)}",
            "messages",
        )
    return images


def _read_calls(calls: Any, where: str, open_calls: dict[str, None]) -> str:
    if not isinstance(calls, list) or not calls:
        raise errors.bad_request(
            f"Invalid '{where}.tool_calls': empty array. Expected an array with minimum length 1, but got an empty array instead.",
            f"{where}.tool_calls",
            "empty_array",
        )
    text = ""
    for number, call in enumerate(calls):
        place = f"{where}.tool_calls[{number}]"
        if not isinstance(call, dict) or not isinstance(call.get("id"), str):
            raise errors.missing(f"{place}.id")
        function = call.get("function") or call.get("custom")
        if call.get("type") not in ("function", "custom"):
            raise errors.missing(f"{place}.type")
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise errors.missing(f"{place}.function.name")
        arguments = function.get("arguments", function.get("input"))
        if not isinstance(arguments, str):
            raise (
                errors.wrong_type(f"{place}.function.arguments", "a string", arguments)
                if arguments is not None
                else errors.missing(f"{place}.function.arguments")
            )
        open_calls[call["id"]] = None
        text += function["name"] + arguments
    return text


def _content(content: Any, where: str, role: str) -> tuple[str, int]:
    """(text, number of images) of a message's content."""
    if content is None:
        return "", 0
    if isinstance(content, str):
        return content, 0
    if not isinstance(content, list):
        raise errors.wrong_type(where, "one of a string or array of objects", content)
    texts: list[str] = []
    images = 0
    for number, part in enumerate(content):
        place = f"{where}[{number}]"
        if not isinstance(part, dict):
            raise errors.wrong_type(place, "an object", part)
        kind = part.get("type")
        if kind in ("text", "refusal"):
            value = part.get(str(kind))
            if not isinstance(value, str):
                raise errors.missing(f"{place}.{kind}") if value is None else errors.wrong_type(f"{place}.{kind}", "a string", value)
            texts.append(value)
        elif kind == "image_url" and role == "user":
            check_image(part.get("image_url"), f"{place}.image_url")
            images += 1
        elif kind in ("input_audio", "file") and role == "user":
            texts.append("")
        else:
            allowed = "'text', 'image_url', 'input_audio', 'refusal', and 'file'" if role == "user" else "'text'"
            raise errors.bad_request(f"Invalid value: '{kind}'. Supported values are: {allowed}.", f"{place}.type", "invalid_value")
    return "\n".join(texts), images


def check_image(image: Any, where: str) -> None:
    url = image.get("url") if isinstance(image, dict) else None
    if not isinstance(url, str):
        raise errors.missing(f"{where}.url")
    if not url.startswith(("https://", "http://", "data:image/")):
        raise errors.bad_request(
            f"Invalid '{where}.url'. Expected a valid URL, but got a value with an invalid format.", f"{where}.url", "invalid_value"
        )


def check_name(name: str, place: str) -> None:
    """The name of a function at `place`. Raises what OpenAI answers to one that it does not take."""
    if not NAME.fullmatch(name):
        message = f"Invalid '{place}': string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]+$'."
        raise errors.bad_request(message, place, "invalid_value")


def check_grammar(form: Mapping[str, Any], place: str) -> None:
    """What the vendor asks of the format of a custom tool."""
    if form.get("type") not in (None, "text", "grammar"):
        raise errors.bad_request(
            f"Invalid value: '{form['type']}'. Supported values are: 'text' and 'grammar'.", f"{place}.type", "invalid_value"
        )
    if form.get("type") == "grammar":
        if form.get("syntax") not in ("lark", "regex"):
            raise errors.missing(f"{place}.syntax")
        if not isinstance(form.get("definition"), str):
            raise errors.missing(f"{place}.definition")


def function_tools(tools: Any) -> Iterator[tuple[int, dict[str, Any]]]:
    """The function tools and custom tools among `tools`, with their place; those of other types are accepted and never called."""
    if tools is None:
        return
    if not isinstance(tools, list):
        raise errors.wrong_type("tools", "an array of objects", tools)
    for number, tool in enumerate(tools):
        if not isinstance(tool, dict):
            raise errors.wrong_type(f"tools[{number}]", "an object", tool)
        if tool.get("type") in ("function", "custom"):
            yield number, tool
        elif "type" not in tool:
            raise errors.missing(f"tools[{number}].type")


def _read_tools(tools: Any, parts: list[str], sizes: list[int], strict: bool) -> tuple[Tool, ...]:
    found = []
    for number, tool in function_tools(tools):
        kind = tool["type"]
        if kind == "custom" and not strict:  # servers that are not OpenAI's know functions only
            raise errors.bad_request("Invalid value: 'custom'. Supported values are: 'function'.", f"tools[{number}].type", "invalid_value")
        function = tool.get(kind)
        if not isinstance(function, dict) or not isinstance(function.get("name"), str):
            raise errors.missing(f"tools[{number}].{kind}.name")
        name = function["name"]
        check_name(name, f"tools[{number}].{kind}.name")
        if kind == "custom":
            form = function.get("format") or {}
            check_grammar({**form, **(form.get("grammar") or {})}, f"tools[{number}].custom.format")
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, dict):
            raise errors.wrong_type(f"tools[{number}].function.parameters", "an object", parameters)
        found.append(Tool(name, parameters, kind == "custom"))
        sizes.append(count(name) + count(str(function.get("description") or "")) + count(str(parameters)))
        parts.append(name)
    return tuple(found)


def _read_choice(choice: Any, tools: tuple[Tool, ...]) -> str:
    if choice is None:
        return "auto"
    if not tools:
        raise errors.bad_request(
            "Invalid value for 'tool_choice': 'tool_choice' is only allowed when 'tools' are specified.", "tool_choice"
        )
    if isinstance(choice, str) and choice in ("none", "auto", "required"):
        return choice
    function = choice.get(str(choice.get("type"))) if isinstance(choice, dict) else None
    if isinstance(function, dict) and isinstance(function.get("name"), str):
        if all(tool.name != function["name"] for tool in tools):
            raise errors.bad_request(f"Invalid value: Tool choice '{function['name']}' not found in 'tools' parameter.", "tool_choice")
        return f"={function['name']}"
    if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
        return str((choice.get("allowed_tools") or {}).get("mode", "auto"))
    raise errors.bad_request(
        f"Invalid value: '{choice}'. Supported values are: 'none', 'auto', and 'required'.", "tool_choice", "invalid_value"
    )


def _read_format(wanted: Any) -> object | None:
    kind = wanted.get("type") if isinstance(wanted, dict) else None
    if kind == "json_object":
        return {}
    if kind == "json_schema":
        schema = wanted.get("json_schema")
        if not isinstance(schema, dict) or not isinstance(schema.get("name"), str):
            raise errors.missing("response_format.json_schema.name")
        return schema.get("schema") or {}
    if wanted is not None and kind != "text":
        raise errors.bad_request(
            f"Invalid value: '{kind}'. Supported values are: 'json_object', 'json_schema', and 'text'.",
            "response_format.type",
            "invalid_value",
        )
    return None


def _reasoning(body: Mapping[str, Any], model: str, directive: Directive) -> int:
    if directive.reasoning is not None:
        return directive.reasoning
    effort = body.get("reasoning_effort")
    if effort is not None and effort not in REASONING_TOKENS:
        raise errors.bad_request(
            f"Invalid value: '{effort}'. Supported values are: 'none', 'minimal', 'low', 'medium', 'high', and 'xhigh'.",
            "reasoning_effort",
            "invalid_value",
        )
    if not REASONS.match(model):
        return 0
    limit = body.get("max_completion_tokens")
    tokens = REASONING_TOKENS[effort or "medium"]
    return tokens if limit is None else min(tokens, limit // 2)  # leaves room for an answer, so that small limits stay useful in tests


def _last_user(messages: list[dict[str, Any]]) -> int:
    for number in range(len(messages) - 1, -1, -1):
        if messages[number]["role"] == "user":
            return number
    return len(messages) - 1


def _trailing_results(messages: list[dict[str, Any]], parts: list[str]) -> tuple[str, ...]:
    """Texts of the tool messages at the end of the conversation."""
    results = []
    for number in range(len(messages) - 1, -1, -1):
        if messages[number]["role"] != "tool":
            break
        results.append(parts[number])
    return tuple(reversed(results))
