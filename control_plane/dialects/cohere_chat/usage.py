"""Token counts of the dialect: what the model read and wrote (`tokens`) beside what is billed (`billed_units`)."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane.dialects.canon import Usage

Count = int | float | None


class _Billed(msgspec.Struct):
    input_tokens: Count = None
    output_tokens: Count = None


class _Tokens(msgspec.Struct):
    input_tokens: Count = None
    output_tokens: Count = None
    reasoning_tokens: Count = None
    image_tokens: Count = None


class WireUsage(msgspec.Struct):
    billed_units: _Billed | None = None
    tokens: _Tokens | None = None
    cached_tokens: Count = None


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15 else None


def read_usage(wire: WireUsage) -> Usage:
    """Canonical counts. Images are counted beside the input, which shows where more input is billed than `tokens` has."""
    billed, tokens = wire.billed_units or _Billed(), wire.tokens or _Tokens()
    read, paid = _count(tokens.input_tokens), _count(billed.input_tokens)
    if read is not None and paid is not None and paid > read:
        read += _count(tokens.image_tokens) or 0
    output = _count(tokens.output_tokens)
    return Usage(
        input=paid if read is None else read,
        cached=_count(wire.cached_tokens),
        output=_count(billed.output_tokens) if output is None else output,
        reasoning=_count(tokens.reasoning_tokens),
    )


def write_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object. Clients read either object, so both say the tokens that were used; unknown ones are left out."""
    counts = {"input_tokens": usage.input, "output_tokens": usage.output}
    known = {name: count for name, count in counts.items() if count is not None}
    wire: dict[str, Any] = {"billed_units": known, "tokens": known}
    if usage.reasoning is not None:
        wire["tokens"] = {**known, "reasoning_tokens": usage.reasoning}
    if usage.cached is not None:
        wire["cached_tokens"] = usage.cached
    return wire
