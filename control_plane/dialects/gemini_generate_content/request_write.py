"""Writing a generateContent request for a provider. The model and the way of answering stand in the path, not in the body.

`TargetFacts.path` holds `{model}` and ends with `:generateContent`; a streamed answer is asked for by `:streamGenerateContent?alt=sse`.
Options known beside those of `quirks`, whose names here may be fields of the body or of `generationConfig`:
  `thinking`: "level", "budget" or "none": how the model is told to think (default: by the generation in its name);
  `json_with_tools`: true when the model takes tools together with a response format (default: from the third generation on);
  `unsigned_calls`: true to mark replayed calls that no Gemini model signed, which the model would refuse (default: the same);
  `penalties`: true when the model takes presence and frequency penalties, which newer ones refuse;
  `call_ids`: false when the provider does not know ids of calls; `file_urls`: false when it does not fetch files by URL;
  `safety_settings`: list for `safetySettings`.
"""

from __future__ import annotations

import re
from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import ProviderRequest, TargetFacts
from control_plane.dialects.canon import Reasoning, Request, Tool, ToolChoice, Unfit
from control_plane.dialects.gemini_generate_content.messages_write import MessageWriter, own_contents
from control_plane.dialects.gemini_generate_content.schema import fit_schema
from control_plane.dialects.gemini_generate_content.vocabulary import METHODS, NAME, generation
from control_plane.dialects.model_path import filled, streaming

_encode: Final = msgspec.json.Encoder().encode

STOP_LIMIT: Final = 5
"""Gemini takes at most five stop sequences."""

CHOICE_LIMIT: Final = 8
"""The largest `candidateCount`."""

_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_.:-]{0,63}")
"""Names of functions that Gemini takes; other vendors also take longer ones and digits in front."""

_LEVELS: Final = {"minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
_BUDGETS: Final = {"minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576, "max": 24576}
"""What Google's own OpenAI-compatible API makes of an effort."""

WORDS: Final = {
    "topP": "top_p",
    "topK": "top_k",
    "maxOutputTokens": "max_tokens",
    "stopSequences": "stop",
    "presencePenalty": "presence_penalty",
    "frequencyPenalty": "frequency_penalty",
    "responseLogprobs": "logprobs",
    "logprobs": "top_logprobs",
    "candidateCount": "n",
    "thinkingConfig": "reasoning",
    "responseMimeType": "response_format",
    "responseJsonSchema": "response_format",
    "toolConfig": "tool_choice",
}
"""Fields that are called otherwise when they are named as dropped."""


def write_request(request: Request, target: TargetFacts) -> ProviderRequest:
    """The provider's request. Raises Unfit when a feature cannot be expressed in this dialect."""
    if request.dialect == NAME and request.raw is not None:
        return _from_raw(request, target)
    dropped: list[str] = list(request.lost_to(NAME))
    system, contents = MessageWriter(request, target, dropped).write()
    if not contents:
        raise Unfit("messages", f"{NAME} needs a message beside the instructions")
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    if request.tools:
        body["tools"] = [{"functionDeclarations": [_declaration(tool, i, dropped) for i, tool in enumerate(request.tools)]}]
    if request.foreign_tools:
        body["tools"] = [*body.get("tools", ()), *(dict(tool.raw) for tool in request.foreign_tools)]
    if request.tools and request.tool_choice is not None:
        body["toolConfig"] = {"functionCallingConfig": _tool_choice(request.tool_choice, dropped)}
    if isinstance(settings := target.options.get("safety_settings"), list):
        body["safetySettings"] = settings
    config: dict[str, Any] = {}
    _sampling(config, request, target, dropped)
    _response_format(config, request, target, dropped)
    _thinking(config, request, target, dropped)
    dropped.extend(name for name in ("user", "metadata") if getattr(request, name))
    if request.cache is not None:
        dropped.append("cache_control")
    dropped.extend(quirks.apply(config, target.options, WORDS))
    if config:
        body["generationConfig"] = config
    if request.dialect == NAME:
        body.update(request.extras)
    dropped.extend(quirks.apply(body, target.options, WORDS))
    return ProviderRequest(body=_encode(body), path=_path(target, request.stream), dropped=quirks.unique(dropped))


def _from_raw(request: Request, target: TargetFacts) -> ProviderRequest:
    """The client's own body, without the model and without what another vendor sealed."""
    dropped: list[str] = []
    body = {key: value for key, value in (request.raw or {}).items() if key != "model"}
    body["contents"] = own_contents(body.get("contents"), dropped)
    dropped.extend(quirks.apply(body, target.options, WORDS))
    return ProviderRequest(body=_encode(body), path=_path(target, request.stream), dropped=quirks.unique(dropped))


def _path(target: TargetFacts, stream: bool) -> str:
    path = filled(target.path, target.model)
    return streaming(path, METHODS) + "?alt=sse" if stream else path


def _declaration(tool: Tool, index: int, dropped: list[str]) -> dict[str, Any]:
    if not _NAME.fullmatch(tool.name):
        raise Unfit(f"tools.{index}", f"{NAME} does not take the name {tool.name[:100]!r}")
    wire: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        wire["description"] = tool.description
    if tool.schema:
        wire["parametersJsonSchema"] = tool.schema
    if tool.strict:
        dropped.append(f"tools.{index}.strict")
    if tool.cache is not None:
        dropped.append("cache_control")
    return wire


def _tool_choice(choice: ToolChoice, dropped: list[str]) -> dict[str, Any]:
    if choice.parallel is False and choice.mode != "none":
        dropped.append("parallel_tool_calls")  # no way to ask for one call at most
    mode = {"auto": "AUTO", "none": "NONE", "required": "ANY", "named": "ANY"}[choice.mode]
    return {"mode": mode} if choice.name is None else {"mode": mode, "allowedFunctionNames": [choice.name]}


def _sampling(config: dict[str, Any], request: Request, target: TargetFacts, dropped: list[str]) -> None:
    wanted = request.sampling
    for name, field in (
        ("temperature", "temperature"),
        ("top_p", "topP"),
        ("top_k", "topK"),
        ("max_tokens", "maxOutputTokens"),
    ):
        if (value := getattr(wanted, name)) is not None:
            config[field] = value
    if wanted.seed is not None:
        if -(1 << 31) <= wanted.seed < 1 << 31:
            config["seed"] = wanted.seed
        else:
            dropped.append("seed")  # 32 bits here
    for name, field in (("presence_penalty", "presencePenalty"), ("frequency_penalty", "frequencyPenalty")):
        if value := getattr(wanted, name):
            if quirks.flag(target.options, "penalties", False):
                config[field] = value
            else:
                dropped.append(name)
    if wanted.logprobs:
        config["responseLogprobs"] = True
        if wanted.top_logprobs:
            config["logprobs"] = wanted.top_logprobs
    if wanted.stop:
        config["stopSequences"] = list(wanted.stop[:STOP_LIMIT])
        dropped.extend(f"stop.{i}" for i in range(STOP_LIMIT, len(wanted.stop)))
    if (count := wanted.n or 1) > CHOICE_LIMIT:
        raise Unfit("n", f"{NAME} gives {CHOICE_LIMIT} choices at most")
    if count > 1:
        config["candidateCount"] = count


def _response_format(config: dict[str, Any], request: Request, target: TargetFacts, dropped: list[str]) -> None:
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return
    if request.tools and not quirks.flag(target.options, "json_with_tools", generation(target.model) >= (3, 0)):
        raise Unfit("response_format", f"the model {target.model} does not take a response format together with tools")
    config["responseMimeType"] = "application/json"
    if wanted.kind == "json_schema" and wanted.schema is not None:
        config["responseJsonSchema"] = fit_schema(dict(wanted.schema), "response_format.schema", dropped)
    if wanted.description is not None:
        dropped.append("response_format.description")


def _thinking(config: dict[str, Any], request: Request, target: TargetFacts, dropped: list[str]) -> None:
    wanted = request.reasoning
    if wanted is None:
        return
    field = "reasoning_effort" if wanted.effort is not None else "reasoning"
    form = target.options.get("thinking")
    if form not in ("level", "budget", "none"):
        version = generation(target.model)
        form = "level" if version >= (3, 0) else "budget" if version >= (2, 5) else "none"
    off = wanted.enabled is False or wanted.effort == "none"
    if form == "none":
        if not off:
            dropped.append(field)
        return
    told = _level(wanted, off, target.model) if form == "level" else _budget(wanted, off, target.model)
    if told.pop("inexact", False):
        dropped.append(field)
    if not off and wanted.visible is not False:
        told["includeThoughts"] = True
    if told:
        config["thinkingConfig"] = told


def _level(wanted: Reasoning, off: bool, model: str) -> dict[str, Any]:
    """From the third generation on; thinking has a least level there, and no way to be switched off."""
    if off:
        return {"thinkingLevel": "low" if "pro" in model else "minimal", "inexact": True}
    effort = wanted.named_effort
    if effort is None:
        return {}
    level = _LEVELS[effort]
    if level == "minimal" and "pro" in model:
        return {"thinkingLevel": "low", "inexact": True}
    return {"thinkingLevel": level}


def _budget(wanted: Reasoning, off: bool, model: str) -> dict[str, Any]:
    """The second generation; -1 leaves the budget to the model, and only the smaller models can do without."""
    least, most = (128, 32768) if "pro" in model else (512, 24576) if "lite" in model else (0, 24576)
    if off:
        return {"thinkingBudget": 128, "inexact": True} if "pro" in model else {"thinkingBudget": 0}
    budget = wanted.budget if wanted.budget is not None else _BUDGETS[wanted.effort] if wanted.effort is not None else None
    if budget is None:
        return {"thinkingBudget": -1} if wanted.enabled or wanted.adaptive else {}
    kept = min(most, max(least, budget))
    return {"thinkingBudget": kept} if kept == budget else {"thinkingBudget": kept, "inexact": True}
