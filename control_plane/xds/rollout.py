"""Decisions about a change, without I/O: what to fall back to when parts of it are bad, and when old parts may go."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from control_plane.xds.resource import CDS, ECDS, EDS, RDS, SDS, Ref, Resource
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.subscription import AdsStream, in_use

RETAINED: Final = frozenset({CDS, EDS, SDS, ECDS, RDS})
"""Types that others refer to, which are therefore taken away after the change that stops using them. Listeners and scopes
go at once: under a new name they may claim the same address or key, and what has left the specs must stop being served."""


@dataclass(frozen=True, slots=True)
class Reverted:
    """A snapshot with the bad parts replaced; `restored` have an older version, `dropped` are left out."""

    snapshot: Snapshot
    restored: frozenset[Ref]
    dropped: frozenset[Ref]


Older = Callable[[Ref], Sequence[Resource]]
"""Versions of a resource to fall back to, best first."""


def revert(desired: Snapshot, bad: Collection[Ref], older: Older, provided: Collection[Ref] = ()) -> Reverted:
    """`desired` without its `bad` resources, still closed.

    Each bad resource falls back to an `older` version (which brings along what it refers to). One that has none is left
    out, and whatever names it falls back in turn. Other changes of `desired` are kept.
    """
    result = {resource.key: resource for resource in desired}
    restored: set[Ref] = set()
    dropped: set[Ref] = set()
    todo = sorted(bad)
    while todo:
        key = todo.pop()
        if key in dropped:
            continue
        bringing = None if key in restored else _bring(key, result, older, dropped, provided)
        if bringing is not None:
            result.update(bringing)
            restored |= bringing.keys()
            continue
        result.pop(key, None)
        dropped.add(key)
        restored.discard(key)
        todo += sorted(other for other, resource in result.items() if key in resource.refs)
    return Reverted(Snapshot.of(result.values(), routes=desired.routes), frozenset(restored), frozenset(dropped))


def _bring(
    key: Ref, present: Mapping[Ref, Resource], older: Older, dropped: Collection[Ref], provided: Collection[Ref]
) -> dict[Ref, Resource] | None:
    """An older version of `key` and everything it needs that is not present; None when there is none that can stand."""
    for old in older(key):
        bringing = {key: old}
        needs = [ref for ref in sorted(old.refs) if ref != key and ref not in present and ref not in provided]
        if all(_need(ref, bringing, present, older, dropped, provided) for ref in needs):
            return bringing
    return None


def _need(
    ref: Ref,
    bringing: dict[Ref, Resource],
    present: Mapping[Ref, Resource],
    older: Older,
    dropped: Collection[Ref],
    provided: Collection[Ref],
) -> bool:
    """Add an older version of `ref`, and what it needs in turn, to `bringing`; false when there is none."""
    if ref in bringing:
        return True
    if ref in dropped:
        return False
    for old in older(ref):
        trial = {**bringing, ref: old}
        needs = [need for need in sorted(old.refs) if need not in present and need not in provided]
        if all(_need(need, trial, present, older, dropped, provided) for need in needs):
            bringing.update(trial)
            return True
    return False


@dataclass(slots=True)
class Retired:
    """A resource that is no longer wanted but still served, because nodes may use it. Times are monotonic seconds."""

    resource: Resource
    since: float
    unused_since: float | None = None


def still_used(retired: Iterable[Ref], live: Snapshot, streams: Iterable[AdsStream]) -> set[Ref]:
    """Those of `retired` that some connected node still reaches from what stays (or, where a node's versions are unknown, all)."""
    waiting = set(retired)
    used: set[Ref] = set()
    for stream in streams:
        if not waiting - used:
            break
        names = in_use(stream.holdings(), live)
        used |= waiting if names is None else waiting & names
    return used


def mass_delete(before: Collection[str], after: Collection[str], limit: float) -> str | None:
    """Why this change looks like an emptied source, or None: more than `limit` (0..1) of the routes vanish."""
    gone = set(before) - set(after)
    if len(gone) <= limit * len(before):
        return None
    some = ", ".join(sorted(gone)[:3]) + (", ..." if len(gone) > 3 else "")
    return f"{len(gone)} of {len(before)} routes would vanish at once ({some}): more than {limit:.0%} needs confirmation"
