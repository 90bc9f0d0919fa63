"""Lines in, metrics and windows out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from control_plane.kit.clock import FakeClock
from control_plane.signals.classify import AttemptClass
from control_plane.signals.ended import Ended
from control_plane.signals.lines import from_values
from control_plane.signals.recent import RecentLines
from control_plane.signals.traffic import Traffic
from control_plane.signals.windows import Sketch, TargetWindows
from control_plane.telemetry.metrics import Metrics

RawLine = Callable[..., dict[str, Any]]

LINE_TIME = 1795178340.22
"""2026-11-20T12:39:00.22Z, when the example lines begin."""


@pytest.fixture
def now() -> FakeClock:
    return FakeClock(start=LINE_TIME + 1)


@pytest.fixture
def traffic(metrics: Metrics, now: FakeClock) -> Traffic:
    return Traffic(metrics, now)


def failover(request_line: RawLine, attempt_line: RawLine, request_id: str = "r") -> list[Any]:
    """A request that openai refused with 503 and anthropic served."""
    served = {"target": "anthropic/claude", "provider": "anthropic", "lane": "translation"}
    return [
        from_values(attempt_line(id=request_id, status=503, ttft_us=50, duration_us=900, duration_ms=0)),
        from_values(attempt_line(id=request_id, n="2", **served)),
        from_values(request_line(id=request_id, attempts=2, **served)),
    ]


def test_a_failover_is_one_request_and_two_attempts(
    traffic: Traffic, metrics: Metrics, request_line: RawLine, attempt_line: RawLine
) -> None:
    traffic.consume(failover(request_line, attempt_line))
    served = {"route": "chat", "provider": "anthropic", "target": "anthropic/claude", "lane": "translation"}
    asked = {"dialect": "openai-chat", "operation": "chat", "status_class": "2xx", "outcome": "ok"}
    assert metrics.value("headgate_requests_total", **served, **asked) == 1
    first = {"route": "chat", "provider": "openai", "target": "openai/gpt-5", "lane": "passthrough"}
    assert metrics.value("headgate_attempts_total", **first, **{"class": "transient"}) == 1
    assert metrics.value("headgate_attempts_total", **served, **{"class": "ok"}) == 1
    tokens = {
        kind: metrics.value("headgate_tokens_total", **served, dialect="openai-chat", type=kind)
        for kind in ("input", "cached", "output", "reasoning")
    }
    assert tokens == {"input": 1204, "cached": 1000, "output": 388, "reasoning": 64}
    assert metrics.value("headgate_request_attempts_bucket", route="chat", le="2.0") == 1
    assert metrics.value("headgate_request_attempts_bucket", route="chat", le="1.0") == 0
    ttft = {"route": "chat", "dialect": "openai-chat", "lane": "translation"}
    assert metrics.value("headgate_request_time_to_first_token_seconds_sum", **ttft) == pytest.approx(0.252834)
    # The first byte of the 503's body is no token.
    failed = {"provider": "openai", "target": "openai/gpt-5", "lane": "passthrough"}
    assert metrics.value("headgate_attempt_time_to_first_token_seconds_count", **failed) is None
    assert metrics.value("headgate_attempt_duration_seconds_count", **failed) == 1


def test_the_same_lines_again_count_nothing(traffic: Traffic, metrics: Metrics, request_line: RawLine, attempt_line: RawLine) -> None:
    lines = failover(request_line, attempt_line)
    traffic.consume(lines)
    before = {line for line in metrics.text().decode().splitlines() if not line.startswith("headgate_journal")}
    traffic.consume(lines)
    traffic.consume(lines[1:])
    assert {line for line in metrics.text().decode().splitlines() if not line.startswith("headgate_journal")} == before
    assert metrics.value("headgate_journal_skipped_lines_total", reason="duplicate") == 5


def test_the_memory_for_repeats_is_bounded(request_line: RawLine) -> None:
    recent = RecentLines(kept=3)
    lines = [from_values(request_line(id=str(n))) for n in range(5)]
    assert [recent.is_new(line) for line in lines] == [True] * 5
    assert [recent.is_new(line) for line in reversed(lines)] == [False, False, False, True, True]


def test_an_unknown_model_is_other_and_its_name_is_no_label(traffic: Traffic, metrics: Metrics, request_line: RawLine) -> None:
    nothing = {
        "route": None,
        "target": None,
        "provider": None,
        "lane": None,
        "usage": None,
        "attempts": 0,
        "complete": None,
        "finish": None,
    }
    traffic.consume([from_values(request_line(id=str(n), model=f"made-up-{n}", status=404, **nothing)) for n in range(50)])
    text = metrics.text().decode()
    assert "made-up" not in text
    labels = {"route": "other", "provider": "none", "target": "none", "lane": "none", "dialect": "openai-chat", "operation": "chat"}
    assert metrics.value("headgate_requests_total", **labels, status_class="4xx", outcome="client_error") == 50


def test_incomplete_and_unmetered_answers_are_counted(traffic: Traffic, metrics: Metrics, request_line: RawLine) -> None:
    traffic.consume(
        [
            from_values(request_line(id="cut", complete=False)),
            from_values(request_line(id="left", complete=False, flags="DC")),
            from_values(request_line(id="unmetered", usage=None)),
            from_values(request_line(id="failed", usage=None, status=503)),
        ]
    )
    place = {"route": "chat", "provider": "openai", "target": "openai/gpt-5", "lane": "passthrough"}
    assert metrics.value("headgate_incomplete_responses_total", **place) == 1
    assert metrics.value("headgate_unmetered_responses_total", **place) == 1


def test_the_gap_between_tokens(traffic: Traffic, request_line: RawLine) -> None:
    """388 tokens from 252.8 ms to 453 ms; an answer that was cut or not streamed says nothing of it."""
    traffic.consume([from_values(request_line()), from_values(request_line(id="whole", stream=False, duration_ms=9000))])
    traffic.consume([from_values(request_line(id="cut", complete=False, duration_ms=9000))])
    windows: Any = traffic.targets()[0]["windows"]
    assert windows["60s"]["token_gap_ms"] == pytest.approx((453 - 252.834) / 387, abs=0.05)


def test_observers_are_told_of_every_attempt(traffic: Traffic, now: FakeClock, request_line: RawLine, attempt_line: RawLine) -> None:
    told: list[Ended] = []
    traffic.observers.append(lambda ended, at: told.append(ended))
    limited = attempt_line(id="l", status=429, limits="7,;;", duration_us=50_000, duration_ms=50)
    traffic.consume([*failover(request_line, attempt_line), from_values(limited)])
    assert [(one.target, one.found, one.first) for one in told] == [
        ("openai/gpt-5", AttemptClass.TRANSIENT, True),
        ("anthropic/claude", AttemptClass.OK, False),
        ("openai/gpt-5", AttemptClass.RATE_LIMITED, True),
    ]
    assert told[1].first_token_s is not None
    assert told[0].first_token_s is told[0].recovers_at is told[1].recovers_at is None
    assert told[2].recovers_at == pytest.approx(told[2].ended_at + 7)


@pytest.mark.parametrize("usage", [{"input": -5, "output": 10**15}, {"input": 1.5, "output": "x"}])
def test_nonsense_usage_moves_no_counter(traffic: Traffic, metrics: Metrics, request_line: RawLine, usage: dict[str, Any]) -> None:
    traffic.consume([from_values(request_line(usage=usage))])
    assert "headgate_tokens_total{" not in metrics.text().decode()


@pytest.mark.parametrize(
    "change", [{"duration_ms": -1, "ttft_us": -5, "head_us": -5}, {"attempts": None, "status": None, "duration_ms": None, "ttft_us": None}]
)
def test_odd_numbers_do_not_stop_the_consumer(
    traffic: Traffic, request_line: RawLine, attempt_line: RawLine, change: dict[str, Any]
) -> None:
    attempt = {name: value for name, value in change.items() if name in ("duration_ms", "ttft_us", "status")}
    traffic.consume([from_values(attempt_line(**attempt, duration_us=None)), from_values(request_line(**change))])
    assert traffic.targets()[0]["target"] == "openai/gpt-5"


def test_windows_forget_and_a_backlog_is_not_the_present(
    traffic: Traffic, now: FakeClock, request_line: RawLine, attempt_line: RawLine
) -> None:
    old = "2026-11-20T12:33:30.000000Z"  # 5 min 30 s before the others
    traffic.consume([from_values(attempt_line(id=f"old{n}", status=503, start=old)) for n in range(7)])
    traffic.consume(failover(request_line, attempt_line))
    views = traffic.windows.read("openai/gpt-5", now.now())
    assert {name: view.attempts for name, view in views.items()} == {"10s": 1, "60s": 1, "5m": 1}
    assert views["10s"].faults == 1
    now.advance(30)
    assert {name: view.attempts for name, view in traffic.windows.read("openai/gpt-5", now.now()).items()} == {"10s": 0, "60s": 1, "5m": 1}
    now.advance(600)
    assert {name: view.attempts for name, view in traffic.windows.read("openai/gpt-5", now.now()).items()} == {"10s": 0, "60s": 0, "5m": 0}


def test_a_target_row_is_what_the_cli_prints(traffic: Traffic, request_line: RawLine, attempt_line: RawLine) -> None:
    traffic.consume(failover(request_line, attempt_line))
    row = traffic.targets()[0]
    assert (row["target"], row["provider"], row["lane"]) == ("anthropic/claude", "anthropic", "translation")
    windows = row["windows"]
    assert isinstance(windows, dict)
    assert windows["60s"]["classes"] == {"ok": 1}
    assert windows["60s"]["ttft_ms_p50"] == pytest.approx(252, rel=0.05)


def test_sketch_quantiles_are_within_five_percent() -> None:
    sketch = Sketch()
    values = [0.001 * 1.01**n for n in range(1000)]
    for value in values:
        sketch.add(value)
    for share in (0.01, 0.5, 0.9, 0.99):
        assert sketch.quantile(share) == pytest.approx(values[int(share * 999)], rel=0.06)
    assert Sketch().quantile(0.5) is None
    for value in (-1.0, 0.0, 1e-9, 1e9):
        sketch.add(value)
    assert len(sketch._bins) < 170


def test_targets_are_bounded_and_the_quietest_goes() -> None:
    windows = TargetWindows(max_targets=3)
    for name in ("a", "b", "c", "a", "d"):
        windows.add(name, None, None, AttemptClass.OK, 0.1, 100.0, 100.0)
    assert [row["target"] for row in windows.rows(100.0)] == ["a", "c", "d"]


def test_a_clock_that_is_ahead_counts_as_now() -> None:
    windows = TargetWindows()
    windows.add("a", None, None, AttemptClass.OK, None, 10_000.0, 100.0)
    assert windows.read("a", 100.0)["10s"].attempts == 1


def test_what_vendors_say_is_left_of_their_limits(traffic: Traffic, metrics: Metrics, request_line: RawLine) -> None:
    served = {"target": "anthropic/claude", "provider": "anthropic", "lane": "translation"}
    for number, limits in enumerate([";119/250/;9000//", ";;8999/10000/1s", ";x/1/;-1/2/", "", None, "9" * 400]):
        traffic.consume([from_values(request_line(id=f"r{number}", limits=limits, **served))])
    where = {"provider": "anthropic", "target": "anthropic/claude"}
    assert metrics.value("headgate_target_ratelimit_remaining", **where, unit="requests") == 119
    assert metrics.value("headgate_target_ratelimit_limit", **where, unit="requests") == 250
    assert metrics.value("headgate_target_ratelimit_remaining", **where, unit="tokens") == 8999
    assert metrics.value("headgate_target_ratelimit_limit", **where, unit="tokens") == 10000


def test_the_row_of_a_target_shows_them(traffic: Traffic, request_line: RawLine) -> None:
    served = {"target": "anthropic/claude", "provider": "anthropic", "lane": "passthrough"}
    traffic.consume([from_values(request_line(limits=";119/250/20s;", **served))])
    (row,) = traffic.targets()
    ended_at = only_end(traffic)
    assert row["ratelimit"] == {"requests": {"remaining": 119, "limit": 250, "reset_at": ended_at + 20}}
    traffic.consume([from_values(request_line(id="silent", limits=";//;//", **served))])
    assert traffic.targets()[0]["ratelimit"] == row["ratelimit"], "an answer that says nothing changes nothing"


def only_end(traffic: Traffic) -> float:
    told = traffic.windows.limits("anthropic/claude")
    assert told is not None
    return told.at_s
