"""Counting as the translator takes every operation: readers and writers of one dialect, with what its chat knows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects.api import (
    Call,
    ClientDialect,
    IdSource,
    ProviderDialect,
    ProviderRequest,
    ReasoningReplay,
    ResponseReader,
    ResponseWriter,
    TargetFacts,
)
from control_plane.dialects.body_reader import BodyReader, decode_any
from control_plane.dialects.canon import Counted, End, Event, Failure, Request, Start, Stop
from control_plane.dialects.counting.wire import Wire
from control_plane.dialects.whole_writer import WholeAnswerWriter
from control_plane.kit.errors import ProviderProtocolError

_encode: Final = msgspec.json.Encoder().encode


class ClientSide:
    """See control_plane.dialects.api.ClientDialect."""

    def __init__(self, chat: ClientDialect, wire: Wire) -> None:
        self._chat, self._wire = chat, wire

    @property
    def name(self) -> str:
        return self._chat.name

    def read_request(self, body: bytes, call: Call | None = None) -> Request:
        return msgspec.structs.replace(self._wire.read(body, call), stream=False)

    def writer(self, request: Request, ids: IdSource) -> ResponseWriter:
        return _Writer(self._wire, self._chat)

    def write_error(self, error: Failure) -> bytes:
        return self._chat.write_error(error)


class ProviderSide:
    """See control_plane.dialects.api.ProviderDialect."""

    def __init__(self, chat: ProviderDialect, wire: Wire) -> None:
        self._chat, self._wire = chat, wire

    @property
    def name(self) -> str:
        return self._chat.name

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        return self._chat.replay(target)

    def write_request(self, request: Request, target: TargetFacts) -> ProviderRequest:
        """The path stays the target's own: the chat's writer knows nothing of another one."""
        written = self._chat.write_request(request, target)
        body = self._wire.asked(msgspec.json.decode(written.body), target)
        return msgspec.structs.replace(written, body=_encode(body))

    def reader(self, request: Request) -> ResponseReader:
        return _Reader(request, self._wire.field)

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return self._chat.read_error(status, headers, body)


class _Reader(BodyReader):
    def __init__(self, request: Request, field: str) -> None:
        super().__init__(request)
        self._field = field

    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        raise ProviderProtocolError("a stream of events instead of a count")

    def _document(self, body: bytes, events: list[Event]) -> None:
        answer = decode_any(body)
        count: Any = answer.get(self._field) if isinstance(answer, dict) else None
        if type(count) is not int or count < 0:
            raise ProviderProtocolError(f"the answer has no {self._field}")
        self._over = True
        events += [Start(), Counted(count), Stop("end"), End()]


class _Writer(WholeAnswerWriter):
    def __init__(self, wire: Wire, chat: ClientDialect) -> None:
        super().__init__()
        self._wire, self._chat = wire, chat
        self._count = 0

    def _add(self, event: Event) -> None:
        if isinstance(event, Counted):
            self._count = event.tokens

    def _document(self) -> bytes:
        return _encode({**self._wire.answer, self._wire.field: self._count})

    def _error(self, failure: Failure) -> bytes:
        return self._chat.write_error(failure)
