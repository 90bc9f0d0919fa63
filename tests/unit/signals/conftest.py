"""Lines as Envoy writes them, and a journal file to write them to."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from control_plane.kit.clock import FakeClock
from control_plane.signals.reader import JournalReader
from control_plane.telemetry.metrics import Metrics

RawLine = Callable[..., dict[str, Any]]

TOKEN_KINDS = ("input", "cached", "cache_write", "output", "reasoning")


def packed(line: dict[str, Any]) -> dict[str, Any]:
    """`line` with what shares a text on the wire in that text (see `control_plane/signals/formats.py`), unless the text itself is given."""
    target = line.pop("target")
    if "provider" in line:  # the wire has it as the beginning of the target only
        assert line.pop("provider") == (target.partition("/")[0] if target else None)
    texts = {"call": _joined(line.pop("operation"), line.pop("route")), "at": _joined(line.pop("lane"), target)}
    if line["log"] == "request":
        how = {True: "stream", False: "whole", None: None}[line.pop("stream")]
        texts["asked"] = _joined(line.pop("dialect"), how, line.pop("model"))
        texts["edge"] = _metered(**{name: line.pop(name) for name in ("complete", "usage", "finish", "stream_error")})
    return {**texts, **line}


def _joined(*parts: str | None) -> str | None:
    """The parts up to the first that is missing; None, as Envoy has nothing to say then, when that is the first of all."""
    known = parts[: parts.index(None)] if None in parts else parts
    assert not any(parts[len(known) :]), "what follows something that is missing cannot be told"
    return " ".join(str(part) for part in known) or None


def _metered(complete: bool | None, usage: dict[str, Any] | None, finish: str | None, stream_error: str | None) -> str | None:
    """As `publish` of envoy/lua/edge.lua; None where the edge metered nothing."""
    if (complete, usage, finish, stream_error) == (None,) * 4:
        return None
    counts = "" if usage is None else ",".join(str(usage.get(kind, "")) for kind in TOKEN_KINDS)
    return ";".join(({True: "1", False: "0", None: ""}[complete], counts, finish or "", stream_error or ""))


@pytest.fixture
def request_line() -> RawLine:
    """A whole request line of a good stream; keyword arguments replace what it says, or whole fields (call, asked, at, edge)."""

    def make(**change: Any) -> dict[str, Any]:
        line = {
            "attempts": 1,
            "complete": True,
            "details": "via_upstream",
            "dialect": "openai-chat",
            "duration_ms": 453,
            "finish": "stop",
            "flags": "-",
            "head_us": 102235,
            "id": "11a15614-e867-47e8-8601-1f15897e49b6",
            "lane": "passthrough",
            "log": "request",
            "model": "chat",
            "operation": "chat",
            "route": "chat",
            "sent_us": 1065,
            "start": "2026-11-20T12:39:00.220473Z",
            "status": 200,
            "stream": True,
            "stream_error": None,
            "target": "openai/gpt-5",
            "translation": None,
            "ttft_us": 252834,
            "usage": {"input": 1204, "cached": 1000, "cache_write": 0, "output": 388, "reasoning": 64},
        }
        return packed({**line, **change})

    return make


@pytest.fixture
def attempt_line() -> RawLine:
    """A whole attempt line of a good stream; keyword arguments replace what it says, or whole fields (call, at)."""

    def make(**change: Any) -> dict[str, Any]:
        line = {
            "details": None,
            "duration_ms": 452,
            "duration_us": 452635,
            "flags": "-",
            "id": "11a15614-e867-47e8-8601-1f15897e49b6",
            "lane": "passthrough",
            "log": "attempt",
            "n": "1",
            "operation": "chat",
            "route": "chat",
            "start": "2026-11-20T12:39:00.220673Z",
            "status": 200,
            "target": "openai/gpt-5",
            "ttft_us": 251769,
        }
        return packed({**line, **change})

    return make


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


class Journal:
    """A journal on disk, written and rotated by hand."""

    def __init__(self, folder: Path, make: RawLine) -> None:
        self.path = folder / "journal.log"
        self.state = folder / "state" / "journal.log.offset"
        self._make = make
        self._written = 0

    def write(self, count: int, path: Path | None = None) -> list[str]:
        """Append `count` lines with new ids, as one write like Envoy's; the ids."""
        ids = [f"id-{self._written + n}" for n in range(count)]
        self._written += count
        self.append(b"".join(json.dumps(self._make(id=name)).encode() + b"\n" for name in ids), path)
        return ids

    def append(self, data: bytes, path: Path | None = None) -> None:
        with (path or self.path).open("ab") as file:
            file.write(data)

    def rotate(self, to: int = 1) -> Path:
        """Rename the journal to `.to`; the numbers above move up first."""
        for number in range(99, to - 1, -1):
            old = self.path.with_name(f"{self.path.name}.{number}")
            if old.exists():
                old.rename(self.path.with_name(f"{self.path.name}.{number + 1}"))
        return self.path.rename(self.path.with_name(f"{self.path.name}.{to}"))

    def reader(self, metrics: Metrics, **options: int) -> JournalReader:
        return JournalReader(self.path, self.state, metrics, **options)


@pytest.fixture
def journal(tmp_path: Path, request_line: RawLine) -> Journal:
    return Journal(tmp_path, request_line)


@pytest.fixture
def read_all() -> Callable[[JournalReader], list[str]]:
    """Steps a reader until it has nothing more, acknowledging every step; the ids it read."""

    def read(reader: JournalReader) -> list[str]:
        ids: list[str] = []
        for _ in range(10_000):
            lines, more = reader.poll()
            ids += [line.id for line in lines]
            reader.acknowledge()
            if not more:
                return ids
        raise AssertionError("the reader never comes to an end")

    return read
