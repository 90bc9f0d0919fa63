"""Strict reading of client bodies: each fault gets its own code, and sound bodies pass."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.dialects import json_body as j
from control_plane.kit.errors import ClientProtocolError

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def nested(levels: int) -> bytes:
    return b'{"a":' + b"[" * (levels - 1) + b"]" * (levels - 1) + b"}"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"{} x", "invalid_json"),
        (b"{'a':1}", "invalid_json"),
        (b'{"a":NaN}', "invalid_json"),
        (b'{"a":Infinity}', "invalid_json"),
        (b'{"a":-Infinity}', "invalid_json"),
        (b'{"a":1e999}', "invalid_json"),
        (b'{"a":1,}', "invalid_json"),
        (b'{"a":"\x01"}', "invalid_json"),
        (b'{"a":"\\ud800"}', "invalid_json"),
        (b"\xef\xbb\xbf{}", "invalid_json"),
        (b'{"a":"\xff"}', "invalid_utf8"),
        (b'{"a":"\xed\xa0\x80"}', "invalid_utf8"),
        (b"[]", "invalid_type"),
        (b'"x"', "invalid_type"),
        (b"null", "invalid_type"),
        (nested(65), "too_deep"),
        (nested(5000), "too_deep"),
        (b'{"a":1,"a":1}', "duplicate_key"),
        (b'{"a":1,"b":2,"a":3}', "duplicate_key"),
        (b'{"model":"x","messages":[],"mod\\u0065l":"y"}', "duplicate_key"),
        (b'{ "a" : [1, 2] , "b":2, "a" : [1, 2] }', "duplicate_key"),
    ],
)
def test_faults(body: bytes, code: str) -> None:
    with pytest.raises(ClientProtocolError) as caught:
        j.parse_object(body)
    assert (caught.value.status, caught.value.code) == (400, code)


def test_a_repeated_key_is_named() -> None:
    with pytest.raises(ClientProtocolError) as caught:
        j.parse_object(b'{"model":"a","messages":[{"x":1,"x":2}],"model":"b"}')
    assert caught.value.param == "model"


def test_what_must_pass() -> None:
    assert j.parse_object(b" \r\n\t{ } \n") == {}
    assert j.parse_object(nested(64))
    assert j.parse_object(b'{"":{"a":1,"a":2}}') == {"": {"a": 2}}, "keys inside are the vendor's business"
    assert j.parse_object(b'{"a\\"b":"}{[","c":1}') == {'a"b': "}{[", "c": 1}
    brackets = {"text": "[{" * 5000}
    assert j.parse_object(json.dumps(brackets).encode()) == brackets, "brackets inside strings are no nesting"


_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@STEADY
@given(st.dictionaries(st.text(), _VALUES, max_size=6), st.booleans(), st.integers(0, 3))
def test_sound_objects_pass_unchanged(value: dict[str, Any], ascii_only: bool, indent: int) -> None:
    try:
        body = json.dumps(value, ensure_ascii=ascii_only, indent=indent or None).encode()
    except UnicodeEncodeError:
        return
    assert j.parse_object(body) == value


@STEADY
@given(st.dictionaries(st.text(), _VALUES, min_size=1, max_size=5), _VALUES, st.randoms(use_true_random=False))
def test_a_repeated_key_is_always_seen(value: dict[str, Any], again: Any, rng: Any) -> None:
    pairs = [f"{json.dumps(k)}: {json.dumps(v)}" for k, v in value.items()]
    pairs.insert(rng.randint(0, len(pairs)), f"{json.dumps(rng.choice(list(value)))}:{json.dumps(again)}")
    with pytest.raises(ClientProtocolError, match="duplicate_key"):
        j.parse_object(("{" + " , ".join(pairs) + "}").encode())


@pytest.mark.parametrize(
    ("read", "value", "said"),
    [
        (j.string, 1, "f.x: expected a string, got a number"),
        (j.boolean, 1, "f.x: expected a boolean, got a number"),
        (j.number, True, "f.x: expected a number, got a boolean"),
        (j.integer, 1.5, "f.x: expected an integer, got a number"),
        (j.array, {}, "f.x: expected an array, got an object"),
        (j.obj, [], "f.x: expected an object, got an array"),
        (j.required_string, None, "f.x: expected a string, got null"),
        (j.required_obj, "s", "f.x: expected an object, got a string"),
    ],
)
def test_wrong_types_name_the_field(read: Any, value: object, said: str) -> None:
    with pytest.raises(ClientProtocolError) as caught:
        read({"x": value}, "x", "f")
    assert caught.value.message == said
    assert caught.value.param == "f.x"


def test_numbers_that_are_whole_pass_as_integers() -> None:
    assert j.integer({"x": 5.0}, "x", "") == 5
    assert j.integer({"x": None}, "x", "") is None
