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
