"""Decoding: what Envoy writes becomes typed values; a bad value costs that value, not the line."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.signals.formats import ATTEMPT_FORMAT, REQUEST_FORMAT
from control_plane.signals.lines import (
    MAX_TOKENS,
    AttemptLine,
    Malformed,
    Metered,
    RequestLine,
    Usage,
    decode,
    from_tags,
    metered,
    tokens,
)

RawLine = Callable[..., dict[str, Any]]


def test_a_request_line_is_typed(request_line: RawLine) -> None:
    line = decode(json.dumps(request_line()).encode())
    assert isinstance(line, RequestLine)
    assert line.start == datetime.datetime(2026, 11, 20, 12, 39, 0, 220473, tzinfo=datetime.UTC)
    assert (line.status, line.attempts, line.stream) == (200, 1, True)
    assert (line.dialect, line.model, line.operation, line.route) == ("openai-chat", "chat", "chat", "chat")
    assert (line.lane, line.target, line.provider) == ("passthrough", "openai/gpt-5", "openai")
    used = Usage(input=1204, cached=1000, cache_write=0, output=388, reasoning=64)
    assert line.meter() == Metered(usage=used, finish="stop", complete=True)
    assert line.first_token_s == pytest.approx(0.252834)


def test_numbers_may_be_strings_and_missing_values_may_be_dashes(attempt_line: RawLine) -> None:
    raw = attempt_line(n="3", status="503", ttft_us="-", duration_us="-", duration_ms="452", call="-", at="-")
    line = decode(json.dumps(raw).encode())
    assert isinstance(line, AttemptLine)
    assert (line.n, line.status, line.ttft_us, line.duration_us, line.duration_ms) == (3, 503, None, None, 452)
    assert (line.operation, line.route, line.lane, line.target, line.provider) == (None,) * 5
    assert line.duration_s == 0.452


def test_the_format_tables_and_the_types_have_the_same_fields() -> None:
    for table, kind in ((REQUEST_FORMAT, RequestLine), (ATTEMPT_FORMAT, AttemptLine)):
        assert set(table) == {"log"} | {field.name for field in msgspec.structs.fields(kind)}


def test_no_credential_header_is_ever_logged() -> None:
    text = "".join((*REQUEST_FORMAT.values(), *ATTEMPT_FORMAT.values()))
    assert set(re.findall(r"REQ\(([^)]*)\)", text)) == {"X-REQUEST-ID", "X-ENVOY-ATTEMPT-COUNT"}
    told = {name for names in re.findall(r"RESP\(([^)]*)\)", text) for name in names.split("?")}
    limits = {name for name in told if re.fullmatch(r"(X|ANTHROPIC)-RATELIMIT-[A-Z]+-[A-Z]+", name)}
    assert told - limits == {"X-HEADGATE-FAULT", "RETRY-AFTER", "RETRY-AFTER-MS"}


NOTHING = dict.fromkeys(("operation", "route", "lane", "target", "provider", "dialect", "stream", "model"))
ODD_TEXTS: list[tuple[dict[str, str], dict[str, Any]]] = [
    ({}, {}),
    ({"call": "", "asked": "", "at": ""}, {}),
    ({"call": " ", "asked": " ", "at": " "}, {}),
    ({"call": "chat", "asked": "openai-chat", "at": "translation"}, {"operation": "chat", "dialect": "openai-chat", "lane": "translation"}),
    ({"call": "chat ", "asked": "openai-chat "}, {"operation": "chat", "dialect": "openai-chat"}),
    ({"call": " only-route", "at": " p/m"}, {"route": "only-route", "target": "p/m", "provider": "p"}),
    ({"asked": "openai-chat trim"}, {"dialect": "openai-chat", "stream": True}),
    ({"asked": "openai-chat whole "}, {"dialect": "openai-chat", "stream": False}),
    ({"asked": "openai-chat stream m"}, {"dialect": "openai-chat", "stream": True, "model": "m"}),
    ({"asked": "openai-chat  m"}, {"dialect": "openai-chat", "model": "m"}),
    ({"asked": "anthropic-messages whole  my  model "}, {"dialect": "anthropic-messages", "stream": False, "model": " my  model "}),
    ({"asked": "openai-chat whole stream"}, {"dialect": "openai-chat", "stream": False, "model": "stream"}),
    ({"asked": "openai-chat whole a;b\tc\n"}, {"dialect": "openai-chat", "stream": False, "model": "a;b\tc\n"}),
    ({"at": "passthrough no-model"}, {"lane": "passthrough", "target": "no-model", "provider": "no-model"}),
    ({"at": "passthrough /m"}, {"lane": "passthrough", "target": "/m"}),
    ({"at": "passthrough p/org/a model"}, {"lane": "passthrough", "target": "p/org/a model", "provider": "p"}),
]


@pytest.mark.parametrize(("texts", "said"), ODD_TEXTS)
def test_a_text_says_what_it_has_and_no_more(texts: dict[str, str], said: dict[str, Any]) -> None:
    start = datetime.datetime(2026, 11, 20, tzinfo=datetime.UTC)
    request = RequestLine(id="x", start=start, **texts)  # type: ignore[arg-type]
    assert {name: getattr(request, name) for name in NOTHING} == {**NOTHING, **said}
    attempt = request.only_attempt()
    placed = ("operation", "route", "lane", "target", "provider")
    assert {name: getattr(attempt, name) for name in placed} == {name: said.get(name) for name in placed}


@pytest.mark.parametrize(
    ("text", "known"),
    [
        ("", Metered()),
        (";;;", Metered()),
        ("0", Metered(complete=False)),
        ("1;", Metered(complete=True)),
        ("true;7", Metered(usage=Usage(input=7))),
        ("1;7,0,0,8,9;stop;", Metered(usage=Usage(input=7, cached=0, cache_write=0, output=8, reasoning=9), finish="stop", complete=True)),
        ("0;,,,,;;", Metered(usage=Usage(), complete=False)),
        ("0;,,,8", Metered(usage=Usage(output=8), complete=False)),
        ("0;1,2,3,4,5,6,7;;", Metered(usage=Usage(input=1, cached=2, cache_write=3, output=4, reasoning=5), complete=False)),
        ("0;1e+16,-1,1.5,nan, 7;;", Metered(usage=Usage(), complete=False)),
        ("0;\u0663,\u00b2,\x00,8,+9;;", Metered(usage=Usage(output=8), complete=False)),
        (f"0;{'9' * 15},{'9' * 16},{'9' * 5000},0x10,007;;", Metered(usage=Usage(input=10**15 - 1, reasoning=7), complete=False)),
        ("0;;;overloaded_error", Metered(complete=False, stream_error="overloaded_error")),
        ("0;;a,b c;d;e;f", Metered(complete=False, finish="a,b c", stream_error="d;e;f")),
        ("usage", Metered()),
        ('{"complete":true,"usage":{"input":7}}', Metered()),
    ],
)
def test_the_meters_text_is_read(request_line: RawLine, text: str, known: Metered) -> None:
    assert metered(text) == known
    line = decode(json.dumps(request_line(edge=text)).encode())
    assert isinstance(line, RequestLine)
    assert line.meter() == known


@given(st.text(alphabet=st.sampled_from("01;;;,,,-.e+ 9\u0663\u00b2") | st.characters()))
def test_no_text_of_the_meter_raises(text: str) -> None:
    known = metered(text)
    for count in msgspec.structs.astuple(known.usage or Usage()):
        assert count is None or 0 <= count < 10**15
    assert known.complete in (None, True, False)
    assert (known.finish, known.stream_error) != ("", "")
    assert msgspec.json.decode(msgspec.json.encode(known), type=Metered) == known


@given(
    complete=st.booleans(),
    counts=st.lists(st.none() | st.integers(0, 10**15 - 1), min_size=5, max_size=5),
    finish=st.none() | st.text(st.characters(exclude_characters=";"), min_size=1),
    error=st.none() | st.text(min_size=1),
)
def test_what_the_meter_tells_comes_back(complete: bool, counts: list[int | None], finish: str | None, error: str | None) -> None:
    usage = ",".join("" if n is None else str(n) for n in counts)
    read = metered(f"{complete:d};{usage};{finish or ''};{error or ''}")
    assert read == Metered(usage=Usage(*counts), finish=finish, complete=complete, stream_error=error)


@pytest.mark.parametrize(
    "usage", [{"input": 1e300, "output": 7}, {"input": "many", "output": 7}, {"input": [1], "output": 7.0}, {"input": {}, "output": "7"}]
)
def test_a_provider_that_reports_nonsense_does_not_hide_the_request(request_line: RawLine, usage: dict[str, Any]) -> None:
    told = {"usage": usage, "finish": "stop", "complete": True}
    line = decode(json.dumps(request_line(lane="translation", translation=told)).encode())
    assert isinstance(line, RequestLine)
    assert line.meter() == Metered(usage=Usage(output=7), finish="stop", complete=True)
    assert line.status == 200


@pytest.mark.parametrize("usage", [5, "text", [1, 2], True])
def test_usage_that_is_no_object_is_no_usage(request_line: RawLine, usage: Any) -> None:
    told = {"usage": usage, "finish": "stop", "complete": True}
    line = decode(json.dumps(request_line(lane="translation", translation=told)).encode())
    assert isinstance(line, RequestLine)
    assert line.meter() == Metered(finish="stop", complete=True)
    assert line.id == request_line()["id"]


def test_token_counts_out_of_any_reason_are_not_counted() -> None:
    assert [tokens(value) for value in (0, 5, MAX_TOKENS, MAX_TOKENS + 1, -1, None)] == [0, 5, MAX_TOKENS, None, None, None]


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (b"", "json"),
        (b"not json", "json"),
        (b'{"log":"request","id":"x"', "json"),
        (b'{"log":"request","id":"x"} tail', "json"),
        (b"[1]", "shape"),
        (b"{}", "shape"),
        (b'{"log":"other","id":"x","start":"2026-11-20T12:39:00Z"}', "shape"),
        (b'{"log":"request","start":"2026-11-20T12:39:00Z"}', "shape"),
        (b'{"log":"attempt","id":"x","start":"yesterday"}', "shape"),
        (b'{"log":"attempt","id":"\xff","start":"2026-11-20T12:39:00Z"}', "text"),
    ],
)
def test_what_is_no_line_says_why(raw: bytes, kind: str) -> None:
    with pytest.raises(Malformed) as caught:
        decode(raw)
    assert caught.value.kind == kind


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(max_size=5), lambda x: st.dictionaries(st.text(max_size=5), x)).map(
        lambda v: json.dumps(v).encode()
    )
)
def test_no_bytes_raise_anything_but_malformed(raw: bytes) -> None:
    try:
        decode(raw)
    except Malformed:
        return


@given(
    st.dictionaries(
        st.sampled_from(sorted(REQUEST_FORMAT)),
        st.none()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8)
        | st.booleans()
        | st.lists(st.integers(), max_size=2),
    )
)
def test_any_value_in_any_field_keeps_the_line(change: dict[str, Any]) -> None:
    for name in ("log", "id", "start"):
        change.pop(name, None)
    line = decode(json.dumps({"log": "request", "id": "x", "start": "2026-11-20T12:39:00Z", **change}).encode())
    assert isinstance(line, RequestLine)
    assert line.id == "x"
    for name in NOTHING:
        getattr(line, name)
    line.meter()


@pytest.mark.parametrize("edge", [5, "text", [1, 2], True, None, {}])
def test_a_meter_that_says_nothing_usable_is_no_meter(request_line: RawLine, edge: Any) -> None:
    line = decode(json.dumps({**request_line(), "edge": edge}).encode())
    assert isinstance(line, RequestLine)
    assert line.meter() == Metered()
    assert line.status == 200


def test_a_missing_value_may_be_null_or_left_out(request_line: RawLine, attempt_line: RawLine) -> None:
    nothing = dict.fromkeys(("call", "at", "ttft_us"))
    for raw in (request_line(**nothing, asked=None, edge=None, translation=None), attempt_line(**nothing)):
        shorter = {name: value for name, value in raw.items() if value is not None}
        assert len(shorter) < len(raw)
        assert decode(json.dumps(shorter).encode()) == decode(json.dumps(raw).encode())


def test_the_only_attempt_counts_from_when_the_provider_was_asked(request_line: RawLine) -> None:
    """A client that takes 3 s to send its request makes no provider slow."""
    slow = decode(json.dumps(request_line(sent_us=3_001_065, ttft_us=3_252_834, head_us=3_102_235, duration_ms=3453)).encode())
    assert isinstance(slow, RequestLine)
    only = slow.only_attempt()
    assert (only.ttft_us, only.duration_us, only.duration_ms) == (251_769, 451_935, 452)
    assert only.start == slow.start + datetime.timedelta(microseconds=3_001_065)
    assert (only.n, only.status, only.flags, only.call, only.at) == (1, 200, "-", slow.call, slow.at)
    assert slow.first_token_s == 3.252834


@pytest.mark.parametrize("sent_us", [None, -5, 10**18])
def test_an_odd_time_makes_no_odd_attempt(request_line: RawLine, sent_us: int | None) -> None:
    line = decode(json.dumps(request_line(sent_us=sent_us)).encode())
    assert isinstance(line, RequestLine)
    only = line.only_attempt()
    assert only.start >= line.start
    assert only.duration_us is not None
    assert 0 <= only.duration_us <= 453_000


def test_the_translators_word_counts_only_where_it_translated_the_last_attempt(request_line: RawLine) -> None:
    told = {"usage": {"input": 9, "output": 9}, "complete": False, "stream_error": "overloaded_error"}
    translated = decode(json.dumps(request_line(lane="translation", usage=None, complete=None, translation=told)).encode())
    # The metadata of a translated attempt that failed stays in the line of a request that another lane served.
    served_elsewhere = decode(json.dumps(request_line(lane="passthrough", translation=told)).encode())
    assert isinstance(translated, RequestLine)
    assert isinstance(served_elsewhere, RequestLine)
    assert (translated.meter().usage, translated.meter().complete) == (Usage(input=9, output=9), False)
    assert (served_elsewhere.meter().complete, served_elsewhere.meter().stream_error) == (True, None)


def test_first_token_is_when_a_held_answer_was_let_go(request_line: RawLine) -> None:
    held = decode(json.dumps(request_line(ttft_us=200_000, head_us=900_000)).encode())
    local = decode(json.dumps(request_line(ttft_us=None, head_us=50)).encode())
    assert isinstance(held, RequestLine)
    assert isinstance(local, RequestLine)
    assert (held.first_token_s, local.first_token_s) == (0.9, None)


def test_tags_become_the_same_line_as_json(request_line: RawLine, attempt_line: RawLine) -> None:
    for raw in (request_line(), attempt_line()):
        tags = {name: value if isinstance(value, str) else json.dumps(value) for name, value in raw.items() if value is not None}
        assert from_tags(tags) == decode(json.dumps(raw).encode())


def test_decoding_is_fast_enough_for_a_busy_gateway(request_line: RawLine) -> None:
    """A tenth of the rate that is wanted (200,000 lines a second a core), so that a busy machine does not fail it."""
    raw = json.dumps(request_line()).encode()
    began = time.process_time()
    for _ in range(20_000):
        decode(raw)
    assert 20_000 / (time.process_time() - began) > 20_000
