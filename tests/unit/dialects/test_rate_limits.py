"""What answers say is left of a rate limit: the headers that vendors really sent, and values that are none."""

from __future__ import annotations

import pytest

from control_plane.dialects.rate_limits import RateLimits, Unit, read_names, reset_s, wait_s
from control_plane.spec.presets import load_presets

DATE = "Wed, 19 Aug 2026 14:34:00 GMT"


def names_of(preset: str) -> RateLimits:
    limits = load_presets()[preset].rate_limits
    assert limits is not None
    return read_names(limits.model_dump_json(exclude_none=True))


def openai(**headers: str) -> dict[str, str]:
    return {f"x-ratelimit-{name.replace('_', '-')}": value for name, value in headers.items()}


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("60", 60), ("1.5", 1.5), ("0s", 0), ("12ms", 0.012), ("1m30s", 90), ("6m0s", 360), ("1h2m3.5s", 3723.5),
        ("2d", 172_800), ("2026-08-19T14:34:26Z", 26), ("2026-08-19T16:34:26+02:00", 26), ("2026-08-19T14:33:00Z", 0),
        ("Wed, 19 Aug 2026 14:34:30 GMT", 30), ("Wed, 19 Aug 2026 14:33:00 GMT", 0), ("1787150070", 30),
        ("1787150070500", 30.5), ("", None), ("soon", None), ("-5", None), ("1m 30s", None), ("9" * 400, None),
        ("1s" * 50, None), ("NaN", None), ("2026-13-01", None),
    ],
)  # fmt: skip
def test_forms_of_a_reset(value: str, seconds: float | None) -> None:
    found = reset_s(value, DATE)
    assert found == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize("date", [None, "", "yesterday"])
def test_a_time_needs_the_answers_own(date: str | None) -> None:
    assert reset_s("2026-08-19T14:34:26Z", date) is None
    assert reset_s("30", date) == 30


def test_the_wait_is_for_what_is_spent() -> None:
    names = names_of("openai")
    spent = openai(remaining_requests="0", reset_requests="12ms", remaining_tokens="10", reset_tokens="9m")
    assert wait_s(spent, names) == pytest.approx(0.012)
    assert wait_s({**spent, "x-ratelimit-remaining-tokens": "0"}, names) == 540
    assert wait_s(openai(remaining_requests="4", reset_requests="1s"), names) is None
    assert wait_s(openai(reset_requests="1s"), names) is None, "not said to be spent"
    assert wait_s({}, RateLimits(requests=Unit("x"))) is None
