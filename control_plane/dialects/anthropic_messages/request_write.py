"""Writing a messages request for a provider.

A request read from this dialect is written from the client's own body, so that unknown fields survive; only the model
changes, and reasoning that another vendor signed is left out. `dialects.options` declares the options that there are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.anthropic_messages.messages_write import MessageWriter, cache_control, own_messages
from control_plane.dialects.anthropic_messages.vocabulary import NAME, VERSION_HEADER
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.canon import Request, Thinking, Tool, ToolChoice, ToolResult, Unfit
from control_plane.dialects.claude import BUDGETS, EFFORTS, MIN_BUDGET_TOKENS, thinks_adaptively
from control_plane.dialects.closed_schema import answer_schema, fit_schema

_encode: Final = msgspec.json.Encoder().encode

DEFAULT_MAX_TOKENS: Final = 8192
_NO_COUNTERPART: Final = ("seed", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")

WORDS: Final = {"stop_sequences": "stop", "thinking": "reasoning", "metadata": "user"}
"""Fields that are called otherwise when they are named as dropped."""


def write_request(request: Request, target: TargetFacts, adapt: Callable[[dict[str, Any]], None] | None = None) -> ProviderRequest:
    """The provider's request. Raises Unfit when a feature cannot be expressed in this dialect. `adapt` changes the body for a cloud that
    wants it otherwise."""
    dropped: list[str] = []
    same = request.dialect == NAME and request.raw is not None
    body = _from_raw(request, target, dropped) if same else _from_canon(request, target, dropped)
    if target.options.get("prefill") == "none" and body["messages"] and body["messages"][-1].get("role") == "assistant":
        raise Unfit(request.messages[-1].path, "these models do not go on with an assistant message")
    if adapt is not None:
        adapt(body)
    config = "response_format" if "format" in (body.get("output_config") or {}) else "reasoning_effort"
    dropped.extend(quirks.apply(body, target.options, {**WORDS, "output_config": config}))
    return ProviderRequest(body=_encode(body), headers=(VERSION_HEADER,), dropped=quirks.unique(dropped))


def _from_raw(request: Request, target: TargetFacts, dropped: list[str]) -> dict[str, Any]:
    body = dict(request.raw or {})
    body["model"] = target.model
    body["messages"] = own_messages(request, dropped)
    return body


def _from_canon(request: Request, target: TargetFacts, dropped: list[str]) -> dict[str, Any]:
    dropped.extend(request.lost_to(NAME))
    if (request.sampling.n or 1) > 1:
        raise Unfit("n", f"{NAME} gives one choice per request")
    system, messages = MessageWriter(request, target, dropped).write()
    body: dict[str, Any] = {"model": target.model, "max_tokens": 0}
    if system:
        body["system"] = system
    body["messages"] = messages
    tools = [_tool(tool, index, target, dropped) for index, tool in enumerate(request.tools)]
    tools += [dict(tool.raw) for tool in request.foreign_tools]
    if tools:
        body["tools"] = tools
        if request.tool_choice is not None:
            _tool_choice(body, request.tool_choice)
    _response_format(body, request, target, dropped)
    thinking = _thinking(body, request, target, dropped)
    _sampling(body, request, thinking, dropped)
    if request.user is not None:
        body["metadata"] = {"user_id": request.user}
    if request.metadata:
        dropped.append("metadata")
    if request.cache is not None:
        body["cache_control"] = cache_control(request.cache)
    if request.stream:
        body["stream"] = True
    if request.dialect == NAME:
        body.update(request.extras)
    return body


def _tool(tool: Tool, index: int, target: TargetFacts, dropped: list[str]) -> dict[str, Any]:
    schema: dict[str, Any] = dict(tool.schema) if tool.schema is not None else {"type": "object", "properties": {}}
    schema.setdefault("type", "object")
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.strict:
        if quirks.flag(target.options, "structured_outputs", True):
            wire["strict"] = True
            schema = fit_schema(schema, f"tools.{index}.function.parameters", dropped)
        else:
            dropped.append(f"tools.{index}.function.strict")
    wire["input_schema"] = schema
    if tool.cache is not None:
        wire["cache_control"] = cache_control(tool.cache)
    return wire


def _tool_choice(body: dict[str, Any], choice: ToolChoice) -> None:
    kind = {"auto": "auto", "none": "none", "required": "any", "named": "tool"}[choice.mode]
    wire: dict[str, Any] = {"type": kind}
    if choice.name is not None:
        wire["name"] = choice.name
    if choice.parallel is not None and kind != "none":
        wire["disable_parallel_tool_use"] = not choice.parallel
    body["tool_choice"] = wire


def _response_format(body: dict[str, Any], request: Request, target: TargetFacts, dropped: list[str]) -> None:
    schema = answer_schema(request, target, NAME, dropped)
    if schema is not None:
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}


def _thinking(body: dict[str, Any], request: Request, target: TargetFacts, dropped: list[str]) -> bool:
    """Writes how to think, and `max_tokens`, which counts thinking too. True when the model will think."""
    default = quirks.positive_int(target.options, "default_max_tokens", DEFAULT_MAX_TOKENS)
    limit = request.sampling.max_tokens
    body["max_tokens"] = default if limit is None else limit
    wanted = request.reasoning
    if wanted is None:
        return False
    field = "reasoning_effort" if wanted.effort is not None else "reasoning"
    form = target.options.get("thinking")
    if form not in ("adaptive", "budget", "none"):
        form = "adaptive" if thinks_adaptively(target.model) else "budget"
    if wanted.enabled is False or wanted.effort == "none":
        if form != "none":
            body["thinking"] = {"type": "disabled"}
        return False
    choice = request.tool_choice
    forced = choice is not None and choice.mode in ("required", "named") and bool(request.tools)
    if form == "none" or forced:  # Anthropic refuses thinking with a forced tool; the tool is a feature, thinking a knob
        dropped.append(field)
        return False
    display = {} if wanted.visible is None else {"display": "summarized" if wanted.visible else "omitted"}
    if form == "adaptive":
        body["thinking"] = {"type": "adaptive", **display}
        if (effort := wanted.named_effort) is not None:
            body.setdefault("output_config", {})["effort"] = EFFORTS[effort]
        return True
    budget = wanted.budget if wanted.budget is not None else BUDGETS[wanted.effort or "medium"]
    budget = max(MIN_BUDGET_TOKENS, budget)
    if limit is None:
        body["max_tokens"] = default + budget
    budget = min(budget, body["max_tokens"] - 1)
    if budget < MIN_BUDGET_TOKENS or _inside_unsigned_tool_loop(request):
        dropped.append(field)
        return False
    body["thinking"] = {"type": "enabled", "budget_tokens": budget, **display}
    return True


def _inside_unsigned_tool_loop(request: Request) -> bool:
    """With a thinking budget Anthropic demands that the assistant turn whose tools are being answered begins with its signed thinking.

    A client of another dialect often cannot give that back; then this turn goes on without thinking.
    """
    if not request.messages or not any(isinstance(part, ToolResult) for part in request.messages[-1].parts):
        return False
    for message in reversed(request.messages):
        if message.role == "assistant":
            return not any(isinstance(part, Thinking) and part.signature and part.origin == NAME for part in message.parts)
    return False


def _sampling(body: dict[str, Any], request: Request, thinking: bool, dropped: list[str]) -> None:
    wanted = request.sampling
    if wanted.temperature is not None:
        if thinking and wanted.temperature != 1:
            dropped.append("temperature")  # Anthropic refuses any other than 1 while thinking
        else:
            body["temperature"] = min(1.0, max(0.0, wanted.temperature))
            if body["temperature"] != wanted.temperature:
                dropped.append("temperature")  # clipped to this dialect's range 0..1
    if wanted.top_p is not None:
        if "temperature" in body or (thinking and wanted.top_p < 0.95):
            dropped.append("top_p")  # models from 4.1 on refuse both at once; thinking allows 0.95..1
        else:
            body["top_p"] = wanted.top_p
    if wanted.top_k is not None:
        if thinking:
            dropped.append("top_k")
        else:
            body["top_k"] = wanted.top_k
    stops = [text for text in wanted.stop if text.strip()]
    if len(stops) < len(wanted.stop):
        dropped.append("stop")  # Anthropic refuses sequences of white space only
    if stops:
        body["stop_sequences"] = stops
    dropped.extend(name for name in _NO_COUNTERPART if getattr(wanted, name))
