"""A translator worker for a whole module, and gateways (Envoy with scripted upstreams behind it) for a test."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.live.extproc.harness import (
    Envoy,
    Json,
    Target,
    Worker,
    envoy_config,
    running_envoy,
    start_worker,
    stop_worker,
    translator_cluster,
)
from tests.live.extproc.upstream import Script, Upstream


@pytest.fixture(scope="module")
def sockets() -> Iterator[Path]:
    """A directory short enough for Unix sockets."""
    path = Path(tempfile.mkdtemp(prefix="hg-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def worker(sockets: Path) -> Iterator[Worker]:
    running = asyncio.run(start_worker(sockets / "w.sock"))
    yield running
    stop_worker(running)
    assert "Traceback" not in running.log.read_text(), running.log.read_text()


async def worker_stats(worker: Worker) -> dict[str, int]:
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(worker.socket), http1=False, http2=True)) as client:
        answer = await client.get("http://translator/stats")
        stats: dict[str, int] = answer.json()
        return stats


async def until(condition: Callable[[], Awaitable[bool]], seconds: float) -> None:
    """Poll until `condition` holds; fails after `seconds`."""
    async with asyncio.timeout(seconds):
        while not await condition():
            await asyncio.sleep(0.02)


@dataclass
class Gateway:
    """One Envoy, its upstreams in the order of the plan, and a client."""

    envoy: Envoy
    upstreams: list[Upstream]
    client: httpx.AsyncClient
    url: str = field(init=False)

    def __post_init__(self) -> None:
        self.url = f"http://127.0.0.1:{self.envoy.edge}/v1/chat/completions"

    async def ask(self, **fields: Any) -> httpx.Response:
        """A chat request in the openai-chat dialect."""
        body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 10} | fields
        return await self.client.post(self.url, json=body)


def chunks(response: httpx.Response) -> list[Json]:
    """The JSON of an openai-chat stream's data lines, without the final [DONE]."""
    lines = [line[6:] for line in response.text.split("\n\n") if line.startswith("data: ")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def text_of(response: httpx.Response) -> str:
    """The text of a whole or a streamed openai-chat answer."""
    if response.headers["content-type"].startswith("application/json"):
        content: str = response.json()["choices"][0]["message"]["content"]
        return content
    return "".join(choice["delta"].get("content") or "" for chunk in chunks(response) for choice in chunk.get("choices", ()))


OpenGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
async def gateway(worker: Worker, tmp_path: Path) -> AsyncIterator[OpenGateway]:
    """Opens a gateway over one scripted upstream a target: `await gateway(script_a, script_b, retry={...})`."""
    async with AsyncExitStack() as stack:

        async def open_one(
            *scripts: Script | Target,
            sockets: list[Path] | None = None,
            retry: Json | None = None,
            idle_ms: int | None = None,
            **cluster: object,
        ) -> Gateway:
            upstreams: list[Upstream] = []
            targets: list[Target] = []
            for name, script in zip("abcdef", scripts, strict=False):
                if isinstance(script, Target):
                    targets.append(script)
                    continue
                upstream = Upstream(script)
                await upstream.start()
                stack.push_async_callback(upstream.stop)
                upstreams.append(upstream)
                targets.append(Target(name, upstream.port, idle_ms=idle_ms))
            config = envoy_config(targets, translator_cluster(sockets or [worker.socket], **cluster), tmp_path / "journal", retry)
            envoy = await stack.enter_async_context(running_envoy(config, tmp_path))
            client = httpx.AsyncClient(timeout=20, limits=httpx.Limits(max_connections=None, max_keepalive_connections=None))
            return Gateway(envoy, upstreams, await stack.enter_async_context(client))

        yield open_one
