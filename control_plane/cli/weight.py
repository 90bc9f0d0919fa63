"""`headgate weight`: other weights on a route for a while."""

from __future__ import annotations

from typing import Annotated

import typer

from control_plane.cli.admin_client import DEFAULT_ADMIN, Admin, TokenFile
from control_plane.cli.overriding import Author, DryRun, For, Force, Output, OutputAs, Reason, Replace, Until, Watch, make, usage


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("weight")(weight)


def weight(
    route: Annotated[str, typer.Argument(metavar="ROUTE", help="route/NAME, or NAME.", show_default=False)],
    weights: Annotated[
        list[str], typer.Argument(metavar="TARGET=WEIGHT...", help="PROVIDER/MODEL=80; 0: last resort.", show_default=False)
    ],
    reason: Reason,
    author: Author,
    for_: For = "",
    until: Until = "",
    force: Force = False,
    replace: Replace = False,
    dry_run: DryRun = False,
    watch: Watch = "",
    admin: Admin = DEFAULT_ADMIN,
    token_file: TokenFile = None,
    output: OutputAs = Output.TABLE,
) -> None:
    """Use these weights inside the groups of the route's plan instead of the written ones; targets that are not named keep theirs.

    Exit codes: 0 done, 1 refused or not on every Envoy, 2 usage, or a dry run that would be refused.
    """
    wish = {
        "kind": "weight",
        "subject": route if "/" in route else f"route/{route}",
        "weights": dict(map(_pair, weights)),
        "reason": reason,
        "author": author,
    }
    flags = {"force": force, "replace": replace, "dry_run": dry_run}
    make({**wish, **flags}, for_, until, admin, token_file, output, watch)


def _pair(given: str) -> tuple[str, int]:
    target, _, number = given.rpartition("=")
    if not target or not number.isdecimal() or len(number) > 9:
        raise usage(f"{given}: not TARGET=WEIGHT; for example openai/gpt-5=80")
    return target, int(number)
