"""What readers and writers of ranked documents share: one whole document each way."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from control_plane.dialects.api import IdSource
from control_plane.dialects.canon import End, Event, Failure, Rank, Ranked, Start, Stop, Usage, UsageUpdate
from control_plane.dialects.document_reader import DocumentReader
from control_plane.dialects.rerank.canon import RerankRequest
from control_plane.dialects.whole_writer import WholeAnswerWriter
from control_plane.kit.errors import ProviderProtocolError

_number: Final = msgspec.json.Decoder(float).decode


class Result(msgspec.Struct):
    """As all vendors have it; the document, which some repeat, is known already."""

    index: int
    relevance_score: msgspec.Raw


class RankedReader(DocumentReader):
    """A dialect says which results a document holds."""

    def __init__(self, request: RerankRequest) -> None:
        super().__init__(request)
        self._count = len(request.documents)
        self._top = request.top_n

    def _read(self, body: bytes) -> list[Event]:
        start, results, usage = self._results(body)
        ranks = tuple(Rank(result.index, _score(bytes(result.relevance_score))) for result in results)
        if len({rank.index for rank in ranks}) != len(ranks) or not all(0 <= rank.index < self._count for rank in ranks):
            raise ProviderProtocolError(f"the results are not places of {self._count} documents, each once")
        # Servers that do not know top_n rank everything.
        return [start, Ranked(ranks[: self._top]), UsageUpdate(usage), Stop("end"), End()]

    @abstractmethod
    def _results(self, body: bytes) -> tuple[Start, Sequence[Result], Usage]:
        """Raises ProviderProtocolError."""


def _score(raw: bytes) -> bytes:
    try:
        _number(raw)
    except ValueError as error:
        raise ProviderProtocolError(f"a relevance score cannot be read: {str(error)[:200]}") from error
    return raw


class RankedWriter(WholeAnswerWriter):
    """See control_plane.dialects.api.ResponseWriter. A dialect says how its document looks."""

    def __init__(self, request: RerankRequest, ids: IdSource, write_error: Callable[[Failure], bytes]) -> None:
        super().__init__()
        self._request = request
        self._ids = ids
        self._write_error = write_error
        self._start = Start()
        self._ranks: tuple[Rank, ...] = ()
        self._usage = Usage()

    def _add(self, event: Event) -> None:
        if isinstance(event, Ranked):
            self._ranks = event.ranks
        elif isinstance(event, UsageUpdate):
            self._usage = self._usage.updated(event.usage)
        elif isinstance(event, Start):
            self._start = event

    def _shown(self) -> list[dict[str, object]]:
        """Every rank in the words that all vendors share."""
        return [{"index": rank.index, "relevance_score": msgspec.Raw(rank.score)} for rank in self._ranks]

    def _error(self, failure: Failure) -> bytes:
        return self._write_error(failure)
