"""The record in SQLite: append-only, all or nothing, there after a kill -9, and shared for a moment by two control planes."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from control_plane.kit.errors import SpecError
from control_plane.overrides.asked import Refusal
from control_plane.overrides.model import Book, Event, What
from control_plane.overrides.store import NAME, Store
from tests.unit.overrides.conftest import T0, wish


def made(book: Book, number: int) -> list[Event]:
    return [Event(T0 + len(book), f"ov-{number}", What.CREATED, "alice", {"wish": wish().to_dict()})]


def ended(name: str) -> Event:
    return Event(T0 + 50, name, What.ENDED, "bob", {"why": "undone"})


def test_what_was_written_is_there_again(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(made)
    store.append(lambda _, __: [ended("ov-1")])
    store.append(made)
    store.close()
    again = Store(tmp_path)
    assert {name: one.open for name, one in again.book.items()} == {"ov-1": False, "ov-3": True}
    assert [(e.seq, str(e.what)) for e in again.events()] == [(1, "created"), (2, "ended"), (3, "created")]
    assert [e.seq for e in again.events("ov-1")] == [1, 2]
    assert [e.seq for e in again.events(most=1)] == [3]
    assert again.changed_at == T0 + 50
    assert (tmp_path / NAME).stat().st_mode & 0o077 == 0
    again.close()


def test_nothing_can_be_changed_or_deleted(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(made)
    database = sqlite3.connect(tmp_path / NAME)
    for statement in ("UPDATE events SET who = 'eve'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            database.execute(statement)
    database.close()
    store.close()


def test_all_or_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)

    def half(book: Book, number: int) -> list[Event]:
        return [*made(book, number), Event(T0, "x", What.ENDED, "x", {"not": {1, 2}})]  # no JSON

    with pytest.raises(TypeError):
        store.append(half)
    assert (store.book, store.events()) == ({}, [])
    store.append(made)
    assert list(store.book) == ["ov-1"]
    store.close()


def test_two_processes_see_each_other(tmp_path: Path) -> None:
    one, two = Store(tmp_path), Store(tmp_path)
    assert not two.refresh() or not two.book
    one.append(made)
    assert two.refresh()
    assert list(two.book) == ["ov-1"]
    assert not two.refresh()
    two.append(lambda book, _: [ended(name) for name, known in book.items() if known.open])
    one.append(lambda book, number: made(book, number) if not any(o.open for o in book.values()) else [])
    assert [o.open for o in one.book.values()] == [False, True], "the second one's line was read before it was decided"
    for store in (one, two):
        store.close()


def test_many_threads_and_two_connections(tmp_path: Path) -> None:
    stores = Store(tmp_path), Store(tmp_path)
    threads = [threading.Thread(target=lambda i=i: [stores[i % 2].append(made) for _ in range(10)]) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for store in stores:
        store.refresh()
        assert len(store.book) == 60
        assert [e.seq for e in store.events()] == list(range(1, 61))
        store.close()


WRITER = """
import sys
from pathlib import Path
from control_plane.overrides.store import Store
from tests.unit.overrides.test_store import made
store = Store(Path(sys.argv[1]))
while True:
    (event,) = store.append(made)
    print(event.override, flush=True)
"""


def test_what_was_answered_survives_a_kill_9(tmp_path: Path) -> None:
    for _ in range(4):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path)], stdout=subprocess.PIPE, cwd=Path(__file__).parents[3]
        ) as writer:
            assert writer.stdout is not None
            answered = [writer.stdout.readline().decode().strip() for _ in range(5)]
            os.kill(writer.pid, signal.SIGKILL)
            answered += writer.stdout.read().decode().split("\n")[:-1]
        store = Store(tmp_path)
        assert set(answered) <= set(store.book)
        assert [e.seq for e in store.events(most=100_000)] == list(range(1, len(store.book) + 1))
        store.close()


def test_a_full_disk_is_a_refusal_and_changes_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.append(made)
    store._db.execute(f"PRAGMA max_page_count={store._db.execute('PRAGMA page_count').fetchone()[0]}")

    def fill() -> None:
        for _ in range(500):
            store.append(made)

    with pytest.raises(Refusal) as caught:
        fill()
    assert caught.value.code == "not_recorded"
    known = dict(store.book)
    store._db.execute("PRAGMA max_page_count=100000")
    assert len(store.events(most=10_000)) == len(known)
    store.append(made)
    assert len(store.book) == len(known) + 1
    store.close()


def test_files_that_are_no_record(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"not a database, but long enough to be taken for one" * 40)
    with pytest.raises(SpecError, match="cannot be used as the record of overrides"):
        Store(tmp_path)
    newer = tmp_path / "newer"
    newer.mkdir()
    database = sqlite3.connect(newer / NAME)
    database.execute("PRAGMA user_version=99")
    database.close()
    with pytest.raises(SpecError, match="a newer Headgate wrote it"):
        Store(newer)
