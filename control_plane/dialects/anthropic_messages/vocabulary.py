"""Words of the dialect: its name, its version header, stop reasons both ways."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects.canon import StopReason

NAME: Final = "anthropic-messages"

VERSION_HEADER: Final = ("anthropic-version", "2023-06-01")
BETA_HEADER: Final = "anthropic-beta"

STOP_TO_CANON: Final[Mapping[str, StopReason]] = {
    "end_turn": "end",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context_window",
}

STOP_TO_WIRE: Final[Mapping[StopReason, str]] = {
    "end": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "content_filter": "refusal",
    "pause": "pause_turn",
    "context_window": "model_context_window_exceeded",
    "other": "end_turn",
}
