"""What operators type: times, durations, weights, and what is printed of odd answers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from control_plane.cli.main import app
from control_plane.cli.overrides_table import acks, effect, overrides_table
from control_plane.cli.overriding import lasting, moment

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("text", "after_s"),
    [
        ("12:30", 1800),
        ("11:00", 23 * 3600),
        ("12:00", 24 * 3600),
        ("2026-11-28T13:00Z", 3600),
        ("2026-11-28T13:00", 3600),
        ("2026-11-28T14:00+01:00", 3600),
    ],
)
def test_times(text: str, after_s: float) -> None:
    assert moment(text, NOON) == NOON + after_s


@pytest.mark.parametrize("text", ["25:00", "12:60", "noon", "12", "2026-13-01T00:00", ":"])
def test_what_is_no_time(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as caught:
        moment(text, NOON)
    assert caught.value.exit_code == 2
    assert f"--until {text}: not a time; for example 14:30 (UTC)" in capsys.readouterr().err


def test_how_long() -> None:
    assert lasting("", "", NOON) == {}
    assert lasting("90s", "", NOON) == {"for_s": 90}
    assert lasting("never", "", NOON) == {"never": True}
    assert lasting("", "12:30", NOON) == {"until": NOON + 1800}
    with pytest.raises(typer.Exit):
        lasting("5m", "12:30", NOON)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("drain", "provider/a"), "--reason"),
        (("uncordon", "provider/a"), "--reason"),
        (("weight", "route/a", "b", "--reason", "x"), "b: not TARGET=WEIGHT"),
        (("weight", "route/a", "b/c=x", "--reason", "x"), "b/c=x: not TARGET=WEIGHT"),
        (("drain", "provider/a", "--reason", "x", "--for", "soon"), "--for soon: not a duration"),
        (("drain", "provider/a", "--reason", "x", "--step", "5"), "--step 5: not a duration"),
    ],
)
def test_usage(words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, [*words, "--admin", "127.0.0.1:1"])
    assert (done.exit_code, said in done.output) == (2, True), done.output


def test_nobody_there() -> None:
    done = CliRunner().invoke(app, ["drain", "provider/a", "--reason", "x", "--admin", "127.0.0.1:1"])
    assert (done.exit_code, "no control plane at 127.0.0.1:1" in done.output) == (1, True)
    done = CliRunner().invoke(app, ["undo", "ov-1", "--admin", "127.0.0.1:1", "--token-file", "/nonexistent"])
    assert (done.exit_code, "--token-file /nonexistent: cannot be read" in done.output) == (1, True)


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ({"changed": True, "accepted": True, "acked": 6, "nodes": 6, "seconds": 0.41}, "acked by 6/6 Envoys in 0.4 s"),
        ({"changed": True, "accepted": True, "acked": 5, "nodes": 6, "seconds": 5.0}, "acked by 5/6 Envoys in 5.0 s"),
        ({"changed": True, "accepted": True, "acked": 0, "nodes": 0}, "no Envoy is connected"),
        ({"changed": False, "acked": 6, "nodes": 6}, "no plan changed by it"),
        ({"changed": True, "accepted": False, "problems": ["Envoy refuses it"]}, "not published: Envoy refuses it"),
    ],
)
def test_acks(published: dict[str, Any], said: str) -> None:
    assert acks(published) == said


def test_effects() -> None:
    before = {"requests": 100, "shares": {"a/m": 0.3, "a/n": 0.12, "b/m": 0.58}, "success": 0.971, "ttft_ms_p95": 2900}
    after = {"requests": 10, "shares": {"a/m": 0.03, "b/m": 0.97}, "success": 0.998, "ttft_ms_p95": 812}
    told = "a 42 % → 3 % of traffic   success 97.1 % → 99.8 %   p95 TTFT 2.9 s → 812 ms"
    assert effect(before, after, "provider/a") == told
    assert effect(before, {"requests": 0}, "provider/a") == "no request on these routes is over yet"
    assert effect(None, after, "target/b/m").startswith("b/m ? → 97 % of traffic   success ? → 99.8 %")


def test_a_reason_cannot_move_the_cursor() -> None:
    row = {
        "id": "ov-1",
        "state": "active",
        "kind": "drain",
        "subject": "provider/a\x1b[2J",
        "author": "a\tb",
        "reason": "x\ny",
        "until": None,
    }
    _, ((*cells,),), _ = overrides_table([row], NOON)
    assert all(cell.isprintable() for cell in cells)
    assert "never" in cells
