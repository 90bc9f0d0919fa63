"""Specs → IR: a fold over a visible tuple of passes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.ir.draft import Draft
from control_plane.ir.model import Gateway
from control_plane.ir.passes import expand_entries, leave_out_unready_targets, resolve_plans, resolve_providers, settle_timers
from control_plane.spec.models import SpecSet
from control_plane.spec.presets import PresetSpec, load_presets

PASSES: Final = (resolve_providers, resolve_plans, leave_out_unready_targets, settle_timers, expand_entries)


def build(specs: SpecSet, unready: Mapping[str, str] | None = None) -> Gateway:
    """The gateway that `specs` ask for. `unready` names providers without a usable key (with the reason).

    The specs must have loaded without errors; nothing is checked again here.
    """
    presets: dict[str, PresetSpec] = {**load_presets(), **{document.name: document.spec for document in specs.presets}}
    draft = Draft(specs=specs, presets=presets, unready=unready or {})
    for step in PASSES:
        step(draft)
    return draft.freeze()
