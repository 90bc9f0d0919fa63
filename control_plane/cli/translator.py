"""`headgate translator`: one translator worker on one Unix socket."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from control_plane.extproc import worker


def translator(
    socket: Annotated[Path, typer.Option(help="Unix socket to serve; a stale one is replaced.")],
    drain_seconds: Annotated[
        float, typer.Option(min=0, help="How long open streams may finish after SIGTERM, seconds.")
    ] = worker.DRAIN_SECONDS,
) -> None:
    """Translate between dialects for Envoy (one process; run as many as there are cores to spare).

    On the same socket: GET /healthz and GET /stats (HTTP/2).
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    path = socket.absolute()
    worker.run(path, drain_seconds, lambda: typer.echo(f"translator ready on {path}"))


def register(app: typer.Typer) -> None:
    app.command()(translator)
