"""`headgate control-plane`: specs in, xDS out, for Envoys that run elsewhere (or under `headgate up`)."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from control_plane.app.control_plane import Settings


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("control-plane")(control_plane)


def control_plane(
    file: Annotated[list[Path], typer.Option("--file", "-f", help="Spec file or directory; may be repeated. Watched for changes.")],
    state_dir: Annotated[Path, typer.Option(help="Last known good configuration and journal offset.")],
    xds: Annotated[list[str], typer.Option(help="Where Envoys fetch their configuration: a socket path or HOST:PORT; may be repeated.")],
    translator: Annotated[list[str], typer.Option(help="Socket path or HOST:PORT of a translator worker; repeat for each.")],
    listen: Annotated[str, typer.Option(help="Address that Envoy's listener gets.")] = "0.0.0.0:10000",
    admin: Annotated[str, typer.Option(help="Where the admin API and metrics are served.")] = "127.0.0.1:8080",
    admin_token_file: Annotated[Path | None, typer.Option(help="Bearer token for the admin API; needed beyond loopback.")] = None,
    admin_host: Annotated[list[str] | None, typer.Option(help="Further host name the admin API may be asked by; may be repeated.")] = None,
    journal: Annotated[str, typer.Option(help="Path of the access journal that Envoy writes.")] = "",
    access_log: Annotated[str, typer.Option(help="file: Envoy writes the journal; grpc: Envoy sends it here.")] = "file",
    envoy_admin: Annotated[str | None, typer.Option(help="Envoy's admin API (socket or HOST:PORT), to rotate the journal.")] = None,
    max_vanishing: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the routes one change may remove; 1 confirms a mass delete.")
    ] = 0.5,
    preflight: Annotated[bool, typer.Option(help="Check every change with `envoy --mode validate` first.")] = True,
    standby: Annotated[
        bool,
        typer.Option(help="Serve the last good configuration of --state-dir and nothing else: a stand-in while the control plane is away."),
    ] = False,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Serve configuration to Envoys, follow the access journal, answer the admin API."""
    from control_plane.app import standby as stand_in
    from control_plane.app.control_plane import Settings, run
    from control_plane.app.settings import host_port
    from control_plane.kit.errors import SpecError
    from control_plane.telemetry.logs import set_up
    from control_plane.xds.translate.settings import EdgeSettings

    set_up(log_level)
    if access_log not in ("file", "grpc"):
        raise SpecError(f"--access-log {access_log}: use file or grpc")
    if access_log == "file" and not journal:
        raise SpecError("--access-log file needs --journal PATH, the file that Envoy shall write")
    state_dir.mkdir(parents=True, exist_ok=True)
    settings = Settings(
        specs=tuple(file),
        edge=EdgeSettings(
            listen=host_port(listen, "--listen"), translators=tuple(translator), journal=journal, remote=access_log == "grpc"
        ),
        xds=tuple(xds),
        admin=host_port(admin, "--admin"),
        state=state_dir,
        journal=Path(journal) if access_log == "file" else None,
        envoy_admin=envoy_admin,
        admin_token_file=admin_token_file,
        admin_hosts=tuple(admin_host or ()),
        max_vanishing=max_vanishing,
        preflight=preflight,
    )
    asyncio.run(_main(settings, stand_in.run if standby else run))


async def _main(settings: Settings, run: Callable[[Settings, asyncio.Event], Awaitable[None]]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await run(settings, stop)
