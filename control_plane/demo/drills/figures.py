"""From what clients saw to figures, and from figures and a promise to what was missed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from control_plane.demo.drills.answers import Verdict
from control_plane.demo.drills.client import Question, Sample
from control_plane.demo.drills.drill import Breaks, Drill, Promise

FIRST_S: Final = 1.0
WINDOW_S: Final = 1.0
STEP_S: Final = 0.1
MINUTE_S: Final = 60.0  # a shorter outage counts as one
FEW: Final = 20  # samples below which a percentile says nothing
SLACK_S: Final = 0.25  # beyond a first-token timer: the next vendor's own time on a busy machine
STEADY_AMPLIFICATION: Final = 1.02
PROBES: Final = 8  # further attempts, and requests that waited for them, that a share of a short run is not held against

EVENTS: Final = frozenset({Verdict.EVENT})
BROKEN: Final = frozenset({Verdict.EVENT, Verdict.CUT})
LOST: Final = BROKEN | {Verdict.STATUS}  # with a worker; a status where nothing had been answered yet

IsFirst = Callable[[Question, str], bool]


class Added(msgspec.Struct, frozen=True):
    """Time to first content beyond that of calm traffic, milliseconds; None with too few answers."""

    p50_ms: float | None
    p99_ms: float | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """One drill. Times in seconds since the outage began or ended; None: it did not happen within the time that was watched.

    `verdicts` counts what clients saw instead of a whole answer. `divert_s`: from then on requests need one attempt. `return_s`:
    the first vendor serves again. `acked_s`: the slowest change of an operator until every Envoy had it.
    `missed` says which promises did not hold; `examples` are details of errors.
    """

    drill: str
    outage: str
    requests: int
    errors: int
    verdicts: dict[str, int]
    amplification: float
    amplification_later: float | None
    calm_p50_ms: float | None
    calm_p99_ms: float | None
    first: Added
    later: Added
    divert_s: float | None
    return_s: float | None
    diversions_a_minute: float
    acked_s: float | None = None
    missed: list[str]
    examples: list[str]


def percentile(values: Sequence[float], share: float) -> float | None:
    """By rank, of at least FEW values."""
    if len(values) < FEW:
        return None
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * share), len(ordered) - 1)]


def attempts(samples: Sequence[Sample]) -> float | None:
    """Attempts per request, as Envoy counted them."""
    return sum(s.attempts for s in samples) / len(samples) if samples else None


def diverted_after(samples: Sequence[Sample], began: float) -> float | None:
    """Seconds until requests need one attempt, for the length of a window."""
    if not samples:
        return None
    last, at = max(s.began for s in samples) - began, 0.0
    while at + WINDOW_S <= max(last, WINDOW_S):
        ratio = attempts([s for s in samples if at <= s.began - began < at + WINDOW_S])
        if ratio is not None and ratio <= STEADY_AMPLIFICATION:
            return round(at, 1)
        at += STEP_S
    return None


def diversions(samples: Sequence[Sample], began: float, is_first: IsFirst) -> int:
    """How often the first attempts of a window went elsewhere after they had gone to the first vendor."""
    windows: dict[int, list[bool]] = {}
    for sample in samples:
        if sample.target:
            elsewhere = sample.attempts == 1 and not is_first(sample.question, sample.target)
            windows.setdefault(int((sample.began - began) / (WINDOW_S / 2)), []).append(elsewhere)
    away = [sum(windows[i]) > len(windows[i]) / 2 for i in sorted(windows)]
    return sum(now and not before for before, now in zip([False, *away], away, strict=False))


def figures(
    drill: Drill,
    calm: Sequence[Sample],
    samples: Sequence[Sample],
    later: Sequence[Sample],
    *,
    began: float,
    took_s: float,
    return_s: float | None,
    returned_in_time: bool,
    struck_at: float | None,
    is_first: IsFirst,
    translated: Callable[[Question], bool],
    acks: Sequence[tuple[int, int, float]] = (),
) -> Figures:
    """`calm` was asked before the outage, `samples` in it, `later` after it. `acks`: of operators' changes, see Scene."""
    asked = [*samples, *later]
    wrong = [s for s in asked if s.verdict is not Verdict.OK]
    settled = began + drill.promise.seen_after_s + FIRST_S
    steady = [s for s in samples if s.began >= settled]
    at_once = [s for s in samples if s.began < settled]
    calm_p50, calm_p99 = (percentile(_first_ms(calm), share) for share in (0.5, 0.99))

    def added(of: Sequence[Sample]) -> Added:
        values = _first_ms(of)
        return Added(_beyond(percentile(values, 0.5), calm_p50), _beyond(percentile(values, 0.99), calm_p99))

    found = Figures(
        drill=drill.name,
        outage=drill.outage,
        requests=len(asked),
        errors=len(wrong),
        verdicts=dict(Counter(s.verdict.value for s in wrong)),
        amplification=round(attempts(samples) or 1.0, 3),
        amplification_later=_rounded(attempts(steady)),
        calm_p50_ms=_rounded(calm_p50, 1),
        calm_p99_ms=_rounded(calm_p99, 1),
        first=added(at_once),
        later=added(steady),
        divert_s=diverted_after(samples, began),
        return_s=_rounded(return_s, 1),
        diversions_a_minute=round(diversions(samples, began, is_first) * MINUTE_S / max(took_s, MINUTE_S), 1),
        acked_s=_rounded(max((seconds for _, _, seconds in acks), default=None), 2),
        missed=[],
        examples=[f"{s.verdict} ({_lane(s, translated)}): {s.detail[:160]}" for s in wrong[:3]],
    )
    missed = [
        *_errors_missed(drill, samples, later, struck_at, translated),
        *_acks_missed(drill.promise, acks),
        *_pace_missed(drill, found, steady, returned_in_time),
    ]
    return msgspec.structs.replace(found, missed=missed)


def _errors_missed(
    drill: Drill, samples: Sequence[Sample], later: Sequence[Sample], struck_at: float | None, translated: Callable[[Question], bool]
) -> list[str]:
    promise, missed = drill.promise, []
    asked = [*samples, *later]
    wrong = [s for s in asked if s.verdict is not Verdict.OK]
    if promise.errors is not None and len(wrong) > promise.errors:
        missed.append(f"{len(wrong)} client-visible errors, promised are {promise.errors}")
    if promise.breaks is not None and (others := [s for s in wrong if s.verdict not in _ends(promise.breaks, translated(s.question))]):
        missed.append(f"{len(others)} answers broke otherwise than with {promise.breaks}")
    if promise.answer and (others := [s for s in samples if s.verdict is not Verdict.STATUS or promise.answer not in s.detail]):
        seen = Counter(f"{s.verdict}: {s.detail[:60]}" for s in others).most_common(1)
        missed.append(f"{len(others)} answers are not {promise.answer}, most of them {seen[0][0]}")
    if promise.recovery_s is not None and struck_at is not None:
        limit = struck_at + promise.recovery_s
        if strangers := [s for s in wrong if not translated(s.question) or not s.question.stream or s.verdict not in LOST]:
            missed.append(f"{len(strangers)} errors beyond error events, statuses and cuts of translated streams")
        if new := [s for s in wrong if s.began > struck_at]:
            missed.append(f"{len(new)} errors of requests that began after it")
        if late := [s for s in asked if s.began > limit and s.attempts > 1]:
            missed.append(f"{len(late)} requests that began more than {promise.recovery_s:.0f} s after it needed a second attempt")
    return missed


def _acks_missed(promise: Promise, acks: Sequence[tuple[int, int, float]]) -> list[str]:
    if promise.acked_s is None:
        return []
    missed = [f"{of - acked} of {of} Envoys did not take over a change" for acked, of, _ in acks if acked < of]
    late = sorted(seconds for _, _, seconds in acks if seconds > promise.acked_s)
    if not acks or len(late) > len(acks) / 100:
        missed.append(
            f"acknowledged by all after up to {late[-1]:.1f} s, promised are {promise.acked_s:g}" if late else "nothing was changed"
        )
    return missed


def _ends(breaks: Breaks, translated: bool) -> frozenset[Verdict]:
    return EVENTS if breaks == "event" or (breaks == "event where translated" and translated) else BROKEN


def _pace_missed(drill: Drill, found: Figures, steady: Sequence[Sample], returned_in_time: bool) -> list[str]:
    """Shares of a run that is short may have a few probes more than the share says: one of them is more than 1 % of 90 requests."""
    promise, missed = drill.promise, []
    if promise.amplification is not None and _further(steady) > max(len(steady) * (promise.amplification - 1), PROBES):
        missed.append(f"{found.amplification_later} attempts a request after the first second, promised are {promise.amplification}")
    if promise.first_p99_s is not None and (found.first.p99_ms or 0) > (promise.first_p99_s + SLACK_S) * 1000:
        missed.append(f"p99 of the first second is {found.first.p99_ms:.0f} ms beyond calm, promised is one timer")
    if promise.later_p99_ms is not None and not _p99_within(promise.later_p99_ms, found, steady):
        missed.append(f"p99 after the first second is {found.later.p99_ms:.0f} ms beyond calm, promised are {promise.later_p99_ms:.0f}")
    if promise.diversions_a_minute is not None and found.diversions_a_minute > promise.diversions_a_minute:
        missed.append(f"{found.diversions_a_minute} diversions a minute, promised are {promise.diversions_a_minute:.0f}")
    if promise.returns and not returned_in_time:
        missed.append("the first vendor did not serve again")
    return missed


def _further(samples: Sequence[Sample]) -> int:
    return sum(s.attempts - 1 for s in samples)


def _p99_within(limit_ms: float, found: Figures, steady: Sequence[Sample]) -> bool:
    beyond = (found.calm_p99_ms or 0) + limit_ms
    return (found.later.p99_ms or 0) <= limit_ms or sum(ms > beyond for ms in _first_ms(steady)) <= PROBES


def _lane(sample: Sample, translated: Callable[[Question], bool]) -> str:
    lane = "translated" if translated(sample.question) else "passed through"
    return f"{sample.question.dialect}, {lane}, {'streamed' if sample.question.stream else 'whole'}"


def _first_ms(samples: Sequence[Sample]) -> list[float]:
    return [s.first_s * 1000 for s in samples if s.first_s is not None and s.verdict is Verdict.OK]


def _beyond(value: float | None, calm: float | None) -> float | None:
    return None if value is None or calm is None else round(value - calm, 1)


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
