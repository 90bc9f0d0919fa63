"""Keeps the pools of keys: faults out of the journal take a key out of use, time and new values bring it back."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Final

from control_plane.credentials.pool import Pool, Role
from control_plane.credentials.resolve import Missing, Resolution, Resolved, resolve_pool
from control_plane.kit.clock import Clock, SystemClock
from control_plane.signals.classify import AttemptClass
from control_plane.signals.ended import Ended
from control_plane.spec.models import Provider, SpecSet
from control_plane.telemetry import names
from control_plane.telemetry.logs import fields
from control_plane.telemetry.metrics import Metrics
from control_plane.telemetry.names import Field

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0
"""Between looks whether a key is back."""


@dataclass(slots=True)
class _Held:
    provider: Provider
    values: tuple[Resolution, ...]
    pool: Pool


class KeyPools:
    """Belongs to the event loop in which it is used. Every provider with static keys has a pool, be it of one. Nothing here shows a key."""

    def __init__(self, metrics: Metrics, clock: Clock | None = None, environ: Mapping[str, str] | None = None) -> None:
        self._clock, self._environ = clock or SystemClock(), environ
        self._held: dict[str, _Held] = {}
        self._news = asyncio.Event()
        self._rotations = metrics.counter(names.KEY_ROTATIONS)
        self._keys = metrics.gauge(names.KEYS)

    def follow(self, specs: SpecSet) -> None:
        """Read the keys of `specs` again, and keep what is known of those that are still the same."""
        now = self._clock.now()
        held = {}
        for provider in specs.providers:
            values = resolve_pool(provider, self._environ)
            if not values:
                continue
            quarantine_s = provider.spec.key_quarantine_ms / 1000
            usable = [isinstance(value, Resolved) for value in values]
            old = self._held.get(provider.name)
            if old is not None and len(old.values) == len(values):
                changed = [not _same(a, b) for a, b in zip(old.values, values, strict=True)]
                pool = replace(old.pool, quarantine_s=quarantine_s).renewed(usable, changed, now)
            else:
                pool = Pool.of(usable, now, quarantine_s)
            held[provider.name] = _Held(provider, values, pool)
        self._held = held
        self._count(now)

    def observe(self, ended: Ended, now: float) -> None:
        """An attempt ended."""
        held = self._held.get(ended.provider)
        if held is None or ended.status is None:
            return
        role: Role = "spare" if ended.spare else "active"
        if ended.found is AttemptClass.CREDENTIAL_DEAD:
            pool = held.pool.failed(role, "credential_dead", ended.status, ended.began_at, now)
        elif ended.found is AttemptClass.QUOTA_SPENT:
            pool = held.pool.failed(role, "quota_spent", ended.status, ended.began_at, now)
        elif ended.status < 400:
            pool = held.pool.served(role, ended.began_at, now)
        else:
            return
        self._take(held, pool, now)

    def look(self) -> None:
        """Bring back the keys whose time has come."""
        now = self._clock.now()
        for held in self._held.values():
            back = [n for n, key in enumerate(held.pool.keys) if key.out_until and not key.out(now)]
            if back:
                self._take(held, held.pool.returned(now), now)

    async def run(self) -> None:
        """Endless: `look` now and then."""
        while True:
            await asyncio.sleep(LOOK_S)
            self.look()

    async def changes(self) -> AsyncIterator[None]:
        """Endless: once for every time that another key is to be used, or a provider has none left or one again."""
        while True:
            await self._news.wait()
            self._news.clear()
            yield

    def chosen(self) -> dict[str, tuple[Resolution, Resolution]]:
        """By provider the value in use and the spare; the same one where there is no other."""
        found = {}
        for name, held in self._held.items():
            active = held.values[held.pool.active]
            found[name] = active, (active if held.pool.spare is None else held.values[held.pool.spare])
        return found

    def exhausted(self) -> dict[str, str]:
        """Providers whose keys are all out, with the reason. Of those with several: a single key that is refused is for its
        targets' breaker to judge, which asks again much sooner."""
        now = self._clock.now()
        spent = {name for name, held in self._held.items() if len(held.values) > 1 and held.pool.exhausted(now)}
        return dict.fromkeys(spent, "every key of its pool is out")

    def rows(self, provider: str) -> list[dict[str, object]]:
        """One a key, for operators: by its place in the spec and where it comes from."""
        held, now = self._held.get(provider), self._clock.now()
        rows: list[dict[str, object]] = []
        for n, (value, key) in enumerate(zip(held.values, held.pool.keys, strict=True)) if held is not None else ():
            out = key.out(now)
            rows.append(
                {
                    "provider": provider,
                    "key": n,
                    "source": value.source,
                    "state": self._state(held.pool, n, now) if held is not None else "",
                    "expires_at": None,
                    "refreshed_at": None,
                    "next_at": key.out_until if out else None,
                    "error": value.reason if isinstance(value, Missing) else key.reason if out else "",
                }
            )
        return rows

    # ------------------------------------------------------------------
    def _take(self, held: _Held, pool: Pool, now: float) -> None:
        before, held.pool = held.pool, pool
        if pool is before:
            return
        for n, (old, new) in enumerate(zip(before.keys, pool.keys, strict=True)):
            told = fields(Field.PROVIDER, held.provider.name, Field.SOURCE, held.values[n].source, Field.REASON, new.reason or old.reason)
            if new.out(now) and not old.out(now):
                self._rotations.add(held.provider.name, new.reason.partition(":")[0])
                log.error("a key is out of use", extra=told)
            elif old.out_until and not new.out_until:
                log.info("a key is in use again", extra=told)
        if len(pool.keys) > 1 and pool.exhausted(now) and not before.exhausted(now):
            log.error("every key is out of use; the provider is behind all plans now", extra=fields(Field.PROVIDER, held.provider.name))
        if pool.since != before.since or pool.exhausted(now) != before.exhausted(now):
            self._news.set()
        self._count(now)

    def _count(self, now: float) -> None:
        for name, held in self._held.items():
            out = sum(key.out(now) for key in held.pool.keys)
            self._keys.set(name, "out", to=out)
            self._keys.set(name, "usable", to=sum(key.usable for key in held.pool.keys) - out)

    @staticmethod
    def _state(pool: Pool, n: int, now: float) -> str:
        key = pool.keys[n]
        if not key.usable:
            return "MISSING"
        if key.out(now):
            return "OUT"
        return "READY" if n == pool.active else "SPARE" if n == pool.spare else "WAITING"


def _same(one: Resolution, other: Resolution) -> bool:
    if isinstance(one, Resolved) and isinstance(other, Resolved):
        return one.secret.fingerprint() == other.secret.fingerprint()
    return one == other
