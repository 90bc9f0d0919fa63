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
    max_heap: Annotated[
        str, typer.Option(help="Heap at which Envoy refuses new requests, e.g. 2Gi (default: half of this machine's memory).")
    ] = "",
) -> None:
    """Print an Envoy bootstrap (JSON): start it with `envoy -c FILE --file-flush-interval-msec 100`."""
    from control_plane.app.memory import heap_bytes
    from control_plane.app.settings import host_port
    from control_plane.xds.bootstrap import bootstrap as render

    for text, flag in ((control_plane, "--control-plane"), (admin, "--admin")):
        if not text.startswith("/"):
            host_port(text, flag)
    most = heap_bytes(max_heap, "--max-heap")
    print(render(node_id=node_id or socket.gethostname(), cluster=cluster, control_plane=control_plane, admin=admin, max_heap_bytes=most))
