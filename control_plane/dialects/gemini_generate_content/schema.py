"""What structured outputs take of a JSON Schema (https://ai.google.dev/gemini-api/docs/structured-output, JSON Schema support).

The service ignores the keywords that it does not know, so the schema goes as it is and what will not be enforced is named.
"""

from __future__ import annotations

from typing import Any, Final

_ENFORCED: Final = frozenset(
    (
        *("$id", "$defs", "$ref", "$anchor", "type", "format", "title", "description", "enum", "items", "prefixItems", "minItems"),
        *("maxItems", "minimum", "maximum", "anyOf", "oneOf", "properties", "additionalProperties", "required", "propertyOrdering"),
    )
)
_NAMED_SCHEMAS: Final = frozenset(("properties", "$defs"))
_LISTED_SCHEMAS: Final = frozenset(("anyOf", "oneOf", "prefixItems"))
_SCHEMAS: Final = frozenset(("items", "additionalProperties"))
_HARMLESS: Final = frozenset(("$schema", "$comment", "examples", "default", "deprecated"))


def fit_schema(schema: dict[str, Any], path: str, dropped: list[str]) -> dict[str, Any]:
    """The schema as the service takes it (`const` becomes a list of one). Names in `dropped` what it will not enforce."""
    fitted: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _NAMED_SCHEMAS and isinstance(value, dict):
            fitted[key] = {name: _inner(item, f"{path}.{key}.{name}", dropped) for name, item in value.items()}
        elif key in _LISTED_SCHEMAS and isinstance(value, list):
            fitted[key] = [_inner(item, f"{path}.{key}.{index}", dropped) for index, item in enumerate(value)]
        elif key in _SCHEMAS:
            fitted[key] = _inner(value, f"{path}.{key}", dropped)
        elif key == "const" and "enum" not in schema:
            fitted["enum"] = [value]
        else:
            fitted[key] = value
            if key not in _ENFORCED and key not in _HARMLESS:
                dropped.append(f"{path}.{key}")
    return fitted


def _inner(value: Any, path: str, dropped: list[str]) -> Any:
    return fit_schema(value, path, dropped) if isinstance(value, dict) else value
