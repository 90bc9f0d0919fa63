"""What is known of a target before a request is sent to it: its window, what it lacks, what it costs; and how requests are measured.

The edge measures a request by the bytes of its body, which is an estimate: `envoy/lua/edge/weigh.lua` has the other half of these rules.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from control_plane.catalogue.lookup import Catalogue
from control_plane.ir.model import Provider
from control_plane.spec.model_catalog import ModelEntry, Price, Rates

WINDOW_BYTES_PER_TOKEN: Final = 4
"""Prose and JSON with tools have 4 to 6 bytes a token, code 3 to 4, Chinese 2 to 4. A request of the latter kinds may be sent although
it does not fit: the vendor's own error is then what it is without an estimate."""
COST_BYTES_PER_TOKEN: Final = 3
"""The other way round: here an estimate that is too high is the safe one."""
ROOM: Final = 4_096
"""Tokens of an answer that windows keep room for where the client does not ask for more."""

NEEDS: Final = ("image", "tools", "structured-output")
"""Abilities that the edge can tell a request to need, in the order in which it names them."""


@dataclass(frozen=True, slots=True)
class Abilities:
    """Of one target. None: not known."""

    window: int | None = None
    max_output: int | None = None
    lacks: frozenset[str] = frozenset()
    price: Price | None = None

    @property
    def fits(self) -> int | None:
        """The longest request, in tokens of input, that leaves room for an answer."""
        if self.window is None:
            return None
        return self.window - min(ROOM, self.max_output or ROOM, self.window // 4)

    def unweighed_bytes(self, *, half: bool) -> int | None:
        """Bodies up to this size fit the window, or half of it, whatever length of answer they ask for."""
        if self.fits is None:
            return None
        asked = max(0, (self.max_output or ROOM) - ROOM)
        return max(0, self.fits // (2 if half else 1) - asked) * WINDOW_BYTES_PER_TOKEN

    def affords(self, ceiling: Decimal, output_weight: int) -> int | None:
        """The largest request for at most `ceiling` dollars, in tokens where those of output count `output_weight` times."""
        if self.price is None:
            return None
        most, above = 0, 0
        tiers: list[tuple[int, Rates]] = [(0, self.price), *((tier.above, tier) for tier in self.price.tiers)]
        ends = [*(above for above, _ in tiers[1:]), None]
        for (above, rates), end in zip(tiers, ends, strict=True):
            rate = max(rates.input, rates.output / output_weight)
            if not rate:
                return None
            affordable = int(ceiling * 1_000_000 / rate)
            if affordable < above:
                break
            most = affordable if end is None else min(affordable, end)
            if end is not None and affordable < end:
                break
        return most


def abilities(provider: Provider, model: str, catalogue: Catalogue) -> Abilities:
    """Of a target, by its provider's preset and the catalogue."""
    found = catalogue.find(provider.name, model)
    lacks = {name for name in provider.lacks_of(model) if name in NEEDS}
    if found is None:
        return Abilities(lacks=frozenset(lacks))
    entry = found.entry
    return Abilities(entry.context_window, entry.max_output, frozenset(lacks | _lacks(entry)), entry.price)


def _lacks(entry: ModelEntry) -> set[str]:
    """What a catalogue lists is all there is; where it lists nothing, nothing is known."""
    lacks = set()
    if "modalities" in entry.model_fields_set and "image" not in entry.modalities.input:
        lacks.add("image")
    if "capabilities" in entry.model_fields_set:
        lacks |= {"tools", "structured-output"} - set(entry.capabilities)
    return lacks


def output_weight(prices: Sequence[Price]) -> int:
    """What a token of output counts, in tokens of input, so that no target's cost is underestimated."""
    rates: list[Rates] = [rates for price in prices for rates in (price, *price.tiers)]
    return max((-int(-rate.output // rate.input) for rate in rates if rate.input), default=1) or 1
