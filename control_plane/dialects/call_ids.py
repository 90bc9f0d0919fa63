"""Ids of tool calls for vendors that take only some: in their alphabet, and unique in the conversation."""

from __future__ import annotations

import hashlib
import re


class CallIds:
    """Some vendors use characters that others refuse ("functions.get:0"), some long ids, and some the same id in every turn.

    `refused`: the characters that may not be in an id; `limit`: its length, None where there is no limit.
    """

    def __init__(self, refused: re.Pattern[str], limit: int | None = None) -> None:
        self._refused = refused
        self._limit = limit
        self._current: dict[str, str] = {}
        self._used: set[str] = set()

    def of_call(self, wanted: str) -> str:
        made = self._refused.sub("_", wanted)
        if made != wanted or not made or (self._limit is not None and len(made) > self._limit):
            made = f"{made[:40]}_{hashlib.sha256(wanted.encode(errors='replace')).hexdigest()[:8]}"
        name, count = made, 1
        while name in self._used:
            count += 1
            name = f"{made if self._limit is None else made[: self._limit - 8]}-{count}"
        self._used.add(name)
        self._current[wanted] = name
        return name

    def of_result(self, wanted: str) -> str:
        """The id of the latest call that had this id; a result without a call keeps its own, for the provider to refuse."""
        return self._current.get(wanted, wanted)
