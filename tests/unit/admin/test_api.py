"""Every endpoint over a real socket."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families


async def test_health_and_readiness(client: Any, gateway: Any) -> None:
    http = await client()
    health = await http.get("/healthz")
    assert (health.status_code, health.json()["status"], health.json()["parts"][0]["part"]) == (200, "ok", "envoy")
    assert (await http.get("/readyz")).json() == {"ready": True, "reasons": []}
    gateway.reasons = ["no Envoy is connected", "the specs have errors"]
    answer = await http.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"ready": False, "reasons": gateway.reasons})
    assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize("name", ["proxies", "routes", "providers", "credentials", "targets", "findings"])
async def test_lists(client: Any, gateway: Any, name: str) -> None:
    gateway.rows[name] = [{"name": "x", "number": 1, "nothing": None}]
    answer = await (await client()).get(f"/api/v1/{name}")
    assert (answer.status_code, answer.json()) == (200, {"items": [{"name": "x", "number": 1, "nothing": None}], "snapshot": "184"})
    assert answer.headers["content-type"] == "application/json"


async def test_status_sums_up(client: Any, gateway: Any) -> None:
    gateway.rows["routes"] = [{}, {}]
    answer = (await (await client()).get("/api/v1/status")).json()
    assert answer["counts"] == {"proxies": 0, "routes": 2, "providers": 0, "credentials": 0, "targets": 0, "findings": 0}
    assert (answer["ready"], answer["snapshot"], answer["parts"][0]["detail"]) == (True, "184", "pid 4711")


async def test_metrics_are_prometheus_text(client: Any) -> None:
    answer = await (await client()).get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.text)}
    assert families["headgate_xds_streams"].samples[0].value == 2


async def test_xds_of_all_nodes_of_one_and_of_none(client: Any) -> None:
    http = await client()
    assert (await http.get("/debug/xds")).json()["nodes"][0]["node"] == "edge-1"
    assert (await http.get("/debug/xds", params={"node": "edge-2"})).json()["nodes"][0]["node"] == "edge-2"
    missing = await http.get("/debug/xds", params={"node": "nobody"})
    assert (missing.status_code, missing.json()["error"]["code"]) == (404, "unknown_node")


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/api/v1/secrets", 404, "not_found"),
        ("GET", "/api/v1/routes/../../etc", 404, "not_found"),
        ("POST", "/api/v1/routes", 405, "method_not_allowed"),
        ("DELETE", "/healthz", 405, "method_not_allowed"),
    ],
)
async def test_what_is_not_there_is_an_error_with_a_fix(client: Any, method: str, path: str, status: int, code: str) -> None:
    answer = await (await client()).request(method, path)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert error["code"] == code
    assert error["message"]
    assert error["fix"]


async def test_a_view_that_fails_is_a_500_that_tells_nothing(client: Any, gateway: Any, caplog: pytest.LogCaptureFixture) -> None:
    gateway.fails = True
    answer = await (await client()).get("/api/v1/providers")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal")
    assert "secret detail" not in answer.text
    assert "secret detail" in caplog.text
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_every_answer_has_the_security_headers_and_no_cors(client: Any) -> None:
    http: httpx.AsyncClient = await client()
    for answer in (
        await http.get("/healthz", headers={"origin": "https://evil.example"}),
        await http.get("/nothing"),
        await http.post("/healthz", headers={"origin": "https://evil.example"}),
        await http.get("/healthz", headers={"host": "evil.example"}),
    ):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert not [name for name in answer.headers if name.startswith("access-control")]
        assert "server" not in answer.headers
