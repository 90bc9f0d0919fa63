"""`headgate cordon`: take a provider or target out of traffic until it is uncordoned or the time is over."""

from __future__ import annotations

import typer

from control_plane.cli.admin_client import DEFAULT_ADMIN, Admin, TokenFile
from control_plane.cli.overriding import Author, DryRun, For, Force, OnRoute, Output, OutputAs, Reason, Replace, Subject, Until, Watch, make


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("cordon")(cordon)


def cordon(
    subject: Subject,
    reason: Reason,
    author: Author,
    for_: For = "",
    until: Until = "",
    route: OnRoute = "",
    force: Force = False,
    replace: Replace = False,
    dry_run: DryRun = False,
    watch: Watch = "",
    admin: Admin = DEFAULT_ADMIN,
    token_file: TokenFile = None,
    output: OutputAs = Output.TABLE,
) -> None:
    """Send no new request there until `headgate uncordon` or the end, then its whole share at once. No running stream is cut.

    Exit codes: 0 done, 1 refused or not on every Envoy, 2 usage, or a dry run that would be refused.
    """
    wish = {"kind": "cordon", "subject": subject, "reason": reason, "author": author, "route": route or None}
    flags = {"force": force, "replace": replace, "dry_run": dry_run}
    make({**wish, **flags}, for_, until, admin, token_file, output, watch)
