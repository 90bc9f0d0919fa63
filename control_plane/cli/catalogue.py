"""`headgate catalogue`: what models can do and cost, as it is in force, and how old each entry is."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from control_plane.catalogue.lookup import InForce

COLUMNS: Final = ("FOR", "MODEL", "CONTEXT", "INPUT", "CACHED", "WRITE", "OUTPUT", "CHECKED", "FROM")
OLD_DAYS: Final = 180  # vendors change prices a few times a year


class Output(StrEnum):
    """How it is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("catalogue")(catalogue)


def catalogue(
    model: Annotated[str | None, typer.Argument(help="A model's name, or a part of it; all models without it.", show_default=False)] = None,
    files: Annotated[
        list[Path] | None,
        typer.Option("-f", "--file", help="Spec files or folders that count.", show_default=False),
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="table, json or yaml.")] = Output.TABLE,
    older_than: Annotated[
        int, typer.Option("--older-than", metavar="DAYS", min=1, help="Warn about entries that nobody has compared for longer.")
    ] = OLD_DAYS,
) -> None:
    """Show models, their limits and prices (US dollars for a million tokens), where each entry comes from and since when it stands.

    Exit codes: 0 ok, 2 when the specs have errors or no entry has that name.
    """
    from control_plane.catalogue.lookup import Catalogue
    from control_plane.spec.load import load

    specs = None
    if files:
        loaded = load(files)
        for finding in loaded.findings:
            if finding.severity == "error":
                print(finding, file=sys.stderr)
        if not loaded.ok:
            raise typer.Exit(2)
        specs = loaded.specs
    known = Catalogue.of(specs) if specs is not None else Catalogue()
    chosen = [found for found in known if model is None or any(model in name for name in (found.entry.id, *found.entry.aliases))]
    if not chosen:
        print(f'headgate catalogue: no model has "{model}" in its name; describe it in a ModelCatalog document', file=sys.stderr)
        raise typer.Exit(2)
    _show(chosen, output)
    today = datetime.now(UTC).date()
    old = [found for found in chosen if found.age_days(today) > older_than]
    if old:
        oldest = min(old, key=lambda found: found.checked)
        words = f"{len(old)} of {len(chosen)} entries were compared with their source more than {older_than} days ago"
        print(f"warning: {words}, the oldest ({oldest.scope} {oldest.entry.id}) on {oldest.checked}", file=sys.stderr)
        print("warning: look at the source and write what has changed into a ModelCatalog document", file=sys.stderr)


def _show(chosen: Sequence[InForce], output: Output) -> None:
    import yaml

    from control_plane.cli.presets import table

    if output is Output.TABLE:
        print("\n".join(table([COLUMNS, *map(row_of, chosen)])))
    elif output is Output.JSON:
        print(json.dumps({"items": list(map(item_of, chosen))}, indent=2, ensure_ascii=False))
    else:
        print(yaml.safe_dump({"items": list(map(item_of, chosen))}, sort_keys=False, allow_unicode=True), end="")


def row_of(found: InForce) -> tuple[str, ...]:
    """A line of the table; `+` behind a price: there are rates for long inputs, which json and yaml show."""
    from control_plane.spec.quantities import format_quantity

    entry, price = found.entry, found.entry.price
    more = "+" if price is not None and price.tiers else ""
    rates = (price.input, price.cached_input, price.cache_write, price.output) if price is not None else (None,) * 4
    context = "-" if entry.context_window is None else format_quantity(entry.context_window)
    amounts = ("-" if rate is None else format(rate, "f") + more for rate in rates)
    return (found.scope, entry.id, context, *amounts, str(found.checked), found.origin)


def item_of(found: InForce) -> dict[str, Any]:
    """An entry as data: amounts are texts, so that no reader makes binary fractions of them."""
    entry: dict[str, Any] = found.entry.model_dump(mode="json", by_alias=True, exclude_none=True)
    known = {"checked": found.checked.isoformat(), "source": found.source}
    return {"for": found.scope, "origin": found.origin, **entry, **known}
