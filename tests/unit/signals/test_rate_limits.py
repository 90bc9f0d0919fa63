"""What a journal line says of a vendor's rate limits: forms that vendors really send, as Envoy puts them into one text."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.signals.formats import ATTEMPT_FORMAT
from control_plane.signals.rate_limits import MAX_WAIT_S, RateLimitSignal, UnitLimit, read

RECORDINGS = Path(__file__).resolve().parents[3].parent / "shared" / "recordings"
AT = 1_787_150_040.0  # Wed, 19 Aug 2026 14:34:00 GMT


@pytest.mark.parametrize(
    ("text", "requests", "tokens", "wait_s"),
    [
        (";2999/3000/20ms;29973/30000/54ms", UnitLimit(2999, 3000, 0.02), UnitLimit(29973, 30000, 0.054), None),
        (";0/60/6m0s;5/100/1s", UnitLimit(0, 60, 360.0), UnitLimit(5, 100, 1.0), 360.0),
        (";0/60/2s;0/100/6m", UnitLimit(0, 60, 2.0), UnitLimit(0, 100, 360.0), 360.0),
        (";19998/20000/2026-08-19T14:34:11Z;0/24000000/2026-08-19T14:34:26Z",
         UnitLimit(19998, 20000, 11.0), UnitLimit(0, 24_000_000, 26.0), 26.0),
        ("17,;0/60/6m;//", UnitLimit(0, 60, 360.0), None, 17.0),
        ("1,250;//;//", None, None, 0.25),
        (",0;//;//", None, None, 0.0),
        ("Wed, 19 Aug 2026 14:35:30 GMT,;//;//", None, None, 90.0),
        ("Wed, 19 Aug 2026 14:35:30 GMT,500;//;//", None, None, 0.5),
        ("34.5s,;//;//", None, None, 34.5),
        ("1787150070,;//;//", None, None, 30.0),
        ("99999999,;//;//", None, None, MAX_WAIT_S),
        (";0/60/;//", UnitLimit(0, 60), None, None),
        (";1234567890123456//;//", None, None, None),
        ("soon,never;x/y/z;-1/-2/-3", None, None, None),
        (",;//;//", None, None, None),
        ("", None, None, None),
    ],
)  # fmt: skip
def test_forms(text: str, requests: UnitLimit | None, tokens: UnitLimit | None, wait_s: float | None) -> None:
    found = read(text, AT)
    if (requests, tokens, wait_s) == (None, None, None):
        assert found is None
        return
    assert found is not None
    assert (found.requests, found.tokens) == (requests, tokens)
    assert found.wait_s == (None if wait_s is None else pytest.approx(wait_s))
    assert found.until_s == (None if wait_s is None else pytest.approx(AT + wait_s))


@given(st.text(max_size=200))
def test_no_text_raises(text: str) -> None:
    found = read(text, AT)
    assert found is None or (found.wait_s is None or 0 <= found.wait_s <= MAX_WAIT_S)


def as_logged(headers: dict[str, str]) -> str:
    """The text that Envoy makes of an answer's headers by the attempt's format."""
    text, out = ATTEMPT_FORMAT["limits"], []
    for part in text.split("%"):
        if not part.startswith("RESP("):
            out.append(part)
            continue
        names, _, length = part.removeprefix("RESP(").partition(")")
        value = next((headers[name.lower()] for name in names.split("?") if name.lower() in headers), "")
        out.append(value[: int(length.removeprefix(":"))])
    return "".join(out)


@pytest.mark.skipif(not RECORDINGS.is_dir(), reason="no recordings beside the repository")
def test_recorded_answers_say_what_their_headers_do() -> None:
    told: Counter[str] = Counter()
    for row in (RECORDINGS / "index.jsonl").read_text().splitlines():
        entry = json.loads(row)
        if entry["provider"] not in ("openai", "anthropic", "azure", "xai", "huggingface"):
            continue
        recorded: dict[str, Any] = json.loads((RECORDINGS / entry["file"]).read_text())
        headers = {name.lower(): str(value) for name, value in (recorded["response"].get("headers") or {}).items()}
        found = read(as_logged(headers), AT)
        remaining = headers.get("x-ratelimit-remaining-tokens") or headers.get("anthropic-ratelimit-tokens-remaining") or ""
        if remaining.isdigit():
            assert found is not None
            assert found.tokens is not None
            assert found.tokens.remaining == int(remaining)
            assert entry["provider"] == "xai" or "azure" in row or found.tokens.reset_s is not None
            told[entry["provider"]] += 1
        if (wait := headers.get("retry-after", "")).isdigit() and "retry-after-ms" not in headers:
            assert found is not None
            assert found.wait_s == float(wait)
            told["retry-after"] += 1
    assert {"openai", "anthropic", "azure", "xai", "retry-after"} <= told.keys(), told


def test_what_is_asked_for_outright_wins_over_resets() -> None:
    spent = UnitLimit(0, 60, 360.0)
    assert RateLimitSignal(AT, spent, None, 2.0).wait_s == 2.0
    assert RateLimitSignal(AT, spent, UnitLimit(1, 2, 900.0)).wait_s == 360.0, "the other unit is not spent"
