"""pydantic's errors as findings, in the operator's words and at the place in the file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from control_plane.spec.findings import Finding, severity_of
from control_plane.spec.nearest import did_you_mean, listed
from control_plane.spec.origin import Origin

MAX_FINDINGS: Final = 100  # of one document; more help nobody

PRIVATE: Final = (
    "credentials",
    "headers",
    "baseUrl",
    "prefix",
    "url",
)  # never quoted: they may hold a pasted key

EXPECTED: Final[Mapping[str, str]] = {
    "string_type": "a text", "int_type": "a whole number", "int_from_float": "a whole number", "bool_type": "true or false",
    "tuple_type": "a list", "dict_type": "a mapping", "mapping_type": "a mapping", "model_type": "a mapping",
    "model_attributes_type": "a mapping", "float_type": "a number",
}  # fmt: skip

PATTERNS: Final[Mapping[str, str]] = {
    "name": "lower-case letters, digits and inner dashes",
    "provider": "lower-case letters, digits and inner dashes",
    "env": "the NAME of an environment variable (letters, digits, underscores), not the key itself",
    "serverName": "a host name",
    "region": "a region such as us-east-1",
    "service": "a service name such as bedrock",
    "roleArn": "a role such as arn:aws:iam::123456789012:role/NAME",
    "scope": "a scope, without spaces",
    "scopes": "scopes, each without spaces",
    "tenantId": "letters, digits, dots and dashes",
    "clientId": "letters, digits, dots and dashes",
    "sessionName": "letters, digits and =,.@_-",
    "path": "a path such as /chat/completions",
    "operations": "a path such as /embeddings",
    "prefix": "printable ASCII",
    "code": "printable ASCII without spaces at either end",
    "type": "printable ASCII without spaces at either end",
    "message": "printable ASCII without spaces at either end",
    "models": "a model's name, with * for anything",
    "remaining": "a header's name in lower case",
    "limit": "a header's name in lower case",
    "reset": "a header's name in lower case",
    "labels": "letters, digits, dots, dashes and underscores",
    "annotations": "letters, digits, dots, dashes, underscores and a slash in the key",
}


def findings_of(error: ValidationError, origin: Origin, model: type[BaseModel]) -> list[Finding]:
    """At most MAX_FINDINGS findings, none of which quotes a value that may be secret."""
    found = [details for details in error.errors(include_url=False) if not _is_consequence(details)]
    return [_finding(details, origin, model) for details in found[:MAX_FINDINGS]]


def _is_consequence(details: ErrorDetails) -> bool:
    """pydantic counts the valid entries only, so that a list whose entries were refused is also called too short."""
    value = details["input"]
    return details["type"] == "too_short" and isinstance(value, tuple) and len(value) >= details.get("ctx", {}).get("min_length", 1)


def _finding(details: ErrorDetails, origin: Origin, model: type[BaseModel]) -> Finding:
    context: dict[str, Any] = dict(details.get("ctx") or {})
    path = tuple(step for step in details["loc"] if step != "[key]")
    kind = details["type"]
    at_key = kind == "extra_forbidden" or details["loc"] != path
    if "at" in context:  # a rule of the whole list or mapping says which item it means
        path, at_key = (*path, context["at"]), isinstance(context["at"], str)
    value = details["input"]
    shown = not any(field in path for field in PRIVATE)
    if kind.startswith("HG"):
        code, message, fix = kind, details["msg"], str(context.get("fix", ""))
        if context.get("shown") and shown:
            message += f", not {_kind_of(value)}{_quote(value)}" if kind == "HG1004" else _quote(value, ": ")
    else:
        code, message, fix = _translate(kind, context, path, value, model, shown=shown)
    line, col = origin.find(path, key=at_key)
    return Finding(code, severity_of(code), ".".join(map(str, path)), message, fix, origin.name, line, col)


def _translate(
    kind: str, context: dict[str, Any], path: tuple[int | str, ...], value: object, model: type[BaseModel], *, shown: bool
) -> tuple[str, str, str]:
    """Code, message and fix of one of pydantic's own error types."""
    if kind == "extra_forbidden":
        fields = fields_at(model, path[:-1])
        return "HG1003", "unknown field", did_you_mean(str(path[-1]), fields) or f"remove it; the fields here are {listed(fields, 20)}"
    if kind == "missing":
        return "HG1005", "missing field", f'add "{path[-1]}"'
    if kind in EXPECTED:
        quoted = _quote(value) if shown and isinstance(value, str | int | float) else ""
        fix = f"write {EXPECTED[kind]}" + (", or remove the field" if value is None else "")
        if kind == "bool_type" and isinstance(value, str) and value.lower() in ("yes", "no", "on", "off", "y", "n", "true", "false"):
            fix = f"write {'true' if value.lower() in ('yes', 'on', 'y', 'true') else 'false'} without quotes"
        return "HG1004", f"must be {EXPECTED[kind]}, not {_kind_of(value)}{quoted}", fix
    if kind in ("literal_error", "enum"):
        words = [word for word in str(context.get("expected", "")).replace(" or ", ", ").replace("'", "").split(", ") if word]
        meant = did_you_mean(value, words) if isinstance(value, str) else None
        return "HG1015", "unknown value" + (_quote(value) if shown else ""), meant or f"the values are {listed(words)}"
    if kind in ("too_short", "string_too_short"):
        return "HG1006", "must not be empty", f"give at least {context.get('min_length', 1)}"
    if kind in ("too_long", "string_too_long"):
        unit = "characters" if kind == "string_too_long" else "entries"
        return "HG1006", f"has more than {context.get('max_length')} {unit}", "shorten it"
    if kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context.get('ge')}" if "ge" in context else f"at most {context.get('le')}"
        return "HG1006", "out of bounds" + (_quote(value, ": ") if shown else ""), f"choose {bound}"
    if kind == "string_pattern_mismatch":
        words_for = next((PATTERNS[step] for step in reversed(path) if isinstance(step, str) and step in PATTERNS), "another form")
        return "HG1007", "has a form that is not allowed" + (_quote(value, ": ") if shown else ""), f"write {words_for}"
    return "HG1007", "cannot be used", f"see headgate explain {'.'.join(str(step) for step in path if not isinstance(step, int))}"


def fields_at(model: type[BaseModel], path: Sequence[int | str]) -> list[str]:
    """The YAML names of the fields of the model at `path` inside `model`; empty when there is none."""
    current: type[BaseModel] | None = model
    keyed = False  # the next step is a key of a mapping, not a field
    for step in path:
        if isinstance(step, int):
            continue
        if keyed:
            keyed = False
            continue
        field = next((f for f in current.model_fields.values() if f.alias == step), None) if current else None
        current = model_in(field.annotation) if field is not None else None
        keyed = field is not None and get_origin(field.annotation) is dict
    return [str(field.alias) for field in current.model_fields.values()] if current else []


def model_in(annotation: object) -> type[BaseModel] | None:
    """The model inside an annotation such as `tuple[Target, ...]` or `Tls | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for argument in get_args(annotation) if (found := model_in(argument)) is not None), None)


def _kind_of(value: object) -> str:
    names = ((bool, "true or false"), (str, "a text"), (int | float, "a number"), (tuple | list, "a list"), (dict, "a mapping"))
    return next((name for kind, name in names if isinstance(value, kind)), "nothing")


def _quote(value: object, before: str = " ") -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    text = str(value)
    if not text.isprintable() or len(text) > 60:
        return ""
    return f'{before}"{text}"' if isinstance(value, str) else before + text
