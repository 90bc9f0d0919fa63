"""Fitting a JSON Schema into the subset that structured outputs of Anthropic and of Bedrock take.

Source: https://platform.claude.com/docs/en/build-with-claude/structured-outputs (JSON Schema limitations). Objects must be closed;
limits on numbers, lengths and patterns are not enforced by the service, so they move into the description, where the model reads them.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.canon import Request, Unfit

_KEPT: Final = frozenset(
    (
        *("type", "properties", "required", "items", "enum", "const", "anyOf", "allOf", "$ref", "$defs", "definitions"),
        *("description", "title", "default", "additionalProperties"),
    )
)
# A tuple, since what is looked up may be a list.
_FORMATS: Final = ("date-time", "time", "date", "duration", "email", "hostname", "uri", "ipv4", "ipv6", "uuid")
_IGNORED: Final = frozenset(("$schema", "$id", "$comment", "examples"))


def answer_schema(request: Request, target: TargetFacts, dialect: str, dropped: list[str]) -> dict[str, Any] | None:
    """The fitted schema that the answer has to follow; None where text will do. Raises Unfit when the target cannot promise it."""
    wanted = request.response_format
    if wanted is None or wanted.kind == "text":
        return None
    if wanted.kind == "json":
        raise Unfit("response_format", f"{dialect} cannot promise JSON without a schema; use json_schema")
    if not quirks.flag(target.options, "structured_outputs", True):
        raise Unfit("response_format", f"the model {target.model} does not know structured outputs")
    if wanted.schema is None:
        raise Unfit("response_format.json_schema.schema", f"{dialect} needs a schema")
    return fit_schema(dict(wanted.schema), "response_format.json_schema.schema", dropped)


def fit_schema(schema: dict[str, Any], path: str, dropped: list[str]) -> dict[str, Any]:
    """The schema as the service takes it. Names in `dropped` what it will not enforce; raises Unfit for open objects with a meaning."""
    fitted: dict[str, Any] = {}
    told: dict[str, Any] = {}
    for key, value in schema.items():
        if key in ("properties", "$defs", "definitions") and isinstance(value, dict):
            fitted[key] = {name: _inner(item, f"{path}.{key}.{name}", dropped) for name, item in value.items()}
        elif key in ("anyOf", "allOf", "oneOf") and isinstance(value, list):
            kept = "anyOf" if key == "oneOf" else key
            fitted[kept] = [_inner(item, f"{path}.{key}.{index}", dropped) for index, item in enumerate(value)]
        elif key == "items":
            fitted[key] = _inner(value, f"{path}.items", dropped)
        elif key in _KEPT or (key == "format" and value in _FORMATS) or (key == "minItems" and value in (0, 1)):
            fitted[key] = value
        elif key not in _IGNORED:
            told[key] = value
            dropped.append(f"{path}.{key}")
    if schema.get("type") == "object" or "properties" in schema:
        if isinstance(schema.get("additionalProperties"), dict):
            raise Unfit(f"{path}.additionalProperties", "structured outputs need closed objects")
        fitted["additionalProperties"] = False
    if told:
        limits = msgspec.json.encode(told).decode()
        before = fitted.get("description")
        fitted["description"] = f"{before}\n\n{limits}" if isinstance(before, str) else limits
    return fitted


def _inner(value: Any, path: str, dropped: list[str]) -> Any:
    return fit_schema(value, path, dropped) if isinstance(value, dict) else value
