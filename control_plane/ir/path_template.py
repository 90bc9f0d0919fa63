"""Paths of clients that name the model in the path, as templates.

/v1beta/models/{model}:generateContent      the model, percent-encoded or not; it may hold ":" and "/"
/v1beta/{model:tunedModels/}:embedContent   the model with the collection that its name begins with
/v1/projects/{project}/models/{model}:x     one segment whose value does not matter
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_FIELD: Final = re.compile(r"\{([a-z]+)(?::([^}]*))?\}")
_LUA_MAGIC: Final = re.compile(r"[\^$()%.\[\]*+\-?]")


def envoy_regex(template: str) -> str:
    """What Envoy matches the path with, without its query."""
    return _written(template, re.escape, ".+", "[^/]+")


def lua_pattern(template: str) -> str:
    """What the edge filter takes the model out with; it captures exactly what `envoy_regex` leaves open as the model."""
    return "^" + _written(template, lambda text: _LUA_MAGIC.sub(r"%\g<0>", text), ".+", "[^/]+", "(", ")") + "$"


def _written(template: str, literal: Callable[[str], str], model: str, segment: str, before: str = "", after: str = "") -> str:
    out, at = "", 0
    for field in _FIELD.finditer(template):
        out += literal(template[at : field.start()])
        out += before + literal(field[2] or "") + model + after if field[1] == "model" else segment
        at = field.end()
    return out + literal(template[at:])
