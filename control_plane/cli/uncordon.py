"""`headgate uncordon`: put back what was cordoned or drained under that name."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlencode

import typer

from control_plane.cli.admin_client import DEFAULT_ADMIN, Admin, TokenFile
from control_plane.cli.overriding import Author, OnRoute, Output, OutputAs, Reason, take_back


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("uncordon")(uncordon)


def uncordon(
    subject: Annotated[str, typer.Argument(metavar="SUBJECT", help="As it was cordoned or drained.", show_default=False)],
    reason: Reason,
    author: Author,
    route: OnRoute = "",
    admin: Admin = DEFAULT_ADMIN,
    token_file: TokenFile = None,
    output: OutputAs = Output.TABLE,
) -> None:
    """End every cordon and drain of SUBJECT: it has its whole share at once. Exit codes: 0 done, 1 there is none, or not on every Envoy."""
    query = urlencode({"subject": subject, **({"route": route} if route else {})})
    take_back(f"/api/v1/overrides?{query}", {"author": author, "reason": reason}, admin, token_file, output)
