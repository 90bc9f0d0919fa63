"""What is known of Claude models by their names, wherever they are served: at Anthropic, on Bedrock, on Vertex."""

from __future__ import annotations

import re
from typing import Final

MIN_BUDGET_TOKENS: Final = 1024
"""The least thinking budget that is not refused."""

BUDGETS: Final = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 32768}
"""Thinking budgets in tokens that efforts come to."""

EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}
"""Efforts that these models know."""

_VERSION: Final = re.compile(r"claude-(?:[a-z]+-)?(\d+)(?:[-.](\d{1,2}))?(?!\d)")


def version(model: str) -> tuple[int, int] | None:
    """(4, 5) of `us.anthropic.claude-sonnet-4-5-20250929-v1:0`; None for a model that is no Claude."""
    found = _VERSION.search(model)
    return None if found is None else (int(found[1]), int(found[2] or 0))


def thinks_adaptively(model: str) -> bool:
    """Whether a model is told to think by effort instead of by a token budget: from 4.6 on; 5 refuses budgets."""
    found = version(model)
    return found is not None and found >= (4, 6)
