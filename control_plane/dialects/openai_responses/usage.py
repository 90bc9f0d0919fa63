"""Token counts of the dialect: parts lie inside the whole, as in canon."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane.dialects.canon import Usage

Count = int | float | None


class WireUsage(msgspec.Struct):
    input_tokens: Count = None
    input_tokens_details: dict[str, Any] | None = None
    output_tokens: Count = None
    output_tokens_details: dict[str, Any] | None = None


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15 else None


def read_usage(wire: WireUsage) -> Usage:
    read, written = wire.input_tokens_details or {}, wire.output_tokens_details or {}
    return Usage(
        input=_count(wire.input_tokens),
        cached=_count(read.get("cached_tokens")),
        cache_write=_count(read.get("cache_write_tokens")),
        output=_count(wire.output_tokens),
        reasoning=_count(written.get("reasoning_tokens")),
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object; unknown counts are 0, since the official type demands every one of them."""
    read, output = usage.input or 0, usage.output or 0
    return {
        "input_tokens": read,
        "input_tokens_details": {"cached_tokens": usage.cached or 0, "cache_write_tokens": usage.cache_write or 0},
        "output_tokens": output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning or 0},
        "total_tokens": read + output,
    }
