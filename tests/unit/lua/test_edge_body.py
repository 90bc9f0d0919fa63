"""What the edge filter reads as the model is what every JSON parser reads; what they could read differently is refused."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.lua.lua_filter import LuaFilter, Outcome, facts

STAR = facts([], dialect="openai-chat", operation="chat")
SETTINGS = settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WATCHED = ("model", "stream", "stream_options")


def ask(edge: LuaFilter, body: bytes, name: str | None = None, **told: str) -> Outcome:
    routes = {} if name is None else {name: facts(route=name, dialect="openai-chat", **told)}
    return edge.request(body, STAR, routes)


def asked_model(out: Outcome) -> str | None:
    """The model that the filter read, whether there is a route for it or not."""
    return None if out.status else asked(out)[2]


def asked(out: Outcome) -> list[str]:
    """What the filter announced: dialect, how, model."""
    return str(out.dynamic["headgate"]["asked"]).split(" ", 2)


Pairs = list[tuple[str, Any]]


def readings(body: bytes) -> list[dict[str, Any]]:
    """The top level as different parsers have it: last key wins, first wins, keys without regard to case; [] if no JSON object."""
    out: list[dict[str, Any]] = []
    texts = [body.decode("utf-8", "replace")]
    for text in texts:
        try:
            pairs = json.JSONDecoder(object_pairs_hook=lambda p: p, strict=False).decode(text)
        except (ValueError, RecursionError):
            continue
        if not text.lstrip(" \t\r\n").startswith("{"):
            continue
        top: Pairs = list(pairs)
        out.append(dict(top))
        out.append(dict(reversed(top)))
        out.append({k.lower(): v for k, v in top})
    return out


def check_agreement(edge: LuaFilter, body: bytes) -> str | None:
    """If the filter accepts the body, whoever can parse it must read the same model. Returns that model."""
    out = ask(edge, body)
    model = asked_model(out)
    if model is None:
        assert out.status == 400
        assert out.error["error"]["message"]
        return None
    for reading in readings(body):
        assert reading.get("model") == model.encode("latin1").decode("utf-8", "replace"), body
    return model


ATTACKS = [
    rb'{"model":"a","model":"b"}',
    rb'{"model":"a","mod\u0065l":"b"}',
    rb'{"\u006d\u006f\u0064\u0065\u006c":"b"}',
    rb'{"\u006Dodel":"b","model":"a"}',
    rb'{"model":"a","MODEL":"b"}',
    rb'{"Model":"b"}',
    rb'{"model":"\u0061"}',
    rb'{"model":"a\/b"}',
    rb'{"model":"a","x":{"y":[{"model":"b"}]}} ,',
    rb'{"x":{"model":"b"}}',
    rb'[{"model":"b"}]',
    rb'"model"',
    b"",
    b"   ",
    b"null",
    b'{"model":"a"}\x00',
    b'{"model":"a"}\x00{"model":"b"}',
    b'{"model":"a"}{"model":"b"}',
    b'{"model":"a"}\n// c',
    b'/* c */{"model":"a"}',
    b'{/* "model":"b", */"model":"a"}',
    b"{'model':'a'}",
    b"{model:'a'}",
    b'{"model":"a",}',
    b'{,"model":"a"}',
    b'{"model" "a"}',
    b'{"model":"a" "x":1}',
    b'{"x":[},"model":"a"]}',
    b'{"x":[},"model":"a"}',
    b'{"x":[{"y":[1}]],"model":"a"}',
    b'{"x":"\\","model":"a"}',
    b'{"x":"\\\\","model":"a"}',
    b'{"x":"\\\\\\","model":"a","y":"\\\\"}',
    b'\xef\xbb\xbf{"model":"a"}',
    '{"model":"a"}'.encode("utf-16"),
    '{"model":"a"}'.encode("utf-16-le"),
    '{"model":"a"}'.encode("utf-32-le"),
    b'{"model":"\xff"}',
    b'{"x":"\xc3","model":"a"}',
    b'{"model":"a\x00b"}',
    b'{"model":"a\nb"}',
    b'{"model":["a"]}',
    b'{"model":{"a":1}}',
    b'{"model":12}',
    b'{"model":true}',
    b'{"model":""}',
    b'{"model":"' + b"a" * 201 + b'"}',
    b'{"a":' * 100 + b"1" + b"}" * 100,
    b'{"model":"a","x":' + b"[" * 63 + b"]" * 63 + b"}",
    b'{"model":"a","x":' + b"[" * 64 + b"]" * 64 + b"}",
    b'{"model":"a","x":NaN}',
    b'{"model":"a","x":@}',
    b'{"model":"a","x":}',
    '{"ſtream":true,"model":"a"}'.encode(),
    b'{"stream":true,"stream":false,"model":"a"}',
]


@pytest.mark.parametrize("body", ATTACKS, ids=range(len(ATTACKS)))
def test_corpus(edge: LuaFilter, body: bytes) -> None:
    accepted = check_agreement(edge, body)
    allowed = {
        b'{"x":"\\\\","model":"a"}': "a",
        b'{"x":"\\\\\\","model":"a","y":"\\\\"}': None,
        b'{"model":"\xff"}': "\xff",
        b'{"x":"\xc3","model":"a"}': "a",
        b'{"model":"a","x":NaN}': None,
        b'{"model":"a","x":' + b"[" * 63 + b"]" * 63 + b"}": "a",
    }
    if body != b'{"model":"a","x":NaN}':
        assert accepted == allowed.get(body)


class Members(list[tuple[str, Any]]):
    """An object as its members in order, repeated keys included."""


KEYS = st.sampled_from([*WATCHED, "Model", "MODEL", "messages", "a", "", 'x"model', "modèle", "ſtream", "input"])
STRINGS = st.sampled_from(
    ["a", "b", "gpt-5", "", '"model":"b"', "\\", '\\"', "é", "\U0001f600", '","model":"b', "}]", "\n\t\x00", "x" * 300]
)
LEAVES = st.one_of(STRINGS, st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False))
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.lists(st.tuples(KEYS, inner), max_size=4).map(Members)), max_leaves=12
)


def spell(rng: random.Random, value: Any, escapes: float) -> str:
    """JSON text of a value, with random blanks and with characters escaped at random."""

    def text(s: str) -> str:
        out = []
        for c in s:
            if rng.random() < escapes and ord(c) < 0x10000:
                out.append(f"\\u{ord(c):04x}" if rng.random() < 0.5 else f"\\u{ord(c):04X}")
            else:
                out.append(json.dumps(c, ensure_ascii=rng.random() < 0.5)[1:-1])
        return '"' + "".join(out) + '"'

    def blank() -> str:
        return rng.choice(["", "", "", " ", "\n", "\r\n\t"])

    if isinstance(value, Members):
        return (
            "{" + ",".join(blank() + text(k) + blank() + ":" + blank() + spell(rng, v, escapes) + blank() for k, v in value) + blank() + "}"
        )
    if isinstance(value, list):
        return "[" + ",".join(blank() + spell(rng, v, escapes) + blank() for v in value) + "]"
    return text(value) if isinstance(value, str) else json.dumps(value)


BODIES = st.builds(
    lambda members, seed, escapes: spell(random.Random(seed), Members(members), escapes).encode(),
    st.lists(st.tuples(KEYS, VALUES), max_size=6),
    st.integers(0, 2**32),
    st.sampled_from([0.0, 0.0, 0.05, 0.5]),
)


@SETTINGS
@given(body=BODIES)
def test_every_parser_reads_the_same_model(edge: LuaFilter, body: bytes) -> None:
    check_agreement(edge, body)


@SETTINGS
@given(
    body=BODIES,
    edits=st.lists(st.tuples(st.integers(0, 400), st.sampled_from(list(b'"\\{}[]:,\x00\xff u0mM')), st.booleans()), min_size=1, max_size=3),
)
def test_damaged_bodies(edge: LuaFilter, body: bytes, edits: list[tuple[int, int, bool]]) -> None:
    damaged = bytearray(b'{"model":"gpt-5",' + body[1:])
    for at, byte, insert in edits:
        at %= len(damaged)
        damaged[at : at if insert else at + 1] = bytes([byte])
    check_agreement(edge, bytes(damaged))


@SETTINGS
@given(
    before=st.lists(st.tuples(st.sampled_from(["messages", "a", "tools", "input"]), VALUES), max_size=3),
    after=st.lists(st.tuples(st.just("z"), VALUES), max_size=2),
    seed=st.integers(0, 2**32),
)
def test_honest_bodies_are_accepted_and_renamed(edge: LuaFilter, before: Pairs, after: Pairs, seed: int) -> None:
    rng = random.Random(seed)
    body = spell(rng, Members([*before, ("model", "the-model"), *after]), 0.0).encode()
    out = ask(edge, body, "the-model", rename="up/stream-model", mark="1")
    assert out.status is None
    assert out.body is not None
    a, b = (int(x) for x in out.dynamic["headgate.model"]["at"].split(","))
    assert body[a - 1 : b] == b"the-model"
    assert out.body == body[: a - 1] + b"up/stream-model" + body[b:]
    assert json.loads(out.body)["model"] == "up/stream-model"
    assert out.headers["x-headgate-model"] == "the-model"
    assert not ask(edge, body, "the-model").changed


OPTIONS = [
    "",
    ',"stream_options":null',
    ',"stream_options": { }',
    ',"stream_options":{"include_usage":false}',
    ',"stream_options":{"a":[{"include_usage":true}]}',
]


@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("order", ["model first", "model last"])
@pytest.mark.parametrize("rename", [None, "other-name"])
def test_usage_is_asked_for(edge: LuaFilter, options: str, order: str, rename: str | None) -> None:
    parts = ['"model" : "m"', '"messages":["stream"]', '"stream":true' + options]
    body = ("{" + ",".join(parts if order == "model first" else reversed(parts)) + ',"x":{"stream":1}}').encode()
    out = ask(edge, body, "m", mark="1", **({"rename": rename} if rename else {}))
    assert out.body is not None
    want = json.loads(body)
    want["stream_options"] = {**(want.get("stream_options") or {}), "include_usage": True}
    want["model"] = rename or "m"
    assert json.loads(out.body) == want
    assert asked(out) == ["openai-chat", "trim", "m"]
    if not rename:
        a, b = (int(x) for x in out.dynamic["headgate.model"]["at"].split(","))
        assert (out.body[a - 2 : b + 1], b - a) == (b'"m"', 0)


@pytest.mark.parametrize(
    "rest",
    [
        '"stream":true,"stream_options":{"include_usage":true}',
        '"stream":false',
        '"stream":"true"',
        '"x":{"stream":true}',
        '"stream":true,"stream_options":7',
        '"stream":null',
    ],
)
def test_usage_is_left_alone(edge: LuaFilter, rest: str) -> None:
    body = f'{{"model":"m",{rest}}}'.encode()
    out = ask(edge, body, "m")
    assert (out.body, out.changed, out.status) == (body, False, None)
    assert asked(out)[1] == ("stream" if rest.startswith('"stream":true') else "whole")


def test_announcements(edge: LuaFilter) -> None:
    out = ask(edge, b'{"model":"m"}', "m")
    assert out.dynamic["headgate"] == {"asked": "openai-chat whole m"}
    out = ask(edge, b'{"model":"any name","stream":true,"stream_options":{"include_usage":true}}', "any name")
    assert out.dynamic["headgate"] == {"asked": "openai-chat stream any name"}


def test_a_route_may_take_less_than_others(edge: LuaFilter) -> None:
    body = b'{"model":"m","x":"' + b"y" * 1000 + b'"}'
    out = ask(edge, body, "m", max_bytes="1000")
    assert (out.status, out.error) == (413, {}), "Envoy writes the text, as for its own 413"
    assert ask(edge, body, "m", max_bytes=str(len(body))).status is None


def test_windows_cut_anywhere() -> None:
    """A body of every length and with every kind of text at a window's end reads as it does in one piece."""
    edge, rng = LuaFilter("edge.lua", window=96), random.Random(7)
    for pad in range(200):
        filler = "".join(rng.choice(['\\"', "\\\\", "x", "}", "\\u006d"]) for _ in range(pad))
        body = f'{{"pad":"{filler}","n":-12.5e3 , "list":[[],{{"a":"b"}} ,1],"model" : "m" ,"stream":true}}  '.encode()
        out = ask(edge, body, "m", rename="other")
        assert out.body == body.replace(b'"m"', b'"other"').replace(b"true", b'true,"stream_options":{"include_usage":true}')
    for count in (94, 95, 96, 97, 191, 192, 193):
        pairs, odd = b"\\" * (2 * count), b"\\" * (2 * count + 1)
        assert asked_model(ask(edge, b'{"x":"' + pairs + b'","model":"m"}')) == "m"
        assert ask(edge, b'{"x":"' + odd + b'","model":"m"}').status == 400
    assert ask(edge, b'{"model":"m","x":12' + b" " * 200 + b"34}").status == 400
    assert ask(edge, b'{"model":"m"}' + b" " * 200 + b"{}").status == 400
    assert asked_model(ask(edge, b'{"model":"m"}' + b" " * 200)) == "m"
    assert ask(edge, b'{"model":"' + b"m" * 200 + b'"}').status is None
    assert ask(edge, b'{"model":"' + b"m" * 201 + b'"}').status == 400


def test_large_bodies_cost_little(edge: LuaFilter) -> None:
    """Shapes that make scanners quadratic must not: each is 2 MB and takes far under a second."""
    for filler in (
        b'"x":"' + b'\\"' * 1_000_000 + b'"',
        b'"x":"' + b"\\\\" * 1_000_000 + b'"',
        b'"x":[' + b"1," * 1_000_000 + b"1]",
        b'"x":[' + b"[]," * 600_000 + b"1]",
        b'"x":1,"y":2,' * 150_000 + b'"z":1',
    ):
        began = time.process_time()
        assert asked_model(ask(edge, b"{" + filler + b',"model":"m"}')) == "m"
        assert time.process_time() - began < 1.0


PATHS = {"paths": "\nopenai-chat/chat=/v1/chat?v=1\nopenai-chat/embeddings=/v2/x\n"}
"""What a target's filter context says (the stand-in keeps it in one table with the route's metadata, which says `call`)."""


def test_target_renames_at_the_place_it_is_told(target: LuaFilter) -> None:
    body = b'{"x":1,"model":"alias","t":"\xc3\xa9"}'
    place = {"headgate.model": {"at": "17,21", "query": "?a=b"}}
    out = target.request(
        body,
        {"model": "upstream", **PATHS, "call": "openai-chat/embeddings"},
        headers={":path": "/what/another/attempt/left", "x-headgate-model": "*"},
        dynamic=place,
    )
    assert (out.body, out.headers[":path"], out.headers["content-length"]) == (
        body.replace(b"alias", b"upstream"),
        "/v2/x?a=b",
        str(len(body) + 3),
    )
    out = target.request(body, {"model": "upstream"})
    assert (out.body, out.changed) == (body, False)
    out = target.request(body, {**PATHS, "call": "openai-chat/chat"}, headers={":path": "/v1/y", "x-headgate-model": "*"})
    assert (out.body, out.headers[":path"]) == (body, "/v1/chat?v=1")
    for unknown in ({}, {"call": "openai-chat/fim"}, {"call": "chat/embeddings"}):
        assert target.request(body, {**PATHS, **unknown}, headers={":path": "/v1/y"}).headers[":path"] == "/v1/y"
    for place_of_nothing in ("3,4", "0,1", "1,1", "30,90", "17,9", "16,21"):
        with pytest.raises(Exception, match="no model at"):
            target.request(body, {"model": "upstream"}, dynamic={"headgate.model": {"at": place_of_nothing}})
    for size in (32_760, 32_768, 32_769, 100_000, 2_000_000):
        long = b'{"x":"' + b"y" * size + b'","model":"alias"}'
        at = long.index(b"alias") + 1
        out = target.request(long, {"model": "upstream"}, dynamic={"headgate.model": {"at": f"{at},{at + 4}"}})
        assert out.body == long.replace(b"alias", b"upstream")
