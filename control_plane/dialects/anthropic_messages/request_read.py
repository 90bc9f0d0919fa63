"""Reading a messages request body as a client wrote it."""

from __future__ import annotations

from typing import Any, Final

from control_plane.dialects import json_body as j
from control_plane.dialects.anthropic_messages import messages_read
from control_plane.dialects.anthropic_messages.vocabulary import BETA_HEADER, NAME
from control_plane.dialects.api import Call
from control_plane.dialects.canon import ForeignTool, Reasoning, Request, ResponseFormat, Sampling, Text, Tool, ToolChoice

_MAPPED: Final = frozenset(
    (
        *("model", "messages", "max_tokens", "system", "tools", "tool_choice", "stop_sequences", "temperature", "top_p", "top_k"),
        *("metadata", "stream", "thinking", "output_config", "output_format", "cache_control", "anthropic_version"),
    )
)
_FEATURES: Final = frozenset(("mcp_servers", "container", "inference_geo", "compaction"))
"""Without these the answer would be another one (or made elsewhere), so a target that lacks them is unfit."""

_TOOL_FIELDS: Final = frozenset(("name", "description", "input_schema", "type", "cache_control", "strict"))
_EFFORTS: Final = frozenset(("low", "medium", "high", "xhigh", "max"))


def read_request(body: bytes, call: Call | None = None, *, counting: bool = False) -> Request:
    """The canonical request. `counting`: one to be counted, which needs no limit. Raises ClientProtocolError naming the field at fault."""
    return read_object(j.parse_object(body), call, counting=counting)


def read_object(raw: j.Object, call: Call | None = None, *, counting: bool = False) -> Request:
    """As `read_request`, of a body that is decoded."""
    lost, features = j.placeless(raw, _MAPPED, _FEATURES)
    model = j.model_of(raw)
    wire_messages = j.messages_of(raw)
    if raw.get("max_tokens") is None and not counting:
        j.reject("max_tokens", "is required", "missing_field")
    config = j.obj(raw, "output_config", "") or {}
    lost.extend(j.unknown_fields(config, frozenset(("effort", "format")), "output_config"))
    tools, foreign_tools = _tools(raw, lost)
    return Request(
        dialect=NAME,
        model=model,
        messages=messages_read.read_messages(wire_messages, lost),
        system=_system(raw, lost),
        tools=tools,
        foreign_tools=foreign_tools,
        tool_choice=_tool_choice(raw),
        response_format=_response_format(raw, config),
        sampling=Sampling(
            temperature=j.number(raw, "temperature", ""),
            top_p=j.number(raw, "top_p", ""),
            top_k=j.integer(raw, "top_k", ""),
            max_tokens=_max_tokens(raw),
            stop=_stop(raw),
        ),
        reasoning=_reasoning(raw, config, lost),
        user=_user(raw, lost),
        cache=messages_read.cache_mark(raw, ""),
        stream=j.boolean(raw, "stream", "") or False,
        include_usage=True,
        unmapped=tuple(lost),
        features=tuple(features),
        raw=raw,
        names=_names(raw, len(tools) + len(foreign_tools)),
        betas=_betas(call),
    )


def _betas(call: Call | None) -> tuple[str, ...]:
    told = call.headers.get(BETA_HEADER, "") if call is not None else ""
    return tuple(dict.fromkeys(name for part in told.split(",") if (name := part.strip())))


def _names(raw: j.Object, tools: int) -> dict[str, str]:
    """What writers call otherwise."""
    answer = "output_format" if raw.get("output_format") is not None else "output_config.format"
    effort = "thinking" if raw.get("thinking") is not None else "output_config.effort"
    names = {
        "stop": "stop_sequences",
        "user": "metadata.user_id",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "reasoning_effort": "output_config.effort",
        "reasoning": effort,
        "response_format.json_schema": answer,
        "response_format": answer,
    }
    for index in range(tools):
        names[f"tools.{index}.function.parameters"] = f"tools.{index}.input_schema"
        names[f"tools.{index}.function"] = f"tools.{index}"
    return names


def _max_tokens(raw: j.Object) -> int | None:
    value = j.integer(raw, "max_tokens", "")
    if value is not None and value < 0:
        j.reject("max_tokens", "must not be negative")
    return value


def _system(raw: j.Object, lost: list[str]) -> tuple[Text, ...]:
    value = raw.get("system")
    if value is None:
        return ()
    if type(value) is str:
        return (Text(value),)
    if type(value) is not list:
        j.wrong_type("system", "a string or an array of text blocks", value)
    texts: list[Text] = []
    for index, item in enumerate(value):
        path = f"system.{index}"
        part = messages_read.read_block(item, path, lost)
        if not isinstance(part, Text):
            j.reject(path, "a system prompt holds text blocks only")
        texts.append(part)
    return tuple(texts)


def _tools(raw: j.Object, lost: list[str]) -> tuple[tuple[Tool, ...], tuple[ForeignTool, ...]]:
    tools: list[Tool] = []
    foreign: list[ForeignTool] = []
    for index, value in enumerate(j.array(raw, "tools", "")):
        path = f"tools.{index}"
        item = j.as_obj(value, path)
        if j.string(item, "type", path) not in (None, "custom"):
            foreign.append(ForeignTool(NAME, path, item))  # tools that Anthropic defines: web search, code execution, computer …
            continue
        lost.extend(j.unknown_fields(item, _TOOL_FIELDS, path))
        tools.append(
            Tool(
                name=j.required_string(item, "name", path),
                description=j.string(item, "description", path),
                schema=j.required_obj(item, "input_schema", path),
                strict=j.boolean(item, "strict", path),
                cache=messages_read.cache_mark(item, path),
            )
        )
    return tuple(tools), tuple(foreign)


def _tool_choice(raw: j.Object) -> ToolChoice | None:
    value = j.obj(raw, "tool_choice", "")
    if value is None:
        return None
    kind = j.required_string(value, "type", "tool_choice")
    disabled = j.boolean(value, "disable_parallel_tool_use", "tool_choice")
    parallel = None if disabled is None else not disabled
    if kind == "auto":
        return ToolChoice("auto", None, parallel)
    if kind == "any":
        return ToolChoice("required", None, parallel)
    if kind == "none":
        return ToolChoice("none")
    if kind != "tool":
        j.reject("tool_choice.type", "expected auto, any, tool or none")
    return ToolChoice("named", j.required_string(value, "name", "tool_choice"), parallel)


def _response_format(raw: j.Object, config: j.Object) -> ResponseFormat | None:
    path = "output_config.format"
    value = j.obj(config, "format", "output_config")
    if value is None:
        path, value = "output_format", j.obj(raw, "output_format", "")  # its name while the feature was in beta
    if value is None:
        return None
    if j.required_string(value, "type", path) != "json_schema":
        j.reject(f"{path}.type", "expected json_schema")
    return ResponseFormat("json_schema", schema=j.required_obj(value, "schema", path), strict=True)


def _stop(raw: j.Object) -> tuple[str, ...]:
    value = j.array(raw, "stop_sequences", "")
    for index, item in enumerate(value):
        if type(item) is not str:
            j.wrong_type(f"stop_sequences.{index}", "a string", item)
    return tuple(value)


def _user(raw: j.Object, lost: list[str]) -> str | None:
    metadata = j.obj(raw, "metadata", "") or {}
    lost.extend(j.unknown_fields(metadata, frozenset(("user_id",)), "metadata"))
    return j.string(metadata, "user_id", "metadata")


def _reasoning(raw: j.Object, config: j.Object, lost: list[str]) -> Reasoning | None:
    effort: Any = j.string(config, "effort", "output_config")
    if effort is not None and effort not in _EFFORTS:
        lost.append("output_config.effort")
        effort = None
    value = j.obj(raw, "thinking", "")
    if value is None:
        return None if effort is None else Reasoning(effort=effort)
    kind = j.required_string(value, "type", "thinking")
    lost.extend(j.unknown_fields(value, frozenset(("type", "budget_tokens", "display")), "thinking"))
    if kind == "disabled":
        return Reasoning(enabled=False, effort=effort)
    display = j.string(value, "display", "thinking")
    return Reasoning(
        enabled=True,
        effort=effort,
        budget=j.integer(value, "budget_tokens", "thinking"),
        adaptive=kind != "enabled",
        visible=None if display is None else display != "omitted",
    )
