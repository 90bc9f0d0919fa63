"""Words of the dialect: its name, stop reasons both ways, whose signatures `reasoning_details` carry."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects.canon import StopReason

NAME: Final = "openai-chat"

STOP_TO_CANON: Final[Mapping[str, StopReason]] = {
    "stop": "end",
    "eos": "end",  # Together, TGI
    "eos_token": "end",
    "end_turn": "end",
    "length": "max_tokens",
    "max_tokens": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "tool_use": "tool_use",
    "content_filter": "content_filter",
    "model_length": "context_window",  # Mistral
}

STOP_TO_WIRE: Final[Mapping[StopReason, str]] = {
    "end": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
    "content_filter": "content_filter",
    "pause": "stop",
    "context_window": "length",
    "other": "stop",
}

OFFICIAL_STOPS: Final = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})

FAILED_STOPS: Final = frozenset({"error", "insufficient_system_resource"})
"""Finish reasons that say the vendor failed: OpenRouter, DeepSeek."""

DETAILS_ORIGIN: Final[Mapping[str, str]] = {
    "anthropic-claude-v1": "anthropic-messages",
    "openai-responses-v1": "openai-responses",
    "azure-openai-responses-v1": "openai-responses",
    "xai-responses-v1": "openai-responses",
    "google-gemini-v1": "gemini-generate-content",
}
"""`reasoning_details[].format` (OpenRouter's convention for carrying signed reasoning) to the dialect that signed it."""

CALL_SIGNATURES: Final[Mapping[str, tuple[str, ...]]] = {"gemini-generate-content": ("google", "vertex")}
"""Dialects that sign single calls, and the keys of `tool_calls[].extra_content` under which the vendor's own OpenAI-compatible APIs put
the signature. The first is written, all are read."""

DETAILS_FORMAT: Final[Mapping[str, str]] = {
    "anthropic-messages": "anthropic-claude-v1",
    "openai-responses": "openai-responses-v1",
    "gemini-generate-content": "google-gemini-v1",
}
