"""Specs from files: an endless stream of what they say now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from control_plane.credentials.references import referenced_files
from control_plane.sources.notify import Notifier, WatchPlan
from control_plane.sources.reader import Reading, SpecReader
from control_plane.spec.load import Loaded

POLL_S: Final = 2.0  # how often to look without an event: network file systems send none, and links may lead anywhere
POLL_WITHOUT_EVENTS_S: Final = 0.5  # the same where the system gave no watch at all


class FileSource:
    """Watches spec files and folders, and the keys and CA files that they refer to.

    Delivers at once and undebounced: gathering several edits into one push is the publisher's business.
    """

    def __init__(self, paths: Sequence[Path | str], environ: Mapping[str, str] | None = None, poll_s: float = POLL_S) -> None:
        self._paths = [Path(path) for path in paths]
        self._reader = SpecReader(paths, environ)
        self._poll_s = poll_s

    async def changes(self) -> AsyncIterator[Loaded]:
        """What is there now, then every change of it, the newest only if the consumer is slow. Ends when it is closed.

        A set with errors is delivered too (`ok` is False): the consumer reports it and keeps the last good one. A changed key
        delivers an equal set again, so on every delivery resolve the keys of the set in force anew.
        """
        notifier: Notifier | None = None
        plan: WatchPlan | None = None
        last: bytes | None = None
        try:
            while True:
                reading = await self._read()
                wanted = await asyncio.to_thread(self._plan, reading)
                if wanted != plan or notifier is None:
                    if notifier is not None:
                        notifier.close()
                    plan, notifier = wanted, Notifier(wanted)
                    continue  # read again: what changed before the new watch was armed
                if reading.digest != last:
                    last = reading.digest
                    yield reading.loaded
                await notifier.wait(self._poll_s if notifier.is_native else min(self._poll_s, POLL_WITHOUT_EVENTS_S))
        finally:
            if notifier is not None:
                notifier.close()

    async def _read(self) -> Reading:
        """In a thread: a thousand files take half a second, in which the loop serves on."""
        return await asyncio.to_thread(self._reader.read)

    def _plan(self, reading: Reading) -> WatchPlan:
        in_force = self._reader.last_good or reading.loaded.specs
        return WatchPlan.of(self._paths, referenced_files(reading.loaded.specs) | referenced_files(in_force))
