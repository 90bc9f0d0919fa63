"""Attacks on the admin API: rebinding, cross-site requests, missing tokens, large bodies."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from control_plane.admin.guard import MAX_BODY_BYTES, Access, host_name

TOKEN = b"0123456789abcdef-token"


async def raw(http: Any, request: bytes) -> bytes:
    """The first line of the answer to exactly these bytes."""
    reader, writer = await asyncio.open_connection(http.base_url.host, http.base_url.port)
    writer.write(request)
    try:
        return await asyncio.wait_for(reader.readline(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:8080", "localhost", "LOCALHOST:1", "localhost.", "[::1]", "[::1]:8080", "gate.internal:8080"]
)
async def test_our_own_names_are_answered(client: Any, host: str) -> None:
    http = await client(Access(frozenset({"gate.internal"})))
    assert (await http.get("/healthz", headers={"host": host})).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "127.0.0.2",
        "[::2]",
        "127.0.0.1:80:80",
        "localhost:x",
        "[::1",
        "::1",
        "x@localhost",
    ],
)
async def test_dns_rebinding_is_refused(client: Any, host: str) -> None:
    answer = await (await client()).get("/api/v1/status", headers={"host": host})
    assert (answer.status_code, answer.json()["error"]["code"]) == (421, "host_not_allowed")


async def test_no_host_or_two_hosts_are_refused(client: Any) -> None:
    http = await client()
    assert (await raw(http, b"GET /api/v1/status HTTP/1.0\r\n\r\n")).startswith(b"HTTP/1.1 421")
    assert b" 4" in await raw(http, b"GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\nhost: evil.example\r\n\r\n")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 405),
        ({"origin": "http://127.0.0.1:8080"}, 405),
        ({"origin": "http://localhost"}, 405),
        ({"sec-fetch-site": "same-origin"}, 405),
        ({"sec-fetch-site": "none"}, 405),
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "file://"}, 403),
        ({"origin": "chrome-extension://localhost"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "cross-site", "origin": "http://localhost"}, 403),
    ],
)
async def test_unsafe_methods_must_come_from_our_own_pages(client: Any, headers: dict[str, str], status: int) -> None:
    """405 is the answer of the application behind the guard: nothing can be changed here yet."""
    http = await client()
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        assert (await http.request(method, "/api/v1/routes", headers=headers)).status_code == status


async def test_a_token_guards_everything_but_the_probes(client: Any, gateway: Any) -> None:
    http = await client(Access(token=TOKEN))
    gateway.reasons = ["target openai/gpt-5 is warming"]
    for path in ("/metrics", "/api/v1/status", "/api/v1/routes", "/debug/xds", "/nothing"):
        refused = await http.get(path)
        assert (refused.status_code, refused.json()["error"]["code"], refused.headers["www-authenticate"]) == (
            401,
            "unauthorized",
            "Bearer",
        )
    good = {"authorization": f"Bearer {TOKEN.decode()}"}
    assert (await http.get("/api/v1/status", headers=good)).status_code == 200
    # Probes have no token: they are answered, and learn nothing but the state.
    assert (await http.get("/readyz")).json() == {"ready": False}
    assert (await http.get("/healthz")).json() == {"status": "ok"}
    assert (await http.get("/readyz", headers=good)).json()["reasons"] == gateway.reasons


@pytest.mark.parametrize(
    "value",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer wrong",
        "Basic 0123456789abcdef-token",
        "0123456789abcdef-token",
        "Bearer 0123456789abcdef-toke",
        "Bearer 0123456789abcdef-token x",
    ],
)
def test_only_the_token_is_the_token(value: str) -> None:
    access = Access(token=TOKEN)
    assert not access.allows_token(value)
    assert access.allows_token("bearer 0123456789abcdef-token")
    assert Access().allows_token(value)


def test_the_token_is_not_in_a_repr() -> None:
    assert TOKEN.decode() not in repr(Access(token=TOKEN))


async def test_large_bodies_are_refused_before_they_are_read(client: Any) -> None:
    http = await client()
    assert (await http.post("/healthz", content=b"x" * (MAX_BODY_BYTES + 1))).status_code == 413
    assert (await http.post("/healthz", content=b"x" * 100)).status_code == 405
    for length in (b"-1", b"1e3", b"99999999999999999999"):
        assert b" 4" in await raw(http, b"POST /healthz HTTP/1.1\r\nhost: localhost\r\ncontent-length: " + length + b"\r\n\r\n")


async def test_large_headers_are_refused(client: Any) -> None:
    http = await client()
    assert b" 4" in await raw(http, b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nx: " + b"y" * 100_000 + b"\r\n\r\n")


@example(".")
@given(st.text(max_size=40))
def test_a_host_that_is_allowed_is_exactly_a_known_name(host: str) -> None:
    if Access(frozenset({"gate"})).allows_host(host):
        assert host_name(host) in {"localhost", "127.0.0.1", "::1", "gate"}
        assert host.strip().lower().lstrip("[").startswith(("localhost", "127.0.0.1", "::1", "0:", "0000:", "gate"))
