"""Reading a Converse request as a client wrote it; the model and whether to stream stand in its path."""

from __future__ import annotations

from typing import Any, Final, cast

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects.bedrock_converse import messages_read
from control_plane.dialects.bedrock_converse.vocabulary import NAME
from control_plane.dialects.canon import CacheMark, Effort, ForeignTool, Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice

_MAPPED: Final = frozenset(
    ("messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields", "requestMetadata", "outputConfig")
)
_FEATURES: Final = frozenset(("guardrailConfig", "promptVariables"))
"""Without these the answer would be another one, so a target that lacks them is unfit."""

_INFERENCE: Final = frozenset(("maxTokens", "temperature", "topP", "stopSequences"))
_TOOL_FIELDS: Final = frozenset(("name", "description", "inputSchema", "strict"))
_MODEL_FIELDS: Final = frozenset(("thinking", "output_config", "top_k", "reasoning_effort", "reasoningConfig", "inferenceConfig"))
_EFFORTS: Final = frozenset(("none", "minimal", "low", "medium", "high", "xhigh", "max"))

_EXTRA: Final = "additionalModelRequestFields"
_NAMES: Final = {
    "max_tokens": "inferenceConfig.maxTokens",
    "temperature": "inferenceConfig.temperature",
    "top_p": "inferenceConfig.topP",
    "stop": "inferenceConfig.stopSequences",
    "top_k": f"{_EXTRA}.top_k",
    "reasoning_effort": f"{_EXTRA}.output_config.effort",
    "reasoning": f"{_EXTRA}.thinking",
    "thinking": f"{_EXTRA}.thinking",
    "tool_choice": "toolConfig.toolChoice",
    "tools": "toolConfig.tools",
    "response_format": "outputConfig.textFormat",
    "metadata": "requestMetadata",
    "cache_control": "cachePoint",
}
"""Names of fields as writers say them, and what they are here."""


def read_request(body: bytes, model: str, stream: bool) -> Request:
    """The canonical request. Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    lost, features = j.placeless(raw, _MAPPED, _FEATURES)
    if not model:
        j.reject("modelId", "must not be empty")
    wire_messages = j.messages_of(raw)
    config = j.obj(raw, "toolConfig", "") or {}
    lost.extend(j.unknown_fields(config, frozenset(("tools", "toolChoice")), "toolConfig"))
    tools, foreign_tools = _tools(config, lost)
    extra = j.obj(raw, _EXTRA, "") or {}
    output = j.obj(raw, "outputConfig", "") or {}
    lost.extend(j.unknown_fields(extra, _MODEL_FIELDS, _EXTRA))
    lost.extend(j.unknown_fields(output, frozenset(("textFormat", "effort")), "outputConfig"))
    return Request(
        dialect=NAME,
        model=model,
        messages=messages_read.read_messages(wire_messages, lost),
        system=messages_read.read_system(j.array(raw, "system", ""), lost, features),
        tools=tools,
        foreign_tools=foreign_tools,
        tool_choice=_tool_choice(config),
        response_format=_response_format(output),
        sampling=_sampling(raw, extra, lost),
        reasoning=_reasoning(extra, output, lost),
        metadata=j.texts(raw, "requestMetadata", ""),
        stream=stream,
        include_usage=True,
        unmapped=tuple(lost),
        features=tuple(features),
        raw=raw,
        names=_NAMES,
    )


def _sampling(raw: j.Object, extra: j.Object, lost: list[str]) -> Sampling:
    path = "inferenceConfig"
    config = j.obj(raw, path, "") or {}
    lost.extend(j.unknown_fields(config, _INFERENCE, path))
    limit = j.integer(config, "maxTokens", path)
    if limit is not None and limit < 1:
        j.reject(f"{path}.maxTokens", "must be at least 1")
    stops = j.array(config, "stopSequences", path)
    for index, item in enumerate(stops):
        if type(item) is not str:
            j.wrong_type(f"{path}.stopSequences.{index}", "a string", item)
    nova = j.obj(extra, "inferenceConfig", _EXTRA) or {}
    lost.extend(j.unknown_fields(nova, frozenset(("topK",)), f"{_EXTRA}.inferenceConfig"))
    top_k = j.integer(extra, "top_k", _EXTRA)
    return Sampling(
        temperature=j.number(config, "temperature", path),
        top_p=j.number(config, "topP", path),
        top_k=j.integer(nova, "topK", f"{_EXTRA}.inferenceConfig") if top_k is None else top_k,
        max_tokens=limit,
        stop=tuple(stops),
    )


def _tools(config: j.Object, lost: list[str]) -> tuple[tuple[Tool, ...], tuple[ForeignTool, ...]]:
    tools: list[Tool] = []
    foreign: list[ForeignTool] = []
    for index, value in enumerate(j.array(config, "tools", "toolConfig")):
        path = f"toolConfig.tools.{index}"
        item = j.as_obj(value, path)
        if "cachePoint" in item:
            mark: CacheMark = messages_read.cache_mark(item["cachePoint"], f"{path}.cachePoint")
            if tools:
                tools[-1] = msgspec.structs.replace(tools[-1], cache=mark)
            else:
                lost.append(f"{path}.cachePoint")
            continue
        if "toolSpec" not in item:
            foreign.append(ForeignTool(NAME, path, item))  # tools of the vendor's own
            continue
        path = f"{path}.toolSpec"
        spec = j.as_obj(item["toolSpec"], path)
        lost.extend(j.unknown_fields(spec, _TOOL_FIELDS, path))
        schema = j.required_obj(spec, "inputSchema", path)
        tools.append(
            Tool(
                name=j.required_string(spec, "name", path),
                description=j.string(spec, "description", path),
                schema=j.required_obj(schema, "json", f"{path}.inputSchema"),
                strict=j.boolean(spec, "strict", path),
            )
        )
    return tuple(tools), tuple(foreign)


def _tool_choice(config: j.Object) -> ToolChoice | None:
    value = j.obj(config, "toolChoice", "toolConfig")
    if value is None:
        return None
    if "tool" in value:
        tool = j.required_obj(value, "tool", "toolConfig.toolChoice")
        return ToolChoice("named", j.required_string(tool, "name", "toolConfig.toolChoice.tool"))
    if "any" in value:
        return ToolChoice("required")
    if "auto" not in value:
        j.reject("toolConfig.toolChoice", "expected auto, any or tool")
    return ToolChoice("auto")


def _response_format(output: j.Object) -> ResponseFormat | None:
    path = "outputConfig.textFormat"
    value = j.obj(output, "textFormat", "outputConfig")
    if value is None:
        return None
    if j.required_string(value, "type", path) != "json_schema":
        j.reject(f"{path}.type", "expected json_schema")
    structure = j.required_obj(value, "structure", path)
    path = f"{path}.structure.jsonSchema"
    wanted = j.required_obj(structure, "jsonSchema", "outputConfig.textFormat.structure")
    text = j.required_string(wanted, "schema", path)
    try:
        schema = msgspec.json.decode(text)
    except (ValueError, RecursionError):
        schema = None
    if not isinstance(schema, dict):
        j.reject(f"{path}.schema", "must be a JSON object as text")
    return ResponseFormat(
        "json_schema", schema=schema, name=j.string(wanted, "name", path), description=j.string(wanted, "description", path), strict=True
    )


def _effort(value: str | None, path: str, lost: list[str]) -> Effort | None:
    if value is None or value in _EFFORTS:
        return cast("Effort | None", value)
    lost.append(path)
    return None


def _reasoning(extra: j.Object, output: j.Object, lost: list[str]) -> Reasoning | None:
    """How much to think, in the words of the models' families and in those of Converse itself."""
    config = j.obj(extra, "output_config", _EXTRA) or {}
    lost.extend(j.unknown_fields(config, frozenset(("effort",)), f"{_EXTRA}.output_config"))
    nova = j.obj(extra, "reasoningConfig", _EXTRA) or {}
    found: list[Any] = [
        _effort(j.string(config, "effort", f"{_EXTRA}.output_config"), f"{_EXTRA}.output_config.effort", lost),
        _effort(j.string(output, "effort", "outputConfig"), "outputConfig.effort", lost),
        _effort(j.string(extra, "reasoning_effort", _EXTRA), f"{_EXTRA}.reasoning_effort", lost),
        _effort(j.string(nova, "maxReasoningEffort", f"{_EXTRA}.reasoningConfig"), f"{_EXTRA}.reasoningConfig.maxReasoningEffort", lost),
    ]
    effort: Effort | None = next((value for value in found if value is not None), None)
    thinking, path = j.obj(extra, "thinking", _EXTRA), f"{_EXTRA}.thinking"
    kind = j.string(nova, "type", f"{_EXTRA}.reasoningConfig")
    if thinking is None:
        if effort is None and kind is None:
            return None
        return Reasoning(enabled=None if kind is None else kind != "disabled", effort=effort)
    kind = j.required_string(thinking, "type", path)
    lost.extend(j.unknown_fields(thinking, frozenset(("type", "budget_tokens", "display")), path))
    if kind == "disabled":
        return Reasoning(enabled=False, effort=effort)
    display = j.string(thinking, "display", path)
    return Reasoning(
        enabled=True,
        effort=effort,
        budget=j.integer(thinking, "budget_tokens", path),
        adaptive=kind != "enabled",
        visible=None if display is None else display != "omitted",
    )
