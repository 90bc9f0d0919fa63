"""Durations and quantities: what is read, what is refused, and that writing them loses nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.spec.quantities import format_duration, format_quantity, parse_duration, parse_quantity


@pytest.mark.parametrize(
    ("text", "value_ms"),
    [("300ms", 300), ("2s", 2000), ("10m", 600_000), ("1h", 3_600_000), ("1m30s", 90_000), ("1.5s", 1500), ("0.001s", 1), ("0s", 0)],
)
def test_a_duration_is_read_in_milliseconds(text: str, value_ms: int) -> None:
    assert parse_duration(text) == value_ms


@pytest.mark.parametrize(
    "text", ["", "2", "s", "2 s", "-2s", "+2s", "2S", "2d", "1.5ms", "2s ", "1e3s", "٣s", "1" * 10 + "s", "1s" * 30, "2s;"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_duration(text)


@given(st.integers(min_value=0, max_value=24 * 3_600_000))
def test_a_written_duration_is_read_back(value_ms: int) -> None:
    assert parse_duration(format_duration(value_ms)) == value_ms


@pytest.mark.parametrize(
    ("text", "value"),
    [("2M", 2_000_000), ("400k", 400_000), ("32Mi", 33_554_432), ("4Ki", 4096), ("1.5k", 1500), ("0.5Ki", 512), ("12", 12), ("1G", 10**9)],
)
def test_a_quantity_is_read(text: str, value: int) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "M", "2m", "2K", "2MB", "-1", "1e3", "0.5", "1.0001k", "1 k", "0x10", "9" * 19, "٣k"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_quantity(text)


@given(st.integers(min_value=0, max_value=10**15))
def test_a_written_quantity_is_read_back(value: int) -> None:
    assert parse_quantity(format_quantity(value)) == value
