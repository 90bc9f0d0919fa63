"""Plans for requests that not every target can take: too long for a window, beyond the ceiling of costs, in need of what one lacks.

Envoy chooses a plan when it knows the request, by headers with what the edge has measured (`When`). So for each point at which a
target drops out there is a variant of the plan, made from the plan as it is now: steered, and without targets that are not ready.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from itertools import combinations
from typing import Final

from control_plane.dialects.model_path import filled
from control_plane.ir.abilities import NEEDS, Abilities, output_weight
from control_plane.ir.model import Choice, Entry, Lane, TargetUse, Variant, Weighing, When

MAX_STEPS: Final = 8
"""Points of one measure. Of more, those in between are left out: targets then stay in plans a little too long."""

MEASURED: Final = frozenset({"chat", "completions"})
"""Operations whose requests are measured."""

_Groups = tuple[tuple[Choice, ...], ...]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a route asks for. `context_errors`: a vendor's word that a request is too long leads to the next group."""

    windows: bool
    capability: bool
    ceiling: Decimal | None
    attempts: int
    context_errors: bool


def varied(entry: Entry, call_path: str, rules: Rules, of: Callable[[TargetUse], Abilities]) -> Entry:
    """The entry with its variants; the same where every target can take what the others can."""
    known = {choice.use: of(choice.use) for group in entry.groups for choice in group}
    if not known or entry.operation not in MEASURED:
        return entry
    weight = output_weight([a.price for a in known.values() if a.price is not None]) if rules.ceiling is not None else 0
    plan = _Plan(entry.groups, known, rules, weight)
    cells = [When(long, cost, needs) for needs in plan.needs() for long in plan.long_steps() for cost in plan.cost_steps()]
    kept: dict[When, _Groups] = {}
    for when in reversed(cells):  # the least demanding first, so that what would change nothing is left out
        groups = plan.of(when)
        if groups != _matched(kept, when, entry.groups):
            kept[when] = groups
    if not kept and plan.leads_on(entry.groups):
        return entry
    beyond = max(0, rules.attempts - len(entry.groups))
    variants = []
    for when, groups in reversed(kept.items()):
        attempts = max(1, min(rules.attempts, len(groups) + beyond))
        variants.append(Variant(when, _restoring(groups, call_path, repeats=attempts > len(groups)), attempts, plan.leads_on(groups)))
    weighing = _weighing(kept, known.values(), weight, half=rules.context_errors) if kept else None
    return replace(entry, too_long_moves_on=plan.leads_on(entry.groups), variants=tuple(variants), weighing=weighing)


def _matched(kept: dict[When, _Groups], asked: When, base: _Groups) -> _Groups:
    """What such a request gets so far. The most demanding that fits wins, which is the last one in."""
    for when, groups in reversed(kept.items()):
        if when.long <= asked.long and when.cost <= asked.cost and when.needs in ((), asked.needs):
            return groups
    return base


def _weighing(kept: Iterable[When], known: Iterable[Abilities], weight: int, *, half: bool) -> Weighing:
    kept = tuple(kept)
    sizes = [size for one in known if (size := one.unweighed_bytes(half=half)) is not None]
    long = min(sizes) if any(when.long for when in kept) else None
    needed = {need for when in kept for need in when.needs}
    return Weighing(
        long=long,
        output_weight=weight if any(when.cost for when in kept) else 0,
        needs=tuple(need for need in NEEDS if need in needed),
    )


class _Plan:
    """A plan, and what becomes of it."""

    def __init__(self, groups: _Groups, known: dict[TargetUse, Abilities], rules: Rules, weight: int) -> None:
        self._groups, self._known, self._rules = groups, known, rules
        self._affords: dict[TargetUse, int | None] = {}
        if rules.ceiling is not None:
            self._affords = {use: one.affords(rules.ceiling, weight) for use, one in known.items()}

    def long_steps(self) -> tuple[int, ...]:
        """Where a window is too small or, as context errors lead on, may be: falling, with 0 at the end."""
        if not self._rules.windows:
            return (0,)
        sizes = {one.fits for one in self._known.values() if one.fits is not None}
        doubtful = {size // 2 for size in sizes} if self._rules.context_errors else set()
        return _falling(size + 1 for size in sizes | doubtful)

    def cost_steps(self) -> tuple[int, ...]:
        """Where a target gets too dear."""
        return _falling(most + 1 for most in self._affords.values() if most is not None)

    def needs(self) -> Iterator[tuple[str, ...]]:
        """What requests may need that a target lacks, most of it first, nothing last."""
        every = [one.lacks for one in self._known.values()] if self._rules.capability else []
        relevant = [name for name in NEEDS if any(name in lacks for lacks in every) and not all(name in lacks for lacks in every)]
        for count in range(len(relevant), -1, -1):
            yield from combinations(relevant, count)

    def of(self, when: When) -> _Groups:
        """The plan of such requests; none when every target is too dear. A ceiling is kept, the rest are estimates that may err: where
        no target would be left, those of the step before stay."""
        groups = self._kept(self._groups, lambda use: self._affordable(use, when.cost))
        groups = self._kept(groups, lambda use: self._room(use, when.long)) or groups
        for need in when.needs:
            groups = self._kept(groups, partial(self._has, need)) or groups
        return self._larger_first(groups, when.long)

    def leads_on(self, groups: _Groups) -> bool:
        """Whether some window may be larger than one that is tried before it."""
        if not (self._rules.windows and self._rules.context_errors):
            return True
        smallest: int | None = None
        for group in groups:
            sizes = [self._known[choice.use].fits for choice in group]
            if smallest is not None and any(size is None or size > smallest for size in sizes):
                return True
            smallest = min((size or 0 for size in sizes), default=0) if smallest is None else min(smallest, *(size or 0 for size in sizes))
        return False

    @staticmethod
    def _kept(groups: _Groups, stays: Callable[[TargetUse], bool]) -> _Groups:
        kept = (tuple(choice for choice in group if stays(choice.use)) for group in groups)
        return tuple(group for group in kept if group)

    def _affordable(self, use: TargetUse, cost: int) -> bool:
        most = self._affords.get(use)
        return most is None or cost <= most

    def _has(self, need: str, use: TargetUse) -> bool:
        return need not in self._known[use].lacks

    def _room(self, use: TargetUse, long: int) -> bool:
        fits = self._known[use].fits
        return not self._rules.windows or fits is None or long <= fits

    def _larger_first(self, groups: _Groups, long: int) -> _Groups:
        """Where the first group may say that the request is too long, the ones that could take it follow it."""
        if not (self._rules.windows and self._rules.context_errors and long and groups):
            return groups
        fits = [fits for choice in groups[0] if (fits := self._known[choice.use].fits) is not None]
        doubtful = [size for size in fits if long > size // 2]
        if not doubtful:
            return groups
        most = max(doubtful)
        return (groups[0], *sorted(groups[1:], key=lambda group: not self._larger(group, most)))

    def _larger(self, group: tuple[Choice, ...], than: int) -> bool:
        return all((self._known[choice.use].fits or 0) > than for choice in group)


def _falling(starts: Iterable[int]) -> tuple[int, ...]:
    found = sorted({start for start in starts if start > 0})
    if len(found) > MAX_STEPS:
        found = [found[i * (len(found) - 1) // (MAX_STEPS - 1)] for i in range(MAX_STEPS)]
    return (*reversed(found), 0)


def _restoring(groups: _Groups, call_path: str, *, repeats: bool) -> _Groups:
    """The same with every passthrough use restoring that may follow, in this order, what changes a request's headers."""
    found: list[tuple[Choice, ...]] = []
    changed = False
    for number, group in enumerate(groups):
        changes = any(_changes(choice, call_path) for choice in group)
        undo = changed or (changes and number == len(groups) - 1 and repeats)
        found.append(tuple(_undoing(choice) if undo else choice for choice in group))
        changed |= changes
    return tuple(found)


def _changes(choice: Choice, call_path: str) -> bool:
    return choice.use.lane is Lane.TRANSLATION or filled(choice.serves.path, choice.use.model) != call_path


def _undoing(choice: Choice) -> Choice:
    use = choice.use
    return choice if use.restore or use.lane is Lane.TRANSLATION else replace(choice, use=replace(use, restore=True))
