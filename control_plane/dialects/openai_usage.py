"""Token counts as OpenAI writes them in chat and completions, with the places where vendors put cached and reasoning tokens."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane.dialects.canon import Usage

Count = int | float | None
Details = dict[str, Any] | None


class WireUsage(msgspec.Struct):
    prompt_tokens: Count = None
    completion_tokens: Count = None
    total_tokens: Count = None
    prompt_tokens_details: Details = None
    completion_tokens_details: Details = None
    prompt_token_details: Details = None  # Writer
    completion_token_details: Details = None
    prompt_cache_hit_tokens: Count = None  # DeepSeek
    cached_tokens: Count = None  # Moonshot
    num_cached_tokens: Count = None
    cache_read_input_tokens: Count = None
    cache_creation_input_tokens: Count = None  # gateways before Anthropic
    reasoning_tokens: Count = None  # Perplexity


def _count(value: object) -> int | None:
    return int(value) if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < 1e15 else None


def _first(*values: object) -> int | None:
    return next((count for value in values if (count := _count(value)) is not None), None)


def read_usage(wire: WireUsage) -> Usage:
    """Canonical counts, where parts lie inside the whole.

    xAI counts reasoning beside the completion instead of inside it, which its own total shows; on Azure it also counts cached
    tokens beside the prompt, which shows when they are more than the prompt.
    """
    prompt = wire.prompt_tokens_details or wire.prompt_token_details or {}
    completion = wire.completion_tokens_details or wire.completion_token_details or {}
    read, output = _count(wire.prompt_tokens), _count(wire.completion_tokens)
    reasoning = _first(completion.get("reasoning_tokens"), wire.reasoning_tokens)
    if reasoning and read is not None and output is not None and _count(wire.total_tokens) == read + output + reasoning:
        output += reasoning
    cached = _first(
        prompt.get("cached_tokens"), wire.prompt_cache_hit_tokens, wire.cache_read_input_tokens, wire.cached_tokens, wire.num_cached_tokens
    )
    if cached is not None and read is not None and cached > read:
        read += cached
    written = _first(prompt.get("cache_write_tokens"), wire.cache_creation_input_tokens)
    return Usage(input=read, cached=cached, cache_write=written, output=output, reasoning=reasoning)


def write_usage(usage: Usage) -> dict[str, Any]:
    """The `usage` object; unknown counts are 0 where the official type demands a number."""
    read, output = usage.input or 0, usage.output or 0
    wire: dict[str, Any] = {"prompt_tokens": read, "completion_tokens": output, "total_tokens": read + output}
    prompt: dict[str, int] = {}
    if usage.cached is not None:
        prompt["cached_tokens"] = usage.cached
    if usage.cache_write is not None:
        prompt["cache_write_tokens"] = usage.cache_write
    if prompt:
        wire["prompt_tokens_details"] = prompt
    if usage.reasoning is not None:
        wire["completion_tokens_details"] = {"reasoning_tokens": usage.reasoning}
    return wire
