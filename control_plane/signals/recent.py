"""Which lines were seen lately: makes delivery that may repeat a line count it once, within a bound."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from control_plane.signals.lines import Line

DEFAULT_KEPT: Final = 100_000
"""Keys remembered: about 20 s of lines at 5,000 a second, 25 MB. A repeat comes from a re-read that spans seconds at most."""


class RecentLines:
    """The keys of the last `kept` lines."""

    def __init__(self, kept: int = DEFAULT_KEPT) -> None:
        self._kept = kept
        self._keys: OrderedDict[tuple[str, object], None] = OrderedDict()

    def is_new(self, line: Line) -> bool:
        """True the first time; remembers the line."""
        key = line.key
        if key in self._keys:
            return False
        self._keys[key] = None
        if len(self._keys) > self._kept:
            self._keys.popitem(last=False)
        return True
