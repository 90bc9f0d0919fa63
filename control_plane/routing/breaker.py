"""One breaker: closed → open → half-open with one probe at a time → returning in steps → closed.

    closed     all of its share. Opens when several attempts fail in a row, when too large a share fails, or when it is far too slow.
    open       no share; what other targets cannot serve may still come. Lasts until `until`.
    half-open  a share so small that about one request comes; then none until it is known how that one ended.
    returning  5, 25, 100 % of its share, a step at a time. Fails at the first sign of trouble.

Nothing here knows a clock: `now` is seconds since the epoch, as are the times of attempts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from control_plane.routing import policy as rules
from control_plane.routing.policy import STEPS, WINDOW_S, BreakerPolicy
from control_plane.routing.recent import Recent, UsualFirstToken
from control_plane.signals.classify import AttemptClass
from control_plane.signals.ended import Ended

HISTORY: Final = 20
"""Transitions kept for `explain`."""

SMALLEST: Final = 0.01
"""Percent: the smallest share that plans can express."""

LARGEST: Final = 99.0
"""Percent: a target that is being probed is not sound, so it takes over nothing from others."""


class State(StrEnum):
    """Values are shown and used in metrics."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"
    RETURNING = "returning"


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of state, with its reason for operators. `percent`: of its planned share, from now on."""

    key: str
    at: float
    before: State
    after: State
    percent: float
    reason: str


class Breaker:
    """The breaker of `key`, a provider or a target (`provider/model`)."""

    def __init__(self, key: str, judges_speed: bool = True) -> None:
        self.key = key
        self._judges_speed = judges_speed
        self.state = State.CLOSED
        self.percent = 100.0
        self.since = 0.0
        self.until = 0.0
        """When an open breaker lets a probe through."""
        self.reason = ""
        self.history: deque[Transition] = deque(maxlen=HISTORY)
        self._recent = Recent()
        self._usual = UsualFirstToken()
        self._diverted: deque[float] = deque(maxlen=rules.DIVERSIONS_A_MINUTE)
        self._closed_at = float("-inf")
        self._wait_s = 0.0
        self._evidence_from = 0.0  # attempts that began earlier prove nothing about now
        self._due_at = 0.0  # the end of a probe's share, of the wait for its verdict, or of a step
        self._ticked_at = self._sent = 0.0  # of a probe's share: how many requests have come by it, as far as can be expected
        self._probes = 0  # since the last verdict
        self._fault_s = self._answer_s = 0.0  # how long attempts took: the last that failed, and usually good ones
        self._step = 0
        self._good = 0  # in this step
        self._dead = False

    # ------------------------------------------------------------------ what happened
    @property
    def back_at(self) -> float | None:
        """When more than a probe is expected to come to it again, seconds since the epoch; None while that is so."""
        return self.until if self.state is State.OPEN else self._due_at if self.state is State.HALF_OPEN else None

    @property
    def dead(self) -> bool:
        """Several requests came to it all the same since it was taken out, and none went well."""
        return self._dead and self.state in (State.OPEN, State.HALF_OPEN)

    @property
    def in_a_row(self) -> int:
        """Failures since the last success, in this state."""
        return self._recent.in_a_row.total()

    def well(self, attempt: Ended, now: float) -> bool:
        """A good attempt while closed: counted here at little cost. True when it was slow: then it is not, and `observe` has to be told."""
        if attempt.ended_at < now - WINDOW_S:
            return False
        if self._judges_speed and attempt.first_token_s is not None and attempt.first_token_s > rules.SLOW_FLOOR_S:
            return True
        if self._judges_speed and attempt.first_token_s is not None:
            self._usual.is_slow(attempt.first_token_s)
        self._answer_s += (attempt.ended_at - attempt.began_at - self._answer_s) * 0.1
        self._recent.good(attempt.ended_at, now)
        return False

    def observe(self, attempt: Ended, now: float, policy: BreakerPolicy, fault: bool) -> Transition | None:
        """An attempt ended, and counts as a fault or as good. What says nothing about the provider is not to be told."""
        if attempt.ended_at < now - WINDOW_S:
            return None
        if self.state is State.OPEN:
            self._believe(attempt, now)
            self._count_out(attempt, now, fault)
            return None
        if self.state is not State.CLOSED and attempt.began_at < self._evidence_from:
            return None
        took_s = max(0.0, attempt.ended_at - attempt.began_at)
        slow = False
        if fault:
            self._fault_s = took_s
        else:
            self._answer_s += (took_s - self._answer_s) * 0.1
            slow = self._judges_speed and attempt.first_token_s is not None and self._usual.is_slow(attempt.first_token_s)
        if self.state is State.HALF_OPEN:
            return self._verdict(attempt, now, policy, fault, slow)
        if fault:
            self._recent.fault(attempt.found, attempt.ended_at, now)
        else:
            self._recent.good(attempt.ended_at, now, slow)
        self._good += not fault and not slow
        if fault or slow:
            why = self._why(attempt, now, policy, strict=self.state is State.RETURNING)
            return self._open(now, policy, why, attempt.recovers_at, diverts=True) if why else None
        return None

    def trip(self, attempt: Ended, now: float, policy: BreakerPolicy, reason: str) -> Transition:
        """Open for a reason that was found elsewhere."""
        return self._open(now, policy, reason, attempt.recovers_at, diverts=True)

    def _why(self, attempt: Ended, now: float, policy: BreakerPolicy, strict: bool) -> str | None:
        """What is wrong, if it is enough to open."""
        in_a_row = self._recent.in_a_row.total()
        told = attempt.found is AttemptClass.RATE_LIMITED and attempt.recovers_at is not None and attempt.recovers_at > now
        enough = rules.IN_A_ROW_TOLD if told or strict else rules.IN_A_ROW
        if in_a_row >= enough and in_a_row >= enough + int(rules.IN_A_ROW_PER_RATE * self._recent.rate(now)):
            span_s, known = self._recent.row_span(now)
            if known or strict or span_s >= rules.UNKNOWN_S:
                return f"{in_a_row} in a row failed, class={_most(self._recent.in_a_row)}"
        attempts, faults, slow = self._recent.totals(now)
        failed = faults.total()
        least, ratio = (3, policy.failure_ratio / 2) if strict else (policy.min_attempts, policy.failure_ratio)
        if attempts >= least and slow and slow + failed >= rules.SLOW_RATIO * attempts:
            return f"{slow}/{attempts} slow in {WINDOW_S} s, {self._slowness(attempt)}"
        if attempts >= least and failed >= ratio * attempts and (strict or self._recent.row_span(now)[1]):
            return f"{failed}/{attempts} failed in {WINDOW_S} s, class={_most(faults)}"
        return None

    def _slowness(self, attempt: Ended) -> str:
        usual = self._usual.seconds
        return f"first token after {attempt.first_token_s or 0:.1f} s{'' if usual is None else f' against {usual:.1f} s'}"

    def _believe(self, attempt: Ended, now: float) -> None:
        """Requests that were under way may tell a later end of a rate limit."""
        if attempt.found is AttemptClass.RATE_LIMITED and attempt.recovers_at is not None:
            self.until = max(self.until, min(attempt.recovers_at, now + rules.MAX_TOLD_S))

    def _count_out(self, attempt: Ended, now: float, fault: bool) -> None:
        """Where nothing sound is left requests come all the same: do any of them go well?"""
        if fault:
            self._recent.fault(attempt.found, attempt.ended_at, now)
        else:
            self._recent.good(attempt.ended_at, now)
        attempts, faults, _ = self._recent.totals(now)
        if attempts >= rules.DEAD_AFTER:
            self._dead = faults.total() == attempts

    def _verdict(self, attempt: Ended, now: float, policy: BreakerPolicy, fault: bool, slow: bool) -> Transition:
        if fault:
            return self._open(now, policy, f"probe failed, class={attempt.found}", attempt.recovers_at, diverts=False)
        if slow:
            self._usual.get_used_to(attempt.first_token_s or 0.0)
            return self._open(now, policy, f"probe was slow, {self._slowness(attempt)}", None, diverts=False)
        return self._return(now, policy, 0, "probe succeeded")

    # ------------------------------------------------------------------ what time brings
    def tick(self, now: float, policy: BreakerPolicy, rate: float) -> Transition | None:
        """Time has passed. `rate`: requests a second that would come to it with all of its share."""
        if self.state is State.OPEN and now >= self.until and rate > 0:
            reason = f"probing after {now - self.since:.0f} s"
            made = self._become(State.HALF_OPEN, now, 0.0, reason)
            self._probes = 0
            self._evidence_from = max(self.since - 2 * rules.LAG_S, self._evidence_from)
            self._let_probe(now, rate)
            return Transition(made.key, made.at, made.before, made.after, self.percent, reason)
        if self.state is State.HALF_OPEN and self.percent:
            self._sent += rate * self.percent / 100 * max(0.0, now - self._ticked_at)
            self._ticked_at = now
            fails_fast = self._fault_s < rules.LAG_S
            if now >= self._due_at or self._sent >= (rules.PROBES if fails_fast else 1):
                self.percent = 0.0
                wait_s = max(rules.VERDICT_S, self._fault_s + rules.LAG_S, 2 * self._answer_s)
                if not fails_fast:  # it may hang: each further probe may be one more user who waits. Otherwise silence says that none came
                    wait_s *= 2 ** min(self._probes, 10)
                self._due_at = now + min(wait_s, rules.MAX_VERDICT_S)
                self._probes += 1
        elif self.state is State.HALF_OPEN and now >= self._due_at and rate > 0:
            self._let_probe(now, rate)
        elif self.state is State.RETURNING and now >= self._due_at:
            patient = now >= self._due_at + (rules.STEP_PATIENCE - 1) * policy.step_s
            if self._good or patient:
                if self._step + 1 < len(STEPS):
                    return self._return(now, policy, self._step + 1, "" if self._good else "no trouble seen")
                self._closed_at = now
                return self._become(State.CLOSED, now, 100.0, "recovered")
        return None

    def _let_probe(self, now: float, rate: float) -> None:
        # A small share that ends with the first ending seen, rather than a large one for a moment: fewer requests meet a dead vendor.
        window_s = min(max(rules.PROBE_WINDOW_S, 1 / rate), rules.MAX_PROBE_WINDOW_S)
        self.percent = max(SMALLEST, min(LARGEST, round(100 / (rate * window_s), 2)))
        self._due_at = now + 2 * window_s
        self._ticked_at, self._sent = now, 0.0

    def reset(self, now: float, reason: str) -> Transition | None:
        """Close it without more ado: something else governs, or operators switched it off."""
        if self.state is State.CLOSED:
            self._recent.clear()
            return None
        return self._become(State.CLOSED, now, 100.0, reason)

    # ------------------------------------------------------------------ changes of state
    def _open(self, now: float, policy: BreakerPolicy, reason: str, recovers_at: float | None, *, diverts: bool) -> Transition:
        if diverts:
            calm = self.state is State.CLOSED and now - self._closed_at >= rules.CALM_S
            self._wait_s = policy.open_s if calm or not self._wait_s else min(policy.max_open_s, self._wait_s * rules.GROWTH)
            self._diverted.append(now)
            self._dead = False
        else:
            self._wait_s = min(policy.max_open_s, self._wait_s * rules.PROBE_GROWTH)
        self.until = now + max(self._wait_s, policy.open_s)
        if len(self._diverted) == rules.DIVERSIONS_A_MINUTE:
            self.until = max(self.until, self._diverted[0] + 60)
        if recovers_at is not None:
            self.until = max(self.until, min(recovers_at, now + rules.MAX_TOLD_S))
        self._evidence_from = now + min(rules.LAG_S, policy.open_s / 2)
        return self._become(State.OPEN, now, 0.0, reason)

    def _return(self, now: float, policy: BreakerPolicy, step: int, reason: str) -> Transition:
        self._step, self._good = step, 0
        self._due_at = now + policy.step_s
        if step:
            reason = f"step {step + 1} of {len(STEPS)}" + (f", {reason}" if reason else "")
        return self._become(State.RETURNING, now, STEPS[step], reason)

    def _become(self, state: State, now: float, percent: float, reason: str) -> Transition:
        made = Transition(self.key, now, self.state, state, percent, reason)
        if self.state is not state:
            self.since = now
            self._recent.clear()
        self.state, self.percent = state, percent
        if state in (State.OPEN, State.CLOSED):
            self.reason = reason
        self.history.append(made)
        return made

    # ------------------------------------------------------------------ for operators, and for the next process
    def explain(self) -> str:
        """Why it does not have all of its share, in one line; empty while it has."""
        return "" if self.state is State.CLOSED else self.reason

    def dump(self) -> dict[str, object]:
        """What a restart shall not forget; JSON types."""
        return {
            "key": self.key,
            "state": str(self.state),
            "since": self.since,
            "until": self.until,
            "reason": self.reason,
            "dead": self._dead,
            "wait_s": self._wait_s,
            "step": self._step,
            "diverted": list(self._diverted),
        }

    @classmethod
    def restored(cls, kept: Mapping[str, object], now: float, policy: BreakerPolicy, judges_speed: bool = True) -> Breaker:
        """What `dump` gave. A probe that was under way is sent again. Raises ValueError, TypeError or KeyError for anything else."""
        made = cls(str(kept["key"]), judges_speed)
        state = State(str(kept["state"]))
        made.since, made.until, made._wait_s = (_number(kept[name]) for name in ("since", "until", "wait_s"))
        made.reason = str(kept["reason"])
        diverted = kept["diverted"]
        made._diverted.extend(_number(at) for at in (diverted if isinstance(diverted, list) else ()))
        made._dead = kept.get("dead") is True
        made.until = min(made.until, now + rules.MAX_TOLD_S)
        if state is State.RETURNING:
            made.state, made._step = state, min(max(int(_number(kept["step"])), 0), len(STEPS) - 1)
            made.percent, made._due_at = STEPS[made._step], now + policy.step_s
        elif state is not State.CLOSED:
            made.state, made.percent = State.OPEN, 0.0
        return made


def _number(value: object) -> float:
    if not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _most(classes: Counter[AttemptClass]) -> str:
    return str(classes.most_common(1)[0][0]) if classes else "none"
