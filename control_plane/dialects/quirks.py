"""Habits of single vendors and models that presets describe as data, applied to a provider request just before it is encoded.

These are the options that every dialect knows; `options.py` declares them and those of each dialect.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def apply(body: dict[str, Any], options: Mapping[str, object], words: Mapping[str, str] = {}) -> list[str]:
    """Changes `body` in place; returns the names of what was removed: OpenAI chat's, by `words`, as writers name everything."""
    dropped: list[str] = []
    unwanted = options.get("drop_params")
    if isinstance(unwanted, list):
        gone = [name for name in unwanted if isinstance(name, str) and body.pop(name, None) is not None]
        dropped.extend(words.get(name, name) for name in gone)
    renames = options.get("rename_params")
    if isinstance(renames, Mapping):
        for old, new in renames.items():
            if isinstance(new, str) and old in body:
                body.setdefault(new, body.pop(old))
    return dropped


def flag(options: Mapping[str, object], name: str, default: bool) -> bool:
    value = options.get(name)
    return value if isinstance(value, bool) else default


def positive_int(options: Mapping[str, object], name: str, default: int) -> int:
    value = options.get(name)
    return value if type(value) is int and value > 0 else default


def unique(names: list[str]) -> tuple[str, ...]:
    """The names once each, in order of appearance."""
    return tuple(dict.fromkeys(names))
