"""Endings as real Envoy wrote them (1.40, one row each), and the words for them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest

from control_plane.signals.attempts import AttemptJoin
from control_plane.signals.classify import AttemptClass, by_error, by_status, classify, outcome
from control_plane.signals.lines import AttemptLine, RequestLine, from_values

RawLine = Callable[..., dict[str, Any]]

# name: (attempt line, request line, class, outcome); what is not given is as in a good stream.
FAILED = {"duration_us": None}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any], str, str]] = {
    "good": ({}, {}, "ok", "ok"),
    "503 of the vendor": ({"status": 503, "ttft_us": None}, {"status": 503}, "transient", "failed"),
    "529 overloaded": ({"status": 529}, {"status": 529}, "transient", "failed"),
    "429": ({"status": 429}, {"status": 429}, "rate_limited", "rate_limited"),
    "402": ({"status": 402}, {"status": 402}, "quota_spent", "client_error"),
    "401": ({"status": 401}, {"status": 401}, "credential_dead", "client_error"),
    "403": ({"status": 403}, {"status": 403}, "credential_dead", "client_error"),
    "400": ({"status": 400}, {"status": 400}, "client_fault", "client_error"),
    "404 of the vendor": ({"status": 404}, {"status": 404}, "client_fault", "client_error"),
    "413": ({"status": 413}, {"status": 413}, "client_fault", "client_error"),
    "first token timer": ({**FAILED, "status": 0, "flags": "UT"}, {"status": 504, "flags": "UT"}, "timeout", "failed"),
    "refused": (
        {**FAILED, "status": 0, "flags": "UF", "details": "delayed_connect_error:_Connection_refused"},
        {"status": 503, "flags": "URX,UF"},
        "connect",
        "failed",
    ),
    "not HTTP": ({**FAILED, "status": 0, "flags": "UPE"}, {"status": 502, "flags": "URX,UPE"}, "unreadable", "failed"),
    "reset before headers": ({**FAILED, "status": 0, "flags": "UC"}, {"status": 503, "flags": "URX,UC"}, "reset", "failed"),
    "reset in the stream": ({**FAILED, "flags": "UPE"}, {"flags": "UPE", "complete": False}, "cut", "cut"),
    "error that was cut": ({**FAILED, "status": 500, "flags": "UPE"}, {"status": 500, "flags": "UPE"}, "transient", "failed"),
    "circuit breaker": ({**FAILED, "status": 0, "flags": "UO"}, {"status": 503, "flags": "UO"}, "local", "failed"),
    "all hosts ejected": ({**FAILED, "status": 0, "flags": "UH"}, {"status": 503, "flags": "UH"}, "connect", "failed"),
    "idle timer": (FAILED, {"flags": "SI", "details": "stream_idle_timeout", "complete": False}, "timeout", "cut"),
    "total timer": (FAILED, {"flags": "UT", "details": "response_timeout", "complete": False}, "timeout", "cut"),
    "client left before headers": ({**FAILED, "status": 0}, {"status": 0, "flags": "DC"}, "cancelled", "cancelled"),
    "client left in the stream": (FAILED, {"flags": "DC", "complete": False}, "cancelled", "cancelled"),
    "HTTP/2 client reset its stream": (FAILED, {"flags": "DR", "complete": False}, "cancelled", "cancelled"),
    "a filter of the target answered": ({**FAILED, "status": 0}, {"status": 500, "details": "lua_response"}, "local", "failed"),
    "no terminal event": ({}, {"complete": False, "finish": None}, "cut", "cut"),
    "error inside a 200": ({}, {"stream_error": "overloaded_error", "complete": False}, "transient", "cut"),
    "quota inside a 200": ({}, {"stream_error": "insufficient_quota"}, "quota_spent", "cut"),
    "limit inside a 200": ({}, {"stream_error": "rate_limit_error"}, "rate_limited", "cut"),
    "client left at the terminal event": (FAILED, {"flags": "DC"}, "ok", "cancelled"),
    "client left a whole answer": ({}, {"flags": "DC"}, "ok", "cancelled"),
    "client left an answer that ended early": ({}, {"flags": "DC", "complete": False}, "cancelled", "cancelled"),
    "client left at the error inside a 200": (
        FAILED,
        {"flags": "DC", "stream_error": "overloaded_error", "complete": False},
        "transient",
        "cut",
    ),
    "reset after the error inside a 200": (
        {**FAILED, "flags": "UPE"},
        {"flags": "UPE", "stream_error": "overloaded_error", "complete": False},
        "cut",
        "cut",
    ),
    "idle after the terminal event": (FAILED, {"flags": "SI", "details": "stream_idle_timeout"}, "timeout", "cut"),
    "not metered": ({}, {"complete": None, "usage": None, "finish": None}, "ok", "ok"),
}


def lines(
    attempt_line: RawLine, request_line: RawLine, attempt: dict[str, Any], request: dict[str, Any]
) -> tuple[AttemptLine, RequestLine]:
    one, two = from_values(attempt_line(**attempt)), from_values(request_line(**request))
    assert isinstance(one, AttemptLine)
    assert isinstance(two, RequestLine)
    return one, two


def has_no_line(attempt: dict[str, Any]) -> bool:
    """As Envoy's filter decides for a first attempt."""
    return 0 < int(attempt.get("status", 200)) < 400 and attempt.get("flags", "-") == "-"


def same(told: AttemptLine, written: AttemptLine) -> bool:
    """Whether two lines say the same of an attempt to whoever counts it; the duration is in whole milliseconds."""
    names = ("id", "n", "operation", "route", "target", "provider", "lane", "status", "flag_set", "ttft_us")
    same_time = told.duration_s == pytest.approx(written.duration_s, abs=0.0015)
    return same_time and all(getattr(told, name) == getattr(written, name) for name in names)


@pytest.mark.parametrize("case", CASES)
def test_every_ending_has_its_word(attempt_line: RawLine, request_line: RawLine, case: str) -> None:
    attempt, request, expected, expected_outcome = CASES[case]
    one, two = lines(attempt_line, request_line, attempt, request)
    assert classify(one, two) == expected
    assert outcome(two) == expected_outcome


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("request_first", [False, True])
def test_either_order_of_the_two_lines_gives_the_same(attempt_line: RawLine, request_line: RawLine, case: str, request_first: bool) -> None:
    attempt, request, expected, _ = CASES[case]
    one, two = lines(attempt_line, request_line, attempt, request)
    join = AttemptJoin()
    early = [*join.request(two, 0.0)] if request_first else [*join.attempt(one, 0.0)]
    late = [*join.attempt(one, 0.0)] if request_first else [*join.request(two, 0.0)]
    ((told, word),) = early + late + list(join.overdue(1e9))
    assert word == expected
    assert same(told, one)


@pytest.mark.parametrize("case", [name for name, (attempt, *_) in CASES.items() if has_no_line(attempt)])
def test_an_attempt_without_a_line_is_what_its_line_would_have_said(attempt_line: RawLine, request_line: RawLine, case: str) -> None:
    attempt, request, expected, _ = CASES[case]
    one, two = lines(attempt_line, request_line, attempt, request)
    join = AttemptJoin()
    ((told, word),) = join.request(two, 0.0)
    assert word == expected == classify(one, two)
    assert same(told, one)
    assert list(join.overdue(1e9)) == []


@pytest.mark.parametrize("status", [0, 503])
def test_a_request_that_did_not_go_well_makes_up_no_attempt(request_line: RawLine, status: int) -> None:
    """Its attempt has a line, and if none was made (no host, no connection to be had) there was no attempt."""
    two = from_values(request_line(status=status, flags="UH"))
    assert isinstance(two, RequestLine)
    join = AttemptJoin()
    assert [*join.request(two, 0.0), *join.overdue(1e9)] == []


@pytest.mark.parametrize("request_first", [False, True])
def test_a_second_attempt_is_never_made_up(attempt_line: RawLine, request_line: RawLine, request_first: bool) -> None:
    failed, _ = lines(attempt_line, request_line, {"status": 503}, {})
    good, request = lines(attempt_line, request_line, {"n": 2, "target": "b/m"}, {"attempts": 2, "target": "b/m"})
    join = AttemptJoin()
    told: list[tuple[AttemptLine, AttemptClass]] = []
    if request_first:
        told += join.request(request, 0.0)
    told += join.attempt(failed, 0.0)
    told += join.attempt(good, 0.0)
    if not request_first:
        told += join.request(request, 0.0)
    assert [*told, *join.overdue(1e9)] == [(failed, "transient"), (good, "ok")]


def test_an_attempt_told_without_its_request_is_not_told_again_with_it(attempt_line: RawLine, request_line: RawLine) -> None:
    one, two = lines(attempt_line, request_line, {}, {})
    join = AttemptJoin(max_wait_s=5)
    assert [*join.attempt(one, 0.0), *join.overdue(6.0)] == [(one, AttemptClass.OK)]
    assert [*join.request(two, 7.0), *join.attempt(one, 7.0), *join.overdue(1e9)] == []


def test_what_is_remembered_of_told_attempts_is_bounded(request_line: RawLine) -> None:
    join = AttemptJoin(max_waiting=10)
    for n in range(100):
        two = from_values(request_line(id=f"r{n}"))
        assert isinstance(two, RequestLine)
        assert len(list(join.request(two, 0.0))) == 1
    assert list(join._told) == [f"r{n}" for n in range(90, 100)]


def test_a_failed_attempt_is_told_before_its_request_ends(attempt_line: RawLine) -> None:
    failed = from_values(attempt_line(status=503, ttft_us=None))
    assert isinstance(failed, AttemptLine)
    assert list(AttemptJoin().attempt(failed, 0.0)) == [(failed, AttemptClass.TRANSIENT)]


def test_an_attempt_whose_request_never_comes_is_told_after_a_while(attempt_line: RawLine) -> None:
    join = AttemptJoin(max_wait_s=5)
    good = from_values(attempt_line())
    assert isinstance(good, AttemptLine)
    assert list(join.attempt(good, 10.0)) == []
    assert list(join.overdue(15.0)) == []
    assert list(join.overdue(15.1)) == [(good, AttemptClass.OK)]
    assert list(join.overdue(99.0)) == []


def test_waiting_is_bounded_and_nothing_is_told_twice_or_never(attempt_line: RawLine, request_line: RawLine) -> None:
    join = AttemptJoin(max_waiting=10)
    told: list[str] = []

    def tell(ended: Iterable[tuple[AttemptLine, AttemptClass]]) -> None:
        told.extend(line.id for line, _ in ended)

    for n in range(100):
        # Each waits for the other's line, which never comes.
        one, two = lines(attempt_line, request_line, {"id": f"a{n}"}, {"id": f"r{n}", "attempts": 2})
        tell(join.attempt(one, 0.0))
        tell(join.request(two, 0.0))
    assert len(told) == 90
    tell(join.overdue(1e9))
    assert sorted(told) == sorted(f"a{n}" for n in range(100))


def test_words_of_vendors_errors() -> None:
    words = {
        "insufficient_quota": "quota_spent",
        "billing_error": "quota_spent",
        "rate_limit_exceeded": "rate_limited",
        "RATE_LIMIT_ERROR": "rate_limited",
        "authentication_error": "credential_dead",
        "permission_error": "credential_dead",
        "invalid_api_key": "credential_dead",
        "invalid_request_error": "client_fault",
        "context_length_exceeded": "context_too_long",
        "overloaded_error": "transient",
        "api_error": "transient",
        "server_error": "transient",
        "something new": "transient",
    }
    assert {word: str(by_error(word)) for word in words} == words


def test_every_status_has_a_class() -> None:
    assert [status for status in range(100, 600) if (by_status(status) is AttemptClass.OK) != (status < 400)] == []
