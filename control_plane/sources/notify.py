"""File system events, reduced to one bit: something that matters may have changed.

What to read is decided by reading (level-triggered), so lost, merged or superfluous events cannot lead to a wrong state. Folders
of specs are watched recursively. Everything else (single files, keys, and the folders themselves, which may be replaced) is
watched through the folder that holds it, because a watch on a file or folder ends when another is renamed over it.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from watchfiles._rust_notify import RustNotify

SLOW_STEP_MS: Final = 20  # the same for keys and parent folders, where nobody waits for a flip; each look costs about 8 µs
STEP_MS: Final = 5  # quiet time after which events are handed over; also how often the waiting thread looks
DEBOUNCE_MS: Final = 20  # the longest that a burst of events is gathered; real debouncing is the publisher's
STOP_MS: Final = 1000  # a thread returns from the library at least this often

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchPlan:
    """What to watch. `folders`: recursively, with their identity (device, inode), so that a replaced folder is another plan.
    `names`: pairs of an existing folder and the name of an entry in it that matters."""

    folders: frozenset[tuple[Path, int, int]]
    names: frozenset[tuple[Path, str]]

    @classmethod
    def of(cls, paths: Iterable[Path], referenced: Iterable[Path]) -> WatchPlan:
        """For spec paths and the files that the specs refer to, as they are on disk now."""
        folders: set[tuple[Path, int, int]] = set()
        names: set[tuple[Path, str]] = set()
        for path in paths:
            try:
                if path.is_dir():
                    status = path.stat()
                    folders.add((path.resolve(), status.st_dev, status.st_ino))
            except OSError:
                pass  # gone since: its parent is watched
            names.update(_entries_on_the_way(path))
        for path in referenced:
            names.update(_entries_on_the_way(path))
        return cls(frozenset(folders), frozenset(names))

    def concerns(self, changed: str) -> bool:
        """Whether a change to an entry of one of the `names` folders matters."""
        path = Path(changed)
        if (path.parent, path.name) in self.names:
            return True
        # Kubernetes swaps a mounted volume by renaming a link called ..data in the folder of the file
        return path.name.startswith("..") and any(folder == path.parent for folder, _ in self.names)


def _entries_on_the_way(path: Path) -> set[tuple[Path, str]]:
    """(folder, entry) for the path as written and for what it links to; while a folder is missing, for the nearest above it."""
    found: set[tuple[Path, str]] = set()
    absolute = Path.cwd() / path
    for candidate in {absolute.parent.resolve() / absolute.name, absolute.resolve()}:
        entry = candidate
        while entry.parent != entry:
            if entry.parent.is_dir():
                found.add((entry.parent, entry.name))
                break
            entry = entry.parent
    return found


class Notifier:
    """Watches a plan in background threads and wakes a task of the loop that created it."""

    def __init__(self, plan: WatchPlan) -> None:
        self._plan = plan
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self.is_native = True
        self._start([str(path) for path, _, _ in plan.folders], recursive=True)
        self._start(sorted({str(folder) for folder, _ in plan.names}), recursive=False)

    def _start(self, folders: list[str], *, recursive: bool) -> None:
        """Arm the watch before returning, so that nothing after this is missed."""
        if not folders:
            return
        try:
            native = RustNotify(folders, False, False, 0, recursive, True)
        except (OSError, RuntimeError) as error:  # out of inotify watches, or a folder that has just gone
            self.is_native = False
            log.warning("cannot watch %s for changes (%s): looking for changes by the clock", ", ".join(folders), error)
            return
        step_ms = STEP_MS if recursive or not self._plan.folders else SLOW_STEP_MS
        thread = threading.Thread(target=self._run, args=(native, recursive, step_ms), name="spec-watch", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _run(self, native: RustNotify, recursive: bool, step_ms: int) -> None:
        try:
            while not self._stop.is_set():
                changes = native.watch(DEBOUNCE_MS, step_ms, STOP_MS, self._stop)
                if isinstance(changes, set) and (recursive or any(self._plan.concerns(path) for _, path in changes)):
                    self._loop.call_soon_threadsafe(self._changed.set)
        except RuntimeError as error:  # the loop is closed, or the library failed: changes are then found by the clock
            if not self._stop.is_set():
                log.warning("watching for changes ended (%s): looking for changes by the clock", error)
        finally:
            native.close()

    async def wait(self, timeout_s: float) -> bool:
        """True once something may have changed since the last call, False after `timeout_s`."""
        try:
            await asyncio.wait_for(self._changed.wait(), timeout_s)
        except TimeoutError:
            return False
        self._changed.clear()
        return True

    def close(self) -> None:
        """Let the threads end; they do within SLOW_STEP_MS."""
        self._stop.set()
