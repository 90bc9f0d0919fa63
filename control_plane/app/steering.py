"""What moves traffic right now, put together: overrides of operators over what breakers found."""

from __future__ import annotations

from control_plane.ir.steering import Steering
from control_plane.overrides.steers import stricter


def combined(overrides: Steering, breakers: Steering) -> Steering:
    """Operators' wishes beat breakers: what they took out stays out, and their weights count. But no override makes a breaker let
    more through than it wants to: where both have a say the stricter one counts, so that a drain returns only to a healthy target.
    """
    targets = dict(overrides.targets)
    for target, steer in breakers.targets.items():
        targets[target] = stricter(targets.get(target), steer)
    on_route = {place: stricter(breakers.targets.get(place[1]), steer) for place, steer in overrides.on_route.items()}
    for place, steer in breakers.on_route.items():
        wished = on_route.get(place) or overrides.targets.get(place[1])
        on_route[place] = stricter(wished, steer)
    return Steering(targets, on_route, {**breakers.weights, **overrides.weights})
