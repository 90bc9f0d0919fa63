"""`headgate bootstrap`: the configuration a sidecar or gateway Envoy starts with."""

from __future__ import annotations

import socket
from typing import Annotated

import typer


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("bootstrap")(bootstrap)


def bootstrap(
    control_plane: Annotated[str, typer.Option("--control-plane", help="Where xDS is served: HOST:PORT or a socket path.")],
    node_id: Annotated[str, typer.Option(help="Unique name of this Envoy. Default: the host name.")] = "",
    cluster: Annotated[str, typer.Option(help="Group of Envoys this one belongs to.")] = "headgate",
    admin: Annotated[
        str, typer.Option(help="Where Envoy serves its own admin API: a socket path or HOST:PORT.")
    ] = "/tmp/headgate-envoy-admin.sock",
) -> None:
    """Print an Envoy bootstrap (JSON): start it with `envoy -c FILE --file-flush-min-size-kb 1`."""
    from control_plane.app.settings import host_port
    from control_plane.xds.bootstrap import bootstrap as render

    for text, flag in ((control_plane, "--control-plane"), (admin, "--admin")):
        if not text.startswith("/"):
            host_port(text, flag)
    print(render(node_id=node_id or socket.gethostname(), cluster=cluster, control_plane=control_plane, admin=admin))
