"""`headgate presets`: the kinds of providers that ship with Headgate."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from control_plane.spec.presets import Preset

COLUMNS: Final = ("NAME", "TITLE", "DIALECTS", "BASE URL", "AUTH")


class Output(StrEnum):
    """How it is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("presets")(presets)


def presets(
    name: Annotated[str | None, typer.Argument(help="One preset in full; all of them without it.", show_default=False)] = None,
    output: Annotated[
        Output | None, typer.Option("-o", "--output", help="table, json or yaml; default: table for all, yaml for one.", show_default=False)
    ] = None,
) -> None:
    """List the presets for `spec.preset`; with NAME print one as a Preset document, to copy and change."""
    import yaml

    from control_plane.spec.nearest import did_you_mean, listed
    from control_plane.spec.presets import load_presets

    known = load_presets()
    if name is not None and name not in known:
        fix = did_you_mean(name, known) or f"the presets are {listed(known, len(known))}"
        typer.echo(f'headgate presets: no preset is named "{name}"; {fix}', err=True)
        raise typer.Exit(2)
    chosen = [known[name]] if name is not None else list(known.values())
    output = output or (Output.TABLE if name is None else Output.YAML)
    if output is Output.TABLE:
        print("\n".join(table([COLUMNS, *map(row_of, chosen)])))
    elif output is Output.JSON:
        found = document_of(chosen[0]) if name is not None else {"items": list(map(item_of, chosen))}
        print(json.dumps(found, indent=2, ensure_ascii=False))
    elif name is not None:
        print(text_of(name), end="")
    else:
        print(yaml.safe_dump({"items": list(map(item_of, chosen))}, sort_keys=False, allow_unicode=True), end="")


def row_of(preset: Preset) -> tuple[str, ...]:
    """A line of the table. "yours": a Provider must give the base URL."""
    auth = f"{preset.auth.header}: {preset.auth.prefix}KEY" + ("" if preset.auth.required else " (optional)")
    return (preset.name, preset.title, ", ".join(preset.dialects), preset.base_url or "yours", auth)


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns two spaces apart; nothing is ever cut."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def item_of(preset: Preset) -> dict[str, Any]:
    """A preset as data, without what it does not say."""
    found: dict[str, Any] = preset.model_dump(mode="json", by_alias=True, exclude_none=True, exclude_defaults=True)
    return {"name": found.pop("name"), **found}


def document_of(preset: Preset) -> dict[str, Any]:
    """A preset as a Preset document under a name that is free."""
    from control_plane.spec.models import API_VERSION

    spec = item_of(preset)
    return {"apiVersion": API_VERSION, "kind": "Preset", "metadata": {"name": f"my-{spec.pop('name')}"}, "spec": spec}


def text_of(name: str) -> str:
    """The same as YAML, out of the file that ships, so that its comments come along."""
    from control_plane.spec.models import API_VERSION
    from control_plane.spec.presets import preset_text

    lines = preset_text(name).splitlines()
    first = next(number for number, line in enumerate(lines) if not line.startswith("#"))
    body = [f"  {line}" if line else "" for line in lines[first:] if not line.startswith("name:")]
    head = [f"apiVersion: {API_VERSION}", "kind: Preset", f"metadata: {{name: my-{name}}}", "spec:"]
    return "\n".join([*lines[:first], *head, *body]) + "\n"
