"""Calls the simulators' control endpoint."""

from __future__ import annotations

from typing import Any

import msgspec

from control_plane.demo.simulators import Fault
from control_plane.demo.wire_client import call
from control_plane.kit.errors import SpecError

_DEFAULTS = msgspec.to_builtins(Fault(mode="status"))


class ControlClient:
    """Breaks and heals vendors of a demo. Every call raises SpecError with the endpoint's explanation when it is refused."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def break_vendor(self, vendor: str, fault: Fault) -> None:
        """Put `fault` in force at `vendor` from now on."""
        await self._do("PUT", f"/fault/{vendor}", msgspec.to_builtins(fault))

    async def heal(self, vendor: str = "") -> None:
        """No fault at `vendor`, or nowhere; when this returns, its port accepts again."""
        await self._do("DELETE", f"/fault/{vendor}" if vendor else "/fault")

    async def clear(self) -> None:
        """Set all counters to zero."""
        await self._do("POST", "/clear")

    async def state(self) -> dict[str, Any]:
        """Per vendor: url, fault, stats."""
        found: dict[str, Any] = await self._do("GET", "/state")
        return found

    async def _do(self, method: str, path: str, body: object = None) -> Any:
        answer = await call(self._url + path, body, method=method, timeout_s=10)
        if answer.ended != "complete":
            raise SpecError(f"the demo's control endpoint {self._url} does not answer ({answer.ended}); is the demo still running?")
        document = answer.json()
        if answer.status != 200:
            raise SpecError(str(document.get("error", document)))
        return document


def in_words(fault: dict[str, Any]) -> str:
    """A fault as JSON shows it, in one line: its mode and what differs from the defaults."""
    extra = [f"{name}={value}" for name, value in fault.items() if name != "mode" and value != _DEFAULTS.get(name)]
    if fault["mode"] in ("status", "error_event") and "status" in fault:
        extra = [f"status={fault['status']}", *(e for e in extra if not e.startswith("status="))]
    return " ".join([str(fault["mode"]), *extra])
