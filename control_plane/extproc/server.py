"""The translator's service: gRPC streams, one an attempt, and two plain answers, on HTTP/2 connections.

    POST /envoy.service.ext_proc.v3.ExternalProcessor/Process   one attempt
    GET /healthz                                                200, or 503 while draining (Envoy's health checker)
    GET /stats                                                  the tally as JSON

The response head of an attempt goes out with the first answer and not before: until then Envoy may replay the stream on another
worker. Envoy half-closes a stream that it is done with, or resets it: both are the end of the attempt.
"""

from __future__ import annotations

import logging
import os
import time
from itertools import count
from typing import Final

import msgspec
from google.protobuf.message import DecodeError

from control_plane.extproc.answer import Patience
from control_plane.extproc.exchange import Exchange, Misconfigured
from control_plane.extproc.facts import FactsReader, idle_s
from control_plane.extproc.frames import FrameError, FrameReader, framed
from control_plane.extproc.http2 import Call, Connection, Header, HeaderBlocks, Stream, encoded
from control_plane.extproc.tally import Tally
from control_plane.kit.errors import ProtocolError, SpecError
from control_plane.pb.ext_proc_pb2 import ProcessingRequest

log = logging.getLogger(__name__)

PROCESS: Final = "/envoy.service.ext_proc.v3.ExternalProcessor/Process"

_GRPC_HEAD: Final = [(b":status", b"200"), (b"content-type", b"application/grpc")]
_HEAD: Final = encoded(_GRPC_HEAD)
_OK: Final = encoded([(b"grpc-status", b"0")])
_NOTHING_SAID: Final = encoded([*_GRPC_HEAD, (b"grpc-status", b"0")])  # gRPC's "trailers only"
_INTERNAL: Final = b"13"
_SILENT: Final = encoded([(b"grpc-status", b"4"), (b"grpc-message", b"silent")])  # deadline exceeded

SWEEP_S: Final = 0.1
"""How often answers are asked whether they have been silent for too long: how late such an end may come."""


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
    """Makes connections. `draining` makes the health answer 503, so that Envoy sends new attempts to other workers."""

    def __init__(self, facts: FactsReader) -> None:
        self._facts = facts
        self._ids = ProcessIds()
        self._blocks = HeaderBlocks()
        self.connections: set[Connection] = set()
        self.attempts: set[Attempt] = set()
        self.tally = Tally()
        self.draining = False

    def connection(self) -> Connection:
        return Connection(self.opened, self._blocks, self.connections)

    def opened(self, headers: list[Header], stream: Stream) -> Call:
        metadata = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in headers}
        path = metadata.get(":path", "")
        if path == PROCESS:
            return Attempt(self._exchange(metadata), stream, self.tally, self.attempts)
        if path == "/healthz":
            return Plain(stream, 503 if self.draining else 200, b"draining" if self.draining else b"ok")
        if path == "/stats":
            return Plain(stream, 200, msgspec.json.encode(self.tally.as_dict()))
        return Plain(stream, 404, b"not found")

    def _exchange(self, metadata: dict[str, str]) -> Exchange | Misconfigured:
        try:
            return Exchange(self._facts.read(metadata), self._ids, self.tally, Patience(idle_s(metadata)))
        except SpecError as error:
            self.tally.faults += 1
            log.warning("declining an attempt: %s", error)
            return Misconfigured(str(error))

    def end_overdue(self) -> None:
        """End the answers that have been silent for too long; asked every `SWEEP_S`."""
        for attempt in list(self.attempts):
            attempt.end_overdue()


class Attempt:
    """One gRPC stream: frames in, the exchange's answers out. `living`: all that are open."""

    __slots__ = ("_begun", "_exchange", "_frames", "_living", "_over", "_stream", "_tally")

    def __init__(self, exchange: Exchange | Misconfigured, stream: Stream, tally: Tally, living: set[Attempt]) -> None:
        self._exchange = exchange
        self._frames = FrameReader()
        self._stream = stream
        self._tally = tally
        self._begun = False
        self._over = False
        self._living = living
        living.add(self)
        tally.streams += 1
        tally.open += 1

    def received(self, data: bytes) -> None:
        if self._over:
            return
        answers: list[bytes] = []
        try:
            for payload in self._frames.feed(data):
                answers += self._exchange.on_message(ProcessingRequest.FromString(payload))
        except (ProtocolError, DecodeError) as error:
            self._fail(error)
            return
        except Exception as error:
            self._tally.faults += 1
            log.exception("an attempt failed")
            self._fail(error)
            return
        if answers:
            if not self._begun:
                self._begun = True
                self._stream.head(_HEAD)
            self._stream.send(framed(answers))

    def end_overdue(self) -> None:
        """Break off an answer that has been silent for too long. The error status makes Envoy reset both sides: an answer that ended
        properly before its vendor's would leave the vendor's connection open, and in use, for as long as the vendor likes."""
        if not self._begun:
            return
        try:
            answers = self._exchange.overdue()
        except Exception as error:
            self._tally.faults += 1
            log.exception("ending a silent answer failed")
            self._fail(error)
            self._stream.push()
            return
        if answers is None:
            return
        if answers:
            self._stream.send(framed(answers))
        self._close()
        self._stream.end(_SILENT)
        self._stream.push()

    def half_closed(self) -> None:
        if self._over:
            return
        if self._frames.partial:
            self._fail(FrameError("the stream ended inside a message"))
            return
        self._close()
        self._stream.end(_OK if self._begun else _NOTHING_SAID)

    def reset(self) -> None:
        if not self._over:
            self._close()

    def _close(self) -> None:
        self._over = True
        self._living.discard(self)
        self._tally.open -= 1
        self._tally.cancelled += not self._exchange.settled

    def _fail(self, error: Exception) -> None:
        """The stream cannot be read any further: end it with a gRPC status."""
        self._over = True
        self._living.discard(self)
        self._tally.open -= 1
        self._tally.protocol_errors += 1
        log.warning("closing a stream that cannot be read: %s", error)
        status = [(b"grpc-status", _INTERNAL), (b"grpc-message", type(error).__name__.encode())]
        self._stream.end(encoded(status if self._begun else [*_GRPC_HEAD, *status]))


class Plain:
    """A whole answer to a request without a body."""

    def __init__(self, stream: Stream, status: int, body: bytes) -> None:
        stream.head(encoded([(b":status", str(status).encode()), (b"content-length", str(len(body)).encode())]))
        stream.send(body)
        self._stream = stream

    def received(self, data: bytes) -> None:
        """Nothing that comes matters."""

    def half_closed(self) -> None:
        self._stream.end()

    def reset(self) -> None:
        """The answer is not wanted."""
