"""Simulated vendors as a process: prints one JSON line with the addresses, serves until SIGTERM or Ctrl-C."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
from collections.abc import Sequence

import msgspec
import uvloop

from control_plane.demo.simulators.control import ControlServer
from control_plane.demo.simulators.delivery import Pace
from control_plane.demo.simulators.simulator import Simulator

LOCAL_MODELS = ("llama-3.3-70b", "qwen3-8b")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m control_plane.demo.simulators", description=__doc__)
    for name in ("openai", "anthropic", "gemini", "cohere", "local"):
        parser.add_argument(f"--{name}-port", type=int, default=0, metavar="PORT", help="0 takes a free port")
        parser.add_argument(f"--{name}-keys", default="", metavar="KEY,KEY", help="accepted API keys (made-up ones); any key if not given")
    parser.add_argument("--control-port", type=int, default=0, metavar="PORT", help="0 takes a free port")
    parser.add_argument("--delay-ms", type=float, default=2.0, help="between events of a stream (default 2)")
    parser.add_argument("--first-ms", type=float, default=0.0, help="before the first content event")
    parser.add_argument("--whole-ms", type=float, default=0.0, help="before a whole answer")
    return parser.parse_args(arguments)


async def serve(options: argparse.Namespace) -> None:
    """Run until told to stop. Raises OSError when a port is taken."""
    pace = Pace(whole_ms=options.whole_ms, first_ms=options.first_ms, delay_ms=options.delay_ms)

    def keys(name: str) -> list[str] | None:
        return [key for key in getattr(options, f"{name}_keys").split(",") if key] or None

    async with contextlib.AsyncExitStack() as stack:
        openai = Simulator("openai", port=options.openai_port, keys=keys("openai"), pace=pace)
        anthropic = Simulator("anthropic", port=options.anthropic_port, keys=keys("anthropic"), pace=pace)
        gemini = Simulator("gemini", port=options.gemini_port, keys=keys("gemini"), pace=pace)
        cohere = Simulator("cohere", port=options.cohere_port, keys=keys("cohere"), pace=pace)
        local = Simulator("openai", name="local", port=options.local_port, keys=keys("local"), models=LOCAL_MODELS, pace=pace)
        vendors = (openai, anthropic, gemini, cohere, local)
        simulators = {simulator.name: await stack.enter_async_context(simulator) for simulator in vendors}
        control = await stack.enter_async_context(ControlServer(simulators, port=options.control_port))
        addresses = {name: {"url": simulator.url, "port": simulator.port} for name, simulator in simulators.items()}
        addresses["control"] = {"url": control.url, "port": control.port}
        print(msgspec.json.encode(addresses).decode(), flush=True)
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await stop.wait()


if __name__ == "__main__":
    uvloop.run(serve(parse()))
