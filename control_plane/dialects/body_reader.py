"""The half of every answer reader that is the same in all dialects: bounds, framing, whole or streamed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final, Protocol

import msgspec

from control_plane.dialects.canon import Event, Request
from control_plane.dialects.sse import SSEDecoder
from control_plane.kit.errors import ProviderProtocolError

WHOLE_LIMIT_BYTES: Final = 32 * 1024 * 1024
"""A whole answer, 32 MiB: generated images and audio in base64 fit."""

STREAM_LIMIT_BYTES: Final = 256 * 1024 * 1024
"""A streamed answer, 256 MiB on the wire: hours of output at the fastest rates, and an end to one that never ends."""


class StreamDecoder(Protocol):
    """Bytes of a stream to its events, each with the name that it has; for any split of the bytes."""

    def feed(self, data: bytes) -> list[tuple[bytes | None, bytes]]: ...

    def finish(self) -> list[tuple[bytes | None, bytes]]: ...


class BodyReader(ABC):
    """See control_plane.dialects.api.ResponseReader. A dialect says what a wire event and a whole document mean."""

    def __init__(self, request: Request) -> None:
        # A client that waits for the whole answer makes us keep it all.
        self._left = STREAM_LIMIT_BYTES if request.stream else WHOLE_LIMIT_BYTES
        self._stream: StreamDecoder | None = None
        self._whole = bytearray()
        self._over = False  # End or InStreamError was given

    def start(self, status: int, content_type: str) -> None:
        self._stream = self._decoder(content_type.lower())

    def feed(self, data: bytes) -> list[Event]:
        self._left -= len(data)
        if self._left < 0:
            raise ProviderProtocolError("the answer is larger than any real one")
        events: list[Event] = []
        if self._stream is not None:
            for name, payload in self._stream.feed(data):
                if self._over:
                    break
                self._wire_event(name, payload, events)
            return events
        self._whole += data
        if len(self._whole) > WHOLE_LIMIT_BYTES:
            raise ProviderProtocolError("the answer is larger than any real one")
        return events

    def finish(self) -> list[Event]:
        events: list[Event] = []
        if self._stream is None:
            self._document(bytes(self._whole), events)
            return events
        for name, payload in [] if self._over else self._stream.finish():  # a whole answer is one whatever is left
            if self._over:
                break
            self._wire_event(name, payload, events)
        if not self._over:
            self._ended_without_terminal(events)
        return events

    def _decoder(self, content_type: str) -> StreamDecoder | None:
        """What takes a stream of this type apart; None for a whole document."""
        return SSEDecoder() if content_type.startswith("text/event-stream") else None

    def _ended_without_terminal(self, events: list[Event]) -> None:
        """The stream ended and no terminal event was seen: it was cut, unless the dialect knows better."""
        raise ProviderProtocolError("the stream ended before its last event")

    @abstractmethod
    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        """Appends what one event of a stream means. Raises ProviderProtocolError."""

    @abstractmethod
    def _document(self, body: bytes, events: list[Event]) -> None:
        """Appends what a whole answer means, `End` included. Raises ProviderProtocolError."""


def unreadable(error: Exception) -> ProviderProtocolError:
    """What a reader raises for bytes that do not decode; `error` is the decoder's."""
    return ProviderProtocolError(f"the answer cannot be read: {str(error)[:200]}")


def decode_any(payload: bytes) -> Any:
    """JSON of any shape. Raises ProviderProtocolError."""
    try:
        return msgspec.json.decode(payload)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise unreadable(error) from error
