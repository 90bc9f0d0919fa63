"""Token counts of the dialect: here `input_tokens` excludes what was read from and written to the prompt cache."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane.dialects.canon import Usage

Count = int | float | None


class WireUsage(msgspec.Struct):
    input_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None
    output_tokens: Count = None
    output_tokens_details: dict[str, Any] | None = None


class UsageCounter:
    """Joins the counts of `message_start` and `message_delta`: later ones are cumulative and may leave fields out."""

    __slots__ = ("_cached", "_fresh", "_output", "_reasoning", "_written")

    def __init__(self) -> None:
        self._fresh: int | None = None
        self._cached: int | None = None
        self._written: int | None = None
        self._output: int | None = None
        self._reasoning: int | None = None

    def add(self, wire: WireUsage) -> Usage:
        self._fresh = _later(self._fresh, wire.input_tokens)
        self._cached = _later(self._cached, wire.cache_read_input_tokens)
        self._written = _later(self._written, wire.cache_creation_input_tokens)
        self._output = _later(self._output, wire.output_tokens)
        if wire.output_tokens_details is not None:
            self._reasoning = _later(self._reasoning, wire.output_tokens_details.get("thinking_tokens"))
        total = None if self._fresh is None else self._fresh + (self._cached or 0) + (self._written or 0)
        return Usage(total, self._cached, self._written, self._output, self._reasoning)


def _later(old: int | None, value: object) -> int | None:
    fits = isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15
    return int(value) if fits else old  # type: ignore[call-overload]


def write_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object; unknown counts are 0 where the official type demands a number."""
    cached, written = usage.cached or 0, usage.cache_write or 0
    wire: dict[str, Any] = {"input_tokens": max(0, (usage.input or 0) - cached - written), "output_tokens": usage.output or 0}
    if usage.cached is not None:
        wire["cache_read_input_tokens"] = cached
    if usage.cache_write is not None:
        wire["cache_creation_input_tokens"] = written
    if usage.reasoning is not None:
        wire["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    return wire
