"""Turns journal lines into metrics and windows. Every source of lines (files, the gRPC access log) feeds `Traffic.consume`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from control_plane.kit.clock import Clock, SystemClock
from control_plane.signals.attempts import AttemptJoin
from control_plane.signals.classify import PROVIDER_FAULTS, AttemptClass, Outcome, outcome
from control_plane.signals.ended import Ended
from control_plane.signals.lines import AttemptLine, Line, RequestLine, tokens
from control_plane.signals.rate_limits import RateLimitSignal
from control_plane.signals.recent import RecentLines
from control_plane.signals.shares import RouteShares
from control_plane.signals.windows import TargetWindows
from control_plane.telemetry import names
from control_plane.telemetry.metrics import Metrics

RESUME_LANE: Final = "resume"
"""The resumer answers the client; its attempts have lines of their own, with their tokens and endings."""

METERED_OPERATIONS: Final = frozenset({"chat", "embeddings", "batch_embeddings", "completions", "fim", "raw_predict", "invoke"})
"""Operations whose complete answers say how many tokens they used."""

Observer = Callable[[Ended, float], None]
"""Told of each attempt at a target when it is known how it ended, and the time now (seconds since the epoch)."""

_TOKEN_TYPES: Final = ("input", "cached", "cache_write", "output", "reasoning")


class Traffic:
    """The one consumer of lines. Not thread-safe: it belongs to one event loop."""

    def __init__(self, metrics: Metrics, clock: Clock | None = None) -> None:
        self._clock = clock or SystemClock()
        self._recent = RecentLines()
        self._join = AttemptJoin()
        self.windows = TargetWindows()
        self.shares = RouteShares()
        self.observers: list[Observer] = []
        self.unserved: list[Callable[[str, float], None]] = []
        """Told of requests that no target was asked for, with their route and the time now (seconds since the epoch)."""
        self._duplicates = metrics.counter(names.JOURNAL_SKIPPED)
        self._requests = metrics.counter(names.REQUESTS)
        self._request_attempts = metrics.histogram(names.REQUEST_ATTEMPTS)
        self._request_duration = metrics.histogram(names.REQUEST_DURATION)
        self._request_first_token = metrics.histogram(names.REQUEST_FIRST_TOKEN)
        self._attempts = metrics.counter(names.ATTEMPTS)
        self._attempt_duration = metrics.histogram(names.ATTEMPT_DURATION)
        self._attempt_first_token = metrics.histogram(names.ATTEMPT_FIRST_TOKEN)
        self._tokens = metrics.counter(names.TOKENS)
        self._incomplete = metrics.counter(names.STREAMS_INCOMPLETE)
        self._remaining = metrics.gauge(names.RATELIMIT_REMAINING)
        self._limit = metrics.gauge(names.RATELIMIT_LIMIT)
        self._unmetered = metrics.counter(names.UNMETERED)

    def consume(self, lines: Iterable[Line]) -> None:
        """Count `lines`; one that was seen before is left out."""
        now = self._clock.monotonic()
        for line in lines:
            if not self._recent.is_new(line):
                self._duplicates.add("duplicate")
            elif isinstance(line, RequestLine):
                self._request(line)
                if line.lane == RESUME_LANE:
                    continue
                for ended in self._join.request(line, now):
                    self._attempt(*ended)
                if line.stream and line.target is not None:
                    self._note_gaps(line.target, line)
            elif line.lane != RESUME_LANE:
                for ended in self._join.attempt(line, now):
                    self._attempt(*ended)
        self.settle()

    def settle(self) -> None:
        """Count attempts whose request's line does not come. Called with every batch and before rows are read."""
        for ended in self._join.overdue(self._clock.monotonic()):
            self._attempt(*ended)

    def targets(self) -> list[dict[str, object]]:
        """Rows of `headgate get targets`."""
        self.settle()
        return self.windows.rows(self._clock.now())

    def _request(self, line: RequestLine) -> None:
        result = outcome(line)
        route, lane, dialect = line.route or names.OTHER, line.lane, line.dialect
        status = f"{line.status // 100}xx" if line.status else None
        place = (route, line.provider, line.target, lane)
        if line.lane != RESUME_LANE:
            self._count_tokens(line, place, result)
            if line.route is not None:
                self._note_share(line, result)
        if line.inner:
            return
        self._requests.add(*place, dialect, line.operation, status, str(result))
        self._request_attempts.observe(route, value=line.attempts or 0)
        if line.duration_ms is not None:
            self._request_duration.observe(route, dialect, lane, value=max(0.0, line.duration_ms / 1e3))
        first_token_s = line.first_token_s
        first_token_s = first_token_s if (line.status or 0) < 400 else None
        if first_token_s is not None:
            self._request_first_token.observe(route, dialect, lane, value=max(0.0, first_token_s))
        if line.route is not None and line.target is None and not line.attempts and line.lane != RESUME_LANE:
            for tell in self.unserved:
                tell(line.route, self._clock.now())
        if result is Outcome.CUT:
            self._incomplete.add(*place)

    def _note_share(self, line: RequestLine, result: Outcome) -> None:
        failed = result in (Outcome.FAILED, Outcome.CUT, Outcome.RATE_LIMITED)
        first_token_s = line.first_token_s if (line.status or 0) < 400 else None
        self.shares.add(line.route or "", line.target or "", failed, first_token_s, line.start.timestamp(), self._clock.now())

    def _count_tokens(self, line: RequestLine, place: tuple[str, str | None, str | None, str | None], result: Outcome) -> None:
        usage, dialect = line.meter().usage, line.dialect
        if usage is None:
            if result is Outcome.OK and line.operation in METERED_OPERATIONS and line.target is not None:
                self._unmetered.add(*place)
            return
        for kind in _TOKEN_TYPES:
            count = tokens(getattr(usage, kind))
            if count:
                self._tokens.add(*place, dialect, kind, amount=count)

    def _note_gaps(self, target: str, line: RequestLine) -> None:
        meter, first_token_s = line.meter(), line.first_token_s
        gaps = (tokens(meter.usage.output) or 0) - 1 if meter.usage is not None else 0
        if gaps > 0 and meter.complete and first_token_s is not None and line.duration_ms is not None:
            took_s = line.duration_ms / 1e3
            ended_at = line.start.timestamp() + took_s
            self.windows.add_gaps(target, max(0.0, took_s - first_token_s), gaps, ended_at, self._clock.now())

    def _note_limits(self, target: str, provider: str | None, told: RateLimitSignal) -> None:
        for unit, said in told.units().items():
            if said.remaining is None:
                continue
            self._remaining.set(provider, target, unit, to=said.remaining)
            if said.limit is not None:
                self._limit.set(provider, target, unit, to=said.limit)
        self.windows.note_limits(target, told)

    def _attempt(self, line: AttemptLine, found: AttemptClass) -> None:
        provider, target, lane = place = (line.provider, line.target, line.lane)
        self._attempts.add(line.route or names.OTHER, *place, str(found))
        duration_s, first_token_s = line.duration_s, None if line.ttft_us is None else max(0.0, line.ttft_us / 1e6)
        if duration_s is not None:
            self._attempt_duration.observe(*place, value=max(0.0, duration_s))
        good = (line.status or 0) < 400
        if first_token_s is not None and good:
            # The first byte of an error's body is no token: a fast 503 must not look like a fast model.
            self._attempt_first_token.observe(*place, value=first_token_s)
        if target is not None:
            began_at, now = line.start.timestamp(), self._clock.now()
            ended_at = began_at + max(0.0, duration_s or 0.0)
            ttft = first_token_s if good else None
            self.windows.add(target, provider, lane, found, ttft, ended_at, now)
            if (told := line.rate_limits()) is not None:
                self._note_limits(target, provider, told)
            if self.observers and provider is not None:
                ended = Ended(
                    *(provider, target, line.route, found, began_at, ended_at, ttft),
                    first=line.n is None or line.n == 1,
                    recovers_at=told.until_s if told is not None and found in PROVIDER_FAULTS else None,
                    status=line.status or None,
                    spare=line.spare,
                )
                for observe in self.observers:
                    observe(ended, now)
