"""Follows the access journal: files that Envoy writes whether the control plane lives or not.

    async with JournalTail(directory / "journal.log", state_dir, metrics) as tail:
        async for batch in tail:
            traffic.consume(batch)

`source` is one file, or a directory in which every `*.log` is one Envoy's journal (new ones are picked up while it runs). A batch counts as
consumed when the next one is asked for; that offset is on disk within `SAVE_S` and when the tail is closed.

What holds, exactly:
- Orderly stop, rotation, Envoy's restart or crash, any number of batches: every line is delivered once.
- The consumer raises, or the tail is closed before the next batch is asked for: that batch is delivered again by the next run.
- The reader is killed: lines consumed since the last saved offset (at most SAVE_S plus one batch) are delivered again by the next process.
  None is lost. Metrics are counters of one process and start at zero, so what a scraper adds up over such a kill is too high by at most
  those lines, and it may miss the ones counted after its last scrape. A consumer that stores durably (a ledger) keys by `Line.key`.
- The rotated file is deleted before it was read (see `rotation.py`), or the journal is truncated in place: what was not read is lost, and
  counted as an event (`gap`, `truncated`).
- The kept offset is lost: everything that still exists, rotated files included, is read again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from control_plane.kit.clock import Clock, SystemClock
from control_plane.signals import offset
from control_plane.signals.lines import Line, RequestLine
from control_plane.signals.reader import JournalReader
from control_plane.telemetry import names
from control_plane.telemetry.logs import fields
from control_plane.telemetry.metrics import Metrics
from control_plane.telemetry.names import Field

log = logging.getLogger(__name__)

IDLE_S: Final = 0.05
"""Between looks at a quiet journal: a signal is at most this much older than Envoy's flush, for 20 stat calls a second."""

SAVE_S: Final = 1.0
"""Between writes of the kept offset: what a killed reader delivers again is bounded by it."""

DISCOVER_S: Final = 2.0
"""Between looks for new files in a directory."""


class JournalTail:
    """An asynchronous iterator over batches of lines, oldest first within each file."""

    def __init__(self, source: Path, state_dir: Path, metrics: Metrics, *, clock: Clock | None = None, idle_s: float = IDLE_S) -> None:
        self._source = source
        self._state_dir = state_dir
        self._metrics = metrics
        self._clock = clock or SystemClock()
        self._idle_s = idle_s
        self._readers: dict[Path, JournalReader] = {}
        self._turn = 0
        self._handed_out: JournalReader | None = None
        self._discovered_at = self._saved_at = float("-inf")
        self._failing: set[str] = set()
        self._closed = False
        self._lines = metrics.counter(names.JOURNAL_LINES)
        self._lag_s = metrics.gauge(names.JOURNAL_LAG_SECONDS)
        self._lag_bytes = metrics.gauge(names.JOURNAL_LAG_BYTES)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> list[Line]:
        """The next batch, never empty. Waits for as long as nothing is written."""
        if self._handed_out is not None:
            self._handed_out.acknowledge()
            self._handed_out = None
        # Others run between two batches even when the journal is never at its end. Nothing is awaited between reading lines and
        # returning them: a cancelled wait must not swallow a batch.
        await asyncio.sleep(0)
        while not self._closed:
            self._discover()
            await self._save_if_due()
            more = False
            for reader in self._in_turn():
                lines, more_here = self._poll(reader)
                more = more or more_here
                if lines:
                    self._observe(lines)
                    self._handed_out = reader
                    return lines
            if not more:
                self._lag_s.set(to=0.0)
            await asyncio.sleep(0 if more else self._idle_s)
        raise StopAsyncIteration

    def reading(self, path: Path) -> tuple[int, int] | None:
        """(device, inode) of the file of the journal `path` that is being read; see `rotation.Rotation`."""
        reader = self._readers.get(path)
        return reader.inode() if reader is not None else None

    async def close(self) -> None:
        """Keep the offset of what was consumed, close the files, end the iteration. The batch handed out last is not consumed."""
        self._closed = True
        await self._save()
        for reader in self._readers.values():
            reader.close()
        self._readers.clear()

    def _discover(self) -> None:
        now = self._clock.monotonic()
        if now - self._discovered_at < DISCOVER_S:
            return
        self._discovered_at = now
        paths = sorted(self._source.glob("*.log")) if self._source.is_dir() else [self._source]
        for path in paths:
            if path not in self._readers:
                self._readers[path] = JournalReader(path, self._state_dir / f"{path.name}.offset", self._metrics)

    def _in_turn(self) -> list[JournalReader]:
        """Every reader, beginning with another one each time: a busy journal does not hide a quiet one."""
        readers = list(self._readers.values())
        self._turn = (self._turn + 1) % max(1, len(readers))
        return readers[self._turn :] + readers[: self._turn]

    def _poll(self, reader: JournalReader) -> tuple[list[Line], bool]:
        try:
            lines, more = reader.poll()
        except OSError as error:
            self._report(
                f"read {reader.path}",
                "cannot read the access journal; check the permissions of the file and its folder",
                reader.path,
                error,
            )
            return [], False
        self._failing.discard(f"read {reader.path}")
        if more and not lines:
            # A step over a file's end or over lines that cannot be used is consumed by itself.
            reader.acknowledge()
        return lines, more

    def _observe(self, lines: list[Line]) -> None:
        requests = sum(isinstance(line, RequestLine) for line in lines)
        self._lines.add("request", amount=requests)
        self._lines.add("attempt", amount=len(lines) - requests)
        last = lines[-1]
        self._lag_s.set(to=max(0.0, self._clock.now() - last.start.timestamp() - (last.duration_ms or 0) / 1e3))

    async def _save_if_due(self) -> None:
        if self._clock.monotonic() - self._saved_at >= SAVE_S:
            await self._save()

    async def _save(self) -> None:
        self._saved_at = self._clock.monotonic()
        with contextlib.suppress(OSError):  # a file that vanished between two looks: the next look tells
            self._lag_bytes.set(to=sum(reader.lag_bytes() for reader in self._readers.values()))
        for reader in self._readers.values():
            kept = reader.unsaved()
            if kept is None:
                continue
            try:
                # In a thread: it waits for the disk.
                await asyncio.to_thread(offset.save, reader.state, kept)
            except OSError as error:
                self._report(
                    "save", "cannot keep the journal's offset; a restart will count again from the last one kept", reader.state, error
                )
                continue
            self._failing.discard("save")
            reader.saved(kept)

    def _report(self, what: str, message: str, path: Path, error: OSError) -> None:
        if what not in self._failing:
            self._failing.add(what)
            log.error(message, extra=fields(Field.PATH, path, Field.ERROR, error))
