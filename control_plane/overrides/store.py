"""The record of overrides in SQLite: append-only, durable before it is answered, safe with two control planes for a moment.

Lines are never changed nor deleted (triggers see to it). Each append is one transaction with WAL and `synchronous=FULL`: after a kill -9 or
a power cut a line is there or it is not. A writer first reads what another process wrote, under the lock of its transaction.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from control_plane.kit.errors import SpecError
from control_plane.overrides.asked import Refusal
from control_plane.overrides.model import Book, Event, What, folded

NAME: Final = "overrides.sqlite"
VERSION: Final = 1
BUSY_S: Final = 5.0
"""How long a writer waits for another one: a rolling restart has two control planes for seconds, each write takes milliseconds."""

_CHANGING: Final = frozenset((What.CREATED, What.RETURNING, What.ENDED))

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    at REAL NOT NULL,
    override TEXT NOT NULL,
    what TEXT NOT NULL,
    who TEXT NOT NULL,
    data TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_by_override ON events (override);
CREATE TRIGGER IF NOT EXISTS events_stay BEFORE UPDATE ON events BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
CREATE TRIGGER IF NOT EXISTS events_remain BEFORE DELETE ON events BEGIN SELECT RAISE(ABORT, 'the record is append-only'); END;
"""


class Store:
    """One connection, for any thread: one call after the other."""

    def __init__(self, folder: Path) -> None:
        """Raises SpecError when the file cannot be used."""
        self.path = folder / NAME
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600))  # reasons name people and incidents
            self._db = sqlite3.connect(self.path, timeout=BUSY_S, isolation_level=None, check_same_thread=False)
            self._prepare()
        except (OSError, sqlite3.Error) as error:
            raise SpecError(
                f"{self.path} cannot be used as the record of overrides: {error}; move it away or choose another --state-dir"
            ) from None
        self._book: Book = {}
        self._seen = 0
        self._changed_at = 0.0
        self._lock = threading.RLock()
        self._data_version = -1
        self.refresh()

    @property
    def book(self) -> Book:
        """All overrides, as of the last read or append. A new mapping after every change."""
        return self._book

    @property
    def changed_at(self) -> float:
        """When something last changed what is in force, in seconds since the epoch."""
        return self._changed_at

    def refresh(self) -> bool:
        """Read what another process wrote; whether there was anything. Raises Refusal."""
        with self._lock, self._told():
            version = self._db.execute("PRAGMA data_version").fetchone()[0]
            if version == self._data_version:
                return False
            self._data_version = version
            return self._read_on()

    def append(self, decide: Callable[[Book, int], Sequence[Event]]) -> tuple[Event, ...]:
        """Write what `decide` makes of the book and the next number, as it is at this moment, all of it or nothing.

        Raises Refusal when the file cannot be written; then nothing was.
        """
        with self._lock, self._told():
            with self._writing():
                self._read_on()
                events = decide(self._book, self._seen + 1)
                for event in events:
                    row = (event.at, event.override, str(event.what), event.who, json.dumps(event.data, ensure_ascii=False))
                    self._db.execute("INSERT INTO events (at, override, what, who, data) VALUES (?, ?, ?, ?, ?)", row)
            self._read_on()
        return tuple(events)

    def events(self, override: str | None = None, most: int = 1000) -> list[Event]:
        """The last lines, oldest first, of one override or all."""
        where, values = ("WHERE override = ?", (override, most)) if override is not None else ("", (most,))
        question = f"SELECT * FROM (SELECT * FROM events {where} ORDER BY seq DESC LIMIT ?) ORDER BY seq"  # noqa: S608 - constants
        with self._lock, self._told():
            rows = self._db.execute(question, values).fetchall()
        return [event for row in rows if (event := _event(row)) is not None]

    def close(self) -> None:
        """Release the file, when whoever is at it has finished. What comes later is refused."""
        with self._lock:
            self._db.close()

    def _prepare(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise sqlite3.DatabaseError(f"a newer Headgate wrote it (version {version}, this one knows {VERSION})")
        self._db.executescript(_SCHEMA)
        self._db.execute(f"PRAGMA user_version={VERSION}")

    def _read_on(self) -> bool:
        rows = self._db.execute("SELECT * FROM events WHERE seq > ? ORDER BY seq", (self._seen,)).fetchall()
        if not rows:
            return False
        self._seen = rows[-1][0]
        self._changed_at = max((row[1] for row in rows if row[3] in _CHANGING), default=self._changed_at)
        self._book = folded((event for row in rows if (event := _event(row)) is not None), self._book)
        return True

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise Refusal("not_recorded", f"{self.path} cannot be used: {error}", "see to the disk; nothing was changed") from None

    @contextmanager
    def _writing(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")


def _event(row: tuple[int, float, str, str, str, str]) -> Event | None:
    """None for a kind of line that only a newer version knows."""
    seq, at, override, what, who, data = row
    return Event(at, override, What(what), who, json.loads(data), seq) if what in set(What) else None
