"""`headgate dialects`: which client dialect can use which provider dialect, and for what."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated

import typer


class Output(StrEnum):
    """How it is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("dialects")(dialects)


def dialects(
    client: Annotated[
        str | None, typer.Argument(help="A client dialect, feature by feature; the summary of all without it.", show_default=False)
    ] = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="table, json or yaml.")] = Output.TABLE,
) -> None:
    """Show what each pair of client and provider dialect carries, as the tests found it."""
    import msgspec
    import yaml

    from control_plane.cli.presets import table
    from control_plane.dialects import matrix as found
    from control_plane.spec.nearest import did_you_mean, listed

    matrix = found.load_matrix()
    if client is not None and client not in matrix.clients:
        fix = did_you_mean(client, matrix.clients) or f"clients speak {listed(matrix.clients)}"
        typer.echo(f'headgate dialects: no client dialect is named "{client}"; {fix}', err=True)
        raise typer.Exit(2)
    if output is Output.TABLE:
        lines = table(found.summary(matrix) if client is None else found.rows(matrix, client))
        if client is not None:
            lines += ["", *table([(found.SHOWN[word], meaning) for word, meaning in found.WORDS.items()])]
        print("\n".join(lines))
        return
    data = msgspec.to_builtins(matrix)
    if client is not None:
        data = {**data, "clients": [client], "cells": [cell for cell in data["cells"] if cell["client"] == client]}
    if output is Output.JSON:
        print(json.dumps(data, indent=2))
    else:
        print(yaml.safe_dump(json.loads(json.dumps(data)), sort_keys=False), end="")
