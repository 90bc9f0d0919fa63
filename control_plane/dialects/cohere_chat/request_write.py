"""Writing a chat request for a provider.

A request read from this dialect is written from the client's own body, so that unknown fields survive; only the model
changes. `dialects.options` declares the options that there are.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.canon import Request, Tool, ToolChoice, Unfit
from control_plane.dialects.cohere_chat.messages_write import MessageWriter
from control_plane.dialects.cohere_chat.vocabulary import NAME, thinks

_encode: Final = msgspec.json.Encoder().encode

STOP_LIMIT: Final = 5
"""Cohere takes at most five stop sequences."""

_RANGES: Final = (
    ("temperature", "temperature", 0.0, 1.0),
    ("top_p", "p", 0.01, 0.99),
    ("top_k", "k", 0, 500),
    ("presence_penalty", "presence_penalty", 0.0, 1.0),
    ("frequency_penalty", "frequency_penalty", 0.0, 1.0),
)
"""Name in canon, field, least and most: values beyond are refused by the vendor."""

_WORDS: Final = {"p": "top_p", "k": "top_k", "stop_sequences": "stop", "strict_tools": "tools", "documents": "messages"}
"""OpenAI chat's names for fields that a preset may drop."""

_BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192}
"""Tokens for an effort; a higher one leaves the budget to the model, which then thinks as long as it wants."""


def write_request(request: Request, target: TargetFacts) -> ProviderRequest:
    """The provider's request. Raises Unfit when a feature cannot be expressed in this dialect."""
    dropped: list[str] = []
    same = request.dialect == NAME and request.raw is not None
    body = {**(request.raw or {}), "model": target.model} if same else _from_canon(request, target, dropped)
    thought = "reasoning_effort" if request.reasoning is not None and request.reasoning.effort is not None else "reasoning"
    dropped.extend(quirks.apply(body, target.options, {**_WORDS, "thinking": thought}))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))


def told_to_think(target: TargetFacts) -> bool:
    """Whether the target's model thinks: as the target's options say, else by its name."""
    told = target.options.get("thinking")
    return told == "budget" if told in ("budget", "none") else thinks(target.model)


def _from_canon(request: Request, target: TargetFacts, dropped: list[str]) -> dict[str, Any]:
    dropped.extend(request.lost_to(NAME))
    if (request.sampling.n or 1) > 1:
        raise Unfit("n", f"{NAME} gives one choice per request")
    thinking = told_to_think(target)
    messages, documents = MessageWriter(request, thinking, dropped).write()
    if not messages:
        raise Unfit("messages", f"{NAME} needs a message beside the documents")
    body: dict[str, Any] = {"model": target.model, "messages": messages}
    if documents:
        body["documents"] = documents
    tools = _choose(body, request.tools, request.tool_choice, dropped)
    if tools:
        body["tools"] = [_tool(tool, dropped) for tool in tools]
        _strict(body, request.tools, dropped)
    _response_format(body, request, target, bool(tools or documents), dropped)
    _sampling(body, request, dropped)
    _thinking(body, request, thinking, dropped)
    dropped.extend(name for name in ("user", "metadata") if getattr(request, name))
    if request.cache is not None:
        dropped.append("cache_control")
    if request.stream:
        body["stream"] = True
    if request.dialect == NAME:
        body.update(request.extras)
    return body


def _choose(body: dict[str, Any], tools: tuple[Tool, ...], choice: ToolChoice | None, dropped: list[str]) -> tuple[Tool, ...]:
    """The tools to offer. One that is forced is the only one offered, since the dialect can force a call, but not name it."""
    if choice is None or not tools:
        return tools
    if choice.parallel is False and choice.mode != "none":
        dropped.append("parallel_tool_calls")  # no way to ask for one call at most
    if choice.mode == "none":
        body["tool_choice"] = "NONE"
    elif choice.mode != "auto":
        body["tool_choice"] = "REQUIRED"
    if choice.mode != "named":
        return tools
    only = tuple(tool for tool in tools if tool.name == choice.name)
    if not only:
        raise Unfit("tool_choice", f"names a tool that is not among the tools: {str(choice.name)[:100]!r}")
    return only


def _tool(tool: Tool, dropped: list[str]) -> dict[str, Any]:
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    function["parameters"] = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
    if tool.cache is not None:
        dropped.append("cache_control")
    return {"type": "function", "function": function}


def _strict(body: dict[str, Any], tools: tuple[Tool, ...], dropped: list[str]) -> None:
    """Strictness is one switch for all tools, and refuses a tool without a mandatory parameter."""
    wanted = [index for index, tool in enumerate(tools) if tool.strict]
    if not wanted:
        return
    if all((tool.schema or {}).get("required") for tool in tools):
        body["strict_tools"] = True
    else:
        dropped.extend(f"tools.{index}.function.strict" for index in wanted)


def _response_format(body: dict[str, Any], request: Request, target: TargetFacts, beside: bool, dropped: list[str]) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if beside and not quirks.flag(target.options, "json_with_tools", False):
        raise Unfit("response_format", f"{NAME} does not take a response format together with tools or documents")
    body["response_format"] = {"type": "json_object"}
    if wanted.schema is not None:
        body["response_format"]["json_schema"] = wanted.schema
    if wanted.description is not None:
        dropped.append("response_format.description")


def _sampling(body: dict[str, Any], request: Request, dropped: list[str]) -> None:
    wanted = request.sampling
    for name, field, least, most in _RANGES:
        if (value := getattr(wanted, name)) is not None:
            body[field] = min(most, max(least, value))
            if body[field] != value:
                dropped.append(name)  # clipped
    if wanted.max_tokens is not None:
        body["max_tokens"] = wanted.max_tokens
    if wanted.seed is not None:
        if 0 <= wanted.seed < 1 << 64:
            body["seed"] = wanted.seed
        else:
            dropped.append("seed")  # unsigned here
    if wanted.logprobs:
        body["logprobs"] = True
    if wanted.top_logprobs:
        dropped.append("top_logprobs")
    if wanted.stop:
        body["stop_sequences"] = list(wanted.stop[:STOP_LIMIT])
        dropped.extend(f"stop.{i}" for i in range(STOP_LIMIT, len(wanted.stop)))


def _thinking(body: dict[str, Any], request: Request, thinking: bool, dropped: list[str]) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    off = wanted.enabled is False or wanted.effort == "none"
    if not thinking:
        if not off:
            dropped.append("reasoning_effort" if wanted.effort is not None else "reasoning")
        return
    if off:
        body["thinking"] = {"type": "disabled"}
        return
    budget = wanted.budget if wanted.budget is not None else _BUDGETS.get(wanted.effort or "")
    if budget is not None and (limit := request.sampling.max_tokens) is not None:
        budget = min(budget, limit - 1)  # the limit counts thinking too
    if budget is None:
        body["thinking"] = {"type": "enabled"}
    elif budget > 0:
        body["thinking"] = {"type": "enabled", "token_budget": budget}
    else:
        dropped.append("reasoning_effort" if wanted.effort is not None else "reasoning")
