"""A small HTTP/1.1 client on asyncio streams that tells how an answer ended: a check must see a cut, which libraries hide."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal
from urllib.parse import urlsplit

LINE_LIMIT_BYTES: Final = 1024 * 1024  # of a head or a chunk header
BODY_LIMIT_BYTES: Final = 64 * 1024 * 1024

Ending = Literal["complete", "eof", "reset", "refused", "timeout"]


@dataclass(slots=True)
class Answer:
    """What came back. `ended`: "complete" (the framing finished), "eof" (closed in the middle), "reset", "refused", "timeout".

    `status` is 0 when no head came. `chunks` are the HTTP chunks of a chunked body. Times in seconds since the request was sent;
    `first_byte_s` is that of the body.
    """

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)
    ended: Ending = "complete"
    first_byte_s: float | None = None
    total_s: float = 0.0

    def json(self) -> Any:
        """Raises ValueError when the body is not JSON."""
        return json.loads(self.body)

    def events(self) -> list[Any]:
        """The data of each server-sent event, decoded; "[DONE]" stays text. Raises ValueError when one is not JSON."""
        data = [line[5:].strip() for line in self.body.decode().splitlines() if line.startswith("data:")]
        return [item if item == "[DONE]" else json.loads(item) for item in data]


async def call(
    url: str, body: object = None, *, method: str = "POST", headers: Mapping[str, str] | None = None, timeout_s: float = 30.0
) -> Answer:
    """One request on a connection of its own. `body` is bytes as they are, None for none, else JSON. The server cannot make it raise."""
    parts = urlsplit(url)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body, ensure_ascii=False).encode()
    given = {"host": parts.netloc, "content-type": "application/json", "content-length": str(len(data))} | dict(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    answer = Answer()
    start = time.monotonic()
    writer: asyncio.StreamWriter | None = None
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, limit=LINE_LIMIT_BYTES)
            writer.write(f"{method} {target} HTTP/1.1\r\n{lines}\r\n".encode() + data)
            await _read(reader, answer, start)
    except TimeoutError:
        answer.ended = "timeout"
    except ConnectionRefusedError:
        answer.ended = "refused"
    except ConnectionError:
        answer.ended = "reset"
    except asyncio.IncompleteReadError as error:
        answer.body += error.partial if "content-length" in answer.headers else b""
        answer.ended = "eof"
    finally:
        if writer is not None:
            writer.close()
    answer.body = answer.body or b"".join(answer.chunks)
    answer.total_s = time.monotonic() - start
    return answer


async def _read(reader: asyncio.StreamReader, answer: Answer, start: float) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    answer.status = int(head[0].split(" ")[1])
    for name, _, value in (line.partition(":") for line in head[1:] if line):
        answer.headers[name.lower()] = value.strip()
    length = answer.headers.get("content-length")
    if length is not None:
        answer.body = await _exactly(reader, min(int(length), BODY_LIMIT_BYTES), answer, start)
        return
    if "chunked" not in answer.headers.get("transfer-encoding", ""):
        return
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        answer.chunks.append(await _exactly(reader, size, answer, start))
        await reader.readexactly(2)
    await reader.readexactly(2)


async def _exactly(reader: asyncio.StreamReader, size: int, answer: Answer, start: float) -> bytes:
    if size and answer.first_byte_s is None:
        first = await reader.readexactly(1)
        answer.first_byte_s = time.monotonic() - start
        return first + await reader.readexactly(size - 1)
    return await reader.readexactly(size)
