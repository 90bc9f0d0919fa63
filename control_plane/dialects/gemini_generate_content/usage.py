"""Token counts of the dialect: thoughts are counted beside the candidates, prompts of server tools beside the prompt."""

from __future__ import annotations

import msgspec

from control_plane.dialects.canon import Usage

Count = int | float | None


class WireUsage(msgspec.Struct, rename="camel"):
    prompt_token_count: Count = None
    cached_content_token_count: Count = None
    tool_use_prompt_token_count: Count = None
    candidates_token_count: Count = None
    thoughts_token_count: Count = None


def write_usage(usage: Usage) -> dict[str, object]:
    """`usageMetadata`, or nothing where nothing is known. What was written to a cache is part of the prompt."""
    if usage.input is None and usage.output is None:
        return {}
    counts = {
        "promptTokenCount": usage.input,
        "cachedContentTokenCount": usage.cached,
        "candidatesTokenCount": None if usage.output is None else max(0, usage.output - (usage.reasoning or 0)),
        "thoughtsTokenCount": usage.reasoning or None,
        "totalTokenCount": (usage.input or 0) + (usage.output or 0),
    }
    return {"usageMetadata": {name: count for name, count in counts.items() if count is not None}}


class UsageCounter:
    """Joins the counts of a stream's chunks: each repeats what is known so far, and may leave fields out."""

    __slots__ = ("_cached", "_prompt", "_thoughts", "_tools", "_visible")

    def __init__(self) -> None:
        self._prompt: int | None = None
        self._tools: int | None = None
        self._cached: int | None = None
        self._visible: int | None = None
        self._thoughts: int | None = None

    def add(self, wire: WireUsage) -> Usage:
        """Canonical counts, where parts lie inside the whole: cached tokens are inside the prompt already, thoughts join the output."""
        self._prompt = _later(self._prompt, wire.prompt_token_count)
        self._tools = _later(self._tools, wire.tool_use_prompt_token_count)
        self._cached = _later(self._cached, wire.cached_content_token_count)
        self._visible = _later(self._visible, wire.candidates_token_count)
        self._thoughts = _later(self._thoughts, wire.thoughts_token_count)
        return Usage(
            input=_sum(self._prompt, self._tools),
            cached=self._cached,
            output=_sum(self._visible, self._thoughts),
            reasoning=self._thoughts,
        )


def _sum(first: int | None, second: int | None) -> int | None:
    return first if second is None else (first or 0) + second


def _later(old: int | None, value: object) -> int | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15
    return int(value) if fits else old  # type: ignore[call-overload]
