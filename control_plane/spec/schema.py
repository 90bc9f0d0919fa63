"""JSON Schema (draft 2020-12) of the documents, out of the models: for editors, for CI, and for `headgate explain`."""

from __future__ import annotations

from typing import Any, Final, cast

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from control_plane.spec.models import API_VERSION, KINDS
from control_plane.spec.quantities import format_duration, format_quantity

DIALECT: Final = GenerateJsonSchema.schema_dialect
ID_BASE: Final = f"https://{API_VERSION}/"


def schema_of(kind: str) -> dict[str, Any]:
    """The schema of one kind (a key of `KINDS`), in the order of the models' fields. KeyError for another kind."""
    model: type[BaseModel] = KINDS[kind]
    schema = model.model_json_schema(by_alias=True, mode="validation")
    properties = schema.pop("properties")
    body = {name: properties[name] for name in ("apiVersion", "kind", "metadata", "spec")}
    for name in ("apiVersion", "kind"):
        body[name].pop("default", None)
    required = ["kind", "metadata", "spec"]  # without apiVersion a document is read, with a warning
    defs = schema.pop("$defs", {})
    head = {"$schema": DIALECT, "$id": ID_BASE + kind.lower(), "title": kind, "description": schema.get("description", "")}
    return cast(
        dict[str, Any],
        _tidy({**head, "type": "object", "properties": body, "required": required, "additionalProperties": False, "$defs": defs}),
    )


def schema_of_all() -> dict[str, Any]:
    """One schema that accepts every kind."""
    parts = {kind: schema_of(kind) for kind in KINDS}
    defs: dict[str, Any] = {}
    for kind, part in parts.items():
        defs.update(part.pop("$defs"))
        for key in ("$schema", "$id"):
            part.pop(key)
        defs[kind] = part
    return {
        "$schema": DIALECT,
        "$id": ID_BASE + "document",
        "title": "Headgate document",
        "oneOf": [{"$ref": f"#/$defs/{kind}"} for kind in KINDS],
        "$defs": {name: defs[name] for name in sorted(defs)},
    }


def _tidy(value: Any, *, names: bool = False) -> Any:
    """Without what pydantic derives and nobody needs. With `names` the keys of `value` are field names, not keywords."""
    if isinstance(value, list | tuple):
        return [_tidy(child) for child in value]
    if not isinstance(value, dict):
        return value
    if names:
        return {key: _tidy(child) for key, child in value.items()}
    kept: dict[str, Any] = {
        key: _tidy(child, names=key in ("properties", "$defs")) for key, child in value.items() if key != "title" or "$id" in value
    }
    if {"type": "null"} in kept.get("anyOf", ()):  # optional: leaving a field out is how to say nothing
        inner = next(part for part in kept.pop("anyOf") if part != {"type": "null"})
        kept = {**inner, **kept}
        kept.pop("default", None)
    if "x-bounds" in kept and isinstance(kept.get("default"), int):
        kept["default"] = format_duration(kept["default"]) if kept.get("type") == "string" else format_quantity(kept["default"])
    return kept
