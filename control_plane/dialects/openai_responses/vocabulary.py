"""Words of the dialect: its name, how answers end both ways, what `include` may ask for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects.canon import StopReason

NAME: Final = "openai-responses"

INCOMPLETE_TO_CANON: Final[Mapping[str, StopReason]] = {
    "max_output_tokens": "max_tokens",
    "content_filter": "content_filter",
    "max_messages": "pause",
    "steered": "pause",
}
"""`incomplete_details.reason`."""

INCOMPLETE_TO_WIRE: Final[Mapping[StopReason, str]] = {
    "max_tokens": "max_output_tokens",
    "context_window": "max_output_tokens",
    "content_filter": "content_filter",
    "refusal": "content_filter",
}
"""Stop reasons that make an answer incomplete here; with any other it is completed. A refusal that has its own words is completed too."""

INCLUDE_REASONING: Final = "reasoning.encrypted_content"
INCLUDE_LOGPROBS: Final = "message.output_text.logprobs"
