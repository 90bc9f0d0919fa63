"""The IR as plain data (for `headgate translate --to ir`) and the difference of two of them."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from decimal import Decimal
from enum import Enum

from control_plane.ir.model import Gateway


def plain(node: object) -> object:
    """Dataclasses → dicts in field order, tuples → lists, enums → their values."""
    if isinstance(node, Enum):
        return node.value
    if isinstance(node, Decimal):
        return str(node)
    if is_dataclass(node) and not isinstance(node, type):
        shown = [f for f in fields(node) if not f.metadata.get("sparse") or getattr(node, f.name) != f.default]
        return {f.name: plain(getattr(node, f.name)) for f in shown}
    if isinstance(node, tuple):
        return [plain(item) for item in node]
    return node


def diff(old: Gateway, new: Gateway) -> list[str]:
    """One line for each provider or route that was added (+), removed (-) or changed (~), sorted."""
    lines = []
    for kind, before, after in (
        ("provider", {p.name: p for p in old.providers}, {p.name: p for p in new.providers}),
        ("route", {r.name: r for r in old.routes}, {r.name: r for r in new.routes}),
    ):
        lines += [f"- {kind}/{name}" for name in sorted(before.keys() - after.keys())]
        lines += [f"+ {kind}/{name}" for name in sorted(after.keys() - before.keys())]
        for name in sorted(before.keys() & after.keys()):
            lines += _changes(f"{kind}/{name}", before[name], after[name])
    return lines


def _changes(name: str, before: object, after: object) -> list[str]:
    if before == after:
        return []
    assert is_dataclass(before)
    changed = [f.name for f in fields(before) if getattr(before, f.name) != getattr(after, f.name)]
    return [f"~ {name}: {', '.join(changed)}"]
