"""A gateway whose memory is full refuses what comes, keeps what it serves, and serves again when there is room."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from control_plane.app.memory import _limits, heap_bytes
from control_plane.kit import probe
from control_plane.kit.errors import SpecError
from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route

LIMIT_MB = 256
READERS = 12
"""Clients that do not read; each is sent about 25 MB, all of it well over the limit."""


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(route("gpt", "openai", first_token="20s"), max_heap=f"{LIMIT_MB}Mi")


async def slow_reader(rig: Rig) -> asyncio.StreamWriter:
    """A client that asks for a long stream and reads none of it."""
    parts = urlsplit(rig.url)
    _, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=4096)
    asked = {"model": "gpt", "stream": True, "messages": [{"role": "user", "content": "[[sim tokens=100000 delay_ms=0]]"}]}
    body = json.dumps(asked).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    return writer


async def ask(rig: Rig, path: str) -> load.Answer:
    make = load.messages if "messages" in path else load.chat
    (answer,) = await load.run(rig.url, 1, 1, lambda _: make("gpt"))
    return answer


@pytest.mark.long
def test_a_full_gateway_refuses_in_the_clients_dialect_and_recovers(rig: Rig) -> None:
    pid = rig.gateway.children["envoy"].pid

    async def fill() -> list[load.Answer]:
        readers = [await slow_reader(rig) for _ in range(READERS)]
        try:
            for _ in range(300):
                _, text = await probe.http(rig.gateway.places.envoy_admin, "GET", "/memory")
                if int(json.loads(text)["allocated"]) > LIMIT_MB * 1e6:
                    break
                await asyncio.sleep(0.1)
            await asyncio.sleep(1.0)  # the next look of the overload manager
            return [await ask(rig, "/v1/chat/completions"), await ask(rig, "/v1/messages")]
        finally:
            for writer in readers:
                writer.transport.abort()

    async def until_served() -> load.Answer:
        for _ in range(100):
            if (answer := await ask(rig, "/v1/chat/completions")).status == 200:
                return answer
            await asyncio.sleep(0.1)
        return answer

    assert load.served(rig.loop.run(until_served())) is None
    chat, messages = rig.loop.run(fill(), timeout=90)
    for answer, sign in ((chat, b'"code":"gateway_overloaded"'), (messages, b'"type":"overloaded_error"')):
        assert answer.status == 503, answer
        assert sign in answer.body, answer.body
        assert answer.headers["retry-after"] == "1"
    assert load.served(rig.loop.run(until_served())) is None, "no way back"
    assert rig.gateway.children["envoy"].pid == pid, "Envoy died"


def test_the_limit_is_named_or_half_of_what_there_is(tmp_path: Path) -> None:
    assert heap_bytes("2Gi", "--max-heap") == 2 << 30
    assert 256 << 20 <= heap_bytes("", "--max-heap") <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2 + 1
    for text, why in (("lots", "expected a size"), ("1Mi", "at least 256Mi")):
        with pytest.raises(SpecError, match=why):
            heap_bytes(text, "--max-heap")
    (tmp_path / "proc").mkdir()
    (tmp_path / "proc" / "meminfo").write_text("MemTotal:  8388608 kB\nMemFree: 1 kB\n")
    assert list(_limits(tmp_path)) == [8 << 30]
    (tmp_path / "sys" / "fs" / "cgroup").mkdir(parents=True)
    (tmp_path / "sys" / "fs" / "cgroup" / "memory.max").write_text("max\n")
    assert list(_limits(tmp_path)) == [8 << 30]
    (tmp_path / "sys" / "fs" / "cgroup" / "memory.max").write_text("1073741824\n")
    assert list(_limits(tmp_path)) == [8 << 30, 1 << 30]
