"""A value that fits a JSON schema, the same every time: arguments of simulated tool calls and structured answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, cast

import msgspec

DEPTH_LIMIT: Final = 12  # recursive schemas ($ref to themselves) end here
ITEMS_LIMIT: Final = 8  # minItems of a hostile schema

_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "email": "user@example.com",
    "uri": "https://example.com/",
    "url": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
    "ipv4": "192.0.2.1",
}

Schema = Mapping[str, Any]


def sample(schema: object, name: str = "value") -> Any:
    """A value for `schema` (JSON Schema as vendors accept it: types, enum, const, anyOf, allOf, $ref into $defs).

    Strings say which property they are for, in words with a quote, a newline and a letter outside ASCII, because these are what
    joined fragments and escapes get wrong.
    """
    root = cast(Schema, schema) if isinstance(schema, Mapping) else {}
    return _value(root, name, root, 0)


def sample_json(schema: object, name: str = "value") -> str:
    """`sample` as compact JSON text."""
    return msgspec.json.encode(sample(schema, name)).decode()


def _value(schema: Schema, name: str, root: Schema, depth: int) -> Any:
    if depth > DEPTH_LIMIT:
        return None
    if isinstance(reference := schema.get("$ref"), str):
        return _value(_resolve(reference, root), name, root, depth + 1)
    for key in ("const", "default"):
        if key in schema:
            return schema[key]
    if isinstance(choices := schema.get("enum") or schema.get("examples"), list) and choices:
        return choices[0]
    for key in ("anyOf", "oneOf"):
        if isinstance(options := schema.get(key), list) and options:
            real = [o for o in options if isinstance(o, Mapping) and o.get("type") != "null"]
            return _value(real[0], name, root, depth + 1) if real else None
    if isinstance(parts := schema.get("allOf"), list) and parts:
        merged: dict[str, Any] = {}
        for part in parts:
            if isinstance(part, Mapping):
                merged |= part if "$ref" not in part else _resolve(str(part["$ref"]), root)
        return _value(merged, name, root, depth + 1)
    return _typed(schema, name, root, depth)


def _typed(schema: Schema, name: str, root: Schema, depth: int) -> Any:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((k for k in kind if k != "null"), "null")
    if kind == "object" or (kind is None and "properties" in schema):
        properties = schema.get("properties")
        if not isinstance(properties, Mapping):
            return {}
        return {
            str(key): _value(cast(Schema, inner) if isinstance(inner, Mapping) else {}, str(key), root, depth + 1)
            for key, inner in properties.items()
        }
    if kind == "array":
        items = schema.get("items")
        least = schema.get("minItems", 1)
        count = min(max(int(least), 1), ITEMS_LIMIT) if isinstance(least, int) else 1
        return [_value(items if isinstance(items, Mapping) else {"type": "string"}, name, root, depth + 1) for _ in range(count)]
    if kind == "integer":
        return int(schema.get("minimum", 7))
    if kind == "number":
        return float(schema.get("minimum", 1.5))
    if kind == "boolean":
        return True
    if kind == "null":
        return None
    return _string(schema, name)


def _string(schema: Schema, name: str) -> str:
    if isinstance(known := _FORMATS.get(str(schema.get("format"))), str):
        return known
    text = f'the "{name}" of Zürich\n→ sample'
    least, most = schema.get("minLength", 0), schema.get("maxLength", 1000)
    if isinstance(least, int):
        text = text.ljust(min(least, 1000), ".")
    return text[:most] if isinstance(most, int) else text


def _resolve(reference: str, root: Schema) -> Schema:
    """Follows `#/a/b` inside the same document; anything else is an open schema."""
    node: Any = root
    for step in reference.removeprefix("#/").split("/") if reference.startswith("#/") else ():
        node = node.get(step.replace("~1", "/").replace("~0", "~"), {}) if isinstance(node, Mapping) else {}
    return cast(Schema, node) if isinstance(node, Mapping) else {}
