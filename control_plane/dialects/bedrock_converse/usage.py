"""Token counts of the dialect: `inputTokens` excludes what was read from and written to the prompt cache."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane.dialects.canon import Usage

Count = int | float | None


class WireUsage(msgspec.Struct, rename="camel"):
    input_tokens: Count = None
    output_tokens: Count = None
    total_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_write_input_tokens: Count = None


def read_usage(wire: WireUsage) -> Usage:
    fresh, output, total = _count(wire.input_tokens), _count(wire.output_tokens), _count(wire.total_tokens)
    cached, written = _count(wire.cache_read_input_tokens), _count(wire.cache_write_input_tokens)
    if fresh is None:
        return Usage(None, cached, written, output)
    beside = (cached or 0) + (written or 0)
    inside = output is not None and total == fresh + output and beside <= fresh
    return Usage(fresh if inside else fresh + beside, cached, written, output)  # some models count the cache inside; the total tells


def _count(value: Count) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15 else None


def write_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object; unknown counts are 0 where the vendor's own type demands a number."""
    read, output = usage.input or 0, usage.output or 0
    cached, written = usage.cached or 0, usage.cache_write or 0
    wire: dict[str, Any] = {"inputTokens": max(0, read - cached - written), "outputTokens": output, "totalTokens": read + output}
    if usage.cached is not None:
        wire["cacheReadInputTokens"] = cached
    if usage.cache_write is not None:
        wire["cacheWriteInputTokens"] = written
    return wire
