"""Google's own schemas (`parameters`, `responseSchema`: a subset of OpenAPI 3.0) as JSON Schema.

Types are in capitals there, `nullable` stands beside the type, and whole numbers may be texts, as protobuf's JSON has them.
"""

from __future__ import annotations

from typing import Any, Final

from control_plane.dialects import json_body as j
from control_plane.dialects.gemini_generate_content.names import camel

_NAMED: Final = frozenset(("properties", "defs", "$defs"))
_LISTED: Final = frozenset(("anyOf", "oneOf", "prefixItems"))
_COUNTS: Final = frozenset(("minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"))
_RENAMED: Final = {"example": "examples", "defs": "$defs", "ref": "$ref"}
_LEFT_OUT: Final = frozenset(("nullable", "propertyOrdering"))


def json_schema(value: object, path: str) -> dict[str, Any]:
    """Raises ClientProtocolError for what is no schema. What is JSON Schema already stays as it is."""
    given = camel(value, path)
    made: dict[str, Any] = {}
    for key, item in given.items():
        if item is None or key in _LEFT_OUT:
            continue
        at = j.at(path, key)
        name = _RENAMED.get(key, key)
        if key == "type":
            made[name] = _type(item)
        elif key in _NAMED:
            made[name] = {field: json_schema(schema, j.at(at, field)) for field, schema in j.as_obj(item, at).items()}
        elif key in _LISTED:
            made[name] = [json_schema(schema, j.at(at, i)) for i, schema in enumerate(j.array(given, key, path))]
        elif key == "items" or (key == "additionalProperties" and type(item) is dict):
            made[name] = json_schema(item, at)
        elif key in _COUNTS and type(item) is str and item.isdigit():
            made[name] = int(item)
        else:
            made[name] = [item] if key == "example" else item
    if made.get("type") == "":
        del made["type"]
    return _nullable(made) if given.get("nullable") is True else made


def _type(value: object) -> object:
    if type(value) is list:
        return [item.lower() if type(item) is str else item for item in value]
    if value == "TYPE_UNSPECIFIED":
        return ""
    return value.lower() if type(value) is str else value


def _nullable(schema: dict[str, Any]) -> dict[str, Any]:
    kind = schema.get("type")
    if type(kind) is str:
        schema["type"] = [kind, "null"]
        if type(schema.get("enum")) is list and None not in schema["enum"]:
            schema["enum"] = [*schema["enum"], None]
    elif type(schema.get("anyOf")) is list:
        schema["anyOf"] = [*schema["anyOf"], {"type": "null"}]
    return schema
