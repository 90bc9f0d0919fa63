"""What can be done to a scene: its vendors, the way to them, their keys, the gateway's own parts."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from control_plane.demo.simulators import Fault
from control_plane.kit.errors import GatewayError

if TYPE_CHECKING:
    from control_plane.demo.drills.stage import Scene


@dataclass(frozen=True, slots=True)
class Break:
    """The vendors that every plan asks first (`how_many` of them: the second ones too) have this fault."""

    fault: Fault
    how_many: int = 1

    async def do(self, scene: Scene) -> None:
        for vendor in scene.leading(self.how_many):
            vendor.simulator.fault = self.fault


@dataclass(frozen=True, slots=True)
class Heal:
    """Every vendor, name, certificate and key is as it was."""

    async def do(self, scene: Scene) -> None:
        for vendor in scene.vendors:
            await vendor.simulator.heal()
            vendor.simulator.set_keys(vendor.keys)
            scene.stage.dns.names.setdefault(vendor.host, "127.0.0.1")
            if vendor.proxy is not None:
                vendor.proxy.certificate(*scene.stage.certificate("valid"))


@dataclass(frozen=True, slots=True)
class Revoke:
    """The first keys of the leading vendors are refused from now on; None: all of them."""

    keys: int | None = None

    async def do(self, scene: Scene) -> None:
        for vendor in scene.leading(1):
            vendor.simulator.set_keys([] if self.keys is None else vendor.keys[self.keys :])


@dataclass(frozen=True, slots=True)
class Forget:
    """DNS does not know the leading vendors any more (NXDOMAIN), and their open connections end."""

    async def do(self, scene: Scene) -> None:
        for vendor in scene.leading(1):
            scene.stage.dns.names.pop(vendor.host, None)
            vendor.simulator.close_connections()


@dataclass(frozen=True, slots=True)
class Certificate:
    """The leading vendors present another certificate, and open connections end."""

    name: Literal["valid", "expired", "wrong-name", "self-signed"]

    async def do(self, scene: Scene) -> None:
        for vendor in scene.leading(1):
            assert vendor.proxy is not None
            vendor.proxy.certificate(*scene.stage.certificate(self.name))
            vendor.proxy.cut()


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal to one of the gateway's processes."""

    part: str
    number: signal.Signals

    async def do(self, scene: Scene) -> None:
        scene.struck(self.part)
        scene.stage.gateway.children[self.part].signal(self.number)


@dataclass(frozen=True, slots=True)
class Pause:
    """One of the gateway's processes ends and stays away."""

    part: str

    async def do(self, scene: Scene) -> None:
        await scene.stage.gateway.pause(self.part)


@dataclass(frozen=True, slots=True)
class Resume:
    """It comes back."""

    part: str

    async def do(self, scene: Scene) -> None:
        await scene.stage.gateway.resume(self.part)


@dataclass(frozen=True, slots=True)
class Restart:
    """One of the gateway's processes is replaced as in a deployment; "translators": all workers, one after the other."""

    part: str

    async def do(self, scene: Scene) -> None:
        gateway = scene.stage.gateway
        names = [name for name in gateway.children if name.startswith("translator")] if self.part == "translators" else [self.part]
        for name in names:
            await gateway.restart(name)


@dataclass(frozen=True, slots=True)
class Drain:
    """`headgate drain` of the leading vendors, one after the other; each returns by itself, in steps. Raises GatewayError when refused."""

    for_s: int
    step_s: int

    async def do(self, scene: Scene) -> None:
        host, port = scene.stage.gateway.admin
        words = ("--for", f"{self.for_s}s", "--step", f"{self.step_s}s", "--admin", f"{host}:{port}", "-o", "json")
        for vendor in scene.leading(1):
            command = (sys.executable, "-m", "control_plane", "drain", f"provider/{vendor.name}", "--reason", "drill", "--author", "drill")
            process = await asyncio.create_subprocess_exec(
                *command, "--replace", *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
            )
            said, errors = await process.communicate()
            if not said.startswith(b"{"):
                raise GatewayError(f"drain of {vendor.name}: {errors.decode(errors='replace')[-300:]}")
            told = json.loads(said)["published"]
            scene.acks.append((told["acked"], told["nodes"], told["seconds"]))
