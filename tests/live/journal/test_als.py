"""The gRPC access log of the real Envoy says the same as its file, line for line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc

from control_plane.signals.als import AccessLogService
from control_plane.signals.lines import Line, decode
from control_plane.telemetry.metrics import Metrics


def by_key(lines: Sequence[Line]) -> dict[tuple[str, object], Line]:
    found = {line.key: line for line in lines}
    assert len(found) == len(lines)
    return found


def from_file(path: Path) -> list[Line]:
    return [decode(raw) for raw in path.read_bytes().splitlines()]


async def test_both_ways_tell_the_same(edge: Any, vendors: Any, script: dict[str, bytes], free_port: int) -> None:
    got: list[Line] = []
    server = grpc.aio.server()
    AccessLogService(got.extend, metrics := Metrics()).add_to(server)
    server.add_insecure_port(f"unix:{edge.folder}/als.sock")
    await server.start()
    plan = {
        "refused": free_port,
        "a": await vendors.play(script["503"]),
        "b": await vendors.play(script["head"], script["token"], 0.05, script["done"]),
    }
    await edge.start(plan, als=edge.folder / "als.sock")
    await edge.call(x_test_model='odd "name" \u00e9')
    await edge.call(leave_after_s=0.02)
    await asyncio.gather(*(edge.call() for _ in range(20)))
    async with asyncio.timeout(10):
        while len(got) != len(from_file(edge.journal)) or len(got) < 22 * 4:
            await asyncio.sleep(0.05)
    assert by_key(got) == by_key(from_file(edge.journal))
    assert metrics.value("headgate_journal_lines_total", log="request") == 22
    await server.stop(None)


async def test_a_model_name_that_is_no_text_hides_no_request(edge: Any, vendors: Any, script: dict[str, bytes]) -> None:
    got: list[Line] = []
    server = grpc.aio.server()
    AccessLogService(got.extend, Metrics()).add_to(server)
    server.add_insecure_port(f"unix:{edge.folder}/als.sock")
    await server.start()
    await edge.start({"b": await vendors.play(script["quick"])}, als=edge.folder / "als.sock")
    reader, writer = await asyncio.open_connection("127.0.0.1", edge.port)
    writer.write(b"POST /v1/x HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nx-test-model: a\xff\xfeb\r\nconnection: close\r\n\r\nabcd")
    await reader.read()
    writer.close()
    async with asyncio.timeout(10):
        while not got:
            await asyncio.sleep(0.05)
    assert [getattr(line, "model", None) for line in got] == ["a\ufffd\ufffdb"]
    (request,) = [json.loads(raw) for raw in edge.journal.read_bytes().splitlines() if b'"request"' in raw]
    assert request["asked"] == "openai-chat stream a\u00ff\u00feb"
    await server.stop(None)
