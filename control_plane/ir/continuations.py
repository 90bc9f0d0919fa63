"""Which targets of a plan may go on with an answer that another of them has broken off."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from control_plane.dialects import prefill
from control_plane.dialects.told import Speaks, serving
from control_plane.ir.draft import PlannedTarget
from control_plane.ir.model import Choice, Lane, Provider, TargetUse
from control_plane.ir.operations import Operation
from control_plane.spec.models import ModelRouteSpec

_Groups = tuple[tuple[Choice, ...], ...]


def continuations(
    providers: Mapping[str, Provider], asked: ModelRouteSpec, operation: Operation, plan: Sequence[Sequence[PlannedTarget]]
) -> tuple[tuple[str, _Groups], ...]:
    """For each target of the plan, the groups that go on with what it has begun: all others that can, in the plan's order.

    They are translated whatever they speak, since each vendor has its own way to say that an answer is to be gone on with.
    """
    if operation.name != "chat" or operation.dialect not in prefill.RESUMABLE:
        return ()
    able = [[(target, speaks) for target in group for speaks in _able(providers[target.provider], operation, target)] for group in plan]
    found: list[tuple[str, _Groups]] = []
    for broken in dict.fromkeys(target.key for group in plan for target in group):
        others = [[_choice(asked, *one) for one in group if one[0].key != broken] for group in able]
        groups = tuple(tuple(group) for group in others if group)
        if groups:
            found.append((broken, groups))
    return tuple(found)


def _able(provider: Provider, operation: Operation, target: PlannedTarget) -> Iterator[Speaks]:
    """What the target would be asked in, if it can go on with an answer."""
    serves = serving(provider.speaks, operation.dialect, "chat", operation.served_by)
    if serves is not None and prefill.continues(serves.dialect, target.model, msgspec.json.decode(provider.options)):
        yield serves


def _choice(asked: ModelRouteSpec, target: PlannedTarget, serves: Speaks) -> Choice:
    within = asked.retry.if_failed_within_ms is not None
    use = TargetUse(target.provider, target.model, Lane.TRANSLATION, asked.timeouts.connect_ms, within=within, resume=True)
    return Choice(use, target.weight, serves)
