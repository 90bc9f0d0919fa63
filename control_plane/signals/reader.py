"""Reads one access journal file as Envoy writes and rotates it: every complete line once, in order, in bounded steps.

Without asyncio and without a clock, so that each situation is a few lines of test. What decides:

- A line counts when its newline is there; a torn last line is left for the next step.
- A file that was renamed is read to its end first. The step to the next newer file is taken only when that one has bytes in it: Envoy
  closes the old file before it writes to the new one, so from then on the old one cannot grow.
- Rotated files (`.1`, `.2`, ...) that were never read are read in their order, so a reader that was away misses nothing that still exists.
- A file that became shorter, or whose first bytes changed, was truncated: it is read from its start.
"""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control_plane.signals import offset
from control_plane.signals.lines import Line, Malformed, decode
from control_plane.telemetry import names
from control_plane.telemetry.logs import fields
from control_plane.telemetry.metrics import Metrics
from control_plane.telemetry.names import Field

log = logging.getLogger(__name__)

CHUNK_BYTES: Final = 32 * 1024
"""Read in one step: some 90 lines, read and counted in about a millisecond, so the event loop is never held for long."""

MAX_LINE_BYTES: Final = 256 * 1024
"""A longer line is skipped. Envoy's own lines are under 2 KB; the longest value in one is the model name that a client sent."""


@dataclass(slots=True)
class _OpenFile:
    """The file being read. `next` is the byte to read next, `consumed` the byte after the last complete line, `head` the first bytes
    as they were when they were read."""

    fd: int
    inode: tuple[int, int]
    next: int
    consumed: int
    head: bytes = b""
    partial: bytes = b""
    skipping: bool = False


class JournalReader:
    """Steps through `path`. `state` is where the kept offset lies; the caller says when lines are consumed (`acknowledge`)."""

    def __init__(self, path: Path, state: Path, metrics: Metrics, *, max_line: int = MAX_LINE_BYTES, chunk: int = CHUNK_BYTES) -> None:
        self.path = path
        self.state = state
        self._max_line = max_line
        self._chunk = chunk
        self._open: _OpenFile | None = None
        self._acknowledged: offset.Offset | None = None
        self._saved: offset.Offset | None = None
        self._reported: set[str] = set()
        self._skipped = metrics.counter(names.JOURNAL_SKIPPED)
        self._events = metrics.counter(names.JOURNAL_EVENTS)

    def poll(self) -> tuple[list[Line], bool]:
        """One bounded step: the lines it found, and whether there may be more at once. Raises OSError when a file cannot be read."""
        if self._open is None:
            self._open = self._first()
            if self._open is None:
                return [], False
        data = os.pread(self._open.fd, self._chunk, self._open.next)
        if data and self._is_same_content(self._open):
            return self._take(self._open, data), True
        if data or os.fstat(self._open.fd).st_size < self._open.next:
            self._restart(self._open)
            return [], True
        return self._at_end(self._open)

    def acknowledge(self) -> None:
        """All lines that `poll` returned are consumed: a restart goes on after them."""
        if self._open is not None:
            self._acknowledged = offset.take(self._open.fd, self._open.consumed)

    def unsaved(self) -> offset.Offset | None:
        """The acknowledged offset if it is not on disk yet."""
        return self._acknowledged if self._acknowledged != self._saved else None

    def saved(self, kept: offset.Offset) -> None:
        """`kept` has reached the disk."""
        self._saved = kept

    def lag_bytes(self) -> int:
        """Bytes written and not yet read, in this file and all newer ones."""
        if self._open is None:
            return self.path.stat().st_size if self.path.exists() else 0
        newer = 0
        for _, about in offset.generations(self.path):
            if (about.st_dev, about.st_ino) == self._open.inode:
                break
            newer += about.st_size
        return newer + max(0, os.fstat(self._open.fd).st_size - self._open.next)

    def inode(self) -> tuple[int, int] | None:
        """(device, inode) of the file being read; rotation must not delete it."""
        return self._open.inode if self._open is not None else None

    def close(self) -> None:
        """Close the file. The acknowledged offset is the caller's to save."""
        if self._open is not None:
            os.close(self._open.fd)
            self._open = None

    def _first(self) -> _OpenFile | None:
        """The file to begin with: where the kept offset points, else what is newer than it, else the oldest."""
        files = offset.generations(self.path)
        if not files:
            return None
        kept = offset.load(self.state)
        if kept is None:
            # Never read before, or the offset was lost: rather twice than not at all.
            return _open_at(files[-1][0], 0)
        self._saved = self._acknowledged = kept
        at = offset.locate(kept, files)
        if at is not None:
            return _open_at(files[at][0], kept.offset)
        newer = [path for path, about in files if about.st_mtime_ns > kept.modified_ns]
        self._event("gap", "the journal file that was being read is gone; lines in it may be missing from the metrics")
        return _open_at(newer[-1] if newer else self.path, 0)

    def _is_same_content(self, file: _OpenFile) -> bool:
        return not file.head or os.pread(file.fd, len(file.head), 0) == file.head

    def _restart(self, file: _OpenFile) -> None:
        self._event("truncated", "the journal was truncated in place; lines that were not read yet are lost")
        file.next = file.consumed = 0
        file.head = file.partial = b""
        file.skipping = False

    def _at_end(self, file: _OpenFile) -> tuple[list[Line], bool]:
        newer = self._newer_than(file)
        if not newer:
            return [], False
        following = _open_at(newer[-1], 0)
        if following is None:
            return [], False
        if os.fstat(following.fd).st_size == 0:
            os.close(following.fd)
            return [], False
        # Read once more after the newer file was seen with content: what Envoy wrote before it reopened is then all here.
        if data := os.pread(file.fd, self._chunk, file.next):
            os.close(following.fd)
            return self._take(file, data), True
        if file.partial:
            self._skip("torn", file, "the file ends in the middle of a line")
        os.close(file.fd)
        self._open = following
        self._events.add("rotated")
        return [], True

    def _newer_than(self, file: _OpenFile) -> list[Path]:
        """Files that were begun after `file`, newest first."""
        try:
            about = self.path.stat()
            if (about.st_dev, about.st_ino) == file.inode:
                return []
        except FileNotFoundError:
            pass
        files = offset.generations(self.path)
        for at, (_, about) in enumerate(files):
            if (about.st_dev, about.st_ino) == file.inode:
                return [path for path, _ in files[:at]]
        # Deleted, or renamed to a name that is not ours: what was written later is newer.
        written = os.fstat(file.fd).st_mtime_ns
        return [path for path, about in files if path == self.path or about.st_mtime_ns > written]

    def _take(self, file: _OpenFile, data: bytes) -> list[Line]:
        if len(file.head) < offset.HEAD_BYTES:
            file.head += data[: offset.HEAD_BYTES - len(file.head)]
        file.next += len(data)
        if file.skipping:
            end = data.find(b"\n")
            if end < 0:
                file.consumed = file.next
                return []
            data, file.skipping = data[end + 1 :], False
        cut = data.rfind(b"\n")
        if cut < 0:
            file.partial += data
            whole: list[bytes] = []
        else:
            whole = (file.partial + data[:cut]).split(b"\n")
            file.partial = data[cut + 1 :]
        if len(file.partial) > self._max_line:
            self._skip("oversized", file, f"a line is longer than {self._max_line} bytes")
            file.partial, file.skipping = b"", True
        file.consumed = file.next - len(file.partial)
        return self._decode(file, whole)

    def _decode(self, file: _OpenFile, whole: list[bytes]) -> list[Line]:
        lines: list[Line] = []
        for raw in whole:
            if len(raw) > self._max_line:
                self._skip("oversized", file, f"a line is longer than {self._max_line} bytes")
            elif raw:
                try:
                    lines.append(decode(raw))
                except Malformed as error:
                    self._skip(f"malformed_{error.kind}", file, str(error))
        return lines

    def _skip(self, reason: str, file: _OpenFile, why: str) -> None:
        """Count every one, report the first of its kind: a writer that goes wrong does so on each line."""
        self._skipped.add(reason)
        if reason not in self._reported:
            self._reported.add(reason)
            where = fields(Field.PATH, self.path, Field.REASON, reason, Field.ERROR, why, Field.BYTES, file.next)
            log.warning("skipped a journal line; more of this kind are only counted", extra=where)

    def _event(self, reason: str, why: str) -> None:
        self._events.add(reason)
        log.warning(why, extra=fields(Field.PATH, self.path, Field.REASON, reason))


def _open_at(path: Path, start: int) -> _OpenFile | None:
    """`path`, to be read from `start`; None when it vanished."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    about = os.fstat(fd)
    return _OpenFile(fd, (about.st_dev, about.st_ino), start, start, head=os.pread(fd, min(offset.HEAD_BYTES, start), 0))
