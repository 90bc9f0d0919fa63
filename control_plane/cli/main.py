"""The `headgate` command: one file per verb, registered here in the order of the help text."""

from __future__ import annotations

import sys

import typer

from control_plane.cli import (
    bootstrap,
    catalogue,
    control_plane,
    cordon,
    demo,
    dialects,
    drain,
    drill,
    explain,
    get,
    presets,
    schema,
    translate,
    translator,
    uncordon,
    undo,
    up,
    validate,
    weight,
)
from control_plane.kit.errors import GatewayError

app = typer.Typer(
    name="headgate",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="LLM inference gateway: Envoy is the data plane, Python the control plane.",
)

VERBS = (
    *(demo, drill, up, validate, explain, schema, presets, catalogue, dialects, translate, get),
    *(drain, cordon, uncordon, weight, undo),
    *(control_plane, translator, bootstrap),
)

for verb in VERBS:
    verb.register(app)


def run() -> None:
    """Entry point. Exit codes: 0 ok, 1 failed, 2 findings or usage."""
    try:
        app()
    except GatewayError as error:
        print(f"headgate: {error}", file=sys.stderr)
        raise SystemExit(1) from None
