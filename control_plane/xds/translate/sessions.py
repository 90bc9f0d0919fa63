"""How a session stays at one target of each group.

Envoy draws one number for a request and takes it, for every attempt, modulo the sum of the group's weights. Where a header brings the
number, the edge filter decides (envoy/lua/edge/session.lua). So that one number decides for all groups independently, the weights of
each group are multiples of the product of the sums before: the groups' choices are the digits of the number.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import gcd
from typing import Final, Self

from control_plane.ir.model import Choice

MAX_PRODUCT: Final = 2**31
"""Of the sums of all groups: Envoy adds weights up in 32 bits."""

FINEST: Final = 2**16
"""Of one group's sum, though there were room for more."""


@dataclass(frozen=True, slots=True)
class Sessions:
    """`weights`: those to configure, of each target of each group. `choices`: for each group that sessions choose in, its targets'
    seeds and digits."""

    weights: tuple[tuple[int, ...], ...]
    choices: tuple[tuple[tuple[str, int], ...], ...]

    @classmethod
    def among(cls, groups: Sequence[Sequence[Choice]]) -> Self:
        """Shares stay as they are, within a part in 65,536 of the group, coarser where more than two groups have odd weights.

        Sessions choose in as many groups, from the first, as one number has room for: all, unless a plan has many groups of many targets.
        """
        unit, open_groups = 1, sum(len(group) > 1 for group in groups)
        weights: list[tuple[int, ...]] = []
        choices: list[tuple[tuple[str, int], ...]] = []
        for group in groups:
            written = [choice.weight for choice in group]
            if len(group) == 1 or not unit:
                weights.append(tuple(written))
                continue
            digits = _digits(written, min(FINEST, int((MAX_PRODUCT // unit) ** (1 / open_groups))))
            open_groups -= 1
            if unit * sum(digits) > MAX_PRODUCT:
                unit = 0  # the rest goes by weight alone
                weights.append(tuple(written))
                continue
            weights.append(tuple(digit * unit for digit in digits))
            choices.append(tuple((_seed(choice.use.target), digit) for choice, digit in zip(group, digits, strict=True)))
            unit *= sum(digits)
        return cls(tuple(weights), tuple(choices))

    def facts(self, by: Sequence[str]) -> dict[str, str]:
        """For the edge filter: the ways to tell sessions, and what there is to choose; nothing where there is nothing."""
        if not self.choices:
            return {}
        ways = [way.removeprefix("header ") if way.startswith("header ") else f":{way}" for way in by]
        among = ";".join(",".join(f"{seed}:{digit}" for seed, digit in group) for group in self.choices)
        return {"session": ",".join(ways), "among": among}


def _digits(weights: Sequence[int], most: int) -> list[int]:
    divisor = gcd(*weights)
    least = [weight // divisor for weight in weights]
    total = sum(least)
    return least if total <= most else [max(1, weight * most // total) for weight in least]


def _seed(target: str) -> str:
    """A target's own in the draw of every session, whatever else the group has."""
    return f"{zlib.crc32(target.encode()):08x}"
