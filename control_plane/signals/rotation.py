"""Keeps the access journal small: renames it when it is big and tells Envoy to open a new one.

    path -> path.1 -> path.2 -> ... -> path.N, and the oldest is deleted.

Nothing is lost or counted twice, because a rename changes no byte and Envoy goes on writing into the renamed file until it reopens;
`reader.py` follows. If Envoy cannot be told (it restarts, its admin is away), the renamed file grows and telling it is tried again; a
starting Envoy opens `path` by itself. The oldest file is not deleted while a reader is still in it or before it, up to `HARD_FACTOR`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from control_plane.kit import probe
from control_plane.signals import offset
from control_plane.telemetry import names
from control_plane.telemetry.logs import fields
from control_plane.telemetry.metrics import Metrics
from control_plane.telemetry.names import Field

log = logging.getLogger(__name__)

MAX_BYTES: Final = 128 * 1024 * 1024
"""Size at which the journal is rotated: some 300,000 lines, a minute at full load, hours at a usual one."""

KEPT: Final = 4
"""Rotated files kept: half a gigabyte of disk in all, and the time a reader may be away without missing lines."""

CHECK_S: Final = 2.0
"""Between looks at the size."""

STARTING_CHECKS: Final = 5
"""Looks without an answer from Envoy's admin before it is worth a word: at first Envoy is only not up yet."""

HARD_FACTOR: Final = 4
"""A reader that does not move holds rotation up until the journal is this many times its size; then the disk comes first."""


class Rotation:
    """Rotates one Envoy's journal. `admin` is where its admin API is served: a socket path or host:port.

    `reading` tells which file (device, inode) the reader is in, None when there is no reader or it has not begun: then only `kept` counts.
    """

    def __init__(
        self,
        path: Path,
        admin: str,
        metrics: Metrics,
        *,
        max_bytes: int = MAX_BYTES,
        kept: int = KEPT,
        reading: Callable[[], tuple[int, int] | None] = lambda: None,
    ) -> None:
        if kept < 1 or max_bytes < 1:
            raise ValueError("a rotation keeps at least one file and rotates at one byte or more")
        self._path = path
        self._admin = admin
        self._max_bytes = max_bytes
        self._kept = kept
        self._reading = reading
        self._events = metrics.counter(names.JOURNAL_EVENTS)
        # A process that died between the rename and the call left Envoy writing into the renamed file: telling it once more is harmless.
        self._must_tell = True
        self._renamed = False
        self._unheard = 0
        self._warned: set[str] = set()

    async def run(self) -> None:
        """Check and rotate until cancelled."""
        while True:
            try:
                await self.step()
            except OSError as error:
                self._warn("rotate", "cannot rotate the access journal; check the folder's permissions and space", error)
            await asyncio.sleep(CHECK_S)

    async def step(self) -> bool:
        """One look; True when the journal was rotated. Raises OSError when files cannot be renamed."""
        rotated = False
        if self._is_due():
            self._rename()
            self._must_tell = self._renamed = rotated = True
        if self._must_tell:
            await self._tell()
        return rotated

    def _is_due(self) -> bool:
        try:
            size = self._path.stat().st_size
        except FileNotFoundError:
            return False
        if size < self._max_bytes or self._must_tell:
            # Envoy has not been told of the last rename yet: one more would only spread its lines over more files.
            return False
        if size < self._max_bytes * HARD_FACTOR and self._reader_would_lose():
            self._warn("reader", "the journal's reader is behind; rotation waits for it", None)
            return False
        return True

    def _reader_would_lose(self) -> bool:
        """Whether the reader is in a file that the next rotation deletes."""
        reading = self._reading()
        if reading is None:
            return False
        numbers = {(about.st_dev, about.st_ino): self._number(path) for path, about in offset.generations(self._path)}
        return numbers.get(reading, 0) >= self._kept

    def _rename(self) -> None:
        """All of it without giving way to others: a reader in this process never sees half a rotation."""
        for path, _ in reversed(offset.generations(self._path)):
            number = self._number(path)
            if number >= self._kept:
                path.unlink(missing_ok=True)
            else:
                path.rename(self._path.with_name(f"{self._path.name}.{number + 1}"))
        self._events.add("renamed")

    def _number(self, path: Path) -> int:
        return 0 if path == self._path else int(path.name.removeprefix(f"{self._path.name}."))

    async def _tell(self) -> None:
        try:
            status, _ = await probe.http(self._admin, "POST", "/reopen_logs")
        except (OSError, TimeoutError) as error:
            self._unheard += 1
            if self._renamed or self._unheard > STARTING_CHECKS:
                self._warn("tell", f"cannot tell Envoy to reopen its journal at {self._admin}; it writes on into the renamed file", error)
            return
        if status != 200:
            self._warn("tell", f"Envoy's admin at {self._admin} answered {status} to POST /reopen_logs", None)
            return
        self._must_tell, self._unheard = False, 0
        self._warned.clear()

    def _warn(self, kind: str, message: str, error: BaseException | None) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            log.warning(message, extra=fields(Field.PATH, self._path, *((Field.ERROR, repr(error)) if error else ())))
