"""Writing a Converse request for a provider. The model and the way of answering stand in the path, not in the body.

A request read from this dialect is written from the client's own body, so that unknown fields survive; only reasoning that
another vendor signed is left out. `dialects.options` declares the options that there are.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.bedrock_converse.messages_write import MessageWriter, cache_point, own_messages
from control_plane.dialects.bedrock_converse.thinking_write import is_claude, write_thinking
from control_plane.dialects.bedrock_converse.vocabulary import NAME, STREAMED
from control_plane.dialects.canon import Request, Tool, ToolChoice, Unfit
from control_plane.dialects.closed_schema import answer_schema, fit_schema
from control_plane.dialects.eventstream import CONTENT_TYPE
from control_plane.dialects.model_path import filled, streaming

_encode: Final = msgspec.json.Encoder().encode

_NO_COUNTERPART: Final = ("seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_TAG: Final = re.compile(r"[a-zA-Z0-9\s:_@$#=/+,.-]{0,256}")
_TAG_LIMIT: Final = 16
STOP_LIMIT: Final = 2500

WORDS: Final = {
    "maxTokens": "max_tokens",
    "topP": "top_p",
    "stopSequences": "stop",
    "toolConfig": "tools",
    "requestMetadata": "metadata",
    "outputConfig": "response_format",
}
"""Fields that are called otherwise when they are named as dropped."""


def write_request(request: Request, target: TargetFacts) -> ProviderRequest:
    """The provider's request. Raises Unfit when a feature cannot be expressed in this dialect."""
    dropped: list[str] = []
    same = request.dialect == NAME and request.raw is not None
    body = _from_raw(request, dropped) if same else _from_canon(request, target, dropped)
    extra = "top_k" if "top_k" in (body.get("additionalModelRequestFields") or ()) else "reasoning"
    dropped.extend(quirks.apply(body, target.options, {**WORDS, "additionalModelRequestFields": extra}))
    headers = (("accept", CONTENT_TYPE),) if request.stream else ()
    return ProviderRequest(body=_encode(body), path=_path(target, request.stream), headers=headers, dropped=quirks.unique(dropped))


def _path(target: TargetFacts, stream: bool) -> str:
    path = filled(target.path, target.model)
    return streaming(path, STREAMED) if stream else path


def _from_raw(request: Request, dropped: list[str]) -> dict[str, Any]:
    body = dict(request.raw or {})
    body["messages"] = own_messages(request, dropped)
    return body


def _from_canon(request: Request, target: TargetFacts, dropped: list[str]) -> dict[str, Any]:
    dropped.extend(request.lost_to(NAME))
    if (request.sampling.n or 1) > 1:
        raise Unfit("n", f"{NAME} gives one choice per request")
    writer = MessageWriter(request, dropped)
    system, messages = writer.write()
    if not messages:
        raise Unfit("messages", f"{NAME} needs a message beside the instructions")
    body: dict[str, Any] = {"messages": messages}
    if system:
        body["system"] = system
    if (tools := _tools(request, target, writer.has_calls, dropped)) is not None:
        body["toolConfig"] = tools
    _response_format(body, request, target, dropped)
    inference: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    if request.sampling.max_tokens is not None:
        inference["maxTokens"] = request.sampling.max_tokens
    thinking = write_thinking(extra, inference, request, target, dropped)
    _sampling(inference, extra, request, target, thinking, dropped)
    dropped.extend(quirks.apply(inference, target.options, WORDS))
    if inference:
        body["inferenceConfig"] = inference
    if extra:
        body["additionalModelRequestFields"] = extra
    if request.user is not None:
        dropped.append("user")
    if request.metadata:
        _metadata(body, request, dropped)
    if request.cache is not None:
        dropped.append("cache_control")
    if request.dialect == NAME:
        body.update(request.extras)
    return body


def _tools(request: Request, target: TargetFacts, has_calls: bool, dropped: list[str]) -> dict[str, Any] | None:
    choice = request.tool_choice
    tools: list[dict[str, Any]] = []
    for index, tool in enumerate(request.tools):
        tools.append(_tool(tool, index, target, dropped))
        if tool.cache is not None:
            tools.append(cache_point(tool.cache))
    tools += [dict(tool.raw) for tool in request.foreign_tools]
    if not tools:
        return None
    if choice is not None and choice.mode == "none":
        if has_calls:
            raise Unfit("tool_choice", f"{NAME} cannot forbid tools in a conversation that has used some")
        return None
    wire: dict[str, Any] = {"tools": tools}
    if choice is not None:
        wire["toolChoice"] = _tool_choice(choice, dropped)
    return wire


def _tool(tool: Tool, index: int, target: TargetFacts, dropped: list[str]) -> dict[str, Any]:
    if not _TOOL_NAME.fullmatch(tool.name):
        raise Unfit(f"tools.{index}", f"{NAME} does not take the name {tool.name[:100]!r}")
    schema: dict[str, Any] = dict(tool.schema) if tool.schema is not None else {"type": "object", "properties": {}}
    schema.setdefault("type", "object")
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    if tool.strict:
        if quirks.flag(target.options, "structured_outputs", True):
            wire["strict"] = True
            schema = fit_schema(schema, f"tools.{index}.function.parameters", dropped)
        else:
            dropped.append(f"tools.{index}.function.strict")
    wire["inputSchema"] = {"json": schema}
    return {"toolSpec": wire}


def _tool_choice(choice: ToolChoice, dropped: list[str]) -> dict[str, Any]:
    if choice.parallel is False:
        dropped.append("parallel_tool_calls")  # no way to ask for one call at most
    if choice.mode == "named":
        return {"tool": {"name": choice.name}}
    return {"any": {}} if choice.mode == "required" else {"auto": {}}


def _response_format(body: dict[str, Any], request: Request, target: TargetFacts, dropped: list[str]) -> None:
    schema, wanted = answer_schema(request, target, NAME, dropped), request.response_format
    if schema is None:
        return
    named = {name: value for name in ("name", "description") if (value := getattr(wanted, name))}
    structure = {"jsonSchema": {"schema": _encode(schema).decode(), **named}}
    body["outputConfig"] = {"textFormat": {"type": "json_schema", "structure": structure}}


def _sampling(
    inference: dict[str, Any], extra: dict[str, Any], request: Request, target: TargetFacts, thinking: bool, dropped: list[str]
) -> None:
    wanted = request.sampling
    if wanted.temperature is not None:
        if thinking and wanted.temperature != 1:
            dropped.append("temperature")  # Claude refuses any other than 1 while thinking
        else:
            inference["temperature"] = min(1.0, max(0.0, wanted.temperature))
            if inference["temperature"] != wanted.temperature:
                dropped.append("temperature")  # clipped to this dialect's range 0..1
    if wanted.top_p is not None:
        both = "temperature" in inference and is_claude(target.model)
        if both or (thinking and wanted.top_p < 0.95):
            dropped.append("top_p")  # Claude from 4.1 on refuses both at once; thinking allows 0.95..1
        else:
            inference["topP"] = wanted.top_p
    if wanted.top_k is not None:
        _top_k(extra, wanted.top_k, target.model, thinking, dropped)
    stops = [text for text in wanted.stop if text.strip()][:STOP_LIMIT]
    if len(stops) < len(wanted.stop):
        dropped.append("stop")  # sequences of white space only are refused
    if stops:
        inference["stopSequences"] = stops
    dropped.extend(name for name in _NO_COUNTERPART if getattr(wanted, name))


def _top_k(extra: dict[str, Any], value: int, model: str, thinking: bool, dropped: list[str]) -> None:
    """A field of the models' own, which each family calls otherwise."""
    if is_claude(model) and not thinking:
        extra["top_k"] = value
    elif "nova" in model:
        extra["inferenceConfig"] = {"topK": value}
    else:
        dropped.append("top_k")


def _metadata(body: dict[str, Any], request: Request, dropped: list[str]) -> None:
    """Tags for the operator's invocation log."""
    fits = {key: value for key, value in request.metadata.items() if key and _TAG.fullmatch(key) and _TAG.fullmatch(value)}
    kept = dict(list(fits.items())[:_TAG_LIMIT])
    dropped.extend(f"metadata.{key}" for key in request.metadata if key not in kept)
    if kept:
        body["requestMetadata"] = kept
