"""Logs: one line an event, no secret in it, nothing of a client's that could forge another."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from control_plane.kit.errors import SpecError
from control_plane.telemetry import logs
from control_plane.telemetry.logs import fields, set_up
from control_plane.telemetry.names import Field
from control_plane.telemetry.redaction import redact

SECRETS = [
    "sk-proj-abcdefghijklmnopqrstuvwxyz0123456789",
    "sk-ant-api03-AbCdEfGhIjKlMnOpQrStUvWxYz_0123456789-AA",
    "AIzaSyA1234567890abcdefghijklmnopqrstuv",
    "AKIAIOSFODNN7EXAMPLE",
    "ya29.a0AfH6SMBx1234567890",
    "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
    "xoxb-123456789012-abcdefghijkl",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
]
SHAPES = [
    ("Authorization: Bearer {}", "opaque-token-1234567"),
    ('{{"authorization": "Bearer {}"}}', "opaque-token-1234567"),
    ("x-api-key={} next=1", "0123456789abcdef"),
    ("api_key: '{}'", "short"),
    ("--api-key={}", "short"),
    ("client_secret={}&grant=x", "s3cr3t~value"),
    ("https://user:{}@db.internal/x", "hunter2"),
    ("set-cookie: session={}; path=/; token=t", "abc"),
    ("password={}", "hunter2"),
    ("got Bearer {} from a client", "abcdefghijkl"),
    ("-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----", "MIIEpAIBAAKCAQEA"),
    ("-----BEGIN PRIVATE KEY-----\n{}", "cutInTheMiddle"),
]


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def logged(style: str, level: str = "info") -> io.StringIO:
    stream = io.StringIO()
    set_up(level, style, stream)
    return stream


@pytest.mark.parametrize("secret", SECRETS)
def test_known_credentials_are_taken_out(secret: str) -> None:
    for text in (secret, f"key {secret}.", f'{{"k":"{secret}"}}', f"({secret})", f"a={secret}&b=1"):
        assert secret not in redact(text)
        assert "[redacted]" in redact(text)


@pytest.mark.parametrize(("shape", "secret"), SHAPES)
def test_what_follows_a_credentials_name_is_taken_out(shape: str, secret: str) -> None:
    assert secret not in redact(shape.format(secret))


@pytest.mark.parametrize(
    "text",
    [
        "openai/gpt-5 answered 503 after 1204 ms",
        "asking sk- for nothing",
        "route chat: tokens=1204 max_tokens=4096 tokenizer=cl100k",
        "task-scheduler risk-assessment disk-usage-reporting",
        "secretRef: {env: OPENAI_API_KEY}",
        "http://127.0.0.1:8080/api/v1/proxies",
        "the password file is missing",
    ],
)
def test_ordinary_text_is_left_alone(text: str) -> None:
    assert redact(text) == text


def test_redacting_twice_changes_nothing() -> None:
    for shape, secret in SHAPES:
        once = redact(shape.format(secret))
        assert redact(once) == once


@pytest.mark.parametrize("style", logs.STYLES)
def test_secrets_are_out_of_message_fields_and_traceback(style: str) -> None:
    stream = logged(style)
    log = logging.getLogger("control_plane.test")
    try:
        raise ValueError(f"bad key {SECRETS[1]}")
    except ValueError:
        log.exception("calling with %s failed", SECRETS[0], extra=fields(Field.REASON, f"token {SECRETS[2]}"))
    text = stream.getvalue()
    assert not [secret for secret in SECRETS if secret in text]
    assert text.count("[redacted]") >= 4
    assert "ValueError" in text


@pytest.mark.parametrize("style", logs.STYLES)
def test_an_event_is_one_line_whatever_is_in_it(style: str) -> None:
    stream = logged(style)
    evil = "a\nb\r\nERROR forged: event\x1b[2J\u2028c\x00"
    logging.getLogger("control_plane.test").warning("said %s", evil, extra=fields(Field.NODE, evil, Field.COUNT, 3))
    (line,) = stream.getvalue().splitlines()
    assert "\x1b" not in line
    assert "forged" in line


def test_json_lines_hold_the_fields() -> None:
    stream = logged("json")
    logging.getLogger("control_plane.xds.ads").info(
        "pushed", extra=fields(Field.NODE, "edge-1", Field.COUNT, 3, Field.TOOK_MS, 1.5, Field.ERROR, None)
    )
    line = json.loads(stream.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {"level": "info", "logger": "xds.ads", "event": "pushed", "node": "edge-1", "count": 3, "took_ms": 1.5, "error": None}


def test_text_lines_quote_what_needs_it() -> None:
    stream = logged("text")
    logging.getLogger("control_plane.x").info(
        "pushed", extra=fields(Field.NODE, "edge 1", Field.PATH, "/a/b", Field.REASON, 'say "x"', Field.COUNT, 0)
    )
    assert stream.getvalue().rstrip().split("x: pushed ", 1)[1] == 'node="edge 1" path=/a/b reason="say \\"x\\"" count=0'


def test_levels() -> None:
    stream = logged("text", "warning")
    logging.getLogger("control_plane.x").info("quiet")
    logging.getLogger("uvicorn.error").info("quiet")
    logging.getLogger("control_plane.x").error("loud")
    assert [line.split(": ")[1] for line in stream.getvalue().splitlines()] == ["loud"]


def test_third_parties_are_quiet_unless_debugging() -> None:
    stream = logged("text", "info")
    logging.getLogger("uvicorn.error").info("started")
    assert stream.getvalue() == ""


def test_long_values_are_cut() -> None:
    stream = logged("text")
    logging.getLogger("control_plane.x").info("body", extra=fields(Field.ERROR, "y" * 100_000))
    assert len(stream.getvalue()) < logs.MAX_FIELD_CHARS + 300


def test_a_field_must_be_declared() -> None:
    with pytest.raises(ValueError, match="not a valid Field"):
        fields("made_up", 1)
    with pytest.raises(ValueError, match="pairs"):
        fields(Field.NODE)


@pytest.mark.parametrize(("level", "style", "flag"), [("loud", "text", "--log-level loud"), ("info", "xml", "--log-format xml")])
def test_a_wrong_flag_is_named(level: str, style: str, flag: str) -> None:
    with pytest.raises(SpecError, match=flag):
        set_up(level, style)
