"""A whole demo: simulated vendors and a real gateway in front of them."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from control_plane.app.supervisor import GatewayProcess, Options
from control_plane.demo import state_file
from control_plane.demo.simulators import Pace
from control_plane.demo.vendors import Vendors
from control_plane.kit.errors import SpecError

DRAIN_S: Final = 2.0  # nobody waits for a demo's requests

Say = Callable[[str], None]


class Demo:
    """`async with Demo(...) as demo:` → `demo.url`, `demo.admin_url`, `demo.control_url`. Raises GatewayError when it cannot start.

    With `announce` other processes find it (`headgate demo break`); only one such demo runs per user. Without `breakers` a vendor that
    fails keeps its place in the plans.
    """

    def __init__(
        self, listen: tuple[str, int], admin: tuple[str, int], say: Say, *, announce: bool, breakers: bool = True, pace: Pace | None = None
    ) -> None:
        self._listen, self._admin, self._say, self._announce = listen, admin, say, announce
        self._breakers = breakers
        self._stack = contextlib.AsyncExitStack()
        self.vendors = Vendors(pace or Pace(whole_ms=20, first_ms=60, delay_ms=15))
        self.url = self.admin_url = ""

    @property
    def control_url(self) -> str:
        return self.vendors.control_url

    async def __aenter__(self) -> Self:
        if self._announce and (other := state_file.running()) is not None:
            raise SpecError(f"a demo is already running (process {other.pid}, {other.gateway}); stop it first")
        async with contextlib.AsyncExitStack() as stack:
            await stack.enter_async_context(self.vendors)
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="headgate-demo-")))
            self.vendors.write_specs(folder / "specs", breakers=self._breakers)
            options = Options(
                specs=(folder / "specs",),
                listen=self._listen,
                admin=self._admin,
                state=folder / "state",
                drain_s=DRAIN_S,
                log_level="warning",
                env=dict(self.vendors.env),
            )
            gateway = await stack.enter_async_context(GatewayProcess(options, self._say))
            self.url, self.admin_url = gateway.url, "http://{}:{}".format(*gateway.admin)
            if self._announce:
                pid = os.getpid()
                state_file.write(state_file.DemoState(pid=pid, gateway=self.url, admin=self.admin_url, control=self.control_url))
                stack.callback(state_file.remove, pid)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._stack.aclose()


def what_to_try(demo: Demo) -> str:
    """The text that `headgate demo` prints when it serves."""
    command = "headgate" if shutil.which("headgate") else str(Path(sys.executable).with_name("headgate"))
    return f"""
A gateway on {demo.url}, with simulated vendors openai, anthropic, gemini and local behind it.
No key is needed; SDKs want one, so give them any.

  curl -s {demo.url}/v1/chat/completions -H 'content-type: application/json' \\
    -d '{{"model": "chat", "messages": [{{"role": "user", "content": "hello"}}]}}'
  curl -sN {demo.url}/v1/messages -H 'content-type: application/json' -H 'anthropic-version: 2023-06-01' \\
    -d '{{"model": "claude", "max_tokens": 100, "stream": true, "messages": [{{"role": "user", "content": "hello"}}]}}'

  from openai import OpenAI
  OpenAI(base_url="{demo.url}/v1", api_key="any").chat.completions.create(model="chat", messages=[{{"role": "user", "content": "hello"}}])

  from anthropic import Anthropic
  Anthropic(base_url="{demo.url}", api_key="any").messages.create(
      model="chat", max_tokens=100, messages=[{{"role": "user", "content": "hello"}}])

Models: chat (openai, then anthropic), claude (anthropic, then openai), gemini (gemini, then openai),
fast (openai and local, then anthropic), thrifty (anthropic, then openai and local), embed,
tab (completions), draw, say, hear and watch.
Answers say who gave them. Now break a vendor, from another terminal, and ask again:

  {command} demo break openai --mode status --status 503
  {command} demo break anthropic --mode stall --after 5
  {command} demo status
  {command} demo heal

Admin API and metrics: {demo.admin_url}    Ctrl-C stops it.
"""
