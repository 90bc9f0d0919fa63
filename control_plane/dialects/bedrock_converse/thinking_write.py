"""How a model on Bedrock is told to think, and what that forbids: Converse has no fields for it, so the models' own go through
`additionalModelRequestFields`."""

from __future__ import annotations

from typing import Any, Final

from control_plane.dialects.api import TargetFacts
from control_plane.dialects.bedrock_converse.vocabulary import NAME
from control_plane.dialects.canon import Request, Thinking, ToolResult
from control_plane.dialects.claude import BUDGETS, EFFORTS, MIN_BUDGET_TOKENS, thinks_adaptively, version

_FORMS: Final = ("adaptive", "budget", "reasoning_config", "reasoning_effort", "none")
_LEVELS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}


def is_claude(model: str) -> bool:
    return "claude" in model


def write_thinking(extra: dict[str, Any], inference: dict[str, Any], request: Request, target: TargetFacts, dropped: list[str]) -> bool:
    """Writes into `additionalModelRequestFields` how to think. True when a Claude model will, which limits the sampling."""
    wanted = request.reasoning
    if wanted is None:
        return False
    form = target.options.get("thinking")
    if form not in _FORMS:
        form = _usual(target.model)
    if wanted.enabled is False or wanted.effort == "none":
        if form == "adaptive":
            extra["thinking"] = {"type": "disabled"}
        elif form == "reasoning_config":
            extra["reasoningConfig"] = {"type": "disabled"}
        elif form == "reasoning_effort":
            extra["reasoning_effort"] = "low"
            dropped.append("reasoning_effort")  # these models always think
        return False
    field = "reasoning_effort" if wanted.effort is not None else "reasoning"
    if form == "none":
        dropped.append(field)
        return False
    if form in ("reasoning_config", "reasoning_effort"):
        level = _LEVELS[wanted.named_effort or "medium"]
        if form == "reasoning_effort":
            extra["reasoning_effort"] = level
        else:
            extra["reasoningConfig"] = {"type": "enabled", "maxReasoningEffort": level}
        return False
    return _claude(extra, inference, request, form == "adaptive", field, dropped)


def _usual(model: str) -> str:
    if is_claude(model):
        known = version(model)
        return "none" if known is None or known < (3, 7) else "adaptive" if thinks_adaptively(model) else "budget"
    return "reasoning_config" if "nova-2" in model else "reasoning_effort" if "gpt-oss" in model else "none"


def _claude(extra: dict[str, Any], inference: dict[str, Any], request: Request, adaptive: bool, field: str, dropped: list[str]) -> bool:
    choice, wanted = request.tool_choice, request.reasoning
    assert wanted is not None
    if choice is not None and choice.mode in ("required", "named") and request.tools:
        dropped.append(field)  # Claude refuses thinking with a forced tool; the tool is a feature, thinking a knob
        return False
    display = {} if wanted.visible is None else {"display": "summarized" if wanted.visible else "omitted"}
    if adaptive:
        extra["thinking"] = {"type": "adaptive", **display}
        if (effort := wanted.named_effort) is not None:
            extra["output_config"] = {"effort": EFFORTS[effort]}
        return True
    budget = max(MIN_BUDGET_TOKENS, wanted.budget if wanted.budget is not None else BUDGETS[wanted.effort or "medium"])
    limit = inference.get("maxTokens")
    if limit is not None:
        budget = min(budget, limit - 1)
    if budget < MIN_BUDGET_TOKENS or _inside_unsigned_tool_loop(request):
        dropped.append(field)
        return False
    extra["thinking"] = {"type": "enabled", "budget_tokens": budget, **display}
    return True


def _inside_unsigned_tool_loop(request: Request) -> bool:
    """With a thinking budget Claude demands that the assistant turn whose tools are being answered begins with its signed thinking.

    A client of another dialect often cannot give that back; then this turn goes on without thinking.
    """
    if not any(isinstance(part, ToolResult) for part in request.messages[-1].parts):
        return False
    for message in reversed(request.messages):
        if message.role == "assistant":
            return not any(isinstance(part, Thinking) and part.signature and part.origin == NAME for part in message.parts)
    return False
