"""What readers of answers share that never stream: one whole document."""

from __future__ import annotations

from abc import abstractmethod

from control_plane.dialects.body_reader import BodyReader
from control_plane.dialects.canon import Event
from control_plane.kit.errors import ProviderProtocolError


class DocumentReader(BodyReader):
    """See control_plane.dialects.api.ResponseReader. A dialect says what a document holds."""

    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        raise ProviderProtocolError("a stream of events instead of one document")

    def _document(self, body: bytes, events: list[Event]) -> None:
        self._over = True
        events += self._read(body)

    @abstractmethod
    def _read(self, body: bytes) -> list[Event]:
        """The events of the document, `End` included. Raises ProviderProtocolError."""


def count(number: float | None) -> int | None:
    """A count of tokens as a vendor says it; None where it is none."""
    return int(number) if number is not None and 0 <= number < 1e15 else None
