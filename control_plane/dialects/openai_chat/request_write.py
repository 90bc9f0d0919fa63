"""Writing a chat completions request for a provider.

A request read from this dialect is written from the client's own body, so that unknown fields survive; only the model, the
stream options and what `options` say change. `dialects.options` declares the options that there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import freeform, quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.canon import Freeform, Reasoning, Request, ResponseFormat, Tool, ToolChoice
from control_plane.dialects.openai_chat.messages_write import MessageWriter
from control_plane.dialects.openai_chat.vocabulary import NAME

_encode: Final = msgspec.json.Encoder().encode

USER_LIMIT_CHARS: Final = 64
"""OpenAI refuses longer user identifiers; Claude Code's are longer."""

STOP_LIMIT: Final = 4
"""OpenAI takes at most four stop sequences."""

WORDS: Final = {"max_completion_tokens": "max_tokens", "safety_identifier": "user"}
"""Fields that are called otherwise when they are named as dropped."""


def write_request(request: Request, target: TargetFacts) -> ProviderRequest:
    """The provider's request. Raises Unfit when a feature cannot be expressed in this dialect."""
    dropped: list[str] = []
    same = request.dialect == NAME and request.raw is not None
    if same and not quirks.flag(target.options, "custom_tools", True) and freeform.used(request):
        request, same = request.edited(), False
    body = _from_raw(request, target) if same else _from_canon(request, target, dropped)
    if request.stream and quirks.flag(target.options, "stream_usage", True):
        options = body.get("stream_options")
        body["stream_options"] = {**options, "include_usage": True} if isinstance(options, dict) else {"include_usage": True}
    _prefill(body, target.options)
    dropped.extend(quirks.apply(body, target.options, WORDS))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))


def _prefill(body: dict[str, Any], options: Mapping[str, object]) -> None:
    """An assistant message at the end is to be gone on with, where the provider must be told so."""
    way, messages = options.get("prefill"), body["messages"]
    if way not in ("prefix", "continue_final_message") or not messages or messages[-1].get("role") != "assistant":
        return
    if way == "prefix":
        body["messages"] = [*messages[:-1], {**messages[-1], "prefix": True}]
    else:
        body.update(continue_final_message=True, add_generation_prompt=False)


def _from_raw(request: Request, target: TargetFacts) -> dict[str, Any]:
    body = dict(request.raw or {})
    body["model"] = target.model
    field = target.options.get("max_tokens_field")
    if field in ("max_tokens", "max_completion_tokens") and (limit := request.sampling.max_tokens) is not None:
        body.pop("max_tokens", None)
        body.pop("max_completion_tokens", None)
        body[field] = limit
    return body


def _from_canon(request: Request, target: TargetFacts, dropped: list[str]) -> dict[str, Any]:
    dropped.extend(request.lost_to(NAME))
    body: dict[str, Any] = {"model": target.model}
    body["messages"] = MessageWriter(request, target, dropped).write()
    native = freeform.native(target, request.dialect == NAME)
    tools = [*(_tool(tool, native, dropped) for tool in request.tools), *(dict(tool.raw) for tool in request.foreign_tools)]
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None and tools:
        _tool_choice(body, request.tool_choice, native and freeform.chosen(request, request.tool_choice))
    if request.response_format is not None:
        body["response_format"] = _response_format(request.response_format)
    _sampling(body, request, target, dropped)
    if request.reasoning is not None:
        _reasoning(body, request.reasoning, dropped)
    if request.user is not None:
        if len(request.user) <= USER_LIMIT_CHARS:
            body["user"] = request.user
        else:
            dropped.append("user")
    if request.metadata:
        body["metadata"] = dict(request.metadata)
    if request.cache is not None:
        dropped.append("cache_control")
    if request.stream:
        body["stream"] = True
    if request.dialect == NAME:
        body.update(request.extras)
    return body


def _tool(tool: Tool, native: bool, dropped: list[str]) -> dict[str, Any]:
    if native and tool.freeform is not None:
        return _custom_tool(tool.name, tool.freeform)
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.schema is not None:
        function["parameters"] = tool.schema
    if tool.strict is not None:
        function["strict"] = tool.strict
    if tool.cache is not None:
        dropped.append("cache_control")
    return {"type": "function", "function": function}


def _custom_tool(name: str, said: Freeform) -> dict[str, Any]:
    custom: dict[str, Any] = {"name": name}
    if said.description is not None:
        custom["description"] = said.description
    if said.definition is not None:
        custom["format"] = {"type": "grammar", "grammar": {"syntax": said.syntax, "definition": said.definition}}
    return {"type": "custom", "custom": custom}


def _tool_choice(body: dict[str, Any], choice: ToolChoice, custom: bool) -> None:
    kind = "custom" if custom else "function"
    if choice.mode == "named":
        body["tool_choice"] = {"type": kind, kind: {"name": choice.name}}
    else:
        body["tool_choice"] = choice.mode
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel


def _response_format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind == "text":
        return {"type": "text"}
    if wanted.kind == "json":
        return {"type": "json_object"}
    inner: dict[str, Any] = {"name": wanted.name or "response"}
    if wanted.description is not None:
        inner["description"] = wanted.description
    if wanted.schema is not None:
        inner["schema"] = wanted.schema
    inner["strict"] = True if wanted.strict is None else wanted.strict
    return {"type": "json_schema", "json_schema": inner}


def _sampling(body: dict[str, Any], request: Request, target: TargetFacts, dropped: list[str]) -> None:
    wanted = request.sampling
    for name in ("temperature", "top_p", "seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs", "n"):
        value = getattr(wanted, name)
        if value is not None:
            body[name] = value
    if wanted.top_k is not None:
        if quirks.flag(target.options, "top_k", False):
            body["top_k"] = wanted.top_k
        else:
            dropped.append("top_k")
    if wanted.max_tokens is not None:
        field = target.options.get("max_tokens_field")
        body[field if field == "max_tokens" else "max_completion_tokens"] = wanted.max_tokens
    if wanted.stop:
        body["stop"] = list(wanted.stop[:STOP_LIMIT])
        dropped.extend(f"stop.{i}" for i in range(STOP_LIMIT, len(wanted.stop)))


def _reasoning(body: dict[str, Any], wanted: Reasoning, dropped: list[str]) -> None:
    """An effort when the client named one or gave a budget; thinking left to the model is the default of this dialect."""
    if (effort := wanted.named_effort) is not None:
        body["reasoning_effort"] = effort
    elif wanted.enabled or wanted.adaptive:
        dropped.append("reasoning")
