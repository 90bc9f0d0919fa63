"""Embeddings as the translator takes every operation: readers and writers of one dialect, with the error documents of its chat."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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
from control_plane.dialects.canon import Failure, Request
from control_plane.dialects.embeddings.canon import EmbedRequest


def _embedding(request: Request) -> EmbedRequest:
    assert isinstance(request, EmbedRequest), "an attempt has one operation"
    return request


class ClientSide:
    """See control_plane.dialects.api.ClientDialect."""

    def __init__(
        self,
        chat: ClientDialect,
        read: Callable[[bytes, Call | None], EmbedRequest],
        writer: Callable[[EmbedRequest, IdSource, Callable[[Failure], bytes]], ResponseWriter],
    ) -> None:
        self._chat, self._read, self._writer = chat, read, writer

    @property
    def name(self) -> str:
        return self._chat.name

    def read_request(self, body: bytes, call: Call | None = None) -> Request:
        return self._read(body, call)

    def writer(self, request: Request, ids: IdSource) -> ResponseWriter:
        return self._writer(_embedding(request), ids, self._chat.write_error)

    def write_error(self, error: Failure) -> bytes:
        return self._chat.write_error(error)


class ProviderSide:
    """See control_plane.dialects.api.ProviderDialect."""

    def __init__(
        self,
        chat: ProviderDialect,
        write: Callable[[EmbedRequest, TargetFacts], ProviderRequest],
        reader: Callable[[EmbedRequest], ResponseReader],
    ) -> None:
        self._chat, self._write, self._reader = chat, write, reader

    @property
    def name(self) -> str:
        return self._chat.name

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        return ReasoningReplay()

    def write_request(self, request: Request, target: TargetFacts) -> ProviderRequest:
        return self._write(_embedding(request), target)

    def reader(self, request: Request) -> ResponseReader:
        return self._reader(_embedding(request))

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return self._chat.read_error(status, headers, body)
