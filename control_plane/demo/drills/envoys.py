"""Further Envoys at the stage's control plane, on the gateway's own port, as replicas are: the system deals connections out among them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

from control_plane.app.child import Child
from control_plane.app.memory import heap_bytes
from control_plane.app.supervisor import GatewayProcess
from control_plane.kit import probe
from control_plane.kit.envoy_binary import find_envoy
from control_plane.kit.errors import GatewayError
from control_plane.xds.bootstrap import bootstrap

READY_WITHIN_S: Final = 20.0
GRACE_S: Final = 5.0
POLL_S: Final = 0.1


@contextlib.asynccontextmanager
async def beside(gateway: GatewayProcess, folder: Path, count: int) -> AsyncIterator[None]:
    """`count` Envoys more, until the end of the block. Raises GatewayError when one does not come up."""
    children: list[Child] = []
    try:
        for number in range(count):
            name, admin = f"envoy-{number + 2}", str(folder / f"envoy-{number + 2}.sock")
            config = bootstrap(
                node_id=f"drill-{name}",
                cluster="headgate",
                control_plane=gateway.places.ads,
                admin=admin,
                max_heap_bytes=heap_bytes("", "--max-heap"),
            )
            (folder / f"{name}.json").write_text(config, encoding="utf-8")
            command = [
                str(find_envoy()),
                "-c",
                str(folder / f"{name}.json"),
                "-l",
                "warning",
                "--use-dynamic-base-id",
                "--concurrency",
                "1",
            ]
            command += ["--file-flush-interval-msec", "100"]
            children.append(Child(name, command, gateway.say, gateway.options.env))
            children[-1].start()
            await _live(name, admin)
        yield
    finally:
        for child in children:
            await child.stop(GRACE_S)


async def _live(name: str, admin: str) -> None:
    limit = asyncio.get_running_loop().time() + READY_WITHIN_S
    while asyncio.get_running_loop().time() < limit:
        with contextlib.suppress(OSError, TimeoutError, ValueError, KeyError):
            _, text = await probe.http(admin, "GET", "/server_info")
            if json.loads(text)["state"] == "LIVE":
                return
        await asyncio.sleep(POLL_S)
    raise GatewayError(f"{name} did not become ready within {READY_WITHIN_S:.0f} s")
