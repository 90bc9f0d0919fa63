"""The demo's vendors in one process: four simulators, their control endpoint, made-up keys, and the specs that point at them."""

from __future__ import annotations

import contextlib
import importlib.resources
import secrets
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from control_plane.demo.simulators import ControlServer, Pace, Simulator

NAMES: Final = ("openai", "anthropic", "gemini", "local")
LOCAL_MODELS: Final = ("llama-3.3-70b", "nomic-embed-text")


class Vendors:
    """`async with Vendors() as vendors:` → `vendors.control_url`, `vendors.env` (keys for the gateway), `vendors.write_specs(folder)`."""

    def __init__(self, pace: Pace | None = None) -> None:
        keys = {name: f"demo-{name}-{secrets.token_hex(8)}" for name in NAMES}  # nobody else on this machine can use the simulators
        self.simulators = {
            "openai": Simulator("openai", keys=[keys["openai"]], pace=pace),
            "anthropic": Simulator("anthropic", keys=[keys["anthropic"]], pace=pace),
            "gemini": Simulator("gemini", keys=[keys["gemini"]], pace=pace),
            "local": Simulator("openai", name="local", keys=[keys["local"]], models=LOCAL_MODELS, pace=pace),
        }
        self.env: Mapping[str, str] = {f"HEADGATE_DEMO_{name.upper()}_KEY": key for name, key in keys.items()}
        self._control = ControlServer(self.simulators)
        self._stack = contextlib.AsyncExitStack()

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as stack:
            for simulator in self.simulators.values():
                await stack.enter_async_context(simulator)
            await stack.enter_async_context(self._control)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()

    @property
    def control_url(self) -> str:
        return self._control.url

    def write_specs(self, folder: Path, *, breakers: bool = True) -> None:
        """The demo's specs with the simulators' addresses, as YAML files in `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        filled = {name: simulator.url for name, simulator in self.simulators.items()} | {"breakers": str(breakers).lower()}
        for template in importlib.resources.files("control_plane.demo").joinpath("specs").iterdir():
            if template.name.endswith(".yaml"):
                text = string.Template(template.read_text(encoding="utf-8")).safe_substitute(filled)
                (folder / template.name).write_text(text, encoding="utf-8")
