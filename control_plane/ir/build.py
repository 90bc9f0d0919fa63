"""Specs → IR: a fold over a visible tuple of passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.catalogue.lookup import Catalogue
from control_plane.ir.draft import Draft
from control_plane.ir.model import Gateway
from control_plane.ir.passes import expand_entries, leave_out_unready_targets, resolve_plans, resolve_providers, settle_timers, steer_plans
from control_plane.ir.steering import NO_STEERING, Steering
from control_plane.kit.uncollected import uncollected
from control_plane.spec.models import SpecSet
from control_plane.spec.presets import PresetSpec, load_presets

PASSES: Final = (resolve_providers, resolve_plans, leave_out_unready_targets, steer_plans, settle_timers, expand_entries)


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
