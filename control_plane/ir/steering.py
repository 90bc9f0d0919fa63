"""What moves traffic between the targets of a plan without an edit of the specs: breakers and operators' overrides.

A steer says how much of its planned share a target may have. What it loses goes to its sound siblings in the group, and where there is
none to the next group that has one. A target without any share stays behind the plan as a last resort, unless it is `out`; where no
target has a share, they are tried as the plan is written.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import gcd
from typing import Final, NamedTuple

FULL: Final = 100
"""Percent: the whole of its planned share."""

PARTS: Final = 100
"""Of a percent: a probe of a target with ten thousand requests a second is one of them."""


@dataclass(frozen=True, slots=True)
class Steer:
    """`percent` (0 to 100, in hundredths) of its planned share of first attempts; `out`: not tried at all. `reason` is for operators.

    `back_at`: seconds since the epoch at which it is expected to be asked again; only of targets that a breaker has taken out, whatever
    share a probe may have. `dead`: nothing that was sent to it since went well.
    """

    percent: float
    reason: str
    out: bool = False
    back_at: float | None = None
    dead: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.percent <= FULL or (self.out and self.percent):
            raise ValueError(f"{self.percent} % is no share of a target that is {'out' if self.out else 'in'}")


@dataclass(frozen=True, slots=True)
class Steering:
    """All steers that are in force.

    `targets` holds them by target (`provider/model`) for every route, `on_route` by route and target, which beat the former.
    `weights`: by route and target, the weight to use inside the target's group instead of the written one; 0 leaves it as a last resort.
    """

    targets: Mapping[str, Steer] = field(default_factory=dict)
    on_route: Mapping[tuple[str, str], Steer] = field(default_factory=dict)
    weights: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def of(self, route: str, target: str) -> Steer | None:
        """The steer of that target on that route, if any."""
        return self.on_route.get((route, target)) or self.targets.get(target)

    def weight(self, route: str, target: str, written: int) -> int:
        """Its weight inside its group."""
        return self.weights.get((route, target), written)


NO_STEERING: Final = Steering()


WHOLE: Final = FULL * PARTS

MAX_SUM: Final = 2**31
"""Of a group's weights: data planes add them up in 32 bits."""


class Planned(NamedTuple):
    """One target of a group, with its weight."""

    target: str
    weight: int


Groups = Sequence[Sequence[Planned]]


def steered(route: str, groups: Groups, steering: Steering) -> tuple[tuple[Planned, ...], ...]:
    """The groups of `route` as they shall be now. Equal to `groups` where nothing concerns it; empty where every target is out.

    Weights are whole numbers without a common divisor, so that equal shares are equal plans.
    """
    shares = [_shares(route, group, steering) for group in groups]
    if [[(share.weight, share.parts) for share in group] for group in shares] == [[(p.weight, WHOLE) for p in group] for group in groups]:
        return tuple(tuple(group) for group in groups)
    plan = [_group(shares, i) for i in range(len(shares))]
    idle = [[Planned(s.target, s.weight or 1) for s in group if not s.out and s.parts * s.weight == 0] for group in shares]
    if any(plan):  # the last resort: whichever of them may still work
        idle = [_merged(one for group in idle for one in group)]
    elif idle == [list(group) for group in groups]:
        return tuple(tuple(group) for group in groups)
    return tuple(group for group in (*plan, *map(reduced, idle)) if group)


class _Share(NamedTuple):
    target: str
    weight: int
    parts: int
    out: bool


def _shares(route: str, group: Iterable[Planned], steering: Steering) -> list[_Share]:
    out = []
    for planned in group:
        steer = steering.of(route, planned.target)
        weight = steering.weight(route, planned.target, planned.weight)
        parts = WHOLE if steer is None else round(steer.percent * PARTS)
        out.append(_Share(planned.target, weight, parts, steer is not None and steer.out))
    return out


def _group(shares: Sequence[Sequence[_Share]], at: int) -> tuple[Planned, ...]:
    """The group at that place: what its targets keep, and what they lose where somebody sound takes it."""
    group = shares[at]
    kept = [Planned(share.target, share.weight * share.parts) for share in group if share.weight * share.parts]
    if not kept:
        return ()
    lost = sum(share.weight * (WHOLE - share.parts) for share in group)
    receivers = _sound(shares[at:])
    total = sum(share.weight for share in receivers)
    if not (lost and total):
        return reduced(kept)
    scaled = [Planned(planned.target, planned.weight * total) for planned in kept]
    return reduced(_merged([*scaled, *(Planned(share.target, share.weight * lost) for share in receivers)]))


def _sound(groups: Iterable[Sequence[_Share]]) -> list[_Share]:
    """The targets with their full share in the first group that has any."""
    for group in groups:
        if sound := [share for share in group if share.weight and share.parts == WHOLE]:
            return sound
    return []


def _merged(planned: Iterable[Planned]) -> list[Planned]:
    """A target that is named more than once has one place, with all of its weight."""
    weights: dict[str, int] = {}
    for one in planned:
        weights[one.target] = weights.get(one.target, 0) + one.weight
    return [Planned(target, weight) for target, weight in weights.items()]


def reduced(group: Sequence[Planned]) -> tuple[Planned, ...]:
    """The same shares in whole numbers without a common divisor, small enough for data planes."""
    divisor = max(gcd(*(planned.weight for planned in group)), -(-sum(planned.weight for planned in group) // MAX_SUM), 1)
    return tuple(Planned(planned.target, max(1, planned.weight // divisor)) for planned in group)
