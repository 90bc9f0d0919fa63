"""Which key of a provider's pool is used: pure, times are given.

A key that the vendor refuses, or whose quota is spent, is out for a while. The first one in the order of the spec that is not out is in
use, and the next is the spare, with which requests are tried again that the key in use could not serve.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

QUARANTINE_S: Final = 1800.0
"""How long a key is out unless the spec says otherwise. People raise quotas and restore keys, so sooner would only cost attempts."""

SETTLE_S: Final = 2.0
"""After a change of the assignment, attempts that began earlier than this may still have had the key before: their faults say nothing."""

DOUBTS: Final = 3
"""Faults in a row, with no success between, that a status which does not speak of keys alone needs: 403 may be one model's, and a 400 is
known by words, which a client may have chosen."""

Fault = Literal["credential_dead", "quota_spent"]
Role = Literal["active", "spare"]


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key. `usable`: it has a value. `out_until`: seconds since the epoch, 0 when it is not out; `reason` says why."""

    usable: bool = True
    out_until: float = 0.0
    reason: str = ""
    doubts: int = 0

    def out(self, now: float) -> bool:
        """Whether it is out now."""
        return self.out_until > now


@dataclass(frozen=True, slots=True)
class Pool:
    """The keys of one provider in the order of its spec, and which are assigned since when. `active` stays on a key that is out when
    none is left, the one that is back first: what a provider that nobody can replace is then asked with."""

    keys: tuple[KeyState, ...]
    active: int = 0
    spare: int | None = None
    since: float = float("-inf")
    quarantine_s: float = QUARANTINE_S

    @classmethod
    def of(cls, usable: Sequence[bool], now: float, quarantine_s: float = QUARANTINE_S) -> Pool:
        """A new pool, no key of which is known to be bad."""
        keys = tuple(KeyState(usable=value) for value in usable)
        return replace(cls(keys, quarantine_s=quarantine_s).assigned(now), since=float("-inf"))

    def assigned(self, now: float) -> Pool:
        """The same keys, with those assigned that are best now."""
        good = [n for n, key in enumerate(self.keys) if key.usable and not key.out(now)]
        waiting = sorted((key.out_until, n) for n, key in enumerate(self.keys) if key.usable and key.out(now))
        order = good + [n for _, n in waiting]
        active, spare = (order[0] if order else 0), (good[1] if len(good) > 1 else None)
        if (active, spare) == (self.active, self.spare):
            return self
        return replace(self, active=active, spare=spare, since=now)

    def exhausted(self, now: float) -> bool:
        """No key is left. A pool without any value is none: what is not there is told otherwise."""
        usable = [key for key in self.keys if key.usable]
        return bool(usable) and all(key.out(now) for key in usable)

    def next_return(self, now: float) -> float | None:
        """When the next key is back, seconds since the epoch."""
        return min((key.out_until for key in self.keys if key.out(now)), default=None)

    def failed(self, role: Role, fault: Fault, status: int, began_at: float, now: float) -> Pool:
        """After an attempt with the key of that role, which began at `began_at` and was answered with `status`."""
        at = self._position(role)
        if at is None or began_at < self.since + SETTLE_S or self.keys[at].out(now):
            return self
        key = self.keys[at]
        certain = status in (401, 402) or (status == 429 and fault == "quota_spent")
        if not certain and key.doubts + 1 < DOUBTS:
            return self._with(at, replace(key, doubts=key.doubts + 1))
        reason = f"{fault}: the vendor answered {status}"
        return self._with(at, replace(key, out_until=now + self.quarantine_s, reason=reason, doubts=0)).assigned(now)

    def served(self, role: Role, began_at: float, now: float) -> Pool:
        """After an attempt that went well: what was held against the key is void."""
        at = self._position(role)
        if at is None or began_at < self.since + SETTLE_S:
            return self
        key = self.keys[at]
        if not key.doubts and not key.out(now):
            return self
        return self._with(at, replace(key, out_until=0.0, reason="", doubts=0)).assigned(now)

    def returned(self, now: float) -> Pool:
        """With the keys back whose time has come."""
        keys = tuple(replace(key, out_until=0.0, reason="") if key.out_until and not key.out(now) else key for key in self.keys)
        return self if keys == self.keys else replace(self, keys=keys).assigned(now)

    def renewed(self, usable: Sequence[bool], changed: Sequence[bool], now: float) -> Pool:
        """After the values were read again: a key with another value is another key."""
        keys = tuple(
            KeyState(usable=there) if new else replace(key, usable=there)
            for key, there, new in zip(self.keys, usable, changed, strict=True)
        )
        if keys == self.keys and not any(changed):
            return self
        return replace(replace(self, keys=keys).assigned(now), since=now)

    def _position(self, role: Role) -> int | None:
        return self.active if role == "active" else self.spare

    def _with(self, at: int, key: KeyState) -> Pool:
        return replace(self, keys=(*self.keys[:at], key, *self.keys[at + 1 :]))
