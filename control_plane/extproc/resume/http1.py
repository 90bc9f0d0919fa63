"""HTTP/1.1 with one trusted peer, Envoy, on both sides of the resumer: heads and bodies, one exchange a connection."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

HEAD_BYTES: Final = 256 << 10
"""Of a head: Envoy itself takes 60 KiB of request headers by default."""

BODY_BYTES: Final = 256 << 20
"""Of a request's body; routes have limits of their own, below this."""

PIECE_BYTES: Final = 64 << 10
HOP_BY_HOP: Final = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "upgrade", "te", "trailer", "expect"})


class Broken(Exception):
    """The peer went away, or what it sent is no HTTP."""


@dataclass(frozen=True, slots=True)
class Head:
    """`first`: the words of the first line. Header names in lower case."""

    first: tuple[str, str, str]
    headers: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        return next((value for key, value in self.headers if key == name), "")

    def end_to_end(self) -> list[tuple[str, str]]:
        """Headers that are not about this connection."""
        return [(name, value) for name, value in self.headers if name not in HOP_BY_HOP]


async def read_head(reader: asyncio.StreamReader) -> Head:
    """Raises Broken."""
    try:
        raw = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError) as error:
        raise Broken(str(error)) from None
    first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    words = (*first.split(" ", 2), "", "")[:3]
    pairs = [line.partition(":") for line in lines]
    return Head((words[0], words[1], words[2]), tuple((name.strip().lower(), value.strip()) for name, _, value in pairs))


async def body_of(reader: asyncio.StreamReader, head: Head, *, answer: bool) -> AsyncIterator[bytes]:
    """The pieces of a body, as they come. An answer without a length lasts as long as its connection. Raises Broken."""
    try:
        if "chunked" in head.get("transfer-encoding").lower():
            while size := int((await reader.readline()).partition(b";")[0], 16):
                while size:
                    piece = await reader.read(min(size, PIECE_BYTES))
                    if not piece:
                        raise Broken("cut")
                    size -= len(piece)
                    yield piece
                await reader.readexactly(2)
            while await reader.readline() not in (b"\r\n", b""):
                pass  # trailers
        elif length := head.get("content-length"):
            left = int(length)
            while left:
                piece = await reader.read(min(left, PIECE_BYTES))
                if not piece:
                    raise Broken("cut")
                left -= len(piece)
                yield piece
        elif answer:
            while piece := await reader.read(PIECE_BYTES):
                yield piece
    except (ValueError, OSError, asyncio.IncompleteReadError) as error:
        raise Broken(str(error)) from None


async def whole_body(reader: asyncio.StreamReader, head: Head) -> bytes:
    """Raises Broken."""
    body = bytearray()
    async for piece in body_of(reader, head, answer=False):
        body += piece
        if len(body) > BODY_BYTES:
            raise Broken("too large")
    return bytes(body)


def head_bytes(first: str, headers: list[tuple[str, str]]) -> bytes:
    return "".join([first, "\r\n", *(f"{name}: {value}\r\n" for name, value in headers), "\r\n"]).encode("latin-1")


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST_CHUNK: Final = b"0\r\n\r\n"
