"""The desk where operators ask for overrides: checks, records, publishes, waits for the Envoys, and ends what is over."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from control_plane.app import target_health
from control_plane.app.configure import Configurator
from control_plane.app.steering import combined
from control_plane.ir.build import resteered
from control_plane.ir.model import Gateway
from control_plane.ir.steering import NO_STEERING, Planned, Steering
from control_plane.kit.clock import Clock
from control_plane.overrides import safety, timeline
from control_plane.overrides.asked import Asked, Back, Refusal, read, require_text, rivals, wish_of
from control_plane.overrides.model import Book, Event, Override, Subject, What, Wish
from control_plane.overrides.show import row
from control_plane.overrides.steers import NO_PLANS, Plans, concerned, plans_of, steering
from control_plane.overrides.store import Store
from control_plane.signals.shares import Shares
from control_plane.signals.traffic import Traffic
from control_plane.spec.models import SpecSet
from control_plane.spec.nearest import did_you_mean, listed
from control_plane.telemetry.logs import fields
from control_plane.telemetry.names import Field
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry

log = logging.getLogger(__name__)

Row = dict[str, Any]

ACKS_S: Final = 5.0
"""How long an answer waits for the Envoys: they need fractions of a second, and one that hangs shall not hold an operator up."""

LOOK_S: Final = 1.0
"""The clock is looked at this often while something is to happen: it may jump, and the machine may have slept."""

BEFORE_S: Final = 60.0
EFFECT_S: Final = 10.0
"""The effect is what the traffic of that many seconds says."""
EFFECT_AFTER_S: Final = 12.0
"""Seconds after which it is recorded: a little later, since requests are known when they are over."""
EFFECT_UNTIL_S: Final = 120.0

SHOWN_CLOSED: Final = 200
SHOWN_ROUTES: Final = 50
"""Plans in an answer and in the record; a provider may be on a thousand routes."""


@dataclass(slots=True)
class OverrideDesk:
    """One for each control plane. `breakers` is what breakers ask for now; it may be called in a thread."""

    store: Store
    configurator: Configurator
    feed: Feed
    nodes: NodeRegistry
    traffic: Traffic
    clock: Clock
    breakers: Callable[[SpecSet], Steering] = lambda _: NO_STEERING
    _one: asyncio.Lock = field(default_factory=asyncio.Lock)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _noting: set[asyncio.Task[None]] = field(default_factory=set)

    # ------------------------------------------------------------------ for the configurator
    def steering(self, specs: SpecSet) -> Steering:
        """What overrides and breakers ask for at this moment. May be called in a thread."""
        return self._steering(self.store.book.values(), specs, plans_of(specs))

    def _steering(self, overrides: Iterable[Override], specs: SpecSet, plans: Plans) -> Steering:
        return combined(steering(overrides, plans), self.breakers(specs))

    # ------------------------------------------------------------------ for the admin API
    def rows(self, *, everything: bool) -> Sequence[Row]:
        """The overrides in force, or all that ever were, oldest first."""
        plans, now = self._plans(), self.clock.now()
        return [row(one, plans, now) for one in self.store.book.values() if everything or one.open]

    def one(self, name: str) -> Row:
        """One override with its record and the traffic of its routes before it and now. Raises Refusal."""
        override = self._known(name)
        events = self.store.events(name)
        created = next((event.data for event in events if event.what is What.CREATED), {})
        routes, now = self._routes(override.wish, created), self.clock.now()
        traffic = {"before": created.get("traffic"), "now": self._shares(routes, min(EFFECT_S, max(2.0, now - override.at))).to_dict()}
        return {"override": row(override, self._plans(), now), "traffic": traffic, "events": [event.to_dict() for event in events]}

    def audit(self, override: str | None, most: int) -> Sequence[Row]:
        """The last lines of the record, oldest first."""
        return [event.to_dict() for event in self.store.events(override, most)]

    async def apply(self, body: bytes, via: str) -> Row:
        """Make an override of the body of a request, or say what it would do. Raises Refusal."""
        began = time.monotonic()
        asked: Asked = read(body, Asked)
        async with self._one:
            specs = self.configurator.specs
            if specs is None:
                raise Refusal("not_ready", "no specs are in force yet", "try again when GET /readyz says so")
            if asked.key and (made := next((o for o in self.store.book.values() if o.wish.key == asked.key), None)) is not None:
                return {"override": row(made, self._plans(), self.clock.now()), "repeated": True}
            now, plans = self.clock.now(), plans_of(specs)
            wish = wish_of(asked, now, plans, via)
            told = await asyncio.to_thread(self._foreseen, wish, specs, plans, self._settled(wish, asked.replace, self.store.book), now)
            refused = [check for check in told["checks"] if check["ok"] is False]
            if asked.dry_run:
                return {**told, "dry_run": True, "accepted": not refused or asked.force}
            if refused and not asked.force:
                said = "; ".join(check["text"] for check in refused)
                raise Refusal("unsafe", said, "--force does it anyway and is recorded; --dry-run shows the effect", told)
            events = await asyncio.to_thread(self.store.append, lambda book, number: self._created(wish, asked.replace, told, book, number))
            name = events[-1].override
            log.info("override made", extra=fields(Field.REASON, f"{name} {wish.kind} {wish.subject}: {wish.reason} ({wish.author})"))
            published = await self._publish(began)
        return await self._answered(name, published, told)

    async def undo(self, name: str, body: bytes) -> Row:
        """Take one override back. It is no error that it is over already. Raises Refusal."""
        back: Back = read(body, Back)
        self._asked_by(back)
        override = self._known(name)
        return await self._end([override.id] if override.open else [], "undone", back, shown=override.id)

    async def release(self, subject: str, route: str | None, body: bytes) -> Row:
        """Put back what was drained or cordoned under that very name. Raises Refusal."""
        back: Back = read(body, Back)
        self._asked_by(back)
        require_text("reason", back.reason)
        try:
            named = Subject.parse(subject)
        except ValueError as error:
            raise Refusal("invalid", str(error), "name what was drained or cordoned") from None
        out = [o for o in self.store.book.values() if o.open and not o.wish.weights]
        found = [o.id for o in out if (o.wish.subject, o.wish.route) == (named, route)]
        if not found:
            names = listed(f"{o.wish.subject}{f' on route/{o.wish.route}' if o.wish.route else ''} ({o.id})" for o in out)
            raise Refusal(
                "unknown_override", f"nothing is out of traffic as {named}{f' on route/{route}' if route else ''}", f"out are: {names}"
            )
        return await self._end(found, "uncordoned", back, shown=found[-1])

    # ------------------------------------------------------------------ by itself
    async def run(self) -> None:
        """End what is over, return drains step by step, record effects. Until cancelled."""
        try:
            await self._run()
        finally:
            for task in self._noting:
                task.cancel()

    async def _run(self) -> None:
        while True:
            wait = timeline.next_due_in(self.store.book.values(), self.clock.now())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S if wait is None else min(LOOK_S, max(0.01, wait))):
                    await self._wake.wait()
            self._wake.clear()
            try:
                await self.tick()
            except Refusal as error:
                log.error("overrides: %s", error)  # noqa: TRY400 - it names the file and what to do
                await asyncio.sleep(LOOK_S)

    async def tick(self) -> None:
        """Do what is due now."""
        async with self._one:
            others = await asyncio.to_thread(self.store.refresh)
            events = await self._append(self._due)
            if others or any(event.what is not What.HELD for event in events):
                began = time.monotonic()
                published = await self._publish(began)
                names = sorted({event.override for event in events})
                for event in events:
                    log.info("override %s: %s", event.override, event.what, extra=fields(Field.REASON, str(dict(event.data))))
            else:
                published, names = None, []
            await self._append(self._effects)
        if published is not None:
            task = asyncio.create_task(self._noted(names, published))
            self._noting.add(task)
            task.add_done_callback(self._noting.discard)

    async def _noted(self, names: Sequence[str], published: Awaitable[Row]) -> None:
        """Beside `run`, which an Envoy that does not answer shall not hold up."""
        with contextlib.suppress(Refusal):
            await self._note_published(names, await published)

    def _due(self, book: Book, _: int) -> list[Event]:
        now = self.clock.now()
        return [event for one in book.values() if (event := timeline.step(one, now, self._unwell)) is not None]

    def _effects(self, book: Book, _: int) -> list[Event]:
        now, events = self.clock.now(), []
        for one in book.values():
            if not one.measured and one.open and EFFECT_AFTER_S <= now - one.at < EFFECT_UNTIL_S:
                created = next((event.data for event in self.store.events(one.id) if event.what is What.CREATED), {})
                shares = self._shares(self._routes(one.wish, created), EFFECT_S).to_dict()
                events.append(Event(now, one.id, What.EFFECT, timeline.ITSELF, {"before": created.get("traffic"), "after": shares}))
        return events

    async def _append(self, decide: Callable[[Book, int], list[Event]]) -> Sequence[Event]:
        """Write only where there is something to write: the transaction is not opened to find out."""
        if not decide(self.store.book, 0):
            return ()
        return await asyncio.to_thread(self.store.append, decide)

    # ------------------------------------------------------------------ pieces
    def _foreseen(self, wish: Wish, specs: SpecSet, plans: Plans, book: Book, now: float) -> Row:
        """Checks, plans before and after, and what else goes: everything an operator wants to know before."""
        wanted = Override("this", wish, now, 0, now)
        before = self._steering(self.store.book.values(), specs, plans)
        after = self._steering([*book.values(), wanted], specs, plans)
        unready = self.configurator.unready(specs)
        windows, breakers = self.traffic.windows, self.breakers(specs)

        def health(target: str) -> safety.Health:
            provider = target.partition("/")[0]
            if provider in unready:
                return safety.Health(False, f"has no usable key: {unready[provider]}")
            return target_health.of(target, breakers, windows, "60s", now)

        change = safety.change(plans, before, after)
        left = safety.targets_left(plans, before, after, health)
        room = safety.headroom(change, self.traffic.shares.rates(now), lambda target: target_health.load(windows, target, now))
        routes = sorted({route for route, _ in concerned(wish, plans)})
        closed = _closed(self.configurator.gateway, resteered(self.configurator.gateway, specs, unready, before, after))
        return {
            "wish": wish.to_dict(),
            "checks": [left.to_dict(), room.to_dict()],
            "routes": routes,
            "before": _plans_shown(change.before),
            "after": _plans_shown(change.after),
            "changed_routes": len(change.after),
            "closed": closed[:SHOWN_CLOSED],
            "closed_count": len(closed),
            "traffic": self._shares(routes, BEFORE_S).to_dict(),
        }

    def _settled(self, wish: Wish, replacing: bool, book: Book) -> Book:
        """The book without what the wish replaces. Raises Refusal for a conflict."""
        known = rivals(wish, book)
        if known and not replacing:
            said = "; ".join(f"{o.id} by {o.wish.author} ({o.wish.reason})" for o in known)
            fix = f"--replace puts this one in its place; headgate undo {known[0].id} ends it"
            raise Refusal("conflict", f"{wish.subject} has one already: {said}", fix, {"rivals": [row(o, NO_PLANS, o.at) for o in known]})
        gone = {one.id for one in known}
        return {name: one for name, one in book.items() if name not in gone}

    def _created(self, wish: Wish, replacing: bool, told: Row, book: Book, number: int) -> list[Event]:
        kept, now, name = self._settled(wish, replacing, book), self.clock.now(), f"ov-{number}"
        gone = [one.id for one in book.values() if one.open and one.id not in kept]
        ended = {"why": "replaced", "reason": f"by {name}: {wish.reason}"}
        return [
            *(Event(now, one, What.ENDED, wish.author, ended) for one in gone),
            Event(now, name, What.CREATED, wish.author, {**told, "wish": wish.to_dict()}),
        ]

    async def _end(self, names: Sequence[str], why: str, back: Back, shown: str) -> Row:
        began = time.monotonic()
        published = None
        async with self._one:
            if names:
                data = {"why": why, "reason": back.reason}
                await asyncio.to_thread(self.store.append, lambda book, _: self._ends(book, names, back.author, data))
                published = await self._publish(began)
        return await self._answered(shown, published, {"ended": list(names)})

    def _ends(self, book: Book, names: Sequence[str], who: str, data: Mapping[str, Any]) -> list[Event]:
        now = self.clock.now()
        return [Event(now, name, What.ENDED, who, data) for name in names if book[name].open]

    async def _publish(self, began: float) -> Awaitable[Row]:
        """Give the plans to the publisher; the rest, waiting for the Envoys, is for when the lock is free again."""
        self._wake.set()
        try:
            waiting = await self.configurator.steer()
        except Exception as error:  # it is recorded, and in force with whatever is published next: that is to be said
            log.exception("the plans could not be steered")
            waiting = asyncio.get_running_loop().create_future()
            waiting.set_exception(error)
        return asyncio.create_task(self._acked(waiting, began))

    async def _acked(self, waiting: asyncio.Future[Any] | None, began: float) -> Row:
        if waiting is None:
            acked, of = self.nodes.acked(self._number())
            return {"changed": False, "acked": acked, "nodes": of, "version": str(self._number())}
        try:
            outcome = await waiting
        except Exception as error:
            return {"changed": True, "accepted": False, "problems": [str(error) or type(error).__name__]}
        number, limit = self._number(), time.monotonic() + ACKS_S
        while (found := self.nodes.acked(number))[0] < found[1] and time.monotonic() < limit:
            await asyncio.sleep(0.005)
        return {
            "changed": True,
            "accepted": outcome.accepted,
            "problems": [problem.text for problem in outcome.problems],
            "version": str(number),
            "acked": found[0],
            "nodes": found[1],
            "seconds": round(time.monotonic() - began, 3),
        }

    def _number(self) -> int:
        return self.feed.current.number if self.feed.current is not None else 0

    async def _answered(self, name: str, published: Awaitable[Row] | None, told: Row) -> Row:
        result = await published if published is not None else None
        if result is not None:
            await self._note_published([name], result)
        return {**told, "override": row(self.store.book[name], self._plans(), self.clock.now()), "published": result}

    async def _note_published(self, names: Sequence[str], result: Row) -> None:
        now = self.clock.now()
        events = [Event(now, name, What.PUBLISHED, timeline.ITSELF, result) for name in names]
        async with self._one:
            if events:
                await asyncio.to_thread(self.store.append, lambda _, __: events)

    def _unwell(self, override: Override) -> str:
        if (specs := self.configurator.specs) is None:
            return ""
        now, breakers, windows = self.clock.now(), self.breakers(specs), self.traffic.windows
        found = sorted({target for _, target in concerned(override.wish, plans_of(specs))})
        unwell = [f"{target} {why}" for target in found if (why := target_health.of(target, breakers, windows, "10s", now).why)]
        return "; ".join(unwell[:3])

    def _known(self, name: str) -> Override:
        if (override := self.store.book.get(name)) is None:
            near = did_you_mean(name, self.store.book) or "headgate get overrides --all lists them"
            raise Refusal("unknown_override", f'no override "{name}"', near)
        return override

    def _asked_by(self, back: Back) -> None:
        require_text("author", back.author)
        if back.reason:
            require_text("reason", back.reason)

    def _plans(self) -> Plans:
        return plans_of(self.configurator.specs) if self.configurator.specs is not None else NO_PLANS

    def _routes(self, wish: Wish, created: Mapping[str, Any]) -> list[str]:
        return list(created.get("routes") or sorted({route for route, _ in concerned(wish, self._plans())}))

    def _shares(self, routes: Iterable[str], over_s: float) -> Shares:
        return self.traffic.shares.read(routes, over_s, self.clock.now())


def _plans_shown(plans: Mapping[str, Sequence[Sequence[Planned]]]) -> dict[str, list[list[dict[str, Any]]]]:
    shown = list(plans.items())[:SHOWN_ROUTES]
    return {route: [[{"target": p.target, "weight": p.weight} for p in group] for group in groups] for route, groups in shown}


def _closed(before: Gateway, after: Gateway) -> list[dict[str, str]]:
    """Operations that have a target now and would have none: their requests would get 503."""
    had = {(r.name, e.dialect, e.operation) for r in before.routes for e in r.entries if e.groups}
    lost = {(r.name, e.dialect, e.operation) for r in after.routes for e in r.entries if not e.groups} & had
    return [{"route": route, "operation": operation, "dialect": dialect} for route, dialect, operation in sorted(lost)]
