"""`headgate schema`: JSON Schema of the specs, for editors and CI."""

from __future__ import annotations

import json
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(name="schema")(schema)


def schema(kind: Annotated[str | None, typer.Argument(help="provider, modelroute or preset; all without it")] = None) -> None:
    """Print the JSON Schema (draft 2020-12) of the specs."""
    from control_plane.spec.models import KINDS
    from control_plane.spec.nearest import did_you_mean, listed
    from control_plane.spec.schema import schema_of, schema_of_all

    if kind is None:
        print(json.dumps(schema_of_all(), indent=2, ensure_ascii=False))
        return
    kinds = {name.lower(): name for name in KINDS}
    if kind.lower() not in kinds:
        fix = did_you_mean(kind, kinds) or f"the kinds are {listed(kinds)}"
        typer.echo(f'headgate schema: unknown kind "{kind}"; {fix}', err=True)
        raise typer.Exit(2)
    print(json.dumps(schema_of(kinds[kind.lower()]), indent=2, ensure_ascii=False))
