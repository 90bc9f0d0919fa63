"""The journal file under everything that can happen to it: every complete line once, in order."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from control_plane.signals import offset
from control_plane.signals.reader import JournalReader
from control_plane.telemetry.metrics import Metrics

ReadAll = Callable[[JournalReader], list[str]]


def skipped(metrics: Metrics, reason: str) -> float:
    return metrics.value("headgate_journal_skipped_lines_total", reason=reason) or 0


def events(metrics: Metrics, reason: str) -> float:
    return metrics.value("headgate_journal_events_total", reason=reason) or 0


def keep(reader: JournalReader) -> None:
    """What the tail does each second."""
    kept = reader.unsaved()
    if kept is not None:
        offset.save(reader.state, kept)
        reader.saved(kept)


def test_a_file_that_is_not_there_yet_is_waited_for(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    reader = journal.reader(metrics)
    assert reader.poll() == ([], False)
    ids = journal.write(3)
    assert read_all(reader) == ids


def test_a_torn_last_line_is_left_until_its_newline_is_there(journal: Any, metrics: Metrics, read_all: ReadAll, request_line: Any) -> None:
    reader = journal.reader(metrics)
    ids = journal.write(2)
    raw = json.dumps(request_line(id="late")).encode()
    journal.append(raw[:100])
    assert read_all(reader) == ids
    assert read_all(reader) == []
    journal.append(raw[100:])
    assert read_all(reader) == []
    journal.append(b"\n")
    assert read_all(reader) == ["late"]
    assert skipped(metrics, "malformed_json") == 0


def test_a_torn_line_is_not_lost_by_a_restart(journal: Any, metrics: Metrics, read_all: ReadAll, request_line: Any) -> None:
    first = journal.reader(metrics)
    ids = journal.write(2)
    raw = json.dumps(request_line(id="late")).encode()
    journal.append(raw[:100])
    assert read_all(first) == ids
    keep(first)
    first.close()
    journal.append(raw[100:] + b"\n")
    assert read_all(journal.reader(metrics)) == ["late"]


def test_any_chunk_size_gives_the_same_lines(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    ids = journal.write(40)
    for chunk in (3, 64, 1000, 1 << 20):
        reader = journal.reader(metrics, chunk=chunk)
        assert read_all(reader) == ids
        reader.close()


def test_rename_and_reopen_finishes_the_old_file_first(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    reader = journal.reader(metrics)
    ids = journal.write(2)
    assert read_all(reader) == ids
    old = journal.rotate()
    # Envoy has not reopened yet: it writes on into the renamed file, while there is no new one.
    ids += journal.write(2, old)
    assert read_all(reader) == ids[2:4]
    # An empty new file may have been made by somebody else (logrotate's `create`): still the old one.
    journal.path.touch()
    late = journal.write(1, old)
    assert read_all(reader) == late
    new = journal.write(3)
    assert read_all(reader) == new
    assert events(metrics, "rotated") == 1


def test_lines_written_to_the_old_file_just_before_the_new_one_are_not_lost(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    reader = journal.reader(metrics)
    seen = read_all(reader)
    before = journal.write(1)
    seen += read_all(reader)
    old = journal.rotate()
    before += journal.write(1, old)
    after = journal.write(1)
    assert seen + read_all(reader) == before + after


def test_several_rotations_while_the_reader_was_away_are_read_in_order(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    reader = journal.reader(metrics)
    ids = journal.write(3)
    assert read_all(reader) == ids
    keep(reader)
    reader.close()
    expected = journal.write(2)
    for _ in range(3):
        journal.rotate()
        expected += journal.write(2)
    assert read_all(journal.reader(metrics)) == expected
    assert events(metrics, "gap") == 0


def test_several_rotations_under_a_running_reader(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    reader = journal.reader(metrics)
    expected = journal.write(3)
    got = read_all(reader)
    for _ in range(3):
        journal.rotate()
        expected += journal.write(2)
    assert got + read_all(reader) == expected


def test_a_restart_goes_on_at_the_kept_offset_even_in_a_renamed_file(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    first = journal.reader(metrics, chunk=700)
    ids = journal.write(10)
    lines, _ = first.poll()
    got = [line.id for line in lines]
    first.acknowledge()
    keep(first)
    first.close()
    assert 0 < len(got) < 10
    journal.rotate()
    ids += journal.write(3)
    assert got + read_all(journal.reader(metrics)) == ids


def test_what_was_not_acknowledged_is_delivered_again(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    first = journal.reader(metrics)
    ids = journal.write(5)
    assert [line.id for line in first.poll()[0]] == ids
    keep(first)
    first.close()
    assert read_all(journal.reader(metrics)) == ids


def test_a_deleted_file_is_a_gap_and_its_inode_may_be_reused(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    first = journal.reader(metrics)
    journal.write(5)
    read_all(first)
    keep(first)
    first.close()
    journal.path.unlink()
    ids = journal.write(9)
    kept = offset.load(journal.state)
    assert kept is not None
    # As if the file system had given the new file the old one's number, which it often does.
    offset.save(
        journal.state, offset.Offset(kept.device, journal.path.stat().st_ino, kept.offset, kept.head_bytes, kept.head, kept.modified_ns)
    )
    assert read_all(journal.reader(metrics)) == ids
    assert events(metrics, "gap") == 1


@pytest.mark.parametrize("lines_after", [1, 30])
def test_truncation_in_place_is_noticed_even_when_the_file_grew_again(
    journal: Any, metrics: Metrics, read_all: ReadAll, lines_after: int
) -> None:
    reader = journal.reader(metrics)
    assert len(read_all(reader)) == 0
    journal.write(5)
    assert len(read_all(reader)) == 5
    os.truncate(journal.path, 0)
    ids = journal.write(lines_after)
    assert read_all(reader) == ids
    assert events(metrics, "truncated") == 1


def test_bad_lines_are_counted_reported_once_and_skipped(
    journal: Any, metrics: Metrics, read_all: ReadAll, caplog: pytest.LogCaptureFixture
) -> None:
    reader = journal.reader(metrics)
    ids = journal.write(1)
    journal.append(b'garbage sk-ant-api03-secret\n{"log":"x"}\n\n' + b"more garbage\n" * 50)
    ids += journal.write(1)
    assert read_all(reader) == ids
    assert skipped(metrics, "malformed_json") == 51
    assert skipped(metrics, "malformed_shape") == 1
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text


@pytest.mark.parametrize("size", [5_000, 300_000])
def test_a_huge_line_is_skipped_in_bounded_memory(journal: Any, metrics: Metrics, read_all: ReadAll, size: int) -> None:
    reader = journal.reader(metrics, max_line=4_000, chunk=1_000)
    ids = journal.write(1)
    journal.append(b'{"model":"' + b"x" * size)
    assert read_all(reader) == ids
    assert reader._open is not None
    assert len(reader._open.partial) <= 5_000
    journal.append(b'"}\n')
    ids = journal.write(2)
    assert read_all(reader) == ids
    assert skipped(metrics, "oversized") == 1


def test_a_file_that_ends_in_half_a_line_does_not_stop_the_next_one(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    reader = journal.reader(metrics)
    journal.write(1)
    journal.append(b'{"log":"req')
    read_all(reader)
    journal.rotate()
    ids = journal.write(2)
    assert read_all(reader) == ids
    assert skipped(metrics, "torn") == 1


@pytest.mark.parametrize("state", [b"", b"{}", b"\xff\xfe", b'{"device":1}', b"[]"])
def test_a_broken_offset_file_means_from_the_start(journal: Any, metrics: Metrics, read_all: ReadAll, state: bytes) -> None:
    ids = journal.write(3)
    journal.state.parent.mkdir()
    journal.state.write_bytes(state)
    assert read_all(journal.reader(metrics)) == ids


def test_lag_counts_this_file_and_the_newer_ones(journal: Any, metrics: Metrics, read_all: ReadAll) -> None:
    reader = journal.reader(metrics)
    journal.write(4)
    size = journal.path.stat().st_size
    assert reader.lag_bytes() == size
    read_all(reader)
    assert reader.lag_bytes() == 0
    journal.rotate()
    journal.write(4)
    assert reader.lag_bytes() == journal.path.stat().st_size


@pytest.mark.parametrize("seed", range(25))
def test_any_sequence_of_events_delivers_each_line_once_and_in_order(tmp_path: Path, journal: Any, read_all: ReadAll, seed: int) -> None:
    """Writes, rotations, restarts (orderly and killed) and torn writes in random order."""
    chance, metrics = random.Random(seed), Metrics()
    reader = journal.reader(metrics, chunk=chance.choice((64, 1500, 100_000)))
    expected: list[str] = []
    got: list[str] = []
    unkept = 0
    for _ in range(60):
        match chance.choice(("write", "write", "step", "rotate", "keep", "stop", "kill")):
            case "write":
                expected += journal.write(chance.randint(1, 6))
            case "step":
                lines, _ = reader.poll()
                got += [line.id for line in lines]
                unkept += len(lines)
                reader.acknowledge()
            case "rotate" if journal.path.exists() and journal.path.stat().st_size:
                journal.rotate()
                if chance.random() < 0.5:
                    expected += journal.write(1, journal.path.with_name("journal.log.1"))
                expected += journal.write(1)
            case "keep":
                keep(reader)
                unkept = 0
            case "stop":
                keep(reader)
                unkept = 0
                reader.close()
                reader = journal.reader(metrics, chunk=1500)
            case "kill":
                # What was delivered since the offset was kept comes again, nothing else.
                del got[len(got) - unkept :]
                unkept = 0
                reader.close()
                reader = journal.reader(metrics, chunk=1500)
            case _:
                pass
    got += read_all(reader)
    assert got == expected
    assert events(metrics, "gap") == 0
