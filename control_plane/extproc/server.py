"""The transport: an ASGI application for HTTP/2, with gRPC framed by hand.

A gRPC stream is one HTTP/2 request. Envoy half-closes a finished or abandoned one, or resets it (`http.disconnect`): both are the
end of the attempt, and whether it had been answered is what tells a client that left.
The response head goes out with the first answer and not before: until then Envoy may replay the stream on another worker.
ASGI has no trailers, so a stream never ends with a gRPC status after it began; Envoy does not need one.

    POST /envoy.service.ext_proc.v3.ExternalProcessor/Process   one attempt
    GET /healthz                                                200, or 503 while draining (Envoy's health checker)
    GET /stats                                                  the tally as JSON
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from itertools import count
from typing import Any, Final

import msgspec
from google.protobuf.message import DecodeError

from control_plane.extproc.exchange import Exchange, Misconfigured
from control_plane.extproc.facts import FactsReader
from control_plane.extproc.frames import FrameError, FrameReader, framed
from control_plane.extproc.tally import Tally
from control_plane.kit.errors import ProtocolError, SpecError
from control_plane.pb.ext_proc_pb2 import ProcessingRequest

log = logging.getLogger(__name__)

PROCESS: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_GRPC_TYPE: Final = (b"content-type", b"application/grpc")
_START: Final = {"type": "http.response.start", "status": 200, "headers": [_GRPC_TYPE]}
_END: Final = {"type": "http.response.body", "body": b"", "more_body": False}
_INTERNAL: Final = b"13"
_OK: Final = b"0"


class ProcessIds:
    """Ids of this process: a random prefix (no other process has it) and a counter."""

    def __init__(self) -> None:
        self._process = os.urandom(8).hex()
        self._count = count(1)

    def new(self, prefix: str) -> str:
        return f"{prefix}{self._process}{next(self._count):08x}"

    def now(self) -> int:
        return int(time.time())


class Translator:
    """The ASGI application. `draining` makes the health answer 503, so that Envoy sends new attempts to other workers."""

    def __init__(self, facts: FactsReader) -> None:
        self._facts = facts
        self._ids = ProcessIds()
        self.tally = Tally()
        self.draining = False

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        if path == PROCESS:
            await self._stream(scope["headers"], receive, send)
        elif path == "/healthz":
            await _plain(send, 503 if self.draining else 200, b"draining" if self.draining else b"ok")
        elif path == "/stats":
            await _plain(send, 200, msgspec.json.encode(self.tally.as_dict()), b"application/json")
        else:
            await _plain(send, 404, b"not found")

    async def _stream(self, headers: Iterable[tuple[bytes, bytes]], receive: Receive, send: Send) -> None:
        tally = self.tally
        tally.streams += 1
        tally.open += 1
        started = False
        try:
            exchange, frames = self._exchange(headers), FrameReader()
            while True:
                event = await receive()
                if event["type"] != "http.request":
                    tally.cancelled += not exchange.settled
                    return
                answers: list[bytes] = []
                if body := event["body"]:
                    for payload in frames.feed(body):
                        answers += exchange.on_message(ProcessingRequest.FromString(payload))
                if answers:
                    if not started:
                        started = True
                        await send(_START)
                    await send({"type": "http.response.body", "body": framed(answers), "more_body": True})
                if not event.get("more_body", False):
                    tally.cancelled += not exchange.settled
                    if frames.partial:
                        raise FrameError("the stream ended inside a message")
                    await (send(_END) if started else _status_only(send, _OK))
                    return
        except (ProtocolError, DecodeError) as error:
            tally.protocol_errors += 1
            log.warning("closing a stream that cannot be read: %s", error)
            if not started:  # a head without a body carries the status; a begun stream is reset by returning
                await _status_only(send, _INTERNAL)
        finally:
            tally.open -= 1

    def _exchange(self, headers: Iterable[tuple[bytes, bytes]]) -> Exchange | Misconfigured:
        metadata = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in headers if name.startswith(b"x-headgate-")}
        try:
            return Exchange(self._facts.read(metadata), self._ids, self.tally)
        except SpecError as error:
            self.tally.faults += 1
            log.warning("declining an attempt: %s", error)
            return Misconfigured(str(error))


async def _plain(send: Send, status: int, body: bytes, content_type: bytes = b"text/plain") -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", content_type)]})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _status_only(send: Send, status: bytes) -> None:
    """gRPC's "trailers-only" answer: the status in the head, no body."""
    await send({"type": "http.response.start", "status": 200, "headers": [_GRPC_TYPE, (b"grpc-status", status)]})
    await send(_END)
