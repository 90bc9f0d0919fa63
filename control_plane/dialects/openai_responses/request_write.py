"""Writing a Responses request for a provider.

A request read from this dialect is written from the client's own body, so that unknown fields survive; only the model
changes, and reasoning that another vendor signed is left out. Nothing of another dialect's request is stored (`store` false).
Options known beside those of `quirks`:
  `encrypted_reasoning`: whether to ask for reasoning that a later turn can give back; default: when the request asks for
    reasoning or the model's name says that it reasons, since other models refuse the question;
  `custom_tools`: false when the provider has no tools that take free text; they are functions then (`freeform`);
  `reasoning_summary`: false when the provider gives no summaries (OpenAI does to verified organizations only).
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from control_plane.dialects import freeform, quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.canon import Freeform, Reasoning, Request, ResponseFormat, Tool, ToolChoice, Unfit
from control_plane.dialects.openai_responses.messages_write import MessageWriter, own_input
from control_plane.dialects.openai_responses.vocabulary import INCLUDE_LOGPROBS, INCLUDE_REASONING, NAME

_encode: Final = msgspec.json.Encoder().encode

USER_LIMIT_CHARS: Final = 64
"""OpenAI refuses longer user identifiers; Claude Code's are longer."""

MIN_OUTPUT_TOKENS: Final = 16
"""OpenAI refuses smaller limits here, unlike in chat completions."""

_NO_COUNTERPART: Final = ("top_k", "seed", "presence_penalty", "frequency_penalty")
_REASONS: Final = re.compile(r"(?:^|[/.])(?:gpt-(?:[5-9]|[1-9]\d)|o[1-9])(?!.*chat)")
"""Names of OpenAI's reasoning models; `gpt-5-chat` does not reason."""

WORDS: Final = {"max_output_tokens": "max_tokens", "safety_identifier": "user", "text": "response_format"}
"""Fields that are called otherwise when they are named as dropped."""


def write_request(request: Request, target: TargetFacts) -> ProviderRequest:
    """The provider's request. Raises Unfit when a feature cannot be expressed in this dialect."""
    dropped: list[str] = []
    same = request.dialect == NAME and request.raw is not None
    if same and not quirks.flag(target.options, "custom_tools", True) and freeform.used(request):
        request, same = request.edited(), False
    body = _from_raw(request, target, dropped) if same else _from_canon(request, target, dropped)
    dropped.extend(quirks.apply(body, target.options, WORDS))
    return ProviderRequest(body=_encode(body), dropped=quirks.unique(dropped))


def _from_raw(request: Request, target: TargetFacts, dropped: list[str]) -> dict[str, Any]:
    body = dict(request.raw or {})
    body["model"] = target.model
    if "input" in body:
        body["input"] = own_input(body["input"], dropped)
    return body


def _from_canon(request: Request, target: TargetFacts, dropped: list[str]) -> dict[str, Any]:
    dropped.extend(request.lost_to(NAME))
    if (request.sampling.n or 1) > 1:
        raise Unfit("n", f"{NAME} gives one choice per request")
    instructions, items = MessageWriter(request, target, dropped).write()
    body: dict[str, Any] = {"model": target.model}
    if instructions:
        body["instructions"] = instructions
    body["input"] = items
    native = freeform.native(target, True)
    tools = [*(_tool(tool, native, dropped) for tool in request.tools), *(dict(tool.raw) for tool in request.foreign_tools)]
    if tools:
        body["tools"] = tools
        if request.tool_choice is not None:
            _tool_choice(body, request.tool_choice, native and freeform.chosen(request, request.tool_choice))
    if request.response_format is not None:
        body["text"] = {"format": _format(request.response_format)}
    _sampling(body, request, dropped)
    if request.reasoning is not None:
        _reasoning(body, request.reasoning, target, dropped)
    if request.user is not None:
        if len(request.user) <= USER_LIMIT_CHARS:
            body["safety_identifier"] = request.user
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
    else:
        body["store"] = False
        _include(body, request, target)
    return body


def _tool(tool: Tool, native: bool, dropped: list[str]) -> dict[str, Any]:
    """`strict` is always said: left out it means true here, and false in every other dialect."""
    if tool.cache is not None:
        dropped.append("cache_control")
    if native and tool.freeform is not None:
        return _custom_tool(tool.name, tool.freeform)
    wire: dict[str, Any] = {"type": "function", "name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    wire["parameters"] = tool.schema if tool.schema is not None else {"type": "object", "properties": {}}
    wire["strict"] = bool(tool.strict)
    return wire


def _custom_tool(name: str, said: Freeform) -> dict[str, Any]:
    wire: dict[str, Any] = {"type": "custom", "name": name}
    if said.description is not None:
        wire["description"] = said.description
    if said.definition is not None:
        wire["format"] = {"type": "grammar", "syntax": said.syntax, "definition": said.definition}
    return wire


def _tool_choice(body: dict[str, Any], choice: ToolChoice, custom: bool) -> None:
    kind = "custom" if custom else "function"
    body["tool_choice"] = {"type": kind, "name": choice.name} if choice.mode == "named" else choice.mode
    if choice.parallel is not None:
        body["parallel_tool_calls"] = choice.parallel


def _format(wanted: ResponseFormat) -> dict[str, Any]:
    if wanted.kind == "text":
        return {"type": "text"}
    if wanted.kind == "json":
        return {"type": "json_object"}
    if wanted.schema is None:
        raise Unfit("response_format.json_schema.schema", f"{NAME} needs a schema")
    wire: dict[str, Any] = {"type": "json_schema", "name": wanted.name or "response", "schema": wanted.schema}
    if wanted.description is not None:
        wire["description"] = wanted.description
    if wanted.strict is not None:
        wire["strict"] = wanted.strict
    return wire


def _sampling(body: dict[str, Any], request: Request, dropped: list[str]) -> None:
    wanted = request.sampling
    if wanted.max_tokens is not None:
        body["max_output_tokens"] = max(MIN_OUTPUT_TOKENS, wanted.max_tokens)
        if wanted.max_tokens < MIN_OUTPUT_TOKENS:
            dropped.append("max_tokens")  # raised to the smallest limit that is taken
    if wanted.temperature is not None:
        body["temperature"] = wanted.temperature
    if wanted.top_p is not None:
        body["top_p"] = wanted.top_p
    if wanted.top_logprobs is not None:
        body["top_logprobs"] = wanted.top_logprobs
    if wanted.stop:
        dropped.append("stop")
    dropped.extend(name for name in _NO_COUNTERPART if getattr(wanted, name))


def _reasoning(body: dict[str, Any], wanted: Reasoning, target: TargetFacts, dropped: list[str]) -> None:
    """An effort when the client named one or gave a budget; thinking left to the model is the default of this dialect. A summary
    for clients that expect to see the thinking: those that switched it on, unless they want it left out."""
    reasoning: dict[str, Any] = {}
    if (effort := wanted.named_effort) is not None:
        reasoning["effort"] = effort
    shown = wanted.visible if wanted.visible is not None else bool(wanted.enabled)
    if shown and effort != "none":
        if quirks.flag(target.options, "reasoning_summary", True):
            reasoning["summary"] = "auto"
        else:
            dropped.append("reasoning")
    if reasoning:
        body["reasoning"] = reasoning


def _include(body: dict[str, Any], request: Request, target: TargetFacts) -> None:
    """Nothing is stored, so reasoning must come along to be given back in the next turn."""
    include: list[str] = []
    wanted = request.reasoning
    asked = wanted is not None and wanted.enabled is not False and wanted.effort != "none"
    if quirks.flag(target.options, "encrypted_reasoning", asked or _REASONS.search(target.model) is not None):
        include.append(INCLUDE_REASONING)
    if request.sampling.logprobs:
        include.append(INCLUDE_LOGPROBS)
    if include:
        body["include"] = include
