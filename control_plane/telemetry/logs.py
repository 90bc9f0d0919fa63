"""Logs of every Headgate process: one line an event on stderr, as `key=value` for people or as JSON for machines.

    log = logging.getLogger(__name__)
    log.warning("envoy refused a push", extra=fields(Field.NODE, node, Field.RESOURCE, "CDS"))

A line has no line break and no terminal control sequence in it, whatever a client or a provider sent, and passes the redaction
filter whole: message, fields and traceback.
"""

from __future__ import annotations

import datetime
import logging
import re
import sys
from collections.abc import Mapping
from typing import Final, TextIO

import msgspec

from control_plane.kit.errors import SpecError
from control_plane.telemetry.names import Field
from control_plane.telemetry.redaction import redact

LEVELS: Final = ("debug", "info", "warning", "error")
STYLES: Final = ("text", "json")

MAX_FIELD_CHARS: Final = 4096
"""A value is cut here: Envoy's error texts are long, a pushed body would be longer."""

MAX_TRACE_CHARS: Final = 16_384

_FIELDS: Final = "headgate_fields"
_BARE: Final = re.compile(r"[A-Za-z0-9_./:@%+*,~<>()\[\]-]+\Z")
_HEAD: Final = (Field.TIME, Field.LEVEL, Field.LOGGER, Field.EVENT)
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
# Third parties whose INFO level narrates every connection.
_QUIET: Final = ("asyncio", "grpc", "uvicorn", "uvicorn.error", "watchfiles", "httpx", "_granian")


# Third parties that write whole answers of token services at DEBUG.
_NEVER_DEBUG: Final = ("botocore", "azure", "msal", "google.auth", "urllib3")


def fields(*pairs: object) -> dict[str, object]:
    """The `extra` of a log call: `fields(Field.NODE, "edge-1", Field.COUNT, 3)`."""
    if len(pairs) % 2:
        raise ValueError("fields() takes pairs of a Field and its value")
    return {_FIELDS: {str(Field(str(name))): value for name, value in zip(pairs[::2], pairs[1::2], strict=True)}}


def set_up(level: str = "info", style: str = "text", stream: TextIO | None = None) -> None:
    """Send all logging of this process to `stream` (default stderr). May be called again: the last call wins.

    Raises SpecError naming the flag when `level` or `style` is unknown.
    """
    if level not in LEVELS:
        raise SpecError(f"--log-level {level}: unknown level; use one of {', '.join(LEVELS)}")
    if style not in STYLES:
        raise SpecError(f"--log-format {style}: unknown format; use one of {', '.join(STYLES)}")
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_JsonFormatter() if style == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(True)
    for name in _NEVER_DEBUG:
        logging.getLogger(name).setLevel("WARNING")
    for name in _QUIET:
        logging.getLogger(name).setLevel("DEBUG" if level == "debug" else "WARNING")


class _Formatter(logging.Formatter):
    """Collects what a line says; the subclasses write it."""

    def format(self, record: logging.LogRecord) -> str:
        said: dict[str, object] = {
            Field.TIME: f"{datetime.datetime.fromtimestamp(record.created, datetime.UTC):%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z",
            Field.LEVEL: record.levelname.lower(),
            Field.LOGGER: record.name.removeprefix("control_plane."),
            Field.EVENT: _safe(record.getMessage()),
        }
        extra = getattr(record, _FIELDS, None)
        if isinstance(extra, Mapping):
            said.update((name, _plain(value)) for name, value in extra.items())
        if record.exc_info and record.exc_info[1] is not None:
            error = record.exc_info[1]
            said.setdefault(Field.ERROR, _safe(f"{type(error).__name__}: {error}"))
            said[Field.TRACE] = redact(self.formatException(record.exc_info))[-MAX_TRACE_CHARS:]
        return self.write(said)

    def write(self, said: Mapping[str, object]) -> str:
        raise NotImplementedError


class _JsonFormatter(_Formatter):
    """One JSON object a line."""

    def write(self, said: Mapping[str, object]) -> str:
        return msgspec.json.encode(said).decode()


class _TextFormatter(_Formatter):
    """`time level logger event key=value ...`; a value with a space or a quote in it is quoted."""

    def write(self, said: Mapping[str, object]) -> str:
        rest = " ".join(f"{name}={_quoted(value)}" for name, value in said.items() if name not in _HEAD)
        head = f"{said[Field.TIME]} {str(said[Field.LEVEL]).upper():7} {said[Field.LOGGER]}: {said[Field.EVENT]}"
        return f"{head} {rest}" if rest else head


def _safe(text: str) -> str:
    """Redacted, in one line, bounded."""
    cut = redact(text)
    if len(cut) > MAX_FIELD_CHARS:
        cut = f"{cut[:MAX_FIELD_CHARS]}... ({len(cut)} characters)"
    return _CONTROL.sub(lambda found: {"\n": "\\n", "\r": "\\r", "\t": "\\t"}.get(found.group(), f"\\x{ord(found.group()):02x}"), cut)


def _plain(value: object) -> object:
    return value if value is None or isinstance(value, bool | int | float) else _safe(str(value))


def _quoted(value: object) -> str:
    if value is None or isinstance(value, bool):
        return str(value).lower()
    text = _CONTROL.sub(" ", str(value).replace("\n", "\\n"))
    return text if _BARE.match(text) else '"' + text.replace('"', '\\"') + '"'
