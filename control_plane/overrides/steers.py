"""From the overrides in force to the steering that the build of the gateway takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from control_plane.ir.steering import Groups, Planned, Steer, Steering
from control_plane.overrides.model import Kind, Override, Scope, Wish
from control_plane.spec.models import SpecSet

Plans = Mapping[str, Groups]
"""The plans as they are written, by route."""

NO_PLANS: Final[Plans] = {}

Place = tuple[str, str]
"""A target on a route: (route, target)."""


def plans_of(specs: SpecSet) -> Plans:
    """The plans of all routes."""
    return {
        route.name: [[Planned(f"{t.provider}/{t.model}", t.weight) for t in group.targets] for group in route.spec.plan]
        for route in specs.routes
    }


def places(plans: Plans) -> set[Place]:
    """Every target on every route."""
    return {(route, planned.target) for route, groups in plans.items() for group in groups for planned in group}


def concerned(wish: Wish, plans: Plans) -> set[Place]:
    """What a wish is about. Empty when its names are in no plan (any more)."""
    found = places({wish.route: plans.get(wish.route, ())} if wish.route is not None else plans)
    if wish.subject.scope is Scope.PROVIDER:
        return {(route, target) for route, target in found if target.partition("/")[0] == wish.subject.name}
    if wish.subject.scope is Scope.TARGET:
        return {(route, target) for route, target in found if target == wish.subject.name}
    named = dict(wish.weights)
    return {(route, target) for route, target in found if route == wish.subject.name and target in named}


def vanished(wish: Wish, plans: Plans) -> list[str]:
    """The names of a wish that no plan has: it is kept, and does what it says when they are back."""
    found = concerned(wish, plans)
    if wish.kind is Kind.WEIGHT:
        return [target for target, _ in wish.weights if (wish.subject.name, target) not in found]
    return [] if found else [str(wish.subject) if wish.route is None else f"{wish.subject} on route/{wish.route}"]


def steer_of(override: Override) -> Steer:
    """What a drain or cordon asks for at its present step."""
    said = f"{override.id} {override.wish.author}: {override.wish.reason}"
    return Steer(override.percent, said, out=override.percent == 0)


def steering(overrides: Iterable[Override], plans: Plans) -> Steering:
    """Everything that is in force. Where two concern a target the stricter one counts, of two weights the newer."""
    targets: dict[str, Steer] = {}
    on_route: dict[Place, Steer] = {}
    weights: dict[Place, int] = {}
    for override in overrides:
        if not override.open:
            continue
        about = concerned(override.wish, plans)
        if override.wish.kind is Kind.WEIGHT:
            named = dict(override.wish.weights)
            weights |= {place: named[place[1]] for place in about}
        elif override.wish.route is None:
            targets |= {target: stricter(targets.get(target), steer_of(override)) for _, target in about}
        else:
            on_route |= {place: stricter(on_route.get(place), steer_of(override)) for place in about}
    return Steering(targets, {place: stricter(targets.get(place[1]), steer) for place, steer in on_route.items()}, weights)


def stricter(one: Steer | None, other: Steer) -> Steer:
    """The one that leaves less; the first of two equals."""
    return other if one is None or (other.percent, not other.out) < (one.percent, not one.out) else one
