"""What all writers of whole answers share: nothing is sent before the end, and then one document, the answer or an error."""

from __future__ import annotations

from abc import ABC, abstractmethod

from control_plane.dialects.canon import Event, Failure, InStreamError


class WholeAnswerWriter(ABC):
    """See control_plane.dialects.api.ResponseWriter. A dialect says what it keeps of an event and how its documents look."""

    content_type = "application/json"

    def __init__(self) -> None:
        self._failure: Failure | None = None
        self._done = False

    def emit(self, event: Event) -> bytes:
        if isinstance(event, InStreamError):
            self._failure = event.failure
        else:
            self._add(event)
        return b""

    def finish(self) -> bytes:
        if self._failure is not None:
            return self.fail(self._failure)
        if self._done:
            return b""
        self._done = True
        return self._document()

    def fail(self, failure: Failure) -> bytes:
        if self._done:
            return b""
        self._done = True
        return self._error(failure)

    @abstractmethod
    def _add(self, event: Event) -> None:
        """An event that is no error."""

    @abstractmethod
    def _document(self) -> bytes:
        """The answer."""

    @abstractmethod
    def _error(self, failure: Failure) -> bytes:
        """The error document."""
