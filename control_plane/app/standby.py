"""The stand-in: serves the last known good configuration to an Envoy that starts while the control plane cannot.

It reads neither specs nor journal and publishes nothing new; sign-ins to clouds are made once. It ends when the control plane is back.
"""

from __future__ import annotations

import asyncio

from control_plane.app.control_plane import Settings, restore
from control_plane.app.sign_ins import SignIns
from control_plane.kit.clock import SystemClock
from control_plane.kit.errors import SpecError
from control_plane.telemetry.metrics import Metrics
from control_plane.xds.ads import AdsServer
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.publisher import Publisher


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Serve until `stop`. Raises SpecError when nothing was kept."""
    clock = SystemClock()
    feed, nodes = Feed(), NodeRegistry(clock)
    sign_ins = SignIns(Metrics(), clock)
    ads = AdsServer(feed, nodes, clock=clock)
    try:
        if not await restore(settings, Publisher(feed, nodes, validate=None, clock=clock), sign_ins):
            raise SpecError(f"{settings.state} holds no configuration that once served; a stand-in has nothing to serve")
        await ads.start(*(f"unix:{a}" if a.startswith("/") else a for a in settings.xds))
        await stop.wait()
    finally:
        await ads.stop()
        await sign_ins.stop()
