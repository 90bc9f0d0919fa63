"""`headgate translate`: what specs become, offline."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class To(StrEnum):
    """How far to translate."""

    IR = "ir"
    XDS = "xds"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("translate")(translate)


def translate(
    path: Annotated[list[Path], typer.Argument(help="Spec files or directories.")],
    to: Annotated[To, typer.Option(help="ir: what the gateway must do; xds: Envoy's resources.")] = To.IR,
    listen: Annotated[str, typer.Option(help="Address of the listener in the output.")] = "127.0.0.1:10000",
) -> None:
    """Print what specs become. Stable output (JSON), secrets never in it."""
    from control_plane.app.offline import ir_of, xds_of
    from control_plane.app.settings import host_port
    from control_plane.cli.findings import refuse_errors

    specs = refuse_errors(path)
    document = ir_of(specs) if to is To.IR else xds_of(specs, host_port(listen, "--listen"))
    print(json.dumps(document, indent=2))
