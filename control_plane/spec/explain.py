"""What a field is: type, default, bounds and meaning, out of the JSON Schema and so out of the models."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from control_plane.spec.models import KINDS
from control_plane.spec.nearest import nearest
from control_plane.spec.schema import schema_of

_SIZES: Final = (
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {}"),
    ("maxItems", "at most {} entries"),
    ("maxProperties", "at most {} entries"),
)


@dataclass(frozen=True, slots=True)
class FieldDoc:
    """One field for `headgate explain`. `path` begins with the kind; `children` are (name, type, description)."""

    path: str
    type: str
    required: bool
    default: str | None
    bounds: tuple[str, ...]
    description: str
    children: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class UnknownField:
    """No such field; `nearest` is a whole path to try instead, if there is one."""

    path: str
    nearest: str | None


def explain_field(path: str) -> FieldDoc | UnknownField:
    """For a path such as "modelroute.spec.plan" or, as findings print it, "spec.plan.0.targets.1.weight". List positions are ignored."""
    steps = [step for step in path.replace("[", ".").replace("]", "").split(".") if step and not step.isdigit() and step != "*"]
    kinds = {kind.lower(): kind for kind in KINDS}
    if steps and steps[0].lower() in kinds:
        return _find(kinds[steps[0].lower()], steps[1:], path)
    if steps and steps[0] in ("spec", "metadata", "apiVersion", "kind"):
        tries = [_find(kind, steps, path) for kind in KINDS]
        found = next((attempt for attempt in tries if isinstance(attempt, FieldDoc)), None)
        meant = next((attempt.nearest for attempt in tries if isinstance(attempt, UnknownField) and attempt.nearest), None)
        return found or UnknownField(path, meant)
    first = nearest(steps[0].lower(), kinds) if steps else None
    rest = _find(kinds[first], steps[1:], path) if first else None
    return UnknownField(path, rest.path if isinstance(rest, FieldDoc) else rest.nearest if rest else None)


def _find(kind: str, steps: list[str], asked: str) -> FieldDoc | UnknownField:
    schema = schema_of(kind)
    node, required, path = schema, True, kind.lower()
    for step in steps:
        if step in node.get("propertyNames", {}).get("enum", ()):
            continue  # the key of a mapping, such as a dialect, is ignored as the positions of lists are
        owner = _object_in(node, schema)
        fields = owner.get("properties", {}) if owner else {}
        name = step if step in fields else None
        if name is None:
            meant = nearest(step, fields)
            return UnknownField(asked, f"{path}.{meant}" if meant else None)
        required = name in owner.get("required", ()) if owner else False
        node, path = fields[name], f"{path}.{name}"
    return _describe(node, schema, path, required=required)


def _object_in(node: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any] | None:
    """The object that a field is, or a list or mapping of which it is, with references followed."""
    if "$ref" in node:
        return _object_in(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    for inner in (*node.get("anyOf", ()), *node.get("allOf", ())):
        found = _object_in(inner, schema)
        if found is not None:
            return found
    if node.get("type") == "array":
        return _object_in(node.get("items", {}), schema)
    if isinstance(node.get("additionalProperties"), dict):
        return _object_in(node["additionalProperties"], schema)
    return node if "properties" in node else None


def _describe(node: dict[str, Any], schema: dict[str, Any], path: str, *, required: bool) -> FieldDoc:
    owner = _object_in(node, schema)
    children = tuple(
        (name + ("" if name in owner.get("required", ()) else "?"), _type(child, schema), child.get("description", ""))
        for name, child in (owner or {}).get("properties", {}).items()
        if owner
    )
    default = _text(node["default"]) if node.get("default") not in (None, {}, []) else None
    return FieldDoc(path, _type(node, schema), required, default, _bounds(node), node.get("description", ""), children)


def _type(node: dict[str, Any], schema: dict[str, Any]) -> str:
    if "$ref" in node:
        return "mapping"
    if "anyOf" in node:
        kinds = [_type(part, schema) for part in node["anyOf"] if part.get("type") != "null"]
        return "quantity" if kinds == ["integer", "text"] else " or ".join(dict.fromkeys(kinds))
    if "const" in node:
        return f'"{node["const"]}"'
    if "enum" in node:
        return " | ".join(str(value) for value in node["enum"])
    kind = node.get("type", "mapping" if "allOf" in node else "any")
    if kind == "array":
        return f"list of {_type(node.get('items', {}), schema)}"
    if kind == "string":
        return "duration" if "x-bounds" in node else "text"
    return {"object": "mapping", "boolean": "true or false"}.get(kind, str(kind))


def _bounds(node: dict[str, Any]) -> tuple[str, ...]:
    """Every bound that is written in the schema of the field or of its items."""
    found: list[str] = []
    for part in (node, *node.get("anyOf", ())):
        if "x-bounds" in part:
            found.append(part["x-bounds"])
            continue
        low, high = part.get("minimum"), part.get("maximum")
        if (low is not None or high is not None) and "x-bounds" not in node:
            found.append(f"{low} to {high}")
        found.extend(words.format(part[keyword]) for keyword, words in _SIZES if keyword in part)
        if "pattern" in part and "x-bounds" not in node:
            found.append(f"matches {part['pattern']}")
    items = node.get("items")
    if isinstance(items, dict):
        found.extend(f"each {bound}" for bound in _bounds(items))
    return tuple(dict.fromkeys(found))


def _text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
