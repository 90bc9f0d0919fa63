"""Strict reading of client bodies: every fault is a 400 that names the field.

`parse_object` reads the document, the other functions read fields of it. Paths are written as clients write them in their
code: "messages.3.content.0.text".
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Container, Iterable
from typing import Any, Final, NoReturn

import msgspec

from control_plane.kit.errors import ClientProtocolError

DEPTH_LIMIT: Final = 64
"""Levels of nesting. Real tool schemas stay below 25; 64 keeps recursion cheap for everyone who handles the value later."""

_RAW_FIELDS: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_ANY: Final = msgspec.json.Decoder()
_SPACE: Final = rb"[ \t\n\r]*"
_OPEN: Final = re.compile(_SPACE + rb"\{" + _SPACE)
_KEY: Final = re.compile(rb'"(?:[^"\\]|\\.)*"' + _SPACE + rb":" + _SPACE)
_NEXT: Final = re.compile(_SPACE + rb"([,}])" + _SPACE)

_KINDS: Final = {str: "a string", bool: "a boolean", int: "a number", float: "a number", list: "an array", dict: "an object"}

Object = dict[str, Any]


def kind_of(value: object) -> str:
    """What a JSON value is, in words."""
    return "null" if value is None else _KINDS.get(type(value), "a value")


def reject(path: str, message: str, code: str = "invalid_value") -> NoReturn:
    """Refuses the request because of the field at `path`."""
    raise ClientProtocolError(400, code, f"{path}: {message}" if path else message, path or None)


def wrong_type(path: str, expected: str, value: object) -> NoReturn:
    reject(path, f"expected {expected}, got {kind_of(value)}", "invalid_type")


def parse_object(body: bytes) -> Object:
    """The body as a JSON object. Refuses: not UTF-8, not JSON (NaN and Infinity too), not an object, too deep, a top-level key twice."""
    try:
        value = _ANY.decode(body)
    except UnicodeDecodeError as error:
        raise ClientProtocolError(400, "invalid_utf8", "the body is not valid UTF-8") from error
    except RecursionError as error:
        raise _too_deep() from error
    except (msgspec.DecodeError, ValueError) as error:
        raise ClientProtocolError(400, "invalid_json", f"the body is not valid JSON: {_reason(error)}") from error
    if type(value) is not dict:
        raise ClientProtocolError(400, "invalid_type", f"the body must be a JSON object, got {kind_of(value)}")
    if body.count(b"{") + body.count(b"[") > DEPTH_LIMIT and not _within_depth(value):
        raise _too_deep()
    _refuse_duplicate_keys(body)
    return value


def _reason(error: Exception) -> str:
    text = str(error).removeprefix("JSON is malformed: ")
    return text[:200]


def _too_deep() -> ClientProtocolError:
    return ClientProtocolError(400, "too_deep", f"the body is nested deeper than {DEPTH_LIMIT} levels")


def _within_depth(value: object) -> bool:
    """Breadth first, so that the cost is one visit per node and no recursion."""
    level: list[Any] = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) is dict or type(child) is list
        ]
        if not level:
            return True
    return False


def _refuse_duplicate_keys(body: bytes) -> None:
    """Two readers of one body may pick different values of a repeated key, so that a check on one is no check at all.

    The decoder keeps the last value of a key at the place of the first. So walk the body along the decoded values: a body
    without duplicates is exactly key, value, comma, key, value … with nothing left; any other has a repeated key.
    """
    match = _OPEN.match(body)
    position = match.end() if match else 0
    fields = _RAW_FIELDS.decode(body)
    for raw in fields.values():
        value = bytes(raw)
        match = _KEY.match(body, position)
        if match is None or not body.startswith(value, match.end()):
            raise _repeated(body)
        match = _NEXT.match(body, match.end() + len(value))
        if match is None:
            raise _repeated(body)
        position = match.end()
    if fields and position < len(body):
        raise _repeated(body)


def _repeated(body: bytes) -> ClientProtocolError:
    """Names the key, at the cost of a second parse; the body is known to be shallow JSON by now."""
    pairs = json.JSONDecoder(object_pairs_hook=list).decode(body.decode())
    counts = Counter(str(pair[0])[:64] for pair in pairs)
    key = counts.most_common(1)[0][0]
    return ClientProtocolError(400, "duplicate_key", f"{key}: the key appears twice", key)


def at(path: str, key: str | int) -> str:
    return f"{path}.{key}" if path else str(key)


def string(parent: Object, key: str, path: str) -> str | None:
    value = parent.get(key)
    if value is None or type(value) is str:
        return value
    wrong_type(at(path, key), "a string", value)


def required_string(parent: Object, key: str, path: str) -> str:
    value = parent.get(key)
    if type(value) is str:
        return value
    if key not in parent:
        reject(at(path, key), "is required", "missing_field")
    wrong_type(at(path, key), "a string", value)


def boolean(parent: Object, key: str, path: str) -> bool | None:
    value = parent.get(key)
    if value is None or type(value) is bool:
        return value
    wrong_type(at(path, key), "a boolean", value)


def number(parent: Object, key: str, path: str) -> float | None:
    value = parent.get(key)
    if value is None or type(value) is float or type(value) is int:
        return value
    wrong_type(at(path, key), "a number", value)


def integer(parent: Object, key: str, path: str) -> int | None:
    value = parent.get(key)
    if value is None or type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    wrong_type(at(path, key), "an integer", value)


def array(parent: Object, key: str, path: str) -> list[Any]:
    """The array at `key`; empty when absent or null."""
    value = parent.get(key)
    if value is None:
        return []
    if type(value) is list:
        return value
    wrong_type(at(path, key), "an array", value)


def obj(parent: Object, key: str, path: str) -> Object | None:
    value = parent.get(key)
    if value is None or type(value) is dict:
        return value
    wrong_type(at(path, key), "an object", value)


def required_obj(parent: Object, key: str, path: str) -> Object:
    value = parent.get(key)
    if type(value) is dict:
        return value
    if key not in parent:
        reject(at(path, key), "is required", "missing_field")
    wrong_type(at(path, key), "an object", value)


def as_obj(value: object, path: str) -> Object:
    if type(value) is dict:
        return value
    wrong_type(path, "an object", value)


def texts(parent: Object, key: str, path: str) -> dict[str, str]:
    """An object of texts, empty where there is none."""
    found = obj(parent, key, path) or {}
    for name, value in found.items():
        if type(value) is not str:
            wrong_type(at(at(path, key), name), "a string", value)
    return found


def unknown_fields(parent: Object, known: frozenset[str], path: str) -> Iterable[str]:
    """Paths of the fields of `parent` that are set and not in `known`."""
    return [at(path, key) for key, value in parent.items() if key not in known and value is not None]


def placeless(raw: Object, mapped: Container[str], features: Container[str]) -> tuple[list[str], list[str]]:
    """Fields of a request that canon has no place for, in their order: (tuning knobs, what is in `features`)."""
    knobs: list[str] = []
    needed: list[str] = []
    for key, value in raw.items():
        if key not in mapped and value is not None:
            (needed if key in features else knobs).append(key)
    return knobs, needed


def model_of(raw: Object) -> str:
    """`model`, which must be there and not be empty."""
    model = required_string(raw, "model", "")
    return model or reject("model", "must not be empty")


def messages_of(raw: Object) -> list[Any]:
    """`messages`, which must be there and not be empty."""
    if "messages" not in raw:
        reject("messages", "is required", "missing_field")
    return array(raw, "messages", "") or reject("messages", "must not be empty")


def data_url(url: str, path: str) -> tuple[str, str]:
    """(media type, data in base64) of a data URL."""
    head, comma, data = url.partition(",")
    if not comma or not head.endswith(";base64"):
        reject(path, "a data URL must be data:<media type>;base64,<data>")
    return head[5:-7].partition(";")[0], data
