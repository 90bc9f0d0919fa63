"""Reading a chat completions request body as a client wrote it.

Fields beyond OpenAI's own are understood where several vendors share them: `reasoning` (OpenRouter), `thinking` (DeepSeek,
Z.ai), `top_k`, `cache_control`, `reasoning_content` and `reasoning_details` in replayed messages.
"""

from __future__ import annotations

from typing import Any, Final

from control_plane.dialects import freeform
from control_plane.dialects import json_body as j
from control_plane.dialects.canon import ForeignTool, Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice
from control_plane.dialects.openai_chat import messages_read
from control_plane.dialects.openai_chat.vocabulary import NAME

_MAPPED: Final = frozenset(
    (
        *("model", "messages", "tools", "tool_choice", "parallel_tool_calls", "response_format", "stop", "seed", "n", "user"),
        *("temperature", "top_p", "top_k", "max_tokens", "max_completion_tokens", "presence_penalty", "frequency_penalty"),
        *("logprobs", "top_logprobs", "reasoning_effort", "reasoning", "thinking", "enable_thinking", "safety_identifier"),
        *("metadata", "stream", "stream_options", "modalities"),
    )
)
_FEATURES: Final = frozenset(("functions", "function_call", "web_search_options", "audio", "moderation", "plugins"))
"""Without these the answer would be another one, so a target that lacks them is unfit."""

_ALIASES: Final = {
    "max_tokens": ("max_completion_tokens",),
    "user": ("safety_identifier",),
    "reasoning_effort": ("enable_thinking", "thinking", "reasoning"),
    "reasoning": ("enable_thinking", "thinking", "reasoning_effort"),
}
"""Fields that have several names here; writers say the first."""

_FUNCTION_FIELDS: Final = frozenset(("name", "description", "parameters", "strict"))
_EFFORTS: Final = frozenset(("none", "minimal", "low", "medium", "high", "xhigh", "max"))


def read_request(body: bytes) -> Request:
    """The canonical request. Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    lost, features = j.placeless(raw, _MAPPED, _FEATURES)
    model = j.model_of(raw)
    wire_messages = j.messages_of(raw)
    system, messages = messages_read.read_messages(wire_messages, lost)
    if any(value not in (None, "text") for value in j.array(raw, "modalities", "")):
        features.append("modalities")
    tools, foreign_tools = _tools(raw, lost)
    user = j.string(raw, "safety_identifier", "") or j.string(raw, "user", "")
    return Request(
        dialect=NAME,
        model=model,
        messages=messages,
        system=system,
        tools=tools,
        foreign_tools=foreign_tools,
        tool_choice=_tool_choice(raw, features),
        response_format=_response_format(raw),
        sampling=_sampling(raw),
        reasoning=_reasoning(raw, lost),
        user=user,
        metadata=j.texts(raw, "metadata", ""),
        stream=j.boolean(raw, "stream", "") or False,
        include_usage=_include_usage(raw, lost),
        unmapped=tuple(lost),
        features=tuple(features),
        raw=raw,
        names={name: own for name, others in _ALIASES.items() for own in others if name not in raw and own in raw},
    )


def _include_usage(raw: j.Object, lost: list[str]) -> bool:
    options = j.obj(raw, "stream_options", "")
    if options is None:
        return False
    lost.extend(j.unknown_fields(options, frozenset(("include_usage", "include_obfuscation")), "stream_options"))
    return j.boolean(options, "include_usage", "stream_options") or False


def _tools(raw: j.Object, lost: list[str]) -> tuple[tuple[Tool, ...], tuple[ForeignTool, ...]]:
    tools: list[Tool] = []
    foreign: list[ForeignTool] = []
    for index, value in enumerate(j.array(raw, "tools", "")):
        path = f"tools.{index}"
        item = j.as_obj(value, path)
        kind = j.string(item, "type", path)
        function = item.get("function")
        if kind == "custom" and (custom := _custom_tool(item, path, lost)) is not None:
            tools.append(custom)
            continue
        if kind not in (None, "function") or function is None:
            if kind in (None, "function"):
                j.reject(f"{path}.function", "is required", "missing_field")
            foreign.append(ForeignTool(NAME, path, item))  # vendors' server tools
            continue
        function = j.as_obj(function, f"{path}.function")
        path = f"{path}.function"
        lost.extend(j.unknown_fields(function, _FUNCTION_FIELDS, path))
        tools.append(
            Tool(
                name=j.required_string(function, "name", path),
                description=j.string(function, "description", path),
                schema=j.obj(function, "parameters", path),
                strict=j.boolean(function, "strict", path),
                cache=messages_read.cache_mark(item, f"tools.{index}"),
            )
        )
    return tuple(tools), tuple(foreign)


def _custom_tool(item: j.Object, path: str, lost: list[str]) -> Tool | None:
    """A tool that takes free text; None when its format is none that we know."""
    path = f"{path}.custom"
    custom = j.as_obj(item.get("custom"), path)
    form = j.obj(custom, "format", path) or {"type": "text"}
    kind = j.required_string(form, "type", f"{path}.format")
    if kind not in ("text", "grammar"):
        return None
    lost.extend(j.unknown_fields(custom, frozenset(("name", "description", "format")), path))
    name, description = j.required_string(custom, "name", path), j.string(custom, "description", path)
    if kind == "text":
        return freeform.tool(name, description, None, None)
    at = f"{path}.format.grammar"
    grammar = j.required_obj(form, "grammar", f"{path}.format")
    return freeform.tool(name, description, j.required_string(grammar, "syntax", at), j.required_string(grammar, "definition", at))


def _tool_choice(raw: j.Object, features: list[str]) -> ToolChoice | None:
    parallel = j.boolean(raw, "parallel_tool_calls", "")
    value = raw.get("tool_choice")
    if value is None:
        return None if parallel is None else ToolChoice(parallel=parallel)
    if type(value) is str:
        if value in ("auto", "none", "required"):
            return ToolChoice(value, parallel=parallel)  # type: ignore[arg-type]
        if value == "any":  # Mistral
            return ToolChoice("required", parallel=parallel)
        j.reject("tool_choice", "expected auto, none, required or an object")
    if type(value) is not dict:
        j.wrong_type("tool_choice", "a string or an object", value)
    kind = j.required_string(value, "type", "tool_choice")
    if kind in ("function", "custom"):
        function = j.required_obj(value, kind, "tool_choice")
        return ToolChoice("named", j.required_string(function, "name", f"tool_choice.{kind}"), parallel)
    features.append("tool_choice")  # allowed_tools
    return ToolChoice(parallel=parallel)


def _response_format(raw: j.Object) -> ResponseFormat | None:
    value = j.obj(raw, "response_format", "")
    if value is None:
        return None
    kind = j.required_string(value, "type", "response_format")
    if kind == "text":
        return ResponseFormat("text")
    if kind == "json_object":
        return ResponseFormat("json")
    if kind != "json_schema":
        j.reject("response_format.type", "expected text, json_object or json_schema")
    path = "response_format.json_schema"
    inner = j.required_obj(value, "json_schema", "response_format")
    return ResponseFormat(
        "json_schema",
        schema=j.obj(inner, "schema", path),
        name=j.string(inner, "name", path),
        description=j.string(inner, "description", path),
        strict=j.boolean(inner, "strict", path),
    )


def _sampling(raw: j.Object) -> Sampling:
    max_tokens = j.integer(raw, "max_completion_tokens", "")
    if max_tokens is None:
        max_tokens = j.integer(raw, "max_tokens", "")
    return Sampling(
        temperature=j.number(raw, "temperature", ""),
        top_p=j.number(raw, "top_p", ""),
        top_k=j.integer(raw, "top_k", ""),
        max_tokens=max_tokens,
        stop=_stop(raw),
        seed=j.integer(raw, "seed", ""),
        presence_penalty=j.number(raw, "presence_penalty", ""),
        frequency_penalty=j.number(raw, "frequency_penalty", ""),
        logprobs=j.boolean(raw, "logprobs", ""),
        top_logprobs=j.integer(raw, "top_logprobs", ""),
        n=j.integer(raw, "n", ""),
    )


def _stop(raw: j.Object) -> tuple[str, ...]:
    value = raw.get("stop")
    if value is None:
        return ()
    if type(value) is str:
        return (value,)
    if type(value) is not list:
        j.wrong_type("stop", "a string or an array of strings", value)
    for index, item in enumerate(value):
        if type(item) is not str:
            j.wrong_type(f"stop.{index}", "a string", item)
    return tuple(value)


def _reasoning(raw: j.Object, lost: list[str]) -> Reasoning | None:
    effort: Any = j.string(raw, "reasoning_effort", "")
    budget: int | None = None
    enabled: bool | None = j.boolean(raw, "enable_thinking", "")
    visible: bool | None = None
    if (value := j.obj(raw, "reasoning", "")) is not None:
        effort = effort or j.string(value, "effort", "reasoning")
        budget = j.integer(value, "max_tokens", "reasoning")
        if (said := j.boolean(value, "enabled", "reasoning")) is not None:
            enabled = said
        if j.boolean(value, "exclude", "reasoning"):
            visible = False
        lost.extend(j.unknown_fields(value, frozenset(("effort", "max_tokens", "enabled", "exclude")), "reasoning"))
    if (value := j.obj(raw, "thinking", "")) is not None:
        enabled = j.string(value, "type", "thinking") != "disabled"
        budget = j.integer(value, "budget_tokens", "thinking") or budget
        lost.extend(j.unknown_fields(value, frozenset(("type", "budget_tokens")), "thinking"))
    if effort is not None and effort not in _EFFORTS:
        lost.append("reasoning_effort")  # a vendor's own level ("default" at Groq)
        effort = None
    if effort is None and budget is None and enabled is None and visible is None:
        return None
    return Reasoning(enabled=enabled, effort=effort, budget=budget, visible=visible)
