"""Findings about routes that ask for what the catalogue would have to know."""

from __future__ import annotations

from collections.abc import Iterator

from control_plane.catalogue.lookup import Catalogue
from control_plane.spec.findings import Finding
from control_plane.spec.models import ModelRoute, SpecSet


def check_known(specs: SpecSet) -> list[Finding]:
    """HG3021 for targets of unknown price under a ceiling of costs, HG3022 where none of the targets to pass by is known."""
    asking = [route for route in specs.routes if route.spec.max_cost_per_request is not None or route.spec.fallback.model_fields_set]
    if not asking:
        return []
    catalogue = Catalogue.of(specs)
    return [finding for route in asking for finding in _unknown(route, catalogue)]


def _unknown(route: ModelRoute, catalogue: Catalogue) -> Iterator[Finding]:
    spec = route.spec
    found = {t.key: catalogue.find(t.provider, t.model) for group in spec.plan for t in group.targets}
    if spec.max_cost_per_request is not None:
        priceless = [key for key, one in found.items() if one is None or one.entry.price is None]
        if priceless:
            message = f"the price of {', '.join(priceless)} is not known, so the ceiling does not hold there"
            fix = "add a ModelCatalog with it"
            yield route.finding("HG3021", ("spec", "maxCostPerRequest"), message, fix)
    if spec.fallback.model_fields_set and "skip" in (spec.fallback.context_window, spec.fallback.capability):
        unknown = [key for key, one in found.items() if one is None]
        if len(unknown) == len(found):
            message = "no target is in the catalogue, so of none it is known what it cannot take"
            yield route.finding("HG3022", ("spec", "fallback"), message, "add a ModelCatalog with the models", key=True)
