"""Who may change something, and what the endpoints of overrides answer."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any

import httpx
import pytest

from control_plane.admin.api import create_app
from control_plane.admin.guard import Access
from control_plane.admin.overrides import Row
from control_plane.admin.server import bind_tcp, serving
from control_plane.overrides.asked import Refusal

TOKEN = b"0123456789abcdef"
JSON = {"content-type": "application/json"}


class Desk:
    """Remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.refusal: Refusal | None = None
        self.answer: Row = {"override": {"id": "ov-1"}}

    def rows(self, *, everything: bool) -> Sequence[Row]:
        return [{"id": "ov-1", "all": everything}]

    def one(self, name: str) -> Row:
        if name != "ov-1":
            raise Refusal("unknown_override", f'no override "{name}"', "did you mean ov-1?")
        return {"override": {"id": name}}

    def audit(self, override: str | None, most: int) -> Sequence[Row]:
        return [{"override": override, "most": most}]

    async def apply(self, body: bytes, via: str) -> Row:
        return self._note("apply", body, via)

    async def undo(self, name: str, body: bytes) -> Row:
        return self._note("undo", name, body)

    async def release(self, subject: str, route: str | None, body: bytes) -> Row:
        return self._note("release", subject, route, body)

    def _note(self, *asked: Any) -> Row:
        self.asked.append(asked)
        if self.refusal is not None:
            raise self.refusal
        return self.answer


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture(params=[None, TOKEN], ids=["open", "token"])
async def http(request: pytest.FixtureRequest, gateway: Any, desk: Desk) -> AsyncIterator[httpx.AsyncClient]:
    headers = {"authorization": f"Bearer {request.param.decode()}"} if request.param else {}
    app = create_app(gateway, Access(token=request.param), desk)
    async with (
        serving(app, bind_tcp("127.0.0.1", 0)) as address,
        httpx.AsyncClient(base_url=f"http://{address}", headers=headers) as client,
    ):
        yield client


async def test_lists(http: httpx.AsyncClient) -> None:
    assert (await http.get("/api/v1/overrides")).json() == {"items": [{"id": "ov-1", "all": False}], "snapshot": "184"}
    assert (await http.get("/api/v1/overrides?all=true")).json()["items"][0]["all"] is True
    assert (await http.get("/api/v1/overrides/ov-1")).json() == {"override": {"id": "ov-1"}}
    assert (await http.get("/api/v1/audit?override=ov-1&most=7")).json()["items"] == [{"override": "ov-1", "most": 7}]
    assert (await http.get("/api/v1/audit?most=-1")).status_code == 422
    missing = await http.get("/api/v1/overrides/ov-2")
    assert (missing.status_code, missing.json()["error"]["fix"]) == (404, "did you mean ov-1?")


async def test_changes(http: httpx.AsyncClient, desk: Desk) -> None:
    via = "token" if "authorization" in http.headers else "local"
    assert (await http.post("/api/v1/overrides", json={"a": 1})).status_code == 201
    assert (await http.request("DELETE", "/api/v1/overrides/ov-1", json={"author": "x"})).status_code == 200
    assert (await http.request("DELETE", "/api/v1/overrides?subject=provider/a&route=r", json={})).status_code == 200
    assert (await http.request("DELETE", "/api/v1/overrides", json={})).status_code == 422
    assert desk.asked == [
        ("apply", b'{"a":1}', via),
        ("undo", "ov-1", b'{"author":"x"}'),
        ("release", "provider/a", "r", b"{}"),
    ]
    desk.answer = {"dry_run": True}
    assert (await http.post("/api/v1/overrides", json={})).status_code == 200


@pytest.mark.parametrize(
    ("code", "status"), [("unsafe", 409), ("conflict", 409), ("invalid", 422), ("not_ready", 503), ("not_recorded", 503)]
)
async def test_refusals(http: httpx.AsyncClient, desk: Desk, code: Any, status: int) -> None:
    desk.refusal = Refusal(code, "no", "do this", {"checks": [1]})
    answer = await http.post("/api/v1/overrides", json={})
    assert (answer.status_code, answer.json()["error"]) == (status, {"code": code, "message": "no", "fix": "do this", "checks": [1]})


CHANGES = [("POST", "/api/v1/overrides"), ("DELETE", "/api/v1/overrides/ov-1"), ("DELETE", "/api/v1/overrides?subject=provider/a")]


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_a_page_on_the_web_changes_nothing(http: httpx.AsyncClient, desk: Desk, method: str, path: str) -> None:
    """Neither with a form, which needs no leave to be sent, nor as JSON from another origin or through another name."""
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""):
        answer = await http.request(method, path, content=b'{"kind": "drain"}', headers={"content-type": kind})
        assert (answer.status_code, answer.json()["error"]["code"]) == (415, "not_json")
    for headers in ({"origin": "https://evil.example"}, {"sec-fetch-site": "cross-site"}, {"origin": "null"}):
        assert (await http.request(method, path, content=b"{}", headers={**JSON, **headers})).status_code == 403
    assert (await http.request(method, path, content=b"{}", headers={**JSON, "host": "evil.example"})).status_code == 421
    preflight = await http.request("OPTIONS", path, headers={"origin": "https://evil.example", "access-control-request-method": method})
    assert not [name for name in preflight.headers if name.startswith("access-control")]
    assert desk.asked == []


@pytest.mark.parametrize(("method", "path"), CHANGES)
async def test_the_token_is_needed_where_there_is_one(http: httpx.AsyncClient, desk: Desk, method: str, path: str) -> None:
    had = "authorization" in http.headers
    for given in ("", "Bearer wrong", "Basic x"):
        answer = await http.request(method, path, content=b"{}", headers={**JSON, "authorization": given})
        assert answer.status_code == (401 if had else answer.status_code)
    assert not (had and desk.asked)


async def test_without_a_desk_there_is_nothing_to_change(client: Any) -> None:
    http = await client()
    assert (await http.post("/api/v1/overrides", json={})).status_code == 404
