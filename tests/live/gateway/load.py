"""Bounded load for the gateway: many requests at once over plain sockets, each answer checked to its last byte."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit


@dataclass
class Answer:
    """What one request got. `clean` says that the body ended as HTTP says it must."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    clean: bool = False
    seconds: float = 0.0

    @property
    def attempts(self) -> int:
        return int(self.headers.get("x-headgate-attempts", "0"))


def chat(model: str, stream: bool = False, text: str = "hello") -> tuple[str, bytes]:
    """An OpenAI request: path and body."""
    return "/v1/chat/completions", json.dumps({"messages": [{"role": "user", "content": text}], "model": model, "stream": stream}).encode()


def messages(model: str, stream: bool = False, text: str = "hello") -> tuple[str, bytes]:
    """An Anthropic request: path and body."""
    body: dict[str, Any] = {"model": model, "max_tokens": 400, "messages": [{"role": "user", "content": text}], "stream": stream}
    return "/v1/messages", json.dumps(body).encode()


def generate(model: str, stream: bool = False, text: str = "hello") -> tuple[str, bytes]:
    """A Gemini request: path and body. The path says whether to stream."""
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    return f"/v1beta/models/{model}:{method}", json.dumps({"contents": [{"role": "user", "parts": [{"text": text}]}]}).encode()


def cohere(model: str, stream: bool = False, text: str = "hello") -> tuple[str, bytes]:
    """A Cohere request: path and body."""
    return "/v2/chat", json.dumps({"model": model, "messages": [{"role": "user", "content": text}], "stream": stream}).encode()


def served(answer: Answer) -> str | None:
    """None if a user sees nothing wrong with it, else what is wrong."""
    if answer.status != 200 or not answer.clean:
        return f"status {answer.status}, clean {answer.clean}: {answer.body[-200:]!r}"
    if answer.headers.get("content-type", "").startswith("text/event-stream"):
        if not any(end in answer.body for end in (b"[DONE]", b"message_stop", b'"finishReason"')):
            return f"no end: {answer.body[-200:]!r}"
        if b'"error"' in answer.body or b'"finish_reason":"ERROR"' in answer.body:
            return f"an error inside: {answer.body[-200:]!r}"
        return None
    return None if b"heard: " in answer.body else f"odd body: {answer.body[:200]!r}"


class Client:
    """Connections are kept and reused, one request at a time on each."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 0
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def post(self, path: str, body: bytes, headers: dict[str, str] | None = None, timeout: float = 60) -> Answer:
        """One request. A connection that breaks shows as an answer that is not clean."""
        answer, began = Answer(), time.monotonic()
        reader, writer = self._idle.pop() if self._idle else await asyncio.open_connection(self._host, self._port, limit=1 << 22)
        try:
            async with asyncio.timeout(timeout):
                said = {"host": "gateway", "content-type": "application/json", "content-length": str(len(body)), **(headers or {})}
                head = "".join(f"{k}: {v}\r\n" for k, v in said.items())
                writer.write(f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body)
                await _read(reader, answer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            answer.clean = False
        answer.seconds = time.monotonic() - began
        if answer.clean and answer.headers.get("connection") != "close":
            self._idle.append((reader, writer))
        else:
            writer.close()
        return answer

    def close(self) -> None:
        for _, writer in self._idle:
            writer.close()
        self._idle.clear()


async def _read(reader: asyncio.StreamReader, answer: Answer) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    answer.status = int(head[0].split(" ")[1])
    answer.headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
    if "content-length" in answer.headers:
        answer.body = await reader.readexactly(int(answer.headers["content-length"]))
    elif answer.headers.get("transfer-encoding") == "chunked":
        parts = []
        while size := await _chunk_size(reader):
            parts.append(await reader.readexactly(size))
            await reader.readexactly(2)
            answer.body = b"".join(parts) if len(parts) % 64 == 0 else answer.body
        answer.body = b"".join(parts)
        await reader.readline()
    answer.clean = True


async def _chunk_size(reader: asyncio.StreamReader) -> int:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise asyncio.IncompleteReadError(line, None)
    return int(line.strip(), 16)


async def run(url: str, count: int, at_once: int, make: Callable[[int], tuple[str, bytes]], **options: Any) -> list[Answer]:
    """`count` requests, `at_once` in flight; `make(i)` gives path and body."""
    client, numbers, answers = Client(url), iter(range(count)), []

    async def work() -> None:
        for i in numbers:
            path, body = make(i)
            answers.append(await client.post(path, body, **options))

    await asyncio.gather(*(work() for _ in range(min(at_once, count))))
    client.close()
    return answers
