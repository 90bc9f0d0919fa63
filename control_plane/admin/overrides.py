"""Overrides over HTTP: the one thing that operators may change here.

GET    /api/v1/overrides[?all=true]          {"items": [...], "snapshot": version}
GET    /api/v1/overrides/{id}                one, with its record and the traffic of its routes
GET    /api/v1/audit[?override=ID&most=N]    lines of the record, oldest first
POST   /api/v1/overrides                     body: overrides.asked.Asked; 201 made, 200 for a dry run or a repeated key
DELETE /api/v1/overrides/{id}                body: overrides.asked.Back; takes one back
DELETE /api/v1/overrides?subject=S[&route=R] puts back what was drained or cordoned under that name

What changes something must come as application/json: a page on the web cannot send that without asking first, and nobody answers it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from control_plane.admin.encoding import json_response
from control_plane.admin.errors import error_response
from control_plane.overrides.asked import Refusal

STATUS: Final = {
    "invalid": 422,
    "unknown_name": 422,
    "unknown_override": 404,
    "conflict": 409,
    "unsafe": 409,
    "not_ready": 503,
    "not_recorded": 503,
}
MOST_LINES: Final = 10_000

Row = Mapping[str, Any]


class Desk(Protocol):
    """Who makes and ends overrides. Everything that is refused is a Refusal."""

    def rows(self, *, everything: bool) -> Sequence[Row]:
        """`overrides.show.row` of each."""

    def one(self, name: str) -> Row:
        """{"override": row, "traffic": {"before", "now"}, "events": [...]}."""

    def audit(self, override: str | None, most: int) -> Sequence[Row]:
        """`overrides.model.Event.to_dict` of each line."""

    async def apply(self, body: bytes, via: str) -> Row:
        """Make one; `via` says how the asker was known."""

    async def undo(self, name: str, body: bytes) -> Row:
        """Take one back."""

    async def release(self, subject: str, route: str | None, body: bytes) -> Row:
        """Take back what keeps that subject out."""


def override_routes(desk: Desk, snapshot_version: Callable[[], str]) -> list[Route]:
    """The endpoints over `desk`."""

    async def listed(request: Request) -> Response:
        everything = request.query_params.get("all", "") in ("1", "true")
        return json_response({"items": desk.rows(everything=everything), "snapshot": snapshot_version()})

    async def one(request: Request) -> Response:
        return json_response(desk.one(request.path_params["name"]))

    async def audit(request: Request) -> Response:
        most = request.query_params.get("most", "1000")
        if not most.isdecimal() or not 0 < int(most) <= MOST_LINES:
            raise Refusal("invalid", f"most={most[:20]} is no number of lines", f"1 to {MOST_LINES}")
        return json_response({"items": desk.audit(request.query_params.get("override"), int(most)), "snapshot": snapshot_version()})

    async def apply(request: Request) -> Response:
        made = await desk.apply(await request.body(), request.scope["headgate.via"])
        return json_response(made, 200 if made.get("dry_run") or made.get("repeated") else 201)

    async def undo(request: Request) -> Response:
        return json_response(await desk.undo(request.path_params["name"], await request.body()))

    async def release(request: Request) -> Response:
        subject = request.query_params.get("subject")
        if not subject:
            raise Refusal("invalid", "which one is not said", "DELETE /api/v1/overrides/ID, or ?subject=provider/NAME")
        return json_response(await desk.release(subject, request.query_params.get("route"), await request.body()))

    return [
        Route("/api/v1/overrides", _safely(listed), methods=["GET"]),
        Route("/api/v1/overrides", _changing(apply), methods=["POST"]),
        Route("/api/v1/overrides", _changing(release), methods=["DELETE"]),
        Route("/api/v1/overrides/{name}", _safely(one), methods=["GET"]),
        Route("/api/v1/overrides/{name}", _changing(undo), methods=["DELETE"]),
        Route("/api/v1/audit", _safely(audit), methods=["GET"]),
    ]


_Endpoint = Callable[[Request], Awaitable[Response]]


def _safely(endpoint: _Endpoint) -> _Endpoint:
    async def answered(request: Request) -> Response:
        try:
            return await endpoint(request)
        except Refusal as error:
            return error_response(STATUS[error.code], error.code, error.message, error.fix, error.detail)

    return answered


def _changing(endpoint: _Endpoint) -> _Endpoint:
    async def checked(request: Request) -> Response:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            return error_response(415, "not_json", "what changes something must be JSON", "send content-type: application/json")
        return await _safely(endpoint)(request)

    return checked
