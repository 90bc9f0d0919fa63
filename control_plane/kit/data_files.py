"""The data files under envoy/: in a checkout beside the package, in an installed wheel inside it."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_HERE: Final = Path(__file__).resolve()
_PLACES: Final = (_HERE.parents[2] / "envoy", _HERE.parents[1] / "_envoy")


def data_file(name: str) -> Path:
    """The path of a file under envoy/, e.g. "lua/edge.lua". Raises FileNotFoundError for a broken installation."""
    for place in _PLACES:
        if (path := place / name).is_file():
            return path
    raise FileNotFoundError(f"envoy/{name} is missing from this installation of Headgate; reinstall it")
