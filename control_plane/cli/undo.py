"""`headgate undo`: take one override back."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import quote

import typer

from control_plane.cli.admin_client import DEFAULT_ADMIN, Admin, TokenFile
from control_plane.cli.overriding import Author, Output, OutputAs, take_back


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("undo")(undo)


def undo(
    override: Annotated[str, typer.Argument(metavar="ID", help="Such as ov-91; headgate get overrides lists them.", show_default=False)],
    author: Author,
    reason: Annotated[str, typer.Option("--reason", help="Why, for the record.")] = "",
    admin: Admin = DEFAULT_ADMIN,
    token_file: TokenFile = None,
    output: OutputAs = Output.TABLE,
) -> None:
    """End the override ID at once, without steps. That it is over already is no error.

    Exit codes: 0 done, 1 there is no such one, or not on every Envoy.
    """
    back = {"author": author, "reason": reason}
    take_back(f"/api/v1/overrides/{quote(override, safe='')}", back, admin, token_file, output)
