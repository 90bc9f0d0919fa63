"""Operations beside chat as the translator takes every operation: readers and writers of one dialect, with the errors of its chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from control_plane.dialects.api import (
    Call,
    ClientDialect,
    IdSource,
    ProviderRequest,
    ReasoningReplay,
    ResponseReader,
    ResponseWriter,
    TargetFacts,
)
from control_plane.dialects.beside_chat import ErrorReader
from control_plane.dialects.canon import Failure, Request

R = TypeVar("R", bound=Request)


class ClientSide(Generic[R]):
    """See control_plane.dialects.api.ClientDialect. `kind`: the canonical request of the operation."""

    def __init__(
        self,
        chat: ClientDialect,
        kind: type[R],
        read: Callable[[bytes, Call | None], R],
        writer: Callable[[R, IdSource, Callable[[Failure], bytes]], ResponseWriter],
    ) -> None:
        self._chat, self._kind, self._read, self._writer = chat, kind, read, writer

    @property
    def name(self) -> str:
        return self._chat.name

    def read_request(self, body: bytes, call: Call | None = None) -> Request:
        return self._read(body, call)

    def writer(self, request: Request, ids: IdSource) -> ResponseWriter:
        return self._writer(_of(self._kind, request), ids, self._chat.write_error)

    def write_error(self, error: Failure) -> bytes:
        return self._chat.write_error(error)


class ProviderSide(Generic[R]):
    """See control_plane.dialects.api.ProviderDialect. `kind`: the canonical request of the operation."""

    def __init__(
        self,
        dialect: ErrorReader,
        kind: type[R],
        write: Callable[[R, TargetFacts], ProviderRequest],
        reader: Callable[[R], ResponseReader],
    ) -> None:
        self._dialect, self._kind, self._write, self._reader = dialect, kind, write, reader

    @property
    def name(self) -> str:
        return self._dialect.name

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        return ReasoningReplay()

    def write_request(self, request: Request, target: TargetFacts) -> ProviderRequest:
        return self._write(_of(self._kind, request), target)

    def reader(self, request: Request) -> ResponseReader:
        return self._reader(_of(self._kind, request))

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return self._dialect.read_error(status, headers, body)


def _of(kind: type[R], request: Request) -> R:
    assert isinstance(request, kind), "an attempt has one operation"
    return request
