"""The breaker loop: attempts from the journal go in, changed plans go out.

An attempt that opens a breaker wakes the loop at once; what time alone brings (probes, steps of a return) is looked at four times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final

from control_plane.app.configure import Configurator
from control_plane.ir.steering import NO_STEERING, Planned, Steer, Steering
from control_plane.kit.atomic_file import write_atomic
from control_plane.kit.clock import Clock, SystemClock
from control_plane.routing.board import Board, Share
from control_plane.routing.breaker import State, Transition
from control_plane.routing.policy import DEFAULT, BreakerPolicy
from control_plane.signals.classify import AttemptClass
from control_plane.signals.ended import Ended
from control_plane.signals.traffic import Traffic
from control_plane.spec.models import SpecSet
from control_plane.telemetry import names
from control_plane.telemetry.logs import fields
from control_plane.telemetry.metrics import Metrics
from control_plane.telemetry.names import Field

log = logging.getLogger(__name__)

TICK_S: Final = 0.25
"""Between looks at the time."""

LATER_S: Final = 5.0
"""By how much a target's expected return must have moved to be published."""

KEY_FAULTS: Final = frozenset({AttemptClass.CREDENTIAL_DEAD, AttemptClass.QUOTA_SPENT})

MAX_STATE_BYTES: Final = 8 * 1024 * 1024
"""Of the state file: all breakers open at once fit several times."""


class Breakers:
    """Belongs to the event loop that feeds `traffic`; only `steering` may be called in a thread."""

    def __init__(self, traffic: Traffic, metrics: Metrics, clock: Clock | None = None, state: Path | None = None) -> None:
        self.board = Board(self._policy)
        self._clock = clock or SystemClock()
        self._state = state
        self._policies: Mapping[str, BreakerPolicy] = {}
        self._pooled: frozenset[str] = frozenset()
        self._shares: Mapping[str, Share] = {}
        self._made: list[Transition] = []
        self._wake = asyncio.Event()
        self._share = metrics.gauge(names.BREAKER_SHARE)
        self._transitions = metrics.counter(names.BREAKER_TRANSITIONS)
        if state is not None:
            self.board.restore(_kept(state), self._clock.now())
            self._shares = self.board.shares()
        traffic.observers.append(self._observe)
        traffic.unserved.append(self.board.unserved)

    def steering(self, specs: SpecSet) -> Steering:
        """What the breakers ask for now."""
        shares = self._shares
        if not shares:
            return NO_STEERING
        targets = {}
        for target in (target for route in specs.routes for group in route.spec.plan for target in group.targets):
            if (share := shares.get(target.provider)) is not None:
                targets[target.key] = _steer(share, f"provider {target.provider}: {share.reason}")
            elif (share := shares.get(target.key)) is not None:
                targets[target.key] = _steer(share, share.reason)
        return Steering(targets=targets)

    async def run(self, configurator: Configurator) -> None:
        """Keep the plans of `configurator` as the breakers want them, until cancelled."""
        specs: SpecSet | None = None
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._wake.wait()
            self._wake.clear()
            if configurator.specs is not specs and configurator.specs is not None:
                specs = configurator.specs
                self._follow(specs)
            self._made += self.board.tick(self._clock.now())
            made, self._made = self._made, []
            self._tell(made)
            shares = self.board.shares()
            if _differ(shares, self._shares):
                self._shares = shares
                await configurator.steer()
            if made:
                await self._save()

    def row(self, target: str) -> dict[str, object]:
        """The breaker that decides for `target`, as operators see it; times are seconds since the epoch."""
        breaker = self.board.governing(target)
        if breaker is None:
            closed = {"scope": target, "state": str(State.CLOSED), "percent": 100.0}
            return {**closed, "since": None, "until": None, "reason": "", "history": []}
        return {
            "scope": breaker.key,
            "state": str(breaker.state),
            "percent": breaker.percent,
            "since": breaker.since or None,
            "until": breaker.until if breaker.state is State.OPEN else None,
            "reason": breaker.explain(),
            "history": [
                {"at": t.at, "scope": t.key, "from": str(t.before), "to": str(t.after), "percent": t.percent, "reason": t.reason}
                for t in self.board.history(target)
            ],
        }

    def _policy(self, provider: str) -> BreakerPolicy:
        return self._policies.get(provider, DEFAULT)

    def _follow(self, specs: SpecSet) -> None:
        self._policies = {
            provider.name: BreakerPolicy(
                enabled=asked.enabled,
                failure_ratio=asked.failure_ratio,
                min_attempts=asked.min_attempts,
                open_s=asked.open_for_ms / 1000,
                max_open_s=max(asked.max_open_ms, asked.open_for_ms) / 1000,
                step_s=asked.step_ms / 1000,
            )
            for provider in specs.providers
            if (asked := provider.spec.breaker)
        }
        self._pooled = frozenset(provider.name for provider in specs.providers if len(provider.spec.credentials) > 1)
        plans = {route.name: [[Planned(t.key, t.weight) for t in group.targets] for group in route.spec.plan] for route in specs.routes}
        self._made += self.board.follow(plans, self._clock.now())

    def _observe(self, ended: Ended, now: float) -> None:
        if ended.provider in self._pooled and ended.found in KEY_FAULTS:
            return  # of one key: the pool takes the next one
        if made := self.board.observe(ended, now):
            self._made += made
            self._wake.set()

    def _tell(self, made: Iterable[Transition]) -> None:
        for one in made:
            provider, _, model = one.key.partition("/")
            place = (provider, one.key if model else None)
            self._share.set(*place, to=one.percent / 100)
            if one.before is not one.after:
                self._transitions.add(*place, str(one.after))
            level = logging.WARNING if one.after is State.OPEN and one.before is not State.HALF_OPEN else logging.INFO
            subject = one.key if model else f"provider {one.key}"
            where = fields(Field.PROVIDER, provider, *((Field.TARGET, one.key) if model else ()), Field.REASON, one.reason)
            log.log(level, "breaker of %s is %s (%g %% of its share): %s", subject, one.after, one.percent, one.reason, extra=where)

    async def _save(self) -> None:
        if self._state is None:
            return
        body = json.dumps({"version": 1, "breakers": self.board.dump()}).encode()
        try:
            await asyncio.to_thread(write_atomic, self._state, body)
        except OSError as error:
            log.warning("the breakers' state cannot be kept; after a restart all are closed", extra=fields(Field.ERROR, error))


def _steer(share: Share, reason: str) -> Steer:
    return Steer(share.percent, reason, back_at=share.back_at, dead=share.dead)


def _differ(now: Mapping[str, Share], published: Mapping[str, Share]) -> bool:
    """Whether plans, or what clients are told, would be another. A vendor may tell a later time with each answer."""
    if now.keys() != published.keys():
        return True
    for key, share in now.items():
        before = published[key]
        if (share.percent, share.dead) != (before.percent, before.dead) or abs((share.back_at or 0) - (before.back_at or 0)) >= LATER_S:
            return True
    return False


def _kept(path: Path) -> list[Mapping[str, object]]:
    """What an earlier process saved; nothing where that cannot be read."""
    try:
        with path.open("rb") as file:
            kept = json.loads(file.read(MAX_STATE_BYTES))
    except FileNotFoundError:
        return []
    except (OSError, ValueError) as error:
        log.warning("the breakers' state cannot be read; all begin closed", extra=fields(Field.PATH, path, Field.ERROR, error))
        return []
    entries = kept.get("breakers") if isinstance(kept, dict) and kept.get("version") == 1 else None
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
