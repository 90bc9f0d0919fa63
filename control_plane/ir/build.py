"""Specs → IR: a fold over a visible tuple of passes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from control_plane.catalogue.lookup import Catalogue
from control_plane.ir.draft import Draft
from control_plane.ir.exhaustion import outlook, ration_exhausted
from control_plane.ir.model import Gateway
from control_plane.ir.passes import expand_entries, leave_out_unready_targets, resolve_plans, resolve_providers, settle_timers, steer_plans
from control_plane.ir.steering import NO_STEERING, Planned, Steering, steered
from control_plane.kit.uncollected import uncollected
from control_plane.spec.models import SpecSet
from control_plane.spec.presets import PresetSpec, load_presets

PASSES: Final = (
    resolve_providers,
    resolve_plans,
    leave_out_unready_targets,
    steer_plans,
    settle_timers,
    ration_exhausted,
    expand_entries,
)


@uncollected
def build(specs: SpecSet, unready: Mapping[str, str] | None = None, steering: Steering = NO_STEERING) -> Gateway:
    """The gateway that `specs` ask for. `unready` names providers without a usable key (with the reason), `steering` what moves traffic.

    The specs must have loaded without errors; nothing is checked again here.
    """
    presets: dict[str, PresetSpec] = {**load_presets(), **{document.name: document.spec for document in specs.presets}}
    draft = Draft(specs=specs, presets=presets, unready=unready or {}, steering=steering, catalogue=Catalogue.of(specs))
    for step in PASSES:
        step(draft)
    return draft.freeze()


def resteered(gateway: Gateway, specs: SpecSet, unready: Mapping[str, str], before: Steering, after: Steering) -> Gateway:
    """What `build` with `after` would give, of the gateway that it gave with `before` and is the same otherwise.

    Only routes whose plans differ are built: each comes from its own document alone.
    """
    changed = []
    for document in specs.routes:
        planned = [[Planned(target.key, target.weight) for target in group.targets] for group in document.spec.plan]
        ready = [[one for one in group if one.target.partition("/")[0] not in unready] for group in planned]
        groups = [group for group in ready if group] or planned
        if steered(document.name, groups, before) != steered(document.name, groups, after) or outlook(
            document.name, groups, before
        ) != outlook(document.name, groups, after):
            changed.append(document)
    new = {route.name: route for route in build(replace(specs, routes=tuple(changed)), unready, after).routes} if changed else {}
    return replace(gateway, routes=tuple(new.get(route.name, route) for route in gateway.routes))
