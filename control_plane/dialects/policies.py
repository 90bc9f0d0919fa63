"""What a route may say about requests that a target cannot take whole. Imports nothing, so that specs can name the values."""

from __future__ import annotations

from typing import Final, Literal, get_args

UnsupportedParams = Literal["drop", "reject"]
"""A tuning knob that the target would not get: dropped and named, or the target is unfit for the request."""

ForeignReasoning = Literal["strip", "text", "refuse"]
"""Reasoning of an earlier turn that the target cannot take back as it stands: see `foreign_reasoning`."""

FOREIGN_REASONING: Final[tuple[ForeignReasoning, ...]] = get_args(ForeignReasoning)
