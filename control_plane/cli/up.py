"""`headgate up`: the whole gateway on one machine."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from control_plane.app.supervisor import Options


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command("up")(up)


def up(
    file: Annotated[list[Path], typer.Option("--file", "-f", help="Spec file or directory; may be repeated. Watched for changes.")],
    listen: Annotated[str, typer.Option(help="Where clients connect (HOST:PORT; port 0 lets the system choose).")] = "127.0.0.1:10000",
    admin: Annotated[str, typer.Option(help="Where the control plane serves its admin API and metrics.")] = "127.0.0.1:8080",
    translators: Annotated[int, typer.Option(min=0, max=64, help="Translator worker processes (0: one per core, at most 4).")] = 0,
    concurrency: Annotated[int, typer.Option(min=0, max=1024, help="Envoy worker threads (0: one per core).")] = 0,
    state_dir: Annotated[Path | None, typer.Option(help="Journal, last good configuration, offsets. Default: per user and port.")] = None,
    drain_seconds: Annotated[float, typer.Option(min=0, help="How long running requests may finish after SIGTERM.")] = 30.0,
    max_heap: Annotated[str, typer.Option(help="Heap at which Envoy refuses new requests, e.g. 2Gi (default: half of the memory).")] = "",
    admin_token_file: Annotated[Path | None, typer.Option(help="Bearer token for the admin API; needed beyond loopback.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run control plane, translators and Envoy; prints `ready URL` on stdout once traffic is served.

    SIGTERM drains and ends it. SIGUSR2 replaces every part by a new process without an error for a client: an upgrade of what is installed.
    """
    from control_plane.app.settings import host_port
    from control_plane.app.supervisor import Options
    from control_plane.cli.findings import refuse_errors
    from control_plane.telemetry.logs import set_up

    refuse_errors(file)
    set_up(log_level)
    options = Options(
        specs=tuple(path.absolute() for path in file),
        listen=host_port(listen, "--listen"),
        admin=host_port(admin, "--admin"),
        state=state_dir,
        translators=translators,
        concurrency=concurrency,
        drain_s=drain_seconds,
        max_heap=max_heap,
        admin_token_file=admin_token_file.absolute() if admin_token_file else None,
        log_level=log_level,
    )
    raise typer.Exit(asyncio.run(_run(options)))


async def _run(options: Options) -> int:
    from control_plane.app.supervisor import GatewayProcess, Renewal
    from control_plane.kit.errors import GatewayError

    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    gateway = GatewayProcess(options)
    started = asyncio.create_task(gateway.start())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({started, stopped}, return_when=asyncio.FIRST_COMPLETED)
    try:
        if started.done():
            started.result()
            renewing = Renewal(gateway)
            loop.add_signal_handler(signal.SIGUSR2, renewing.ask)
            print(f"ready {gateway.url}", flush=True)
            await stopped
            loop.remove_signal_handler(signal.SIGUSR2)
            renewing.cancel()
            print("draining", file=sys.stderr, flush=True)
        else:
            started.cancel()
    except GatewayError as error:
        print(f"headgate: {error}", file=sys.stderr)
        return 1
    finally:
        stopped.cancel()
        await gateway.stop(drain=started.done() and not started.cancelled() and started.exception() is None)
    return 0
