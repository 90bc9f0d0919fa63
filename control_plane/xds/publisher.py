"""From a wanted snapshot to a served one: debounce, checks, make-before-break, and the way back.

    submit ─► debounce ─► references closed? ─► too much deleted? ─► pre-flight ─► phase 1: additions and changes, old parts kept
                                                                                   phase 2: old parts go once no node uses them

Bad resources (refused in pre-flight, or NACKed by the fleet) fall back to their last good version while everything else is
published. Every submit is a complete wanted state; when several come quickly only the last one counts.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.kit.clock import Clock, SystemClock
from control_plane.xds import lkg
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry, NodeRow, describe
from control_plane.xds.preflight import PreflightUnavailable, Validate
from control_plane.xds.resource import Ref, Resource, label
from control_plane.xds.rollout import RETAINED, Retired, mass_delete, revert, still_used
from control_plane.xds.snapshot import EMPTY, DanglingReferences, Snapshot

_log = logging.getLogger(__name__)
_MAX_ROUNDS = 8  # pre-flights per submit; each finds all culprits that can be told apart, so more means that none can


@dataclass(frozen=True, slots=True)
class PublishOptions:
    """Times in seconds, each with its reason."""

    quiet_s: float = 0.1
    """A change is published when no other came for this long: an edit of ten files is one push."""
    max_wait_s: float = 1.0
    """... but at the latest after this."""
    min_drain_s: float = 5.0
    """What no route names any more stays this long: a request that is under way may still retry on it. Set it above the
    longest plan (attempts x first-token timer)."""
    max_drain_s: float = 60.0
    """... and goes after this although a node has not confirmed (its own stream still protects what it uses)."""
    max_vanishing: float = 0.5
    """Share of the routes that may vanish in one change without confirmation."""
    nack_quorum: float = 0.5
    """Share of the nodes that answered for a resource whose refusal takes it back everywhere."""
    retry_s: float = 2.0
    """When pre-flight could not run, the change is tried again after this."""
    save_after_s: float = 2.0
    """The last known good is written when all nodes have the snapshot, or this long after it was published."""
    provided: frozenset[Ref] = frozenset()
    """What every node's bootstrap brings (its static clusters)."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not served as it was asked for. `source`: references, mass-delete, preflight or nack."""

    source: str
    text: str
    resource: Ref | None = None
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a submit: `accepted` (published, perhaps without its bad parts, or no change), and every problem."""

    accepted: bool
    version: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """The publisher's state, for status pages and metrics. Times: seconds since the epoch."""

    version: str
    problems: tuple[Problem, ...]
    from_disk: bool
    accepted_at: float | None
    retired: int
    published: int


@dataclass(slots=True)
class _Pending:
    snapshot: Snapshot
    reasons: dict[str, None]
    first_at: float
    last_at: float
    urgent: bool
    confirmed: bool
    waiters: list[asyncio.Future[Outcome]] = field(default_factory=list)


class Publisher:
    """Owns the feed: nobody else decides what is served. `run` must be running for anything to be published."""

    def __init__(
        self,
        feed: Feed,
        nodes: NodeRegistry,
        *,
        validate: Validate | None,
        lkg_path: Path | None = None,
        options: PublishOptions | None = None,
        clock: Clock | None = None,
    ) -> None:
        """`validate=None` skips pre-flight (drills and tests); `lkg_path=None` keeps nothing on disk."""
        self._feed, self._nodes, self._validate, self._lkg_path = feed, nodes, validate, lkg_path
        self._options, self._clock = options or PublishOptions(), clock or SystemClock()
        self._wake = asyncio.Event()
        self._pending: _Pending | None = None
        self._desired: Snapshot | None = None
        self._live = EMPTY
        self._retired: dict[Ref, Retired] = {}
        self._good: dict[Ref, Resource] = {}
        self._bad: dict[Ref, dict[str, Problem]] = {}
        self._refused: tuple[Problem, ...] = ()
        self._number = 0
        self._published = 0
        self._accepted_at: float | None = None
        self._from_disk = False
        self._proven_number = 0
        self._save_at: float | None = None
        self._saving: asyncio.Task[None] | None = None
        nodes.on_change(self._wake.set)

    # ------------------------------------------------------------------ for the application
    def restore(self, stored: lkg.LastKnownGood, secrets: Iterable[Resource] = ()) -> None:
        """Serve what was last known good until the first submit; `secrets` are those whose values are at hand."""
        self._number = stored.snapshot.number
        self._live = Snapshot.of([*stored.snapshot, *secrets], routes=stored.snapshot.routes)
        self._good = {resource.key: resource for resource in self._live}
        self._accepted_at, self._from_disk = stored.saved_at, True
        self._serve(("last known good",))

    def submit(
        self, snapshot: Snapshot, *, reason: str, urgent: bool = False, confirm_mass_delete: bool = False
    ) -> asyncio.Future[Outcome]:
        """Ask for `snapshot`, the whole wanted state; the future may be ignored.

        `reason` is one of a few fixed words (it becomes a metric label); `urgent` (weight flips) skips the debounce.
        """
        waiter: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        now, old = self._clock.monotonic(), self._pending
        self._pending = _Pending(
            snapshot,
            {**(old.reasons if old else {}), reason: None},
            now if old is None else old.first_at,
            now,
            urgent or (old is not None and old.urgent),
            confirm_mass_delete or (old is not None and old.confirmed),
            [*(old.waiters if old else ()), waiter],
        )
        self._wake.set()
        return waiter

    @property
    def live(self) -> Snapshot:
        """What is wanted and served (without what is only still there for nodes that may use it)."""
        return self._live

    def report(self) -> Report:
        """The state now; problems of resources that are wanted, then those of the last refused submit."""
        problems = (*self._current_problems(), *self._refused)
        version = self._feed.current.version if self._feed.current is not None else ""
        return Report(version, problems, self._from_disk, self._accepted_at, len(self._retired), self._published)

    async def converged(self, timeout_s: float) -> bool:
        """Wait until every connected node has answered for what is served now; false when the time is over."""
        limit = self._clock.monotonic() + timeout_s
        while self._clock.monotonic() < limit:
            if self._feed.current is not None and all(row.converged_number == self._feed.current.number for row in self._nodes):
                return True
            await asyncio.sleep(0.01)
        return False

    async def run(self) -> None:
        """Publish until cancelled; then the last known good is written if it is due."""
        try:
            while True:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._sleep_s()):  # not wait_for, which may lose a cancellation (Python 3.11)
                        await self._wake.wait()
                self._wake.clear()
                await self._step()
        finally:
            if self._saving is not None:
                await self._saving
            if self._save_at is not None:
                self._save(self._live)

    # ------------------------------------------------------------------ the loop
    def _sleep_s(self) -> float | None:
        now, waits = self._clock.monotonic(), []
        if self._pending is not None:
            waits.append(self._due_at(self._pending) - now)
        if self._save_at is not None and self._saving is None:
            waits.append(self._save_at - now)
        for old in self._retired.values():
            waits.append(old.since + self._options.max_drain_s - now)
            if old.unused_since is not None:
                waits.append(old.unused_since + self._options.min_drain_s - now)
        return max(0.0, min(waits)) if waits else None

    def _due_at(self, pending: _Pending) -> float:
        if pending.urgent:
            return pending.first_at
        return min(pending.last_at + self._options.quiet_s, pending.first_at + self._options.max_wait_s)

    async def _step(self) -> None:
        if self._nodes.pending_nacks:
            await self._take_back()
        if self._pending is not None and self._due_at(self._pending) <= self._clock.monotonic():
            pending, self._pending = self._pending, None
            try:
                outcome = await self._publish(pending)
            except BaseException as error:
                for waiter in pending.waiters:
                    if not waiter.done():
                        waiter.set_exception(error if isinstance(error, Exception) else asyncio.CancelledError())
                if not isinstance(error, Exception):
                    raise
                _log.exception("publishing (%s) failed; what was served stays", ", ".join(pending.reasons))
                return
            for waiter in pending.waiters:
                if not waiter.done():
                    waiter.set_result(outcome)
        self._prove()
        self._drop_retired()
        due = self._save_at is not None and (self._clock.monotonic() >= self._save_at or self._proven_number == self._number)
        if due and self._saving is None:
            self._save_at = None
            self._saving = asyncio.create_task(asyncio.to_thread(self._save, self._live))
            self._saving.add_done_callback(self._saved)

    async def _publish(self, pending: _Pending) -> Outcome:
        desired = pending.snapshot
        try:
            desired.check_closed(self._options.provided)
        except DanglingReferences as error:
            return self._refuse("references", str(error))
        if not pending.confirmed and (why := mass_delete(self._live.routes, desired.routes, self._options.max_vanishing)):
            return self._refuse("mass-delete", why)
        for key, versions in list(self._bad.items()):  # a version that is no longer wanted may be tried again some day
            wanted = desired.get(key)
            kept = {v: p for v, p in versions.items() if wanted is not None and wanted.version == v}
            self._bad[key] = kept
            if not kept:
                del self._bad[key]
        try:
            effective = await self._acceptable(desired)
        except PreflightUnavailable as error:
            if not pending.urgent:
                now = self._clock.monotonic()
                later = now + self._options.retry_s - self._options.quiet_s
                self._pending = self._pending or _Pending(desired, pending.reasons, later, later, False, pending.confirmed)
                return self._refuse("preflight", f"{error}; trying again in {self._options.retry_s:g} s")
            # A weight flip changes no shape, and holding it back would keep traffic on a target that should not get it.
            _log.warning("%s; publishing an urgent change without pre-flight", error)
            effective = self._without_bad(desired)
        if effective is None:
            return self._refuse("preflight", "Envoy refuses the snapshot, and no resource could be told apart as the cause")
        self._desired, self._refused = desired, ()
        self._accepted_at, self._from_disk = self._clock.now(), False
        self._replace(effective, pending.reasons)
        return Outcome(True, self._feed.current.version if self._feed.current is not None else "", self._current_problems())

    def _refuse(self, source: str, text: str) -> Outcome:
        self._refused = (Problem(source, text, None, self._clock.now()),)
        return Outcome(False, self._feed.current.version if self._feed.current is not None else "", self._refused)

    async def _acceptable(self, desired: Snapshot) -> Snapshot | None:
        """`desired` with what Envoy refuses replaced; None when it cannot be told what that is. Raises PreflightUnavailable."""
        for _ in range(_MAX_ROUNDS):
            effective = self._without_bad(desired)
            if self._validate is None:
                return effective
            changed = (r for r in effective if (now := self._live.get(r.key)) is None or now.version != r.version)
            candidates = [resource for resource in changed if not resource.secret]
            rejection = await self._validate(candidates) if candidates else None
            if rejection is None:
                return effective
            if not rejection.culprits:
                return None
            for key, text in rejection.culprits:
                self._mark_bad(key, effective, Problem("preflight", text, key, self._clock.now()))
        return None

    # ------------------------------------------------------------------ bad resources
    def _mark_bad(self, key: Ref, snapshot: Snapshot, problem: Problem) -> None:
        if (resource := snapshot.get(key)) is not None:
            self._bad.setdefault(key, {})[resource.version] = problem
            _log.error("%s is not served as asked (%s): %s", label(key), problem.source, problem.text)

    def _is_bad(self, resource: Resource) -> bool:
        return resource.version in self._bad.get(resource.key, {})

    def _older(self, key: Ref) -> list[Resource]:
        retired = self._retired.get(key)
        candidates = (self._live.get(key), retired.resource if retired else None, self._good.get(key))
        return [candidate for candidate in candidates if candidate is not None and not self._is_bad(candidate)]

    def _without_bad(self, desired: Snapshot) -> Snapshot:
        bad = [resource.key for resource in desired if self._is_bad(resource)]
        return revert(desired, bad, self._older, self._options.provided | desired.absent).snapshot if bad else desired

    def _current_problems(self) -> tuple[Problem, ...]:
        wanted = EMPTY if self._desired is None else self._desired
        found = [(wanted.get(key), v, problem) for key, versions in sorted(self._bad.items()) for v, problem in versions.items()]
        return tuple(problem for resource, v, problem in found if resource is not None and resource.version == v)

    async def _take_back(self) -> None:
        """Nodes refused something: if enough of them did, serve its last good version again."""
        nacks, self._nodes.pending_nacks = self._nodes.pending_nacks, []
        changed = False
        for row, nack in nacks:
            suspects = [r for name, v in nack.rejected if (r := self._live.get((nack.type_url, name))) is not None and r.version == v]
            suspects = [resource for resource in suspects if not self._is_bad(resource)]
            if not nack.certain and len(suspects) > 1:
                guilty = await self._single_out(suspects)
                for innocent in [resource for resource in suspects if resource not in guilty]:
                    row.stream.absolve(innocent.type_url, innocent.name)
                suspects = guilty
            for resource in suspects:
                refusing = self._refusing(resource)
                if refusing:
                    text = describe(nack, refusing if row in refusing else [row, *refusing])
                    self._mark_bad(resource.key, self._live, Problem("nack", text, resource.key, self._clock.now()))
                    changed = True
        self._feed.wake()
        if changed:
            wanted = self._live if self._desired is None else self._desired
            self._replace(self._without_bad(wanted), ("refused by nodes",))

    async def _single_out(self, suspects: list[Resource]) -> list[Resource]:
        """Of resources that were refused together, those that Envoy refuses by themselves; all of them when none does."""
        if self._validate is None:
            return suspects
        with contextlib.suppress(PreflightUnavailable):
            rejection = await self._validate(suspects)
            if rejection is not None and rejection.culprits:
                guilty = {key for key, _ in rejection.culprits}
                return [resource for resource in suspects if resource.key in guilty]
        return suspects

    def _refusing(self, resource: Resource) -> list[NodeRow]:
        """The nodes that refuse it, if they are a quorum of those that have answered for it; else nobody."""
        refusing, holding = [], 0
        for row in self._nodes:
            state = row.stream.types.get(resource.type_url)
            if state is None:
                continue
            held = state.held.get(resource.name)
            if state.rejected.get(resource.name) == resource.version:
                refusing.append(row)
            elif held is not None and held.version == resource.version:
                holding += 1
        return refusing if len(refusing) >= self._options.nack_quorum * (len(refusing) + holding) else []

    # ------------------------------------------------------------------ make before break
    def _replace(self, effective: Snapshot, reasons: Iterable[str]) -> None:
        """Phase 1: serve `effective`, and beside it what it no longer has."""
        now = self._clock.monotonic()
        for resource in self._live:
            if resource.key not in effective and resource.type_url in RETAINED and not self._is_bad(resource):
                self._retired[resource.key] = Retired(resource, now)
        for key in [key for key in self._retired if key in effective]:
            del self._retired[key]
        if self._feed.current is not None and not self._live.diff(effective):
            self._live = effective  # nothing to send; the routes may be called differently
            return
        self._live = effective
        self._serve(reasons)

    def _serve(self, reasons: Iterable[str]) -> None:
        self._number += 1
        leaving = [old.resource for old in self._retired.values()]
        served = Snapshot.of([*self._live, *leaving], number=self._number, routes=self._live.routes)
        self._live = self._live.numbered(self._number)
        self._published += 1
        self._save_at = self._clock.monotonic() + self._options.save_after_s
        self._nodes.published(served, reasons)
        self._feed.set(served)

    def _drop_retired(self) -> None:
        """Phase 2: take away what no connected node uses any more, after the drain time."""
        if not self._retired:
            return
        now = self._clock.monotonic()
        used = still_used(self._retired, self._live, (row.stream for row in self._nodes))
        gone = []
        for key, old in self._retired.items():
            if key in used:
                old.unused_since = None
            elif old.unused_since is None:
                old.unused_since = now
            drained = old.unused_since is not None and now - old.unused_since >= self._options.min_drain_s
            if drained or now - old.since >= self._options.max_drain_s:
                gone.append(key)
        for key in gone:
            del self._retired[key]
        if gone:
            self._serve(("removal",))

    # ------------------------------------------------------------------ last known good
    def _prove(self) -> None:
        """Remember as good what at least one node runs and none refuses."""
        if self._proven_number == self._number:
            return
        rows = [row for row in self._nodes if row.converged_number == self._number]
        if rows and all(row.stream.state_of(type_url) != "NACK" for row in self._nodes for type_url in row.stream.types):
            self._proven_number = self._number
            self._good = {resource.key: resource for resource in self._live}

    def _saved(self, _: asyncio.Task[None]) -> None:
        self._saving = None
        self._wake.set()

    def _save(self, snapshot: Snapshot) -> None:
        if self._lkg_path is None or not len(snapshot):
            return
        try:
            lkg.save(self._lkg_path, snapshot, self._clock.now())
        except OSError as error:
            _log.warning("the last known good configuration could not be written to %s: %s", self._lkg_path, error.strerror)
