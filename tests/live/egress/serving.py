"""A gateway on specs of a test's own."""

from __future__ import annotations

import asyncio
import json
import os
import time
import urllib.request
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control_plane.app.supervisor import GatewayProcess, Options
from tests.live.gateway import load

KEY = "canary-egress-4715"

PROVIDER = """---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec:
  preset: openai-compatible
  baseUrl: "{url}/v1"
  allowInsecure: true
  credentials: [{{secretRef: {{env: EGRESS_KEY}}}}]
{more}
"""
ROUTE = """---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: {name}}}
spec:
  models: [{name}]
  dialects: [openai-chat]
  plan: [{plan}]
  timeouts: {{connect: 2s, firstToken: 10s, idle: 60s}}
"""


def provider(name: str, url: str, tls: str = "", egress: str = "") -> str:
    """A Provider; `tls` and `egress` are YAML in flow style."""
    more = "".join(f"  {field}: {text}\n" for field, text in (("tls", tls), ("egress", egress)) if text)
    return PROVIDER.format(name=name, url=url, more=more)


def route(name: str, *providers: str) -> str:
    """A ModelRoute whose groups are one provider each."""
    return ROUTE.format(name=name, plan=", ".join(f"{{targets: [{{provider: {p}, model: m}}]}}" for p in providers))


@dataclass
class Serving:
    """A running gateway, its spec file, and what its parts said."""

    gateway: GatewayProcess
    specs: Path
    lines: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.gateway.url

    async def ask(self, model: str) -> load.Answer:
        """One request on a connection of its own."""
        (answer,) = await load.run(self.url, 1, 1, lambda _: load.chat(model))
        return answer

    async def asked(self, model: str, wanted: Callable[[load.Answer], bool], within_s: float = 10) -> load.Answer:
        """Ask until an answer is as wanted."""
        began = time.monotonic()
        while not wanted(answer := await self.ask(model)):
            assert time.monotonic() - began < within_s, (answer, self.lines[-5:])
            await asyncio.sleep(0.05)
        return answer

    def write(self, text: str) -> None:
        """As careful operators do it: a new file, renamed over the old one."""
        temporary = self.specs.with_suffix(".tmp")
        temporary.write_text(text)
        os.replace(temporary, self.specs)

    async def providers(self) -> dict[str, dict[str, Any]]:
        """What `headgate get providers` reads, by name."""
        host, port = self.gateway.admin

        def fetch() -> Any:
            with urllib.request.urlopen(f"http://{host}:{port}/api/v1/providers", timeout=5) as answer:
                return json.load(answer)

        return {row["provider"]: row for row in (await asyncio.to_thread(fetch))["items"]}

    async def envoy(self, path: str) -> str:
        """From Envoy's admin API."""
        reader, writer = await asyncio.open_unix_connection(self.gateway.places.envoy_admin)
        writer.write(f"GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n".encode())
        answer = await asyncio.wait_for(reader.read(), 10)
        writer.close()
        return answer.partition(b"\r\n\r\n")[2].decode()


@asynccontextmanager
async def serving(folder: Path, specs: str, env: dict[str, str] | None = None) -> AsyncIterator[Serving]:
    """Run a gateway on `specs`, whose relative paths are in `folder`."""
    file = folder / "specs.yaml"
    file.write_text(specs)
    lines: list[str] = []
    options = Options(
        specs=(file,),
        listen=("127.0.0.1", 0),
        admin=("127.0.0.1", 0),
        state=folder / "state",
        translators=1,
        concurrency=1,
        drain_s=1,
        env={"EGRESS_KEY": KEY, **(env or {})},
    )
    try:
        async with GatewayProcess(options, lines.append) as gateway:
            yield Serving(gateway, file, lines)
    except BaseException:
        print("\n".join(lines[-40:]))
        raise
