"""A client for load: keeps its connections, reads answers as they come, and says of each how it went (some 60 µs a request)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

import msgspec

from control_plane.demo.drills.answers import AnthropicReading, OpenAIReading, Reading, Verdict
from control_plane.demo.simulators.compose import filler

REQUEST_LIMIT_S: Final = 20.0  # a client's patience; the longest answer and all timers of the drills' routes take less
HEAD_LIMIT_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Question:
    """One request. `tokens` > 0 asks the simulators for an answer of that length, with `delay_ms` between its events."""

    dialect: str
    model: str
    stream: bool
    word: str
    tokens: int = 0
    delay_ms: float = 0.0

    @property
    def expected(self) -> str:
        return "".join(filler(self.tokens)) if self.tokens else f"heard: {self.word}"

    def encode(self) -> bytes:
        """As HTTP/1.1."""
        text = f"{self.word} [[sim tokens={self.tokens} delay_ms={self.delay_ms}]]" if self.tokens else self.word
        body: dict[str, object] = {"model": self.model, "stream": self.stream, "messages": [{"role": "user", "content": text}]}
        path, extra = "/v1/chat/completions", "authorization: Bearer drill\r\n"
        if self.dialect == "anthropic":
            path, extra = "/v1/messages", "x-api-key: drill\r\nanthropic-version: 2023-06-01\r\n"
            body["max_tokens"] = 4000
        data = msgspec.json.encode(body)
        return (
            f"POST {path} HTTP/1.1\r\nhost: gateway\r\n{extra}content-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
        ).encode() + data


@dataclass(slots=True)
class Sample:
    """What became of a request. Times in seconds: `began` on the loop's clock, the others since then; `first_s` is that of the first
    content, None without one. `attempts` and `target` are what the gateway says in its headers.
    """

    question: Question
    began: float
    first_s: float | None = None
    total_s: float = 0.0
    verdict: Verdict = Verdict.CUT
    detail: str = ""
    attempts: int = 1
    target: str = ""


@dataclass(slots=True)
class _Exchange:
    sample: Sample
    done: asyncio.Future[bool]
    reading: Reading | None = None
    left: int = 0  # bytes of the body or chunk; -1 means a chunk's head comes next
    chunked: bool = False
    trailers: bool = False
    close: bool = False
    headers: dict[str, str] = field(default_factory=dict)


class Client:
    """`await client.ask(question)`; connections are kept and reused, one request at a time on each."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._idle: list[_Connection] = []

    async def ask(self, question: Question, limit_s: float = REQUEST_LIMIT_S) -> Sample:
        """Ask once. Nothing that the server does makes it raise."""
        loop = asyncio.get_running_loop()
        sample = Sample(question, loop.time())
        connection = None
        while self._idle and connection is None:
            kept = self._idle.pop()
            connection = None if kept.closed else kept
        if connection is None:
            try:
                _, connection = await loop.create_connection(_Connection, *self._address)
            except OSError as error:
                sample.verdict, sample.detail = Verdict.REFUSED, str(error)
                return sample
        exchange = _Exchange(sample, loop.create_future())
        timer = loop.call_later(limit_s, connection.give_up)
        complete = await connection.exchange(question.encode(), exchange)
        timer.cancel()
        sample.total_s = loop.time() - sample.began
        if sample.verdict is not Verdict.TIMEOUT and exchange.reading is not None:
            sample.verdict, sample.detail = exchange.reading.end(complete=complete, expected=question.expected)
        elif not sample.detail:
            sample.detail = "before an answer"
        if complete and not exchange.close and not connection.closed:
            self._idle.append(connection)
        else:
            connection.close()
        return sample

    def close(self) -> None:
        """Close idle connections."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()


class _Connection(asyncio.Protocol):
    """HTTP/1.1 answers, by hand: a library costs more than all the rest of a request."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._exchange: _Exchange | None = None
        self._transport: asyncio.Transport | None = None

    @property
    def closed(self) -> bool:
        return self._transport is None or self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._settle(False)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def give_up(self) -> None:
        """The client's patience is over."""
        if self._exchange is not None:
            self._exchange.sample.verdict = Verdict.TIMEOUT
        self.close()

    def exchange(self, data: bytes, exchange: _Exchange) -> asyncio.Future[bool]:
        """Send a request; the future says whether its answer was complete."""
        self._exchange = exchange
        if self._transport is None:
            self._settle(False)
        else:
            self._transport.write(data)
        return exchange.done

    def _settle(self, complete: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None and not exchange.done.done():
            exchange.done.set_result(complete)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        exchange = self._exchange
        if exchange is None:  # nobody asked
            self.close()
            return
        try:
            while self._exchange is exchange and self._step(exchange):
                pass
        except ValueError as error:
            exchange.sample.detail = f"not HTTP: {error}"
            self.close()

    def _step(self, exchange: _Exchange) -> bool:
        """One step; False when more bytes are needed. Raises ValueError for what is not HTTP."""
        if exchange.reading is None:
            return self._head(exchange)
        if exchange.left > 0:
            return self._body(exchange)
        if not exchange.chunked:
            self._settle(True)
            return False
        end = self._buffer.find(b"\r\n")
        if end < 0:
            return False
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        if exchange.trailers:
            if not line:
                self._settle(True)
            return bool(line)
        if line or exchange.left < 0:  # after a chunk's data stands an empty line
            exchange.left = int(line.split(b";")[0], 16)
            exchange.trailers = exchange.left == 0
        return True

    def _head(self, exchange: _Exchange) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > HEAD_LIMIT_BYTES:
                raise ValueError("a head without an end")
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        status = int(first.split(" ")[1])
        headers = exchange.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        sample = exchange.sample
        sample.attempts = int(headers.get("x-headgate-attempts") or 1)
        sample.target = headers.get("x-headgate-target", "")
        exchange.close = headers.get("connection", "") == "close"
        exchange.chunked = "content-length" not in headers
        if exchange.chunked and headers.get("transfer-encoding") != "chunked":
            raise ValueError("neither a length nor chunks")
        exchange.left = -1 if exchange.chunked else int(headers["content-length"])
        kind = AnthropicReading if sample.question.dialect == "anthropic" else OpenAIReading
        exchange.reading = kind(status, headers.get("content-type", ""), sample.question.stream)
        return True

    def _body(self, exchange: _Exchange) -> bool:
        data = bytes(self._buffer[: exchange.left])
        if not data:
            return False
        del self._buffer[: len(data)]
        exchange.left -= len(data)
        assert exchange.reading is not None
        exchange.reading.feed(data)
        if exchange.reading.begun and exchange.sample.first_s is None:
            exchange.sample.first_s = asyncio.get_running_loop().time() - exchange.sample.began
        if exchange.reading.failed is not None:
            self._settle(False)  # as every SDK: it raises at an error event and leaves
            return False
        return True
