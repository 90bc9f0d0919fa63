"""The control plane process: every part in the order in which it starts, and what each reads and publishes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from control_plane.admin.api import create_app
from control_plane.admin.server import access_for, bind_tcp, read_token, serving
from control_plane.app import last_good_specs
from control_plane.app.breakers import Breakers
from control_plane.app.configure import Configurator
from control_plane.app.key_pools import KeyPools
from control_plane.app.keys import Keys
from control_plane.app.overrides import OverrideDesk
from control_plane.app.settings import host_port
from control_plane.app.sign_ins import SignIns
from control_plane.app.view import ControlPlaneView
from control_plane.app.xds_metrics import XdsMetrics
from control_plane.ir.build import build
from control_plane.kit.clock import SystemClock
from control_plane.kit.envoy_binary import find_envoy
from control_plane.overrides.store import Store
from control_plane.signals.als import AccessLogService
from control_plane.signals.journal import JournalTail
from control_plane.signals.rotation import Rotation
from control_plane.signals.traffic import Traffic
from control_plane.sources.files import FileSource
from control_plane.telemetry.metrics import Metrics
from control_plane.xds import lkg
from control_plane.xds.ads import AdsOptions, AdsServer
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.preflight import Preflight
from control_plane.xds.publisher import Publisher, PublishOptions
from control_plane.xds.resource import CDS
from control_plane.xds.translate.names import XDS_CLUSTER
from control_plane.xds.translate.secrets import known_secrets
from control_plane.xds.translate.settings import EdgeSettings

log = logging.getLogger(__name__)

MIN_DRAIN_S: Final = 60.0
"""What left the plans stays for running requests, which may still retry on it: two attempts of the usual first-token timer."""

RESTORE_WAIT_S: Final = 3.0
"""For sign-ins, before the last known good configuration is served: an Envoy that starts with it has no token at all."""

ACK_PATIENCE_S: Final = 0.1
"""Envoy withholds the ACK of a type while clusters warm; a weight flip shall not wait for it longer than this."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What the process was started with. `xds` is a socket path or host:port; `journal` None leaves the file alone."""

    specs: tuple[Path, ...]
    edge: EdgeSettings
    xds: tuple[str, ...]
    admin: tuple[str, int]
    state: Path
    journal: Path | None
    envoy_admin: str | None
    admin_token_file: Path | None = None
    admin_hosts: tuple[str, ...] = ()
    max_vanishing: float = 0.5
    preflight: bool = True


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`. Raises SpecError for what the operator must change."""
    clock, metrics = SystemClock(), Metrics()
    feed, nodes = Feed(), NodeRegistry(clock)
    traffic = Traffic(metrics, clock)
    publisher = Publisher(
        feed,
        nodes,
        validate=Preflight(find_envoy()) if settings.preflight else None,
        lkg_path=settings.state / "last-known-good",
        options=PublishOptions(
            provided=frozenset({(CDS, XDS_CLUSTER)}),
            max_vanishing=settings.max_vanishing,
            min_drain_s=MIN_DRAIN_S,
            max_drain_s=2 * MIN_DRAIN_S,
        ),
        clock=clock,
    )
    sign_ins = SignIns(metrics, clock)
    pools = KeyPools(metrics, clock)
    traffic.observers.append(pools.observe)
    configurator = Configurator(publisher=publisher, settings=settings.edge, state=settings.state, sign_ins=sign_ins, pools=pools)
    breakers = Breakers(traffic, metrics, clock, settings.state / "breakers.json")
    store = Store(settings.state)
    desk = OverrideDesk(store, configurator, feed, nodes, traffic, clock, breakers.steering)
    configurator.steering = desk.steering
    view = ControlPlaneView(
        configurator=configurator,
        breakers=breakers,
        sign_ins=sign_ins,
        pools=pools,
        publisher=publisher,
        feed=feed,
        nodes=nodes,
        traffic=traffic,
        metrics=metrics,
        part_rows=lambda: (),
    )
    token = read_token(settings.admin_token_file) if settings.admin_token_file else None
    access = access_for(settings.admin[0], token, settings.admin_hosts)
    ads = AdsServer(
        feed, nodes, AdsOptions(ack_patience_s=ACK_PATIENCE_S), clock, services=[AccessLogService(traffic.consume, metrics).add_to]
    )
    XdsMetrics(metrics, nodes)
    async with contextlib.AsyncExitStack() as parts:
        parts.callback(store.close)
        parts.push_async_callback(sign_ins.stop)
        await restore(settings, publisher, sign_ins, newer_than=store.changed_at)
        await ads.start(*(f"unix:{a}" if a.startswith("/") else a for a in settings.xds))
        parts.push_async_callback(ads.stop)
        # Reads all of the above: liveness, metrics and lists for operators. Publishes what they ask of the desk of overrides.
        await parts.enter_async_context(serving(create_app(view, access, desk), bind_tcp(*settings.admin)))
        group = await parts.enter_async_context(_Tasks(stop))
        # Reads spec files and keys; submits snapshots.
        group.start(_follow_specs(settings, configurator))
        # Reads new tokens of sign-ins; submits snapshots.
        group.start(_follow_tokens(sign_ins, configurator))
        # Reads which keys have died, by the journal; submits snapshots.
        group.start(_follow_pools(pools, configurator))
        group.start(pools.run())
        # Reads the record of overrides and the clock; submits snapshots.
        group.start(desk.run())
        # Reads how attempts ended; submits snapshots.
        group.start(breakers.run(configurator))
        # Reads submitted snapshots and what nodes answer; publishes to the feed that ADS serves.
        group.start(publisher.run())
        if settings.journal is not None:
            tail = await parts.enter_async_context(JournalTail(settings.journal, settings.state, metrics, clock=clock))
            # Reads the access journal; publishes metrics and windows.
            group.start(_follow_journal(tail, traffic))
            group.start(_settle(traffic))
            if settings.envoy_admin is not None:
                journal = settings.journal
                rotation = Rotation(journal, _admin(settings.envoy_admin), metrics, reading=lambda: tail.reading(journal))
                # Reads the journal's size; renames it and tells Envoy.
                group.start(rotation.run())
        await group.wait()


async def restore(settings: Settings, publisher: Publisher, sign_ins: SignIns, *, newer_than: float = 0.0) -> bool:
    """Serve at once what was last known good, until the specs have been read. Tokens are never stored, so it waits a moment for them.

    What is older than the last override (`newer_than`, seconds since the epoch) is not served: it would undo it for that while, and Envoys
    go on with what they have. False when there is nothing to serve.
    """
    try:
        stored = lkg.load(settings.state / "last-known-good")
    except lkg.LkgError as error:
        log.warning("%s", error)
        return False
    kept = last_good_specs.restore(settings.state)
    if stored is None or kept is None or not kept.ok or stored.saved_at < newer_than:
        return False
    await sign_ins.follow(kept.specs)
    await sign_ins.settled(RESTORE_WAIT_S)
    gateway = build(kept.specs)
    secrets = known_secrets(gateway.providers, Keys.of(kept.specs, tokens=sign_ins.tokens()).values(gateway))
    publisher.restore(stored, [resource for resource in secrets if resource.name in stored.secret_names])
    return True


async def _follow_specs(settings: Settings, configurator: Configurator) -> None:
    async for loaded in FileSource(settings.specs).changes():
        await configurator.apply(loaded)


async def _follow_tokens(sign_ins: SignIns, configurator: Configurator) -> None:
    async for _ in sign_ins.changes():
        await configurator.renew()


async def _follow_pools(pools: KeyPools, configurator: Configurator) -> None:
    async for _ in pools.changes():
        await configurator.rotate()


async def _follow_journal(tail: JournalTail, traffic: Traffic) -> None:
    async for batch in tail:
        traffic.consume(batch)


async def _settle(traffic: Traffic) -> None:
    """Attempts are counted when their request line has come; in quiet times nothing else would count the last ones."""
    while True:
        await asyncio.sleep(1)
        traffic.settle()


def _admin(address: str) -> str:
    if not address.startswith("/"):
        host_port(address, "--envoy-admin")
    return address


class _Tasks:
    """Runs the endless parts; the first one that fails ends the process, which is then started again."""

    def __init__(self, stop: asyncio.Event) -> None:
        self._stop = stop
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> _Tasks:
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(asyncio.create_task(work))

    async def wait(self) -> None:
        stopped = asyncio.create_task(self._stop.wait())
        try:
            done, _ = await asyncio.wait({stopped, *self._tasks}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
        for task in done - {stopped}:
            task.result()
            raise RuntimeError("a part of the control plane ended without an error")
