"""What readers and writers of embeddings share: one whole document each way."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

from control_plane.dialects.api import IdSource
from control_plane.dialects.canon import Embedded, End, Event, Failure, Start, Stop, Usage, UsageUpdate
from control_plane.dialects.document_reader import DocumentReader
from control_plane.dialects.embeddings.canon import EmbedRequest
from control_plane.dialects.vectors import Vector
from control_plane.dialects.whole_writer import WholeAnswerWriter
from control_plane.kit.errors import ProviderProtocolError


class EmbeddingsReader(DocumentReader):
    """A dialect says which vectors a document holds."""

    def __init__(self, request: EmbedRequest) -> None:
        super().__init__(request)
        self._count = request.count

    def _read(self, body: bytes) -> list[Event]:
        start, vectors, usage = self._vectors(body)
        if len(vectors) != self._count:
            raise ProviderProtocolError(f"{len(vectors)} embeddings for {self._count} inputs")
        return [start, Embedded(tuple(vectors)), UsageUpdate(usage), Stop("end"), End()]

    @abstractmethod
    def _vectors(self, body: bytes) -> tuple[Start, Sequence[Vector], Usage]:
        """Raises ProviderProtocolError."""


class EmbeddingsWriter(WholeAnswerWriter):
    """See control_plane.dialects.api.ResponseWriter. A dialect says how its document looks."""

    def __init__(self, request: EmbedRequest, ids: IdSource, write_error: Callable[[Failure], bytes]) -> None:
        super().__init__()
        self._request = request
        self._ids = ids
        self._write_error = write_error
        self._start = Start()
        self._vectors: tuple[Vector, ...] = ()
        self._usage = Usage()

    def _add(self, event: Event) -> None:
        if isinstance(event, Embedded):
            self._vectors = event.vectors
        elif isinstance(event, UsageUpdate):
            self._usage = self._usage.updated(event.usage)
        elif isinstance(event, Start):
            self._start = event

    def _error(self, failure: Failure) -> bytes:
        return self._write_error(failure)
