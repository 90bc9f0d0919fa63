"""One small HTTP request to a part of the gateway: Envoy's admin socket, the control plane, the edge itself."""

from __future__ import annotations

import asyncio
from typing import Final

TIMEOUT_S: Final = 2.0
BODY_LIMIT: Final = 16 << 20


async def http(address: str, method: str, path: str) -> tuple[int, str]:
    """Status and body. `address` is a socket path or host:port. Raises OSError or TimeoutError when nobody answers."""
    async with asyncio.timeout(TIMEOUT_S):
        if address.startswith("/"):
            reader, writer = await asyncio.open_unix_connection(address)
        else:
            host, _, port = address.rpartition(":")
            reader, writer = await asyncio.open_connection(host.strip("[]"), int(port))
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: 0\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            body = bytearray()
            while len(body) < BODY_LIMIT and (data := await reader.read(65536)):
                body += data
        except asyncio.IncompleteReadError as error:
            raise ConnectionError(f"{address} closed the connection without an answer") from error
        finally:
            writer.close()
    words = head.split(" ", 2)
    if len(words) < 2 or not words[1][:3].isdigit():
        raise ConnectionError(f"{address} gave no HTTP answer")
    return int(words[1][:3]), _unchunked(head, bytes(body)).decode(errors="replace")


def _unchunked(head: str, body: bytes) -> bytes:
    if "transfer-encoding: chunked" not in head.lower():
        return body
    out = bytearray()
    while body:
        line, _, rest = body.partition(b"\r\n")
        size = int(line or b"0", 16)
        if size == 0:
            break
        out += rest[:size]
        body = rest[size + 2 :]
    return bytes(out)


async def answers(address: str, path: str) -> bool:
    """Whether a GET is answered with a status below 400."""
    try:
        status, _ = await http(address, "GET", path)
    except (OSError, TimeoutError, ValueError):
        return False
    return status < 400
