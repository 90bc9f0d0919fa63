"""Brings an attempt's line and its request's line together, whichever comes first, and says how the attempt ended.

An attempt that failed is told at once: breakers cannot wait. One that looks well waits for its request's line, since only that one knows
whether the answer was whole. Both are written when the exchange ends, so the wait is milliseconds; a slow client can make it longer.
What waits is bounded in number and in time, and is then told by what its own line says.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from control_plane.signals.classify import AttemptClass, classify, needs_request
from control_plane.signals.lines import AttemptLine, RequestLine

MAX_WAITING: Final = 20_000
"""Attempts (and, apart, requests) that wait for each other: some 10 MB."""

MAX_WAIT_S: Final = 5.0
"""After this an attempt is told without its request: a signal that is later than this decides nothing any more."""

Ended = tuple[AttemptLine, AttemptClass]


class AttemptJoin:
    """Feed it lines in the order of the journal, and the time now and then; it yields attempts with their class, each exactly once."""

    def __init__(self, max_waiting: int = MAX_WAITING, max_wait_s: float = MAX_WAIT_S) -> None:
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._attempts: OrderedDict[str, tuple[float, AttemptLine]] = OrderedDict()
        self._requests: OrderedDict[str, tuple[float, RequestLine]] = OrderedDict()

    def attempt(self, line: AttemptLine, now: float) -> Iterator[Ended]:
        """An attempt ended. `now` is any clock that only goes forward."""
        if not needs_request(line):
            yield line, classify(line)
            return
        found = self._requests.pop(line.id, None)
        if found is not None:
            yield line, classify(line, found[1])
            return
        # An earlier attempt of the same request that waits was not its last one.
        earlier = self._attempts.pop(line.id, None)
        if earlier is not None:
            yield earlier[1], classify(earlier[1])
        self._attempts[line.id] = (now, line)
        if len(self._attempts) > self._max_waiting:
            _, (_, oldest) = self._attempts.popitem(last=False)
            yield oldest, classify(oldest)

    def request(self, line: RequestLine, now: float) -> Iterator[Ended]:
        """A request ended."""
        found = self._attempts.pop(line.id, None)
        if found is not None:
            yield found[1], classify(found[1], line)
        elif line.attempts:
            # Its last attempt's line is still to come when the client's side ended the exchange, or has been told.
            self._requests[line.id] = (now, line)
            if len(self._requests) > self._max_waiting:
                self._requests.popitem(last=False)

    def overdue(self, now: float) -> Iterator[Ended]:
        """What has waited too long."""
        while self._requests and now - next(iter(self._requests.values()))[0] > self._max_wait_s:
            self._requests.popitem(last=False)
        while self._attempts and now - next(iter(self._attempts.values()))[0] > self._max_wait_s:
            _, (_, line) = self._attempts.popitem(last=False)
            yield line, classify(line)
