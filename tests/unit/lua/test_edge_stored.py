"""Calls about stored responses: the model comes out of the query, the rest goes on, and nothing else is read."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.lua.lua_filter import LuaFilter, Outcome, facts

SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ask(edge: LuaFilter, path: str) -> Outcome:
    star = facts([], dialect="openai-responses", operation="stored", stored="/v1/responses")
    return edge.request(b"", star, {}, {":path": path, ":method": "GET"})


@pytest.mark.parametrize(
    ("path", "model", "kept"),
    [
        ("/v1/responses/resp_1?model=m", "m", "/resp_1"),
        ("/v1/responses/resp_1/cancel?model=m", "m", "/resp_1/cancel"),
        ("/v1/responses/r?include=a&model=a%2Fb%20c&include=b", "a/b c", "/r?include=a&include=b"),
        ("/v1/responses/r?include[]=a&mod%65l=m+n&key=secret&stream=true", "m n", "/r?include[]=a&stream=true"),
    ],
)
def test_the_model_is_taken_out_of_the_query(edge: LuaFilter, path: str, model: str, kept: str) -> None:
    out = ask(edge, path)
    assert out.status is None
    assert out.headers["x-headgate-model"] == model
    assert out.dynamic["headgate.model"] == {"query": kept}
    assert out.dynamic["headgate"]["asked"] == f"openai-responses whole {model}"


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?",
        "?model",
        "?model=",
        "?model=a&model=b",
        "?model=a&mod%65l=a",
        "?model=%zz",
        "?model=%22",
        "?model=%0a",
        "?model=%ff",
    ],
)
def test_a_call_that_names_no_model_or_two_is_refused(edge: LuaFilter, query: str) -> None:
    out = ask(edge, f"/v1/responses/resp_1{query}")
    assert out.status == 400
    assert out.error["error"]["code"] == "missing_model"


@SETTINGS
@given(st.text(min_size=1, max_size=40))
def test_a_model_arrives_as_it_was_encoded_or_not_at_all(edge: LuaFilter, model: str) -> None:
    try:
        encoded = quote(model, safe="")
    except UnicodeEncodeError:
        return
    out = ask(edge, f"/v1/responses/resp_1?model={encoded}")
    if out.status is None:
        assert out.headers["x-headgate-model"].encode("latin1").decode() == model
    else:
        assert out.status == 400


def keep(edge: LuaFilter, body: bytes, query: str = "?model=m", max_bytes: str = "100", dialect: str = "openai-chat") -> Outcome:
    star = facts(["m"], dialect=dialect, operation="files", stored="/v1/files")
    routes = {"m": facts(route="r", dialect=dialect, operation="files", stored="1", max_bytes=max_bytes)}
    headers = {":path": f"/v1/files{query}", ":method": "POST", "content-type": "multipart/form-data; boundary=x"}
    return edge.request(body, star, routes, headers)


def test_a_body_goes_on_as_it_is(edge: LuaFilter) -> None:
    body = b'--x\r\n\r\n{"model": "other"}\xff\r\n--x--'
    out = keep(edge, body)
    assert (out.status, out.changed, out.body) == (None, False, body)
    assert out.headers["x-headgate-model"] == "m"
    assert out.dynamic["headgate.model"] == {"query": ""}
    assert keep(edge, body, "?model=m&limit=2").dynamic["headgate.model"] == {"query": "?limit=2"}


def test_a_body_is_bounded_and_needs_a_route(edge: LuaFilter) -> None:
    assert keep(edge, bytes(101)).status == 413
    assert keep(edge, bytes(100), "").error["error"]["code"] == "missing_model"
    unknown = keep(edge, bytes(100), "?model=n")
    assert (unknown.status, unknown.headers["x-headgate-model"]) == (None, "*")  # the default scope's 404
    assert "headgate.model" not in unknown.dynamic


BATCH = facts(route="r", dialect="anthropic-messages", operation="batches", stored="1")
JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("host", ["https://api.anthropic.com", "http://127.0.0.1:1/base"])
def test_the_address_of_results_becomes_a_path(edge: LuaFilter, host: str) -> None:
    path = "/v1/messages/batches/msgbatch_1/results"
    text = f'{{"data":[{{"id":"a","results_url": "{host}{path}"}},{{"results_url":null}},{{"results_url":"{host}{path}"}}]}}'
    assert edge.response([text.encode()], BATCH, JSON).body == text.replace(host, "").encode()
    other = f'{{"note":"{host}{path}","results_url":"{host}/elsewhere"}}'.encode()
    assert edge.response([other], BATCH, JSON).body == other
    lines = edge.response([text.encode()], BATCH, {"content-type": "application/x-jsonl"})
    assert lines.body == text.encode()


def test_batches_are_asked_for_in_plain_bytes(edge: LuaFilter) -> None:
    for dialect, kept in (("anthropic-messages", None), ("openai-chat", "gzip")):
        star = facts([], dialect=dialect, operation="batches", stored="/v1/batches")
        out = edge.request(b"", star, {}, {":path": "/v1/batches/b?model=m", ":method": "GET", "accept-encoding": "gzip"})
        assert out.headers.get("accept-encoding") == kept
