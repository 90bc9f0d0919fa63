"""Field names of requests: protobuf's JSON, where `maxOutputTokens` may also be written `max_output_tokens`."""

from __future__ import annotations

import re
from typing import Final

from control_plane.dialects import json_body as j

_SNAKE: Final = re.compile(r"(?<=[a-z0-9])_([a-z0-9])")


def camel(value: object, path: str) -> j.Object:
    """The object with its own fields (not those of objects inside) in camel case. Refuses a field that is there in both spellings."""
    given = j.as_obj(value, path)
    if not any("_" in key for key in given):
        return given
    made: j.Object = {}
    for key, item in given.items():
        name = _SNAKE.sub(lambda found: found[1].upper(), key)
        if name in made:
            j.reject(j.at(path, key), f"is there twice, also as {name}", "duplicate_key")
        made[name] = item
    return made


def inner(parent: j.Object, key: str, path: str) -> j.Object | None:
    """The object at `key`, in camel case; None when absent or null."""
    value = parent.get(key)
    return None if value is None else camel(value, j.at(path, key))


def items(parent: j.Object, key: str, path: str) -> list[object]:
    """The list at `key`; a single object is a list of one, as protobuf's readers have it."""
    value = parent.get(key)
    return [value] if type(value) is dict else j.array(parent, key, path)
