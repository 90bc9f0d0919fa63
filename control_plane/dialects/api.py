"""What a dialect offers: reading and writing requests, answers and errors, as the client's and as the provider's side.

Everything here is sans-I/O: no sockets, no clock, bounded buffers. A dialect is stateless and shared; readers and
writers belong to one attempt. Both sides are separate protocols, because a dialect may have only one of them so far.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

import msgspec

from control_plane.dialects import canon


class IdSource(Protocol):
    """What a pure writer cannot make by itself."""

    def new(self, prefix: str) -> str:
        """A fresh id that begins with `prefix` ("chatcmpl-", "msg_"), unique in this process and unlikely to collide elsewhere."""
        ...

    def now(self) -> int:
        """Unix time in whole seconds."""
        ...


BESIDE_BODY: Final = ("anthropic-beta",)
"""Headers that are part of what a client asks; `read_request` is told those that are there."""


class Call(msgspec.Struct, frozen=True):
    """What clients say beside the body. `model`, `stream`: in dialects whose path names them, "" and False in others. `query`: as it
    stands in the URL, without the "?" and without keys. `headers`: of `BESIDE_BODY`, in lower case.
    """

    model: str = ""
    stream: bool = False
    query: str = ""
    headers: Mapping[str, str] = {}


class TargetFacts(msgspec.Struct, frozen=True):
    """What a writer must know of a target: upstream model name, upstream path, quirks (`options`; each dialect lists those it knows)."""

    model: str
    path: str
    options: Mapping[str, object] = {}


class ProviderRequest(msgspec.Struct, frozen=True):
    """`path` None: the target's own path. `headers`: to be set. `dropped`: paths of client fields the provider does not get."""

    body: bytes
    path: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    dropped: tuple[str, ...] = ()


class ReasoningReplay(msgspec.Struct, frozen=True):
    """Which reasoning of earlier turns a target takes back; by default none.

    `sealed_by`: dialects whose signed or encrypted reasoning it takes. `calls_signed_by`: the same for signatures bound to calls.
    `plain`: it takes reasoning without a seal. `summaries`: readable reasoning in front of encrypted reasoning belongs to it.
    """

    sealed_by: frozenset[str] = frozenset()
    calls_signed_by: frozenset[str] = frozenset()
    plain: bool = False
    summaries: bool = False


class ResponseReader(Protocol):
    """Provider bytes to events, for a whole or a streamed 2xx answer; `start` decides by the content type."""

    def start(self, status: int, content_type: str) -> None: ...

    def feed(self, data: bytes) -> list[canon.Event]:
        """Events of any slice of the body. Raises ProviderProtocolError on bytes that cannot be read."""
        ...

    def finish(self) -> list[canon.Event]:
        """At the end of the body. Raises ProviderProtocolError when the terminal event is missing (the answer was cut)."""
        ...


class ResponseWriter(Protocol):
    """Events to client bytes: SSE when the request asked for a stream, one JSON document otherwise."""

    content_type: str

    def emit(self, event: canon.Event) -> bytes:
        """SSE: bytes to send now. Whole: always b""."""
        ...

    def finish(self) -> bytes:
        """After the last event: what completes the answer (the whole document when not streaming)."""
        ...

    def fail(self, failure: canon.Failure) -> bytes:
        """Ends a begun answer with this dialect's error event (whole: the error document instead of the answer)."""
        ...


class ClientDialect(Protocol):
    """One vendor's wire API as clients speak it, stateless."""

    @property
    def name(self) -> str: ...

    def read_request(self, body: bytes, call: Call | None = None) -> canon.Request:
        """`call`: what was said beside the body, if anything was. Raises kit.errors.ClientProtocolError (400) naming the field at fault."""
        ...

    def writer(self, request: canon.Request, ids: IdSource) -> ResponseWriter: ...

    def write_error(self, error: canon.Failure) -> bytes:
        """The JSON error document; `error.status` is the HTTP status to send it with."""
        ...


class ProviderDialect(Protocol):
    """One vendor's wire API as providers speak it, stateless."""

    @property
    def name(self) -> str: ...

    def replay(self, target: TargetFacts) -> ReasoningReplay:
        """Which reasoning of earlier turns the target takes back; `foreign_reasoning` leaves no other in a request."""
        ...

    def write_request(self, request: canon.Request, target: TargetFacts) -> ProviderRequest:
        """Raises canon.Unfit when the target cannot do a feature that the request asks for."""
        ...

    def reader(self, request: canon.Request) -> ResponseReader: ...

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> canon.Failure:
        """Classifies a provider's non-2xx answer. Never raises; header names in lower case."""
        ...


class Dialect(ClientDialect, ProviderDialect, Protocol):
    """A dialect that is spoken on both sides."""
