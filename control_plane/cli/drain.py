"""`headgate drain`: take a provider or target out of traffic for a while; it returns in steps."""

from __future__ import annotations

from typing import Annotated

import typer

from control_plane.cli.admin_client import DEFAULT_ADMIN, Admin, TokenFile
from control_plane.cli.overriding import (
    Author,
    DryRun,
    For,
    Force,
    OnRoute,
    Output,
    OutputAs,
    Reason,
    Replace,
    Subject,
    Until,
    Watch,
    make,
    seconds,
)


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("drain")(drain)


def drain(
    subject: Subject,
    reason: Reason,
    author: Author,
    for_: For = "",
    until: Until = "",
    route: OnRoute = "",
    step: Annotated[
        str, typer.Option("--step", metavar="DURATION", help="Length of each step of the return; 0s to return at once.")
    ] = "1m",
    force: Force = False,
    replace: Replace = False,
    dry_run: DryRun = False,
    watch: Watch = "",
    admin: Admin = DEFAULT_ADMIN,
    token_file: TokenFile = None,
    output: OutputAs = Output.TABLE,
) -> None:
    """Send no new request there until the time is over, then 5 %, 25 % and all of its share. No running stream is cut.

    Exit codes: 0 done, 1 refused or not on every Envoy, 2 usage, or a dry run that would be refused.
    """
    wish = {"kind": "drain", "subject": subject, "reason": reason, "author": author, "route": route or None}
    flags = {"force": force, "replace": replace, "dry_run": dry_run, "step_s": seconds(step, "--step", "1m")}
    make({**wish, **flags}, for_, until, admin, token_file, output, watch)
