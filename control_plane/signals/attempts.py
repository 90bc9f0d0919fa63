"""Brings an attempt's line and its request's line together, whichever comes first, and says how the attempt ended.

An attempt that failed is told at once: breakers cannot wait. One that looks well waits for its request's line, since only that one knows
whether the answer was whole. Both are written when the exchange ends, so the wait is milliseconds; a slow client can make it longer.
What waits is bounded in number and in time, and is then told by what its own line says.

A first attempt that went well has no line of its own (see `formats.py`): it is told from its request's line. One that went well until it
was cut has a line with a flag; that the request's line comes first then (the gRPC access log has no order) must not tell it twice.
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

_FIRST: Final = (1, None)
"""`n` of a first attempt."""


class AttemptJoin:
    """Feed it lines in the order of the journal, and the time now and then; it yields attempts with their class, each exactly once."""

    def __init__(self, max_waiting: int = MAX_WAITING, max_wait_s: float = MAX_WAIT_S) -> None:
        self._max_waiting = max_waiting
        self._max_wait_s = max_wait_s
        self._attempts: OrderedDict[str, tuple[float, AttemptLine]] = OrderedDict()
        self._requests: OrderedDict[str, tuple[float, RequestLine]] = OrderedDict()
        self._told: OrderedDict[str, None] = OrderedDict()

    def attempt(self, line: AttemptLine, now: float) -> Iterator[Ended]:
        """An attempt ended. `now` is any clock that only goes forward."""
        if line.n in _FIRST and line.id in self._told:
            return
        if not needs_request(line):
            yield self._alone(line)
            return
        found = self._requests.pop(line.id, None)
        if found is not None:
            yield line, classify(line, found[1])
            return
        # An earlier attempt of the same request that waits was not its last one.
        earlier = self._attempts.pop(line.id, None)
        if earlier is not None:
            yield self._alone(earlier[1])
        self._attempts[line.id] = (now, line)
        if len(self._attempts) > self._max_waiting:
            _, (_, oldest) = self._attempts.popitem(last=False)
            yield self._alone(oldest)

    def request(self, line: RequestLine, now: float) -> Iterator[Ended]:
        """A request ended."""
        found = self._attempts.pop(line.id, None)
        if found is not None:
            yield found[1], classify(found[1], line)
        elif line.attempts == 1 and 0 < (line.status or 0) < 400:
            if line.id not in self._told:
                self._remember(line.id)
                only = line.only_attempt()
                yield only, classify(only, line)
        elif line.attempts:
            # Its last attempt has a line (no answer that went well, or not the first try), which is still to come or has been told.
            self._requests[line.id] = (now, line)
            if len(self._requests) > self._max_waiting:
                self._requests.popitem(last=False)

    def _alone(self, line: AttemptLine) -> Ended:
        """`line` by what it says itself. If it is a first attempt's, its request's line must not tell it again."""
        if line.n in _FIRST:
            self._remember(line.id)
        return line, classify(line)

    def _remember(self, request_id: str) -> None:
        """The first attempt of that request has been told."""
        self._told[request_id] = None
        if len(self._told) > self._max_waiting:
            self._told.popitem(last=False)

    def overdue(self, now: float) -> Iterator[Ended]:
        """What has waited too long."""
        while self._requests and now - next(iter(self._requests.values()))[0] > self._max_wait_s:
            self._requests.popitem(last=False)
        while self._attempts and now - next(iter(self._attempts.values()))[0] > self._max_wait_s:
            _, (_, line) = self._attempts.popitem(last=False)
            yield self._alone(line)
