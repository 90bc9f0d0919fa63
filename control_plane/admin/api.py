"""The admin API: reads a GatewayView and writes JSON. No logic of its own.

GET /healthz              200 while the process answers; what its parts do is in the body for whoever may see it
GET /readyz               200 once traffic is served, else 503 with the reasons
GET /metrics              Prometheus text
GET /api/v1/{list}        proxies, routes, providers, credentials, targets, findings: {"items": [...], "snapshot": version}
GET /api/v1/status        ready, reasons, snapshot, parts, and how long the lists are
/api/v1/overrides, /audit  what operators do to traffic: see `admin.overrides`; the only thing that can be changed here
GET /debug/xds[?node=ID]  what each Envoy wants, holds and refused; secrets redacted
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control_plane.admin.encoding import json_response
from control_plane.admin.errors import error_response
from control_plane.admin.guard import Access, Guard
from control_plane.admin.overrides import Desk, override_routes
from control_plane.admin.view import GatewayView, Row
from control_plane.telemetry.metrics import CONTENT_TYPE


def create_app(view: GatewayView, access: Access | None = None, desk: Desk | None = None) -> Starlette:
    """The application over `view`. Without `access`: loopback names only and no token; without `desk` nothing can be changed."""
    lists: dict[str, Callable[[], Sequence[Row]]] = {
        "proxies": view.proxies,
        "routes": view.routes,
        "providers": view.providers,
        "credentials": view.credentials,
        "targets": view.targets,
        "findings": view.findings,
    }

    async def health(request: Request) -> Response:
        body: dict[str, object] = {"status": "ok"}
        if request.scope["headgate.trusted"]:
            body["parts"] = view.parts()
        return json_response(body)

    async def readiness(request: Request) -> Response:
        is_ready, reasons = view.ready()
        body: dict[str, object] = {"ready": is_ready}
        if request.scope["headgate.trusted"]:
            body["reasons"] = list(reasons)
        return json_response(body, 200 if is_ready else 503)

    async def metrics(request: Request) -> Response:
        # In a thread: tens of thousands of series take longer to write than the event loop may be held.
        return Response(await asyncio.to_thread(view.metrics_text), media_type=CONTENT_TYPE)

    def rows_of(items: Callable[[], Sequence[Row]]) -> Callable[[Request], Awaitable[Response]]:
        async def rows(request: Request) -> Response:
            return json_response({"items": items(), "snapshot": view.snapshot_version()})

        return rows

    async def status(request: Request) -> Response:
        is_ready, reasons = view.ready()
        counts = {name: len(items()) for name, items in lists.items()}
        found: dict[str, object] = {"ready": is_ready, "reasons": list(reasons), "snapshot": view.snapshot_version()}
        return json_response({**found, "parts": view.parts(), "counts": counts})

    async def xds(request: Request) -> Response:
        node = request.query_params.get("node")
        nodes = view.xds_dump(node)
        if nodes is None:
            return error_response(
                404, "unknown_node", "no Envoy with that node id is connected", "see the NODE column of `headgate get proxies`"
            )
        return json_response({"nodes": nodes, "snapshot": view.snapshot_version()})

    routes = [
        Route("/healthz", health, methods=["GET"]),
        Route("/readyz", readiness, methods=["GET"]),
        Route("/metrics", metrics, methods=["GET"]),
        Route("/api/v1/status", status, methods=["GET"]),
        *(Route(f"/api/v1/{name}", rows_of(items), methods=["GET"]) for name, items in lists.items()),
        Route("/debug/xds", xds, methods=["GET"]),
        *(override_routes(desk, view.snapshot_version) if desk is not None else ()),
    ]
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, access=access or Access())],
        exception_handlers={HTTPException: _http_error},
    )


def _http_error(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    if status == 405:
        return error_response(
            405, "method_not_allowed", f"{request.method} does nothing here", "use GET; only /api/v1/overrides changes something"
        )
    return error_response(
        status,
        "not_found",
        "there is nothing at that path",
        "GET /api/v1/status, /api/v1/proxies, /routes, /providers, /targets, /overrides or /findings",
    )
