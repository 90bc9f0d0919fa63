"""Reading a generateContent request as a client wrote it; the model and whether to stream stand in the path.

Field names may be in camel or in snake case, as protobuf's JSON has it.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

from control_plane.dialects import json_body as j
from control_plane.dialects.api import Call
from control_plane.dialects.canon import ForeignTool, Reasoning, Request, ResponseFormat, Sampling, Tool, ToolChoice
from control_plane.dialects.gemini_generate_content.messages_read import read_contents, read_instruction
from control_plane.dialects.gemini_generate_content.names import camel, inner, items
from control_plane.dialects.gemini_generate_content.schema_read import json_schema
from control_plane.dialects.gemini_generate_content.vocabulary import NAME

_MAPPED: Final = frozenset(("contents", "systemInstruction", "tools", "toolConfig", "generationConfig", "labels", "model"))
_FEATURES: Final = frozenset(("cachedContent", "modelArmorConfig"))
"""Without these the answer would be another one, so a target that lacks them is unfit."""

_CONFIG: Final = frozenset(
    (
        *("temperature", "topP", "topK", "maxOutputTokens", "stopSequences", "seed", "presencePenalty", "frequencyPenalty"),
        *("responseLogprobs", "logprobs", "candidateCount", "responseMimeType", "responseSchema", "responseJsonSchema"),
        *("thinkingConfig", "responseModalities"),
    )
)
_CONFIG_FEATURES: Final = frozenset(("speechConfig", "imageConfig", "responseFormat", "translationConfig"))
_DECLARATION: Final = frozenset(("name", "description", "parameters", "parametersJsonSchema"))
_THINKING: Final = frozenset(("includeThoughts", "thinkingBudget", "thinkingLevel"))
_LEVELS: Final = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high"}

_GENERATION: Final = "generationConfig"
_NAMES: Final = {
    "max_tokens": f"{_GENERATION}.maxOutputTokens",
    "temperature": f"{_GENERATION}.temperature",
    "top_p": f"{_GENERATION}.topP",
    "top_k": f"{_GENERATION}.topK",
    "stop": f"{_GENERATION}.stopSequences",
    "seed": f"{_GENERATION}.seed",
    "presence_penalty": f"{_GENERATION}.presencePenalty",
    "frequency_penalty": f"{_GENERATION}.frequencyPenalty",
    "logprobs": f"{_GENERATION}.responseLogprobs",
    "top_logprobs": f"{_GENERATION}.logprobs",
    "n": f"{_GENERATION}.candidateCount",
    "response_format": f"{_GENERATION}.responseSchema",
    "reasoning_effort": f"{_GENERATION}.thinkingConfig",
    "reasoning": f"{_GENERATION}.thinkingConfig",
    "thinking": f"{_GENERATION}.thinkingConfig",
    "thinking.display": f"{_GENERATION}.thinkingConfig.includeThoughts",
    "metadata": "labels",
    "tool_choice": "toolConfig.functionCallingConfig",
    "messages": "contents",
}


def read_request(body: bytes, call: Call | None) -> Request:
    """The canonical request. `call` None: a request whose body names the model. Raises ClientProtocolError naming the field at fault."""
    raw = j.parse_object(body)
    given = camel(raw, "")
    model = (call.model if call is not None else j.model_of(given)) or j.reject("model", "must not be empty")
    lost, features = j.placeless(given, _MAPPED, _FEATURES)
    config = inner(given, _GENERATION, "") or {}
    lost.extend(j.unknown_fields(config, _CONFIG | _CONFIG_FEATURES, _GENERATION))
    features.extend(j.at(_GENERATION, key) for key in _CONFIG_FEATURES if config.get(key) is not None)
    if any(str(kind).upper() != "TEXT" for kind in items(config, "responseModalities", _GENERATION)):
        features.append(f"{_GENERATION}.responseModalities")
    tools, foreign_tools = _tools(given, lost)
    choice, allowed = _tool_choice(given, lost)
    if allowed:
        tools = tuple(tool for tool in tools if tool.name in allowed)  # the others may not be called
    return Request(
        dialect=NAME,
        model=model,
        messages=read_contents(given, lost),
        system=read_instruction(given, lost),
        tools=tools,
        foreign_tools=foreign_tools,
        tool_choice=choice,
        response_format=_response_format(config, features),
        sampling=_sampling(config),
        reasoning=_reasoning(config, lost),
        metadata=j.texts(given, "labels", ""),
        stream=call is not None and call.stream,
        framing="sse" if call is None or _sse(call) else "array",
        include_usage=True,
        unmapped=tuple(lost),
        features=tuple(features),
        raw=given,
        names=_NAMES,
    )


def _sse(call: Call) -> bool:
    query = parse_qs(call.query)
    return "sse" in (query.get("alt") or query.get("$alt") or [])


def _tools(given: j.Object, lost: list[str]) -> tuple[tuple[Tool, ...], tuple[ForeignTool, ...]]:
    tools: list[Tool] = []
    foreign: list[ForeignTool] = []
    for index, value in enumerate(items(given, "tools", "")):
        path = f"tools.{index}"
        group = camel(value, path)
        for number, item in enumerate(items(group, "functionDeclarations", path)):
            at = f"{path}.functionDeclarations.{number}"
            tools.append(_declaration(camel(item, at), at, lost))
        # Tools that Google runs: search, code execution, maps, URLs, files.
        foreign += [
            ForeignTool(NAME, j.at(path, key), {key: inner_value})
            for key, inner_value in group.items()
            if key != "functionDeclarations" and inner_value is not None
        ]
    return tuple(tools), tuple(foreign)


def _declaration(item: j.Object, path: str, lost: list[str]) -> Tool:
    lost.extend(j.unknown_fields(item, _DECLARATION, path))
    schema: dict[str, Any] | None = j.obj(item, "parametersJsonSchema", path)
    if item.get("parameters") is not None:
        if schema is not None:
            j.reject(path, "has both parameters and parametersJsonSchema; send one of them")
        schema = json_schema(item["parameters"], j.at(path, "parameters"))
    return Tool(j.required_string(item, "name", path), j.string(item, "description", path), schema)


def _tool_choice(given: j.Object, lost: list[str]) -> tuple[ToolChoice | None, frozenset[str]]:
    """(the choice, the only functions that may be called; empty for all)."""
    path = "toolConfig"
    outer = inner(given, path, "") or {}
    lost.extend(j.unknown_fields(outer, frozenset(("functionCallingConfig",)), path))
    value = inner(outer, "functionCallingConfig", path)
    path = "toolConfig.functionCallingConfig"
    if value is None:
        return None, frozenset()
    lost.extend(j.unknown_fields(value, frozenset(("mode", "allowedFunctionNames")), path))
    mode = (j.string(value, "mode", path) or "AUTO").upper()
    names = j.array(value, "allowedFunctionNames", path)
    for number, name in enumerate(names):
        if type(name) is not str:
            j.wrong_type(f"{path}.allowedFunctionNames.{number}", "a string", name)
    if mode == "NONE":
        return ToolChoice("none"), frozenset()
    if mode == "ANY":
        return (ToolChoice("named", names[0]) if len(names) == 1 else ToolChoice("required")), frozenset(names if len(names) > 1 else ())
    if mode not in ("AUTO", "VALIDATED", "MODE_UNSPECIFIED"):
        j.reject(f"{path}.mode", "expected AUTO, ANY, NONE or VALIDATED")
    if mode == "VALIDATED":
        lost.append(f"{path}.mode")
    return ToolChoice("auto"), frozenset(names)


def _response_format(config: j.Object, features: list[str]) -> ResponseFormat | None:
    kind = j.string(config, "responseMimeType", _GENERATION) or "text/plain"
    schema: dict[str, Any] | None = j.obj(config, "responseJsonSchema", _GENERATION)
    if config.get("responseSchema") is not None:
        if schema is not None:
            j.reject(_GENERATION, "has both responseSchema and responseJsonSchema; send one of them")
        schema = json_schema(config["responseSchema"], f"{_GENERATION}.responseSchema")
    if kind == "application/json":
        return ResponseFormat("json") if schema is None else ResponseFormat("json_schema", schema=schema, name="response", strict=None)
    if kind != "text/plain":
        features.append(f"{_GENERATION}.responseMimeType")
    elif schema is not None:
        j.reject(f"{_GENERATION}.responseMimeType", "a schema needs application/json here")
    return None


def _sampling(config: j.Object) -> Sampling:
    stop = items(config, "stopSequences", _GENERATION)
    for index, item in enumerate(stop):
        if type(item) is not str:
            j.wrong_type(f"{_GENERATION}.stopSequences.{index}", "a string", item)
    for name, least in (("maxOutputTokens", 0), ("candidateCount", 0), ("logprobs", 0)):
        if (j.integer(config, name, _GENERATION) or 0) < least:
            j.reject(f"{_GENERATION}.{name}", "must not be negative")
    return Sampling(
        temperature=j.number(config, "temperature", _GENERATION),
        top_p=j.number(config, "topP", _GENERATION),
        top_k=j.integer(config, "topK", _GENERATION),
        max_tokens=j.integer(config, "maxOutputTokens", _GENERATION) or None,
        stop=tuple(str(item) for item in stop),
        seed=j.integer(config, "seed", _GENERATION),
        presence_penalty=j.number(config, "presencePenalty", _GENERATION),
        frequency_penalty=j.number(config, "frequencyPenalty", _GENERATION),
        logprobs=j.boolean(config, "responseLogprobs", _GENERATION),
        top_logprobs=j.integer(config, "logprobs", _GENERATION),
        n=j.integer(config, "candidateCount", _GENERATION) or None,
    )


def _reasoning(config: j.Object, lost: list[str]) -> Reasoning | None:
    path = f"{_GENERATION}.thinkingConfig"
    value = inner(config, "thinkingConfig", _GENERATION)
    if value is None:
        return None
    lost.extend(j.unknown_fields(value, _THINKING, path))
    visible = j.boolean(value, "includeThoughts", path) or False
    budget = j.integer(value, "thinkingBudget", path)
    level = (j.string(value, "thinkingLevel", path) or "").lower()
    if level not in (*_LEVELS, "", "thinking_level_unspecified"):
        lost.append(f"{path}.thinkingLevel")
    effort: Any = _LEVELS.get(level)
    if budget == 0:
        return Reasoning(enabled=False, visible=visible)
    if budget is None or budget < 0:
        adaptive = budget is not None or visible
        return Reasoning(enabled=True if adaptive or effort else None, effort=effort, adaptive=adaptive and effort is None, visible=visible)
    return Reasoning(enabled=True, effort=effort, budget=budget, visible=visible)
