"""A raw HTTP client, so that tests see the bytes and how a connection ended."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import pytest

from control_plane.demo.simulators import Pace, Simulator

OPENAI_HEADERS = {"authorization": "Bearer sk-a", "content-type": "application/json"}
ANTHROPIC_HEADERS = {"x-api-key": "sk-a", "anthropic-version": "2023-06-01", "content-type": "application/json"}
CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello there, simulator"}]}
MESSAGE = {"model": "claude-sonnet-5", "max_tokens": 500, "messages": [{"role": "user", "content": "hello there, simulator"}]}


@dataclass(frozen=True, slots=True)
class Seen:
    """What came back. `ended`: "complete" (framing finished), "eof" (closed in the middle), "reset", "silent" (nothing for the wait)."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    chunks: tuple[bytes, ...]
    ended: str

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of each server-sent event; "[DONE]" stays a string."""
        blocks = [block for block in self.body.decode().split("\n\n") if block and not block.startswith(":")]
        data = [line.removeprefix("data: ") for block in blocks for line in block.split("\n") if line.startswith("data: ")]
        return [item if item == "[DONE]" else json.loads(item) for item in data]


class Call(Protocol):
    async def __call__(
        self,
        simulator: Simulator,
        path: str,
        body: Any = None,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        wait_s: float = 5.0,
    ) -> Seen: ...


async def _read(reader: asyncio.StreamReader, wait_s: float) -> Seen:
    status, headers, body, chunks, ended = 0, dict[str, str](), b"", list[bytes](), "complete"
    try:
        async with asyncio.timeout(wait_s):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)}
            if "content-length" in headers:
                wanted = int(headers["content-length"])
                while len(body) < wanted:
                    piece = await reader.read(wanted - len(body))
                    if not piece:
                        raise asyncio.IncompleteReadError(body, wanted)
                    body += piece
            else:
                while size := int(await reader.readuntil(b"\r\n"), 16):
                    chunks.append(await reader.readexactly(size))
                    await reader.readexactly(2)
                await reader.readexactly(2)
    except TimeoutError:
        ended = "silent"
    except ConnectionResetError:
        ended = "reset"
    except asyncio.IncompleteReadError:
        ended = "eof"
    return Seen(status, headers, body or b"".join(chunks), tuple(chunks), ended)


@pytest.fixture
def call() -> Call:
    """Sends one request on a connection of its own."""

    async def send(
        simulator: Simulator,
        path: str,
        body: Any = None,
        *,
        method: str = "POST",
        headers: Mapping[str, str] | None = None,
        wait_s: float = 5.0,
    ) -> Seen:
        given = headers if headers is not None else OPENAI_HEADERS if simulator.vendor == "openai" else ANTHROPIC_HEADERS
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
        try:
            lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
            writer.write(f"{method} {path} HTTP/1.1\r\nhost: sim\r\n{lines}content-length: {len(data)}\r\n\r\n".encode() + data)
            return await _read(reader, wait_s)
        finally:
            writer.close()

    return send


@pytest.fixture
async def openai() -> AsyncIterator[Simulator]:
    async with Simulator("openai", keys=["sk-a", "sk-b"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator


@pytest.fixture
async def anthropic() -> AsyncIterator[Simulator]:
    async with Simulator("anthropic", keys=["sk-a", "sk-b"], pace=Pace(delay_ms=1)) as simulator:
        yield simulator
