"""Names of what a vendor or model may lack of its dialect. Imports nothing of dialects, so that specs can name them."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

Capability = Literal[
    "tools",
    "tool-choice",
    "parallel-tools",
    "structured-output",
    "json-mode",
    "image",
    "audio",
    "document",
    "several-choices",
    "logprobs",
    "reasoning",
    "prompt-caching",
    "temperature",
    "top-p",
    "top-k",
    "penalties",
]

MEANINGS: Final[Mapping[Capability, str]] = MappingProxyType(
    {
        "tools": "tools, calls and their results; a request with them is unfit",
        "tool-choice": "a choice other than auto and none; unfit",
        "parallel-tools": "being told whether calls may be parallel; dropped, and named",
        "structured-output": "JSON after a schema; unfit",
        "json-mode": "JSON without a schema; unfit",
        "image": "images; unfit",
        "audio": "audio; unfit",
        "document": "documents; unfit",
        "several-choices": "more than one choice (n); unfit",
        "logprobs": "log probabilities; dropped, and named",
        "reasoning": "being told how much to think; dropped, and named",
        "prompt-caching": "cache markers; dropped, and named",
        "temperature": "being told a temperature; dropped, and named",
        "top-p": "being told top_p; dropped, and named",
        "top-k": "being told top_k; dropped, and named",
        "penalties": "presence and frequency penalties; dropped, and named",
    }
)
"""What is missing where a name is listed, and what becomes of a request that asks for it."""
