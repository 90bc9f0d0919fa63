"""All breakers: one for each target, and one for each provider, which answers for faults of the provider as a whole.

Where a provider's breaker is not closed it alone decides for all of its targets: two breakers that probe the same thing by turns would
never see each other's probe.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from control_plane.routing.breaker import Breaker, State, Transition
from control_plane.routing.faults import OF_PROVIDER, OF_TARGET
from control_plane.routing.policy import DEFAULT, IN_A_ROW, BreakerPolicy
from control_plane.routing.rates import Plans, Rates
from control_plane.signals.classify import AttemptClass
from control_plane.signals.ended import Ended


@dataclass(frozen=True, slots=True)
class Share:
    """What a target, or every target of a provider, may have of its planned share now, in percent, and why.

    `back_at`: while it is out, probes aside, when that is expected to end, in seconds since the epoch. `dead`: nothing has gone well since.
    """

    percent: float
    reason: str
    back_at: float | None = None
    dead: bool = False


class _Place(NamedTuple):
    """Where the attempts of one target are counted; `own` is None for what is used beside the plans (files, stored responses)."""

    policy: BreakerPolicy
    whole: Breaker
    own: Breaker | None


_NOTHING: Final = ()


class Board:
    """Feed it attempts and, a few times a second, the time. `policy_of` gives the settings of a provider.

    There are as many breakers as the plans have targets and providers, and no more.
    """

    def __init__(self, policy_of: Callable[[str], BreakerPolicy] = lambda _: DEFAULT) -> None:
        self._policy_of = policy_of
        self._rates = Rates()
        self._breakers: dict[str, Breaker] = {}
        self._away: set[str] = set()  # keys of those that are not closed: few, and only they change with time
        self._places: dict[str, _Place | None] = {}

    def follow(self, plans: Plans, now: float) -> list[Transition]:
        """The plans as they are written, from now on. What no plan has any more is forgotten, what is switched off is closed."""
        self._rates.follow(plans)
        self._places.clear()
        for key in [key for key in self._breakers if not (self._rates.knows(key) or key in self._rates.targets_of)]:
            del self._breakers[key]
            self._away.discard(key)
        off = [b for key, b in self._breakers.items() if not self._policy_of(_provider(key)).enabled]
        return self._settled(breaker.reset(now, "switched off") for breaker in off)

    def unserved(self, route: str, now: float) -> None:
        """A request of that route was refused without an attempt: a probe could have been made of it."""
        self._rates.count(route, now)

    def observe(self, ended: Ended, now: float) -> Sequence[Transition]:
        """An attempt ended; returns what changed by it, most often nothing."""
        if ended.first and ended.route is not None:
            self._rates.count(ended.route, now)
        try:
            place = self._places[ended.target]
        except KeyError:
            place = self._place(ended.provider, ended.target)
        if place is None:
            return _NOTHING
        policy, whole, own = place
        if whole.state is not State.CLOSED:
            fault = OF_TARGET.get(ended.found)
            return _NOTHING if fault is None else self._settled([whole.observe(ended, now, policy, fault)])
        if ended.found is AttemptClass.OK:
            whole.well(ended, now)
            if own is None:
                return _NOTHING
            if own.state is State.CLOSED and not own.well(ended, now):
                return _NOTHING
            return self._settled([own.observe(ended, now, policy, fault=False)])
        return self._failed(ended, now, place)

    def _failed(self, ended: Ended, now: float, place: _Place) -> list[Transition]:
        policy, whole, own = place
        if (fault := OF_PROVIDER.get(ended.found)) is not None and (made := whole.observe(ended, now, policy, fault)) is not None:
            return self._settled([made, *self._freed(ended.provider, now)])
        if own is None or (fault := OF_TARGET.get(ended.found)) is None:
            return []
        made = own.observe(ended, now, policy, fault)
        if made is not None and OF_PROVIDER.get(ended.found) and whole.in_a_row >= IN_A_ROW:
            # Nothing of that provider has been answered meanwhile: it is not this model.
            made = whole.trip(ended, now, policy, made.reason)
            self._freed(ended.provider, now)
        return self._settled([made])

    def _freed(self, provider: str, now: float) -> list[Transition]:
        """Its targets follow the provider now."""
        targets = [self._breakers.get(target) for target in self._rates.targets_of.get(provider, ())]
        made = [own.reset(now, f"provider {provider} is open") for own in targets if own is not None]
        return self._settled(made)

    def tick(self, now: float) -> list[Transition]:
        """Time has passed: probes are let through, steps are taken. Shares may change without a transition."""
        return self._settled(b.tick(now, self._policy_of(_provider(b.key)), self._rate(b.key, now)) for b in self._not_closed())

    def shares(self) -> dict[str, Share]:
        """By provider or target, of all that have less than their planned share; a provider's counts for all of its targets."""
        return {b.key: Share(b.percent, b.explain(), b.back_at, b.dead) for b in self._not_closed() if b.percent < 100}

    def governing(self, target: str) -> Breaker | None:
        """The breaker that decides for that target now; None while nothing was sent to it."""
        whole = self._breakers.get(_provider(target))
        return whole if whole is not None and whole.state is not State.CLOSED else self._breakers.get(target)

    def history(self, target: str) -> list[Transition]:
        """The last transitions of that target and of its provider, oldest first."""
        found = [self._breakers.get(key) for key in (_provider(target), target)]
        return sorted((t for breaker in found if breaker is not None for t in breaker.history), key=lambda t: t.at)

    def dump(self) -> list[dict[str, object]]:
        """What a restart shall not forget."""
        return [breaker.dump() for breaker in self._not_closed()]

    def restore(self, kept: Iterable[Mapping[str, object]], now: float) -> None:
        """Take over what `dump` of an earlier process gave; what cannot be read is left out."""
        for entry in kept:
            try:
                key = str(entry["key"])
                breaker = Breaker.restored(entry, now, self._policy_of(_provider(key)), "/" in key)
            except (KeyError, TypeError, ValueError):
                continue
            self._breakers[key] = breaker
            if breaker.state is not State.CLOSED:
                self._away.add(key)
        self._places.clear()

    def _place(self, provider: str, target: str) -> _Place | None:
        place, policy = None, self._policy_of(provider)
        if provider not in self._rates.targets_of:
            return None
        if policy.enabled:
            own = self._of(target) if self._rates.knows(target) else None
            place = _Place(policy, self._of(provider), own)
        if len(self._places) <= 2 * len(self._breakers) + 100:  # targets that no plan has come from Envoys with older plans
            self._places[target] = place
        return place

    def _of(self, key: str) -> Breaker:
        if (found := self._breakers.get(key)) is None:
            found = self._breakers[key] = Breaker(key, judges_speed="/" in key)
        return found

    def _rate(self, key: str, now: float) -> float:
        targets = (key,) if "/" in key else self._rates.targets_of.get(key, ())
        return sum(self._rates.of_target(target, now) for target in targets)

    def _not_closed(self) -> list[Breaker]:
        return [self._breakers[key] for key in sorted(self._away)]

    def _settled(self, made: Iterable[Transition | None]) -> list[Transition]:
        found = [transition for transition in made if transition is not None]
        for transition in found:
            (self._away.discard if transition.after is State.CLOSED else self._away.add)(transition.key)
        return found


def _provider(key: str) -> str:
    return key.partition("/")[0]
