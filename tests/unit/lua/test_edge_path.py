"""Models that stand in the path: what the edge filter reads, refuses and hands on."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.ir.path_template import lua_pattern
from tests.unit.lua.lua_filter import LuaFilter, Outcome, facts

GEMINI = "/v1beta/models/{model}:generateContent"
AZURE = "/openai/deployments/{model}/chat/completions"
NEAR = ["gemini-2.5-flash"]
BODY = b'{"contents":[]}'
SETTINGS = settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def ask(edge: LuaFilter, path: str, body: bytes = BODY, name: str = "m", template: str = GEMINI, **told: str) -> Outcome:
    star = facts(NEAR, dialect="gemini-generate-content", operation="chat", address=lua_pattern(template), to="/headgate/g/chat", **told)
    return edge.request(body, star, {name: facts(route="r", dialect="gemini-generate-content")}, {":path": path})


def azure(edge: LuaFilter, body: bytes, name: str = "m", **told: str) -> Outcome:
    star = facts(NEAR, dialect="openai-chat", operation="chat", address=lua_pattern(AZURE), to="/v1/chat/completions", into="body")
    path = f"/openai/deployments/{quote(name, safe='')}/chat/completions?api-version=2024-10-21"
    return edge.request(body, star, {name: facts(route="r", dialect="openai-chat", **told)}, {":path": path})


def test_the_model_selects_the_route_and_everything_is_noted(edge: LuaFilter) -> None:
    out = ask(edge, "/v1beta/models/m:generateContent?alt=sse&key=secret&x=1", stream="1")
    assert out.headers["x-headgate-model"] == "m"
    assert out.headers[":path"] == "/headgate/g/chat"
    assert out.dynamic["headgate"]["asked"] == "gemini-generate-content stream m"
    assert out.dynamic["headgate.model"] == {"call": "stream alt=sse&x=1 m", "query": "?alt=sse&x=1"}
    assert out.body == BODY
    whole = ask(edge, "/v1beta/models/m:generateContent")
    assert whole.dynamic["headgate.model"] == {"call": "whole  m"}


@SETTINGS
@given(
    st.text(st.characters(exclude_categories=["Cc", "Cs"], exclude_characters='"\\'), min_size=1, max_size=40), st.sampled_from(["", ":/"])
)
def test_any_model_arrives_as_it_was_encoded(edge: LuaFilter, model: str, safe: str) -> None:
    path = f"/v1beta/models/{quote(model, safe=safe)}:generateContent"
    out = ask(edge, path, name=model)
    fits = len(model.encode()) <= 200 and model == model.strip(" ") and not any(ord(c) == 127 for c in model)
    assert (out.status is None) == fits
    if fits:
        assert out.headers["x-headgate-model"].encode("latin1").decode() == model


@SETTINGS
@given(st.binary(min_size=1, max_size=12))
def test_what_is_not_a_name_is_refused(edge: LuaFilter, data: bytes) -> None:
    out = ask(edge, f"/v1beta/models/{quote(data)}:generateContent", name=data.decode("latin1"))
    try:
        text = data.decode()
        fits = text.strip(" ") == text and not any(ord(c) < 32 or ord(c) == 127 or c in '"\\' for c in text)
    except UnicodeDecodeError:
        fits = False
    assert (out.status is None) == fits


@pytest.mark.parametrize("raw", ["%", "a%2", "%zz", "a%", "%ff", "%c0%af", "%ed%a0%80", "%00", "a%22b", "%5c", "%20a", "x" * 201, "%0a"])
def test_badly_encoded_models(edge: LuaFilter, raw: str) -> None:
    out = ask(edge, f"/v1beta/models/{raw}:generateContent")
    assert out.status == 400
    assert out.error["error"]["status"] == "INVALID_ARGUMENT"
    assert "path" in out.error["error"]["message"]


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("key=AIza", ""),
        ("%6bey=AIza", ""),
        ("KEY=AIza&alt=sse", "?alt=sse"),
        ("alt=sse;key=AIza", "?alt=sse"),
        ("access_token=t&oauth_token=t&$httpMethod=GET&$httpHeaders=a:b", ""),
        ("alt=sse&prettyPrint=false", "?alt=sse&prettyPrint=false"),
        ("&&", ""),
    ],
)
def test_no_key_goes_on(edge: LuaFilter, query: str, kept: str) -> None:
    out = ask(edge, f"/v1beta/models/m:generateContent?{query}")
    assert out.dynamic["headgate.model"].get("query", "") == kept
    assert "AIza" not in json.dumps(out.dynamic) + json.dumps(out.headers)


@pytest.mark.parametrize("query", ["alt=sse&alt=json", "alt=sse&%61lt=json", "a%2=1", "x=" + "y" * 2048, "a b"])
def test_queries_that_read_in_two_ways(edge: LuaFilter, query: str) -> None:
    assert ask(edge, f"/v1beta/models/m:generateContent?{query}").status == 400


def test_an_unknown_model_goes_back_to_where_its_answer_is_written(edge: LuaFilter) -> None:
    out = ask(edge, "/v1beta/models/gemini-2:generateContent?key=AIza")
    assert out.headers["x-headgate-model"] == "*"
    assert out.headers[":path"] == "/v1beta/models/gemini-2:generateContent"
    star = facts(NEAR, dialect="gemini-generate-content", operation="chat")
    answer = edge.response([b""], star, {":status": "404"}, dynamic=out.dynamic)
    error = json.loads(answer.body or b"")["error"]
    assert error["code"] == 404
    assert error["status"] == "NOT_FOUND"
    assert "'gemini-2.5-flash'" in error["message"]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"[]", 400),
        (b"{} x", 400),
        (b'{"a":1,}', 400),
        (b'{"model":"n"}', 400),
        (b'{"model":1}', 400),
        (b'{"model":"m","model":"m"}', 400),
    ],
)
def test_bodies_are_checked_as_ever(edge: LuaFilter, body: bytes, status: int) -> None:
    out = ask(edge, "/v1beta/models/m:generateContent", body)
    assert out.status == status
    assert out.error["error"]["code"] == 400


@pytest.mark.parametrize("said", ["m", "models/m"])
def test_the_same_model_in_the_body_is_taken_out(edge: LuaFilter, said: str) -> None:
    """A target may call it otherwise."""
    out = ask(
        edge,
        "/v1beta/models/m:embedContent",
        b'{"a":1, "model" : "%s","content":{}}' % said.encode(),
        template="/v1beta/models/{model}:embedContent",
    )
    assert json.loads(out.body or b"") == {"a": 1, "model": None, "content": {}}


@pytest.mark.parametrize("body", [b"{}", b' { "a":1}', b'{"model":"other"}', b'{"a":{"model":"x"},"model":"gpt-4o"}', b'{"stream":true}'])
def test_a_deployment_becomes_the_bodys_model(edge: LuaFilter, body: bytes) -> None:
    out = azure(edge, body, "my/dep:1")
    read = json.loads(out.body or b"")
    read.pop("stream_options", None)
    assert read == {**json.loads(body), "model": "my/dep:1"}
    assert out.headers[":path"] == "/v1/chat/completions"
    assert out.dynamic["headgate"]["asked"].split(" ", 2)[2] == "my/dep:1"


def test_a_deployment_is_renamed_and_marked_like_any_model(edge: LuaFilter) -> None:
    out = azure(edge, b'{"model":"x"}', rename="up")
    assert json.loads(out.body or b"") == {"model": "up"}
    marked = azure(edge, b'{"n":1}', mark="1")
    a, b = map(int, marked.dynamic["headgate.model"]["at"].split(","))
    assert (marked.body or b"")[a - 1 : b] == b"m"


@pytest.mark.parametrize("body", [b'{"model":"a","model":"b"}', b'{"Model":"a"}', b"[]", b"", b'{"model":["a"]}'])
def test_deployments_do_not_hide_bad_bodies(edge: LuaFilter, body: bytes) -> None:
    out = azure(edge, body)
    assert out.status == 400
    assert out.error["error"]["type"] == "invalid_request_error"


def test_each_target_gets_its_own_path(target: LuaFilter) -> None:
    paths = ("chat=/v1/up:generateContent", "chat/stream=/v1/up:streamGenerateContent", "count_tokens=/v1/up:countTokens")
    context = {"paths": "".join(f"\ngemini-generate-content/{path}" for path in paths) + "\n", "call": "gemini-generate-content/chat"}
    for call, expected in (("stream alt=sse m", "/v1/up:streamGenerateContent?alt=sse"), ("whole  m", "/v1/up:generateContent?alt=sse")):
        noted = {"headgate.model": {"call": call, "query": "?alt=sse"}}
        left = {":path": "/left/by/another/attempt", "x-headgate-call": "left by an attempt whose translator died"}
        out = target.request(b"{}", context, headers=left, dynamic=noted)
        assert "x-headgate-call" not in out.headers
        assert out.headers[":path"] == expected
        assert out.headers["content-length"] == "2"
