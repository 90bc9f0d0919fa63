"""A gateway to look at, and an admin server on a real socket."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack

import httpx
import pytest

from control_plane.admin.api import create_app
from control_plane.admin.guard import Access
from control_plane.admin.server import bind_tcp, serving
from control_plane.admin.view import Row
from control_plane.telemetry import names
from control_plane.telemetry.metrics import Metrics

Client = Callable[..., Awaitable[httpx.AsyncClient]]


class Gateway:
    """A GatewayView with settable answers."""

    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.rows: dict[str, list[Row]] = {"proxies": [], "routes": [], "providers": [], "credentials": [], "targets": [], "findings": []}
        self.metrics = Metrics()
        self.metrics.gauge(names.XDS_STREAMS).set(to=2)
        self.fails = False

    def ready(self) -> tuple[bool, Sequence[str]]:
        return not self.reasons, self.reasons

    def parts(self) -> Sequence[Row]:
        return [{"part": "envoy", "up": True, "restarts": 0, "detail": "pid 4711"}]

    def proxies(self) -> Sequence[Row]:
        return self.rows["proxies"]

    def routes(self) -> Sequence[Row]:
        return self.rows["routes"]

    def providers(self) -> Sequence[Row]:
        if self.fails:
            raise RuntimeError("a secret detail")
        return self.rows["providers"]

    def credentials(self) -> Sequence[Row]:
        return self.rows["credentials"]

    def targets(self) -> Sequence[Row]:
        return self.rows["targets"]

    def findings(self) -> Sequence[Row]:
        return self.rows["findings"]

    def snapshot_version(self) -> str:
        return "184"

    def xds_dump(self, node: str | None) -> Sequence[Row] | None:
        return None if node == "nobody" else [{"node": node or "edge-1", "resources": []}]

    def metrics_text(self) -> bytes:
        return self.metrics.text()


@pytest.fixture
def gateway() -> Gateway:
    return Gateway()


@pytest.fixture
async def client(gateway: Gateway) -> AsyncIterator[Client]:
    """Starts a server with the given Access and returns a client for it."""
    async with AsyncExitStack() as stack:

        async def start(access: Access | None = None) -> httpx.AsyncClient:
            address = await stack.enter_async_context(serving(create_app(gateway, access), bind_tcp("127.0.0.1", 0)))
            return await stack.enter_async_context(httpx.AsyncClient(base_url=f"http://{address}", timeout=10))

        yield start
