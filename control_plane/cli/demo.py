"""`headgate demo`: the gateway on simulated vendors, and verbs that break and heal them while it runs."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

if TYPE_CHECKING:
    from control_plane.demo.run import Demo

DEFAULT_LISTEN: Final = "127.0.0.1:10000"
DEFAULT_ADMIN: Final = "127.0.0.1:8080"
FREE: Final = "127.0.0.1:0"

T = TypeVar("T")

demo_app = typer.Typer(invoke_without_command=True, no_args_is_help=False, help="The gateway on simulated vendors: no key, no network.")


def register(app: typer.Typer) -> None:
    """Add the verb and its sub-verbs."""
    app.add_typer(demo_app, name="demo")


@demo_app.callback()
def demo(
    context: typer.Context,
    check: Annotated[bool, typer.Option("--check", help="Exercise every lane and fault, one line each; exit code 1 if one fails.")] = False,
    listen: Annotated[
        str | None, typer.Option(help=f"Where clients connect (HOST:PORT). [default: {DEFAULT_LISTEN}; a free port with --check]")
    ] = None,
    admin: Annotated[
        str | None, typer.Option(help=f"Where the admin API is served. [default: {DEFAULT_ADMIN}; a free port with --check]")
    ] = None,
) -> None:
    """Run the gateway on simulated vendors until Ctrl-C and print what to try."""
    if context.invoked_subcommand is not None:
        return
    from control_plane.app.settings import host_port
    from control_plane.demo.run import Demo
    from control_plane.telemetry.logs import set_up

    set_up("warning")
    where = host_port(listen or (FREE if check else DEFAULT_LISTEN), "--listen")
    admin_where = host_port(admin or (FREE if check else DEFAULT_ADMIN), "--admin")
    wanted = Demo(where, admin_where, lambda line: print(line, file=sys.stderr, flush=True), announce=not check, breakers=not check)
    raise typer.Exit(_run(_check(wanted) if check else _serve(wanted)))


@demo_app.command("break")
def break_vendor(
    vendor: Annotated[str, typer.Argument(help="openai, anthropic or local")],
    mode: Annotated[str, typer.Option(help="What goes wrong; `headgate demo faults` lists the modes.")],
    status: Annotated[int, typer.Option(help="For status, html and error_event.")] = 503,
    after: Annotated[int, typer.Option(help="Content events before it happens.")] = 0,
    delay_ms: Annotated[float, typer.Option(help="For the modes that wait.")] = 1000.0,
    heartbeat_ms: Annotated[float, typer.Option(help="Keeps a stalled stream alive with heartbeats this far apart.")] = 0.0,
    how: Annotated[str, typer.Option(help="How a cut looks: rst, fin or clean.")] = "rst",
    retry_after: Annotated[float | None, typer.Option(help="Seconds, for status 429 and 503: sends the vendor's reset headers.")] = None,
    count: Annotated[int | None, typer.Option(help="Heal after this many requests.")] = None,
    probability: Annotated[float, typer.Option(help="Share of requests that are hit.")] = 1.0,
    only: Annotated[str | None, typer.Option(help="stream or whole: hit only these calls.")] = None,
) -> None:
    """Break a vendor of the running demo."""
    import msgspec

    from control_plane.demo.control_client import in_words
    from control_plane.demo.simulators import Fault

    given: dict[str, Any] = {"mode": mode, "status": status, "after": after, "delay_ms": delay_ms, "heartbeat_ms": heartbeat_ms, "how": how}
    given |= {"retry_after_s": retry_after, "count": count, "probability": probability, "only": only}
    try:
        fault = msgspec.convert(given, Fault)
    except msgspec.ValidationError as error:
        print(f"headgate: {error}; see `headgate demo faults`", file=sys.stderr)
        raise typer.Exit(2) from None
    _run(_client().break_vendor(vendor, fault))
    print(f"{vendor}: {in_words(msgspec.to_builtins(fault))}")


@demo_app.command("heal")
def heal(vendor: Annotated[str, typer.Argument(help="openai, anthropic or local; all if not given")] = "") -> None:
    """Heal a vendor of the running demo, or all of them."""
    _run(_client().heal(vendor))
    print(f"{vendor or 'every vendor'}: healthy")


@demo_app.command("status")
def status() -> None:
    """Show the running demo's vendors: fault and what they saw."""
    from control_plane.demo.control_client import in_words

    for name, vendor in _run(_client().state()).items():
        stats = vendor["stats"]
        condition = in_words(vendor["fault"]) if vendor["fault"] else "healthy"
        print(
            f"{name:10} {condition:32} {stats['requests']} requests: {stats['answered']} answered, {stats['faulted']} hit by a fault, "
            f"{stats['cancelled']} cancelled, {stats['in_flight']} in flight"
        )


@demo_app.command("faults")
def faults() -> None:
    """List the modes of `headgate demo break`."""
    from control_plane.demo.simulators.fault import DESCRIPTIONS

    for mode, text in DESCRIPTIONS.items():
        print(f"{mode:18} {text}")


def _client() -> Any:
    from control_plane.demo.control_client import ControlClient
    from control_plane.demo.state_file import find

    return ControlClient(find().control)


def _run(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end; a GatewayError becomes a line on stderr and exit code 1."""
    from control_plane.kit.errors import GatewayError

    try:
        return asyncio.run(work)
    except GatewayError as error:
        print(f"headgate: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


async def _serve(wanted: Demo) -> int:
    from control_plane.demo.run import what_to_try

    stop = _on_signals()
    starting = asyncio.create_task(wanted.__aenter__())
    stopped = asyncio.create_task(stop.wait())
    await asyncio.wait({starting, stopped}, return_when=asyncio.FIRST_COMPLETED)
    if not starting.done():
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        return 0
    try:
        starting.result()
        print(what_to_try(wanted), flush=True)
        print(f"ready {wanted.url}", flush=True)
        await stopped
    finally:
        stopped.cancel()
        if starting.exception() is None:
            await wanted.__aexit__(None, None, None)
    return 0


async def _check(wanted: Demo) -> int:
    from control_plane.demo.check import run_checks

    async with wanted as running:
        held = await run_checks(running.url, running.control_url, lambda line: print(line, flush=True))
    return 0 if held else 1


def _on_signals() -> asyncio.Event:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop
