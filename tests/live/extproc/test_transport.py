"""The worker's transport without Envoy: half-close, resets, malformed input, large messages, many streams, drain, its socket."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from control_plane.extproc.facts import ASKED, MODEL, OFFERS, TARGET
from control_plane.extproc.server import PROCESS
from control_plane.pb.ext_proc_pb2 import ProcessingRequest, ProcessingResponse
from tests.live.extproc.conftest import until, worker_stats
from tests.live.extproc.harness import Worker, start_worker, stop_worker
from tests.live.extproc.upstream import MIB
from tests.live.extproc.vendor import BLOCK, closing, message_start, text, whole_message

METADATA = (
    (ASKED, '{"dialect":"openai-chat","operation":"chat"}'),
    (OFFERS, '[{"dialect":"anthropic-messages","operation":"chat","path":"/v1/messages"}]'),
    (TARGET, "a/up"),
    (MODEL, "up"),
)
# gRPC's default for a Unix socket is an escaped path, which is no valid HTTP/2 authority.
OPTIONS = (("grpc.default_authority", "translator"), ("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1))
Call = Any


@asynccontextmanager
async def streams(worker: Worker) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(f"unix:{worker.socket}", options=OPTIONS) as channel:
        yield channel.stream_stream(
            PROCESS,
            request_serializer=ProcessingRequest.SerializeToString,
            response_deserializer=ProcessingResponse.FromString,
        )


async def ask(call: Call, stream: bool = True, padding: int = 0) -> bytes:
    """Send a whole request; the body the provider would get."""
    body = {"model": "m", "stream": stream, "max_tokens": 5, "messages": [{"role": "user", "content": "hi" + "x" * padding}]}
    head, piece = ProcessingRequest(), ProcessingRequest()
    head.request_headers.SetInParent()
    piece.request_body.body = json.dumps(body).encode()
    piece.request_body.end_of_stream = True
    await call.write(head)
    await call.write(piece)
    assert (await call.read()).WhichOneof("response") == "request_headers"
    answer = await call.read()
    return bytes(answer.request_body.response.body_mutation.streamed_response.body)


async def answer_head(call: Call, content_type: str) -> None:
    head = ProcessingRequest()
    head.response_headers.headers.headers.add(key=":status", raw_value=b"200")
    head.response_headers.headers.headers.add(key="content-type", raw_value=content_type.encode())
    await call.write(head)


async def answer_body(call: Call, data: bytes, end: bool) -> None:
    piece = ProcessingRequest()
    piece.response_body.body = data
    piece.response_body.end_of_stream = end
    await call.write(piece)


async def read_body(call: Call) -> bytes:
    """The client's body until its end."""
    whole = bytearray()
    while True:
        answer = await call.read()
        if answer.WhichOneof("response") == "response_headers":
            continue
        piece = answer.response_body.response.body_mutation.streamed_response
        whole += piece.body
        if piece.end_of_stream:
            return bytes(whole)


async def open_streams(worker: Worker, count: int, seconds: float = 1.0) -> None:
    """Wait until exactly `count` streams are open."""

    async def reached() -> bool:
        return (await worker_stats(worker))["open"] == count

    await until(reached, seconds)


async def test_half_close_after_the_answer_ends_the_stream(worker: Worker) -> None:
    before = await worker_stats(worker)
    async with streams(worker) as process:
        call = process(metadata=METADATA)
        await ask(call)
        await answer_head(call, "text/event-stream")
        await answer_body(call, message_start() + BLOCK + text("hi") + closing(), True)
        assert b"[DONE]" in await read_body(call)
        await call.done_writing()
        assert await call.code() == grpc.StatusCode.OK
        await open_streams(worker, 0)
    after = await worker_stats(worker)
    assert (after["complete"] - before["complete"], after["cancelled"] - before["cancelled"]) == (1, 0)


async def test_half_close_before_anything_was_said(worker: Worker) -> None:
    async with streams(worker) as process:
        call = process(metadata=METADATA)
        await call.done_writing()
        assert await call.code() == grpc.StatusCode.OK


@pytest.mark.parametrize("size", [2 * MIB, 20 * MIB], ids=["2 MB", "20 MB"])
async def test_large_messages_both_ways(worker: Worker, size: int) -> None:
    async with streams(worker) as process:
        call = process(metadata=METADATA)
        assert len(await ask(call, stream=False, padding=size)) > size
        await answer_head(call, "application/json")
        whole = whole_message("y" * size)
        for at in range(0, len(whole), 64 * 1024):
            await answer_body(call, whole[at : at + 64 * 1024], at + 64 * 1024 >= len(whole))
        assert len(json.loads(await read_body(call))["choices"][0]["message"]["content"]) == size


async def test_reset_while_a_large_answer_is_unread(worker: Worker) -> None:
    """The peer stops reading in the middle of 20 MB and then leaves: the stream's state must go, too."""
    async with streams(worker) as process:
        call = process(metadata=METADATA)
        await ask(call, stream=False)
        await answer_head(call, "application/json")
        await answer_body(call, whole_message("y" * 20 * MIB), True)
        await asyncio.sleep(0.2)
        call.cancel()
        await open_streams(worker, 0)


async def test_a_thousand_streams_live_and_leave_together(worker: Worker) -> None:
    count = 1000
    async with streams(worker) as process:
        calls = [process(metadata=METADATA) for _ in range(count)]
        await asyncio.gather(*(ask(call) for call in calls))
        await open_streams(worker, count, 5)
        for call in calls:
            await answer_head(call, "text/event-stream")
            await answer_body(call, message_start() + BLOCK + text("one"), False)
        firsts = await asyncio.gather(*(call.read() for call in calls))
        assert {first.WhichOneof("response") for first in firsts} == {"response_headers"}
        for call in calls[count // 2 :]:
            call.cancel()
        await open_streams(worker, count // 2)
        for call in calls[: count // 2]:
            await answer_body(call, closing(), True)
        bodies = await asyncio.gather(*(read_body(call) for call in calls[: count // 2]))
        assert all(b"[DONE]" in body for body in bodies)
        for call in calls:
            call.cancel()
        await open_streams(worker, 0)


async def test_streams_that_are_reset_as_soon_as_they_open_do_not_cost_the_connection(worker: Worker) -> None:
    """HTTP/2 servers guard against rapid resets; clients that leave early are ordinary here."""
    async with streams(worker) as process:
        kept = process(metadata=METADATA)
        await ask(kept)
        for _ in range(30):
            burst = [process(metadata=METADATA) for _ in range(50)]
            await asyncio.sleep(0)
            for call in burst:
                call.cancel()
        await open_streams(worker, 1)
        await answer_head(kept, "text/event-stream")
        await answer_body(kept, message_start() + BLOCK + text("one") + closing(), True)
        assert b"[DONE]" in await read_body(kept)


FRAMES = {
    "compressed": b"\1\0\0\0\2ab",
    "too long": b"\0\xff\xff\xff\xff",
    "not a message": b"\0\0\0\0\3\xff\xff\xff",
    "cut": b"\0\0\0\0\x09ab",
    "out of turn": b"\0" + (2).to_bytes(4, "big") + b"\x2a\x00",
    "of no kind": b"\0\0\0\0\0",
}


@pytest.mark.parametrize("frame", FRAMES)
async def test_malformed_stream_is_closed_counted_and_harmless(worker: Worker, frame: str) -> None:
    before = await worker_stats(worker)
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(worker.socket), http1=False, http2=True)) as client:
        answer = await client.post(f"http://translator{PROCESS}", content=FRAMES[frame], headers=dict(METADATA))
    assert answer.headers["grpc-status"] == "13"
    after = await worker_stats(worker)
    assert after["protocol_errors"] - before["protocol_errors"] == 1
    assert after["open"] == 0


async def test_malformed_message_after_an_answer_resets_the_stream(worker: Worker) -> None:
    async with grpc.aio.insecure_channel(f"unix:{worker.socket}", options=OPTIONS) as channel:
        stream: Any = channel.stream_stream
        call: Call = stream(PROCESS)(metadata=METADATA)
        head, piece = ProcessingRequest(), ProcessingRequest()
        head.request_headers.SetInParent()
        piece.request_body.body = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
        piece.request_body.end_of_stream = True
        await call.write(head.SerializeToString())
        await call.write(piece.SerializeToString())
        await call.read()
        await call.read()
        await call.write(b"\xff\xff\xff")
        with pytest.raises(grpc.aio.AioRpcError):
            await call.read()
    await open_streams(worker, 0)


async def test_other_paths(worker: Worker) -> None:
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(worker.socket), http1=False, http2=True)) as client:
        health, unknown = await client.get("http://translator/healthz"), await client.get("http://translator/")
    assert (health.status_code, health.text, unknown.status_code) == (200, "ok", 404)


@pytest.mark.parametrize(("finishes", "cut"), [(True, False), (False, True)])
async def test_sigterm_lets_open_streams_finish_for_a_while(sockets: Path, finishes: bool, cut: bool) -> None:
    worker = await start_worker(sockets / f"drain{finishes}.sock", "--drain-seconds", "5" if finishes else "1")
    try:
        async with streams(worker) as process:
            call = process(metadata=METADATA)
            await ask(call)
            await answer_head(call, "text/event-stream")
            await answer_body(call, message_start() + BLOCK + text("one"), False)
            await call.read()
            worker.process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.15)
            async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(worker.socket), http1=False, http2=True)) as client:
                assert (await client.get("http://translator/healthz")).status_code == 503
            if finishes:
                await answer_body(call, closing(), True)
                assert b"[DONE]" in await read_body(call)
                await call.done_writing()
            async with asyncio.timeout(2):
                assert await asyncio.to_thread(worker.process.wait) == 0
        assert ("1 streams are cut" in worker.log.read_text()) is cut
        assert not worker.socket.exists()
    finally:
        stop_worker(worker)


async def test_stale_socket_is_replaced(sockets: Path) -> None:
    path = sockets / "stale.sock"
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(path))
    worker = await start_worker(path)
    assert (await worker_stats(worker))["open"] == 0
    stop_worker(worker)


def refused(path: Path) -> str:
    code = (
        "import sys, typer\nfrom control_plane.cli.translator import translator\nfrom control_plane.kit.errors import SpecError\n"
        "try: typer.run(translator)\nexcept SpecError as error: sys.exit(str(error))"
    )
    done = subprocess.run([sys.executable, "-c", code, "--socket", str(path)], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1
    return done.stderr


def test_socket_of_a_live_process_is_left_alone(worker: Worker) -> None:
    assert "served by another live process" in refused(worker.socket)
    assert worker.process.poll() is None
    assert worker.socket.exists()


def test_unusable_socket_paths_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert "at most 107 fit" in refused(tmp_path / ("x" * 120))
    assert "is not a socket" in refused(tmp_path / "file")
    assert "does not exist" in refused(tmp_path / "no" / "s")
