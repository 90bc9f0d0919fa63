"""Reading a Responses request body as a client wrote it."""

from __future__ import annotations

from typing import Any, Final

from control_plane.dialects import freeform
from control_plane.dialects import json_body as j
from control_plane.dialects.canon import ForeignTool, Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice
from control_plane.dialects.openai_responses import messages_read
from control_plane.dialects.openai_responses.vocabulary import INCLUDE_LOGPROBS, INCLUDE_REASONING, NAME

_MAPPED: Final = frozenset(
    (
        *("model", "input", "instructions", "tools", "tool_choice", "parallel_tool_calls", "text", "reasoning", "include"),
        *("max_output_tokens", "temperature", "top_p", "top_logprobs", "metadata", "user", "safety_identifier"),
        *("stream", "stream_options", "background", "store", "truncation"),
    )
)
_FEATURES: Final = frozenset(("previous_response_id", "conversation", "prompt", "context_management", "moderation"))
"""Without these the answer would be another one, so a target that lacks them is unfit."""

_KEPT: Final = ("store", "include", "truncation")
"""Understood only as far as other dialects go, so an edited request of this dialect takes them along as they are."""

_NAMES: Final = {
    "response_format.json_schema": "text.format",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "thinking.display": "reasoning.summary",
    "max_tokens": "max_output_tokens",
    "logprobs": "include",
}

_FUNCTION_FIELDS: Final = frozenset(("type", "name", "description", "parameters", "strict"))
_CUSTOM_FIELDS: Final = frozenset(("type", "name", "description", "format"))
_FORMAT_FIELDS: Final = frozenset(("type", "name", "schema", "description", "strict"))
_REASONING_FIELDS: Final = frozenset(("effort", "summary", "generate_summary"))
_EFFORTS: Final = frozenset(("none", "minimal", "low", "medium", "high", "xhigh", "max"))


def read_request(body: bytes) -> Request:
    """The canonical request. Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    lost, features = j.placeless(raw, _MAPPED, _FEATURES)
    model = j.model_of(raw)
    tools, foreign_tools = _tools(raw, lost)
    _switches(raw, lost, features)
    logprobs = _include(raw, lost)
    # A stored prompt or conversation brings input of its own.
    system, messages = messages_read.read_input(raw, lost, required=not features)
    return Request(
        dialect=NAME,
        model=model,
        messages=messages,
        system=system,
        tools=tools,
        foreign_tools=foreign_tools,
        tool_choice=_tool_choice(raw, features),
        response_format=_text(raw, lost),
        sampling=Sampling(
            temperature=j.number(raw, "temperature", ""),
            top_p=j.number(raw, "top_p", ""),
            max_tokens=_max_tokens(raw),
            logprobs=logprobs,
            top_logprobs=_top_logprobs(raw, logprobs, lost),
        ),
        reasoning=_reasoning(raw, lost),
        user=j.string(raw, "safety_identifier", "") or j.string(raw, "user", ""),
        metadata=j.texts(raw, "metadata", ""),
        stream=j.boolean(raw, "stream", "") or False,
        include_usage=True,
        unmapped=tuple(lost),
        features=tuple(features),
        raw=raw,
        extras={key: raw[key] for key in _KEPT if key in raw},
        names=_names(raw, len(tools) + len(foreign_tools)),
    )


def _names(raw: j.Object, tools: int) -> dict[str, str]:
    """What writers call otherwise."""
    user = {"user": "safety_identifier"} if raw.get("safety_identifier") else {}
    return {**_NAMES, **user, **{f"tools.{index}.function": f"tools.{index}" for index in range(tools)}}


def _switches(raw: j.Object, lost: list[str], features: list[str]) -> None:
    """Fields whose other value is what every dialect does anyway."""
    if j.boolean(raw, "background", ""):
        features.append("background")
    if j.boolean(raw, "store", ""):
        lost.append("store")
    if j.string(raw, "truncation", "") not in (None, "disabled"):
        lost.append("truncation")
    if (options := j.obj(raw, "stream_options", "")) is not None:
        lost.extend(j.unknown_fields(options, frozenset(("include_obfuscation",)), "stream_options"))


def _include(raw: j.Object, lost: list[str]) -> bool | None:
    """Whether log probabilities are wanted. Encrypted reasoning is part of every answer that has it; the rest belongs to
    this dialect's own tools."""
    logprobs = None
    for index, item in enumerate(j.array(raw, "include", "")):
        if type(item) is not str:
            j.wrong_type(f"include.{index}", "a string", item)
        if item == INCLUDE_LOGPROBS:
            logprobs = True
        elif item != INCLUDE_REASONING:
            lost.append(f"include.{index}")
    return logprobs


def _max_tokens(raw: j.Object) -> int | None:
    value = j.integer(raw, "max_output_tokens", "")
    if value is not None and value < 0:
        j.reject("max_output_tokens", "must not be negative")
    return value


def _top_logprobs(raw: j.Object, logprobs: bool | None, lost: list[str]) -> int | None:
    """Of no effect unless log probabilities are included."""
    value = j.integer(raw, "top_logprobs", "")
    if value and not logprobs:
        lost.append("top_logprobs")
    return value if logprobs else None


def _tools(raw: j.Object, lost: list[str]) -> tuple[tuple[Tool, ...], tuple[ForeignTool, ...]]:
    tools: list[Tool] = []
    foreign: list[ForeignTool] = []
    for index, value in enumerate(j.array(raw, "tools", "")):
        path = f"tools.{index}"
        item = j.as_obj(value, path)
        kind = j.required_string(item, "type", path)
        if kind == "custom" and (custom := _custom_tool(item, path, lost)) is not None:
            tools.append(custom)
            continue
        if kind != "function":
            foreign.append(ForeignTool(NAME, path, item))  # web search, file search, computer use …
            continue
        lost.extend(j.unknown_fields(item, _FUNCTION_FIELDS, path))
        tools.append(
            Tool(
                name=j.required_string(item, "name", path),
                description=j.string(item, "description", path),
                schema=j.obj(item, "parameters", path),
                strict=j.boolean(item, "strict", path),
            )
        )
    return tuple(tools), tuple(foreign)


def _custom_tool(item: j.Object, path: str, lost: list[str]) -> Tool | None:
    """A tool that takes free text; None when its format is none that we know."""
    form = j.obj(item, "format", path) or {"type": "text"}
    kind = j.required_string(form, "type", f"{path}.format")
    if kind not in ("text", "grammar"):
        return None
    lost.extend(j.unknown_fields(item, _CUSTOM_FIELDS, path))
    read = j.required_string if kind == "grammar" else j.string
    name, description = j.required_string(item, "name", path), j.string(item, "description", path)
    return freeform.tool(name, description, read(form, "syntax", f"{path}.format"), read(form, "definition", f"{path}.format"))


def _tool_choice(raw: j.Object, features: list[str]) -> ToolChoice | None:
    parallel = j.boolean(raw, "parallel_tool_calls", "")
    value = raw.get("tool_choice")
    if value is None:
        return None if parallel is None else ToolChoice(parallel=parallel)
    if type(value) is str:
        if value not in ("auto", "none", "required"):
            j.reject("tool_choice", "expected auto, none, required or an object")
        return ToolChoice(value, parallel=parallel)  # type: ignore[arg-type]
    if type(value) is not dict:
        j.wrong_type("tool_choice", "a string or an object", value)
    if j.required_string(value, "type", "tool_choice") in ("function", "custom"):
        return ToolChoice("named", j.required_string(value, "name", "tool_choice"), parallel)
    features.append("tool_choice")  # allowed_tools, hosted tools
    return ToolChoice(parallel=parallel)


def _text(raw: j.Object, lost: list[str]) -> ResponseFormat | None:
    text = j.obj(raw, "text", "") or {}
    lost.extend(j.unknown_fields(text, frozenset(("format",)), "text"))
    value = j.obj(text, "format", "text")
    if value is None:
        return None
    kind = j.required_string(value, "type", "text.format")
    if kind == "text":
        return ResponseFormat("text")
    if kind == "json_object":
        return ResponseFormat("json")
    if kind != "json_schema":
        j.reject("text.format.type", "expected text, json_object or json_schema")
    lost.extend(j.unknown_fields(value, _FORMAT_FIELDS, "text.format"))
    return ResponseFormat(
        "json_schema",
        schema=j.required_obj(value, "schema", "text.format"),
        name=j.string(value, "name", "text.format"),
        description=j.string(value, "description", "text.format"),
        strict=j.boolean(value, "strict", "text.format"),
    )


def _reasoning(raw: j.Object, lost: list[str]) -> Reasoning | None:
    value = j.obj(raw, "reasoning", "") or {}
    lost.extend(j.unknown_fields(value, _REASONING_FIELDS, "reasoning"))
    effort: Any = j.string(value, "effort", "reasoning")
    summary = j.string(value, "summary", "reasoning") or j.string(value, "generate_summary", "reasoning")
    if effort is not None and effort not in _EFFORTS:
        lost.append("reasoning.effort")
        effort = None
    if effort is None and summary is None:
        return None
    return Reasoning(effort=effort, visible=True if summary is not None else None)
