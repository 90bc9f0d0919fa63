"""How the edge measures a request for routes that ask for it, and that others are left alone."""

from __future__ import annotations

import base64
import json
import random
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tests.unit.lua.lua_filter import LuaFilter, Outcome, facts

STAR = facts([], dialect="openai-chat", operation="chat")
ALL = {"weigh": "1", "long": "0", "output_weight": "5", "needs": "image,tools,structured-output"}
PICTURE = base64.b64encode(random.Random(1).randbytes(3_000)).decode()


def ask(edge: LuaFilter, body: Any, **told: str) -> Outcome:
    text = body if isinstance(body, bytes) else json.dumps(body, ensure_ascii=False).encode()
    return edge.request(text, STAR, {"m": facts(route="m", dialect="openai-chat", **told)})


def measured(out: Outcome) -> dict[str, str]:
    assert out.status is None, out.error
    names = ("x-headgate-long", "x-headgate-cost", "x-headgate-needs")
    return {name.removeprefix("x-headgate-"): out.headers[name] for name in names if name in out.headers}


def body(content: Any = "hello", **more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": content}], **more}


def test_a_route_that_does_not_ask_gets_nothing(edge: LuaFilter) -> None:
    assert measured(ask(edge, body(tools=[{"x": 1}], max_tokens=5))) == {}


def test_a_short_body_is_not_measured_against_windows(edge: LuaFilter) -> None:
    told = {"weigh": "1", "long": "1000"}
    assert measured(ask(edge, body("x" * 800), **told)) == {}
    size = len(json.dumps(body("x" * 4_000)))
    assert measured(ask(edge, body("x" * 4_000), **told)) == {"long": str(size // 4)}


def test_costs_count_what_the_client_lets_the_answer_be(edge: LuaFilter) -> None:
    told = {"weigh": "1", "output_weight": "5"}
    for more, tokens in (({}, 1024), ({"max_tokens": 10}, 10), ({"max_completion_tokens": 9_000}, 9_000), ({"max_output_tokens": 77}, 77)):
        one = body(**more)
        assert measured(ask(edge, one, **told)) == {"cost": str(len(json.dumps(one)) // 3 + 5 * tokens)}


def test_windows_keep_room_for_a_long_answer(edge: LuaFilter) -> None:
    one = body(generationConfig={"maxOutputTokens": 10_000}, inferenceConfig={"maxTokens": 6_000})
    assert measured(ask(edge, one, weigh="1", long="0")) == {"long": str(len(json.dumps(one)) // 4 + 10_000 - 4_096)}


@pytest.mark.parametrize("value", ["1e9", '"12"', "null", "{}", "-4", "[3]", "0", "99999999999999999999999999"])
def test_odd_lengths_do_not_upset_it(edge: LuaFilter, value: str) -> None:
    text = f'{{"model":"m","max_tokens" : {value}}}'.encode()
    found = measured(ask(edge, text, weigh="1", output_weight="1"))
    assert int(found["cost"]) >= len(text) // 3


def test_files_count_as_pictures_whatever_their_bytes(edge: LuaFilter) -> None:
    contents: list[Any] = [
        [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}],
        [{"type": "image", "source": {"type": "base64", "data": PICTURE}}],
        [{"image": {"format": "png", "source": {"bytes": PICTURE}}}],
        [{"inlineData": {"mimeType": "image/png", "data": PICTURE}}],
    ]
    for content in contents:
        one = body(content)
        text = len(json.dumps(one)) - len(PICTURE)
        assert measured(ask(edge, one, **ALL)) == {
            "long": str(int(text / 4 + 1_600)),
            "cost": str(int(text / 3 + 1_600 + 5 * 1_024)),
            "needs": "image",
        }
        twice = body(content * 2)
        text = len(json.dumps(twice)) - 2 * len(PICTURE)
        assert measured(ask(edge, twice, **ALL))["long"] == str(int(text / 4 + 3_200))


def test_text_in_such_a_field_counts_as_text(edge: LuaFilter) -> None:
    one = body([{"data": "no base64 at all, but words. " * 100}, {"data": "short"}, {"data": 3}, "data"])
    assert measured(ask(edge, one, weigh="1", long="0")) == {"long": str(len(json.dumps(one)) // 4)}


@pytest.mark.parametrize(
    ("more", "needs"),
    [
        ({"tools": []}, None),
        ({"tools": {"a": 1}}, None),
        ({"tools": [{"type": "function"}]}, "tools"),
        ({"toolConfig": {"tools": [{"a": 1}]}}, "tools"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "structured-output"),
        ({"text": {"format": {"type": "json_schema"}}, "tools": [1]}, "tools,structured-output"),
        ({"generationConfig": {"responseSchema": {}}}, "structured-output"),
        ({"input": [{"type": "input_image"}], "tools": [1]}, "image,tools"),
        ({"contents": [{"inlineData": {"mimeType": "image/png", "data": "x"}}]}, "image"),
        ({"tools": [{"type": "image_generation"}]}, "tools"),
    ],
)
def test_what_a_request_needs(edge: LuaFilter, more: dict[str, Any], needs: str | None) -> None:
    assert measured(ask(edge, body(**more), weigh="1", needs=ALL["needs"])) == ({"needs": needs} if needs else {})


def test_only_what_the_route_asks_for_is_looked_for(edge: LuaFilter) -> None:
    assert measured(ask(edge, body(tools=[1], input=[{"type": "input_image"}]), weigh="1", needs="image")) == {"needs": "image"}


WORDS = ("image", "input_image", "json_schema", "responseSchema", "responseJsonSchema")
"""A text that is nothing but one of these, or begins like a media type, counts as the field of that name: README, limits."""


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=300) | st.sampled_from(['"tools":[1]', '"max_tokens":9000000', '"image_url"', '\\"tools\\":[1]', ';base64,"']))
def test_nothing_that_a_user_writes_is_taken_for_a_field(edge: LuaFilter, text: str) -> None:
    assume(not text.startswith(WORDS))
    one = body(text)
    size = len(json.dumps(one, ensure_ascii=False).encode("utf-8", "surrogatepass"))
    found = measured(ask(edge, json.dumps(one, ensure_ascii=False).encode("utf-8", "surrogatepass"), **ALL))
    assert found == {"long": str(size // 4), "cost": str(int(size / 3 + 5 * 1_024))}


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cut=st.binary(max_size=120))
def test_any_bytes_behind_the_name_are_survived(edge: LuaFilter, cut: bytes) -> None:
    out = ask(edge, b'{"model":"m","x":[' + cut.replace(b'"', b"") + b'],"max_tokens":', **ALL)
    assert out.status == 400


def test_the_route_is_chosen_anew_and_the_name_still_changed(edge: LuaFilter) -> None:
    out = ask(edge, body("x" * 50_000, tools=[1]), rename="real-name", **ALL)
    assert measured(out)["needs"] == "tools"
    assert json.loads(out.body or b"")["model"] == "real-name"
