"""Words of the dialect: its name, finish reasons both ways, which models think."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from control_plane.dialects.canon import StopReason

NAME: Final = "cohere-chat"

STOP_TO_CANON: Final[Mapping[str, StopReason]] = {
    "COMPLETE": "end",
    "STOP_SEQUENCE": "stop_sequence",
    "MAX_TOKENS": "max_tokens",
    "TOOL_CALL": "tool_use",
    "ERROR_TOXIC": "content_filter",  # of the older API, still given by models behind other hosts
    "ERROR_LIMIT": "context_window",
}

STOP_TO_WIRE: Final[Mapping[StopReason, str]] = {
    "end": "COMPLETE",
    "max_tokens": "MAX_TOKENS",
    "stop_sequence": "STOP_SEQUENCE",
    "tool_use": "TOOL_CALL",
    "refusal": "ERROR",
    "content_filter": "ERROR",
    "pause": "COMPLETE",
    "context_window": "MAX_TOKENS",
    "other": "COMPLETE",
}
"""`ERROR` is the only word that tells a client not to take a refused or filtered answer for a complete one."""

FAILED_STOPS: Final = frozenset({"ERROR", "TIMEOUT"})
"""The vendor failed: there is no whole answer, and another try may well succeed."""

FILTERED: Final = "the model refused, or a content filter stopped the answer"
"""`error` beside the finish reason `ERROR` of such an answer."""

_THINKS: Final = re.compile(r"reason|command-a-plus")


def thinks(model: str) -> bool:
    """Whether the model of this name thinks, so that it takes `thinking` and gives and takes blocks of it."""
    return _THINKS.search(model) is not None
