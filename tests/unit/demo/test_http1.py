"""The hand-written HTTP/1.1 server: framing, pipelining, limits."""

from __future__ import annotations

import asyncio
import json

import pytest

from control_plane.demo.simulators import Simulator
from control_plane.demo.simulators.http1 import BadRequest, ChunkedBody, parse_head

HEAD = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-a\r\ncontent-type: application/json\r\n"
BODY = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "hé"}]}).encode()


async def exchange(simulator: Simulator, data: bytes, *, step: int | None = None, answers: int = 1) -> bytes:
    """Send `data` (in pieces of `step` bytes) and read that many answers, or up to the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    try:
        for start in range(0, len(data), step or len(data)):
            writer.write(data[start : start + (step or len(data))])
            await writer.drain()
            if step:
                await asyncio.sleep(0)
        got = b""
        async with asyncio.timeout(5):
            while got.count(b"HTTP/1.1 ") < answers or not got.endswith((b"}", b"\n")):
                piece = await reader.read(65536)
                if not piece:
                    break
                got += piece
        return got
    finally:
        writer.close()


@pytest.mark.parametrize("step", [None, 1, 7])
async def test_any_split_of_the_bytes_is_the_same_request(openai: Simulator, step: int | None) -> None:
    data = f"{HEAD}content-length: {len(BODY)}\r\n\r\n".encode() + BODY
    assert b"200 OK" in await exchange(openai, data, step=step)
    assert openai.requests[-1].json()["messages"][0]["content"] == "hé"


@pytest.mark.parametrize("step", [None, 1])
async def test_a_chunked_body_with_extensions_and_trailers(openai: Simulator, step: int | None) -> None:
    pieces = b"".join(b"%x;name=value\r\n%s\r\n" % (len(BODY[i : i + 10]), BODY[i : i + 10]) for i in range(0, len(BODY), 10))
    data = f"{HEAD}transfer-encoding: chunked\r\n\r\n".encode() + pieces + b"0\r\nx-trailer: 1\r\n\r\n"
    assert b"200 OK" in await exchange(openai, data, step=step)
    assert openai.requests[-1].body == BODY


async def test_pipelined_requests_are_answered_in_order(openai: Simulator) -> None:
    one = f"{HEAD}content-length: {len(BODY)}\r\n\r\n".encode() + BODY
    got = await exchange(openai, one + b"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer sk-a\r\n\r\n" + one, answers=3)
    assert got.count(b"200 OK") == 3
    assert [recorded.path for recorded in openai.requests] == ["/v1/chat/completions", "/v1/models", "/v1/chat/completions"]


async def test_a_request_behind_a_stream_waits_for_it(openai: Simulator) -> None:
    body = BODY[:-1] + b',"stream":true}'
    stream = f"{HEAD}content-length: {len(body)}\r\n\r\n".encode() + body
    got = await exchange(openai, stream + f"{HEAD}content-length: {len(BODY)}\r\n\r\n".encode() + BODY, answers=2)
    assert got.index(b"[DONE]") < got.rindex(b"HTTP/1.1 200 OK")


async def test_expect_continue(openai: Simulator) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", openai.port)
    writer.write(f"{HEAD}content-length: {len(BODY)}\r\nexpect: 100-continue\r\n\r\n".encode())
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    writer.write(BODY)
    assert (await reader.readuntil(b"\r\n")).endswith(b"200 OK\r\n")
    writer.close()


async def test_connection_close_is_honoured(openai: Simulator) -> None:
    data = f"{HEAD}connection: close\r\ncontent-length: {len(BODY)}\r\n\r\n".encode() + BODY
    reader, writer = await asyncio.open_connection("127.0.0.1", openai.port)
    writer.write(data)
    async with asyncio.timeout(5):
        assert b"200 OK" in await reader.read()  # to the end of the connection
    writer.close()


@pytest.mark.parametrize(
    "data",
    [
        b"NONSENSE\r\n\r\n",
        b"GET / HTTP/2\r\n\r\n",
        b"GET / HTTP/1.1\r\nbad header\r\n\r\n",
        b"GET / HTTP/1.1\r\nname : x\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\ncontent-length: 99999999999\r\n\r\n",
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"a" * 70_000,
    ],
)
async def test_what_is_not_http_gets_400_and_a_close(openai: Simulator, data: bytes) -> None:
    assert (await exchange(openai, data)).startswith(b"HTTP/1.1 400 ")
    assert openai.stats.requests == 0


def test_repeated_headers_are_joined() -> None:
    request = parse_head(b"GET /a?b=c HTTP/1.1\r\nX-One: 1\r\nx-one: 2")
    assert (request.path, request.query, request.headers) == ("/a", "b=c", {"x-one": "1, 2"})
    assert not parse_head(b"GET / HTTP/1.0").keep_alive


def test_a_chunk_header_without_an_end_is_refused() -> None:
    with pytest.raises(BadRequest):
        ChunkedBody().take(bytearray(b"1" * 70_000))
