"""`headgate drill`: named outages on a real gateway and simulated vendors, and what clients see of them."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("drill")(drill)


def drill(
    name: Annotated[str, typer.Argument(help="A drill, `all`, or `list` to see them.")],
    requests: Annotated[int, typer.Option(min=20, max=1_000_000, help="Requests during the outage.")] = 10_000,
    rate: Annotated[float, typer.Option(min=1, max=5000, help="Requests a second; a drill that needs its time asks for fewer.")] = 200.0,
    concurrency: Annotated[int, typer.Option(min=1, max=10_000, help="Requests under way at once, at most.")] = 1000,
    output: Annotated[str, typer.Option("--output", "-o", help="table, json or yaml.")] = "table",
    wait: Annotated[float, typer.Option(min=0, help="How long to wait for the first vendor to serve again, seconds.")] = 60.0,
) -> None:
    """Break simulated vendors, or parts of the gateway, under load; exit code 1 when a promise does not hold.

    Everything runs on this machine, on free ports: a running gateway is not touched.
    """
    from control_plane.demo.drills.catalogue import DRILLS, named
    from control_plane.demo.drills.figures import Figures
    from control_plane.demo.drills.report import document, table
    from control_plane.demo.drills.run import Settings, run_drills
    from control_plane.kit.errors import SpecError
    from control_plane.telemetry.logs import set_up

    if output not in ("table", "json", "yaml"):
        raise SpecError(f"-o {output}: use table, json or yaml")
    if name == "list":
        for one in DRILLS:
            print(f"{one.name:26} {one.outage}")
        return
    try:
        chosen = named(name)
    except KeyError:
        raise SpecError(f"there is no drill {name}; `headgate drill list` shows them") from None
    set_up("error")
    done: list[Figures] = []

    def emit(figures: Figures) -> None:
        done.append(figures)
        result = "; ".join(figures.missed) or "held"
        print(f"{figures.drill}: {figures.requests} requests, {figures.errors} errors: {result}", file=sys.stderr, flush=True)

    settings = Settings(requests=requests, per_s=rate, concurrency=concurrency, return_limit_s=wait)
    asyncio.run(run_drills(chosen, settings, lambda line: None, emit))
    print(table(done) if output == "table" else document(done, output))
    raise typer.Exit(1 if any(figures.missed for figures in done) else 0)
