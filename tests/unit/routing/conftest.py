"""A gateway in miniature: requests at a steady rate, a vendor that does what a test says, and the breakers between them. No real time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from control_plane.ir.steering import NO_STEERING, Planned, Steer, Steering, steered
from control_plane.routing.board import Board
from control_plane.routing.breaker import State, Transition
from control_plane.routing.policy import BreakerPolicy
from control_plane.signals.classify import AttemptClass
from control_plane.signals.ended import Ended

START = 1_700_000_000.0
JOURNAL_S = 0.15
"""From the end of an attempt to its line being read."""
PUSH_S = 0.3
"""From a changed share to Envoys that follow it."""
TICK_S = 0.25


@dataclass(frozen=True)
class Answer:
    """How an attempt at the vendor ends, and after how many seconds."""

    found: AttemptClass = AttemptClass.OK
    after_s: float = 0.5
    first_token_s: float | None = 0.2
    retry_after_s: float | None = None


FINE = Answer()
Vendor = Callable[[float], Answer]
"""Told the seconds since the start."""


@dataclass
class World:
    """`vendors`: by target; a target without one is always well. `plan`: the groups of the one route."""

    vendors: dict[str, Vendor]
    plan: list[list[Planned]]
    rate: float = 50.0
    policy: BreakerPolicy = field(default_factory=BreakerPolicy)
    seed: int = 1
    now: float = START
    sent: list[tuple[float, int, str]] = field(default_factory=list)
    """(when, number of the attempt, target) of every attempt."""
    failed: int = 0
    """Requests that no target served."""
    transitions: list[Transition] = field(default_factory=list)
    changes: int = 0
    """How often the plan changed."""

    def __post_init__(self) -> None:
        self.board = Board(lambda _: self.policy)
        self.board.follow({"r": self.plan}, self.now)
        self._random = random.Random(self.seed)
        self._lines: list[tuple[float, int, Ended]] = []
        self._in_force = [(START, self.plan_now())]
        self._number = 0

    def plan_now(self) -> tuple[tuple[Planned, ...], ...]:
        """The plan that the breakers ask for."""
        shares = self.board.shares()
        steers = {}
        for target in (planned.target for group in self.plan for planned in group):
            share = shares.get(target.partition("/")[0]) or shares.get(target)
            if share is not None:
                steers[target] = Steer(share.percent, share.reason)
        return steered("r", self.plan, Steering(targets=steers) if steers else NO_STEERING)

    def run(self, seconds: float) -> World:
        """Let that much time pass."""
        until, next_tick = self.now + seconds, self.now
        while self.now < until:
            self._step()
            if self.now >= next_tick:
                self.transitions += self.board.tick(self.now)
                next_tick = self.now + TICK_S
            if (plan := self.plan_now()) != self._in_force[-1][1]:
                self._in_force.append((self.now + PUSH_S, plan))
                self.changes += 1
            self.now += 0.01
        return self

    def _step(self) -> None:
        while self._lines and self._lines[0][0] <= self.now:
            _, _, attempt = heapq.heappop(self._lines)
            self.transitions += self.board.observe(attempt, self.now)
        due = self.rate * 0.01
        for _ in range(int(due) + (self._random.random() < due % 1)):
            self._request()

    def _request(self) -> None:
        plan = next(plan for at, plan in reversed(self._in_force) if at <= self.now)
        at = self.now
        for number in range(len(self.plan)):
            group = plan[min(number, len(plan) - 1)]
            target = self._random.choices([p.target for p in group], [p.weight for p in group])[0]
            vendor = self.vendors.get(target)
            answer = vendor(at - START) if vendor is not None else FINE
            self.sent.append((at - START, number + 1, target))
            ended = at + answer.after_s
            told = None if answer.retry_after_s is None else ended + answer.retry_after_s
            good = answer.found is AttemptClass.OK
            attempt = Ended(
                target.partition("/")[0], target, "r", answer.found, at, ended, answer.first_token_s if good else None, number == 0, told
            )
            self._number += 1
            heapq.heappush(self._lines, (ended + JOURNAL_S, self._number, attempt))
            if good:
                return
            at = ended
        self.failed += 1

    def asked(self, target: str, since: float = 0.0, until: float = 1e9) -> int:
        """Attempts at that target in those seconds."""
        return sum(target == name and since <= at < until for at, _, name in self.sent)

    def amplification(self, since: float, until: float = 1e9) -> float:
        """Attempts a request."""
        firsts = sum(number == 1 and since <= at < until for at, number, _ in self.sent)
        return sum(since <= at < until for at, _, _ in self.sent) / firsts

    def states(self, key: str) -> list[tuple[float, State, float]]:
        """(when, state, percent) of that breaker's transitions."""
        return [(round(t.at - START, 1), t.after, t.percent) for t in self.transitions if t.key == key]

    def opened(self, key: str) -> list[float]:
        """When it diverted: opened although it had more than a probe's share."""
        return [
            t.at - START for t in self.transitions if t.key == key and t.after is State.OPEN and t.before in (State.CLOSED, State.RETURNING)
        ]


TWO = [[Planned("one/a", 100)], [Planned("two/b", 100)]]


@pytest.fixture
def world() -> Callable[..., World]:
    """Make one: `world(vendor, rate=...)`, where `vendor` is that of target one/a of a plan one/a, then two/b."""

    def make(vendor: Vendor, **options: object) -> World:
        return World(**{"vendors": {"one/a": vendor}, "plan": TWO, **options})  # type: ignore[arg-type]

    return make
