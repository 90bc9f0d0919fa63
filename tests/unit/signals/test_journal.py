"""The tail as a consumer sees it: what is delivered again after which kind of stop, and what it says about itself."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

import pytest

from control_plane.kit.clock import FakeClock
from control_plane.signals import offset
from control_plane.signals.journal import JournalTail
from control_plane.telemetry.metrics import Metrics


def tail_of(journal: Any, metrics: Metrics, **options: Any) -> JournalTail:
    return JournalTail(journal.path, journal.state.parent, metrics, idle_s=0.001, **options)


async def take(tail: JournalTail, count: int) -> list[str]:
    """Consume batches until `count` lines came; the last batch is not consumed until more is asked for."""
    ids: list[str] = []
    while len(ids) < count:
        ids += [line.id for line in await asyncio.wait_for(anext(tail), 5)]
    return ids


async def test_an_orderly_stop_repeats_nothing(journal: Any, metrics: Metrics) -> None:
    ids = journal.write(50)
    seen: list[str] = []
    async with tail_of(journal, metrics) as tail:
        async for batch in tail:
            seen += [line.id for line in batch]
            if len(seen) == 50:
                # The consumer asks for the next batch, there is none, and it is stopped while it waits.
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(anext(tail), 0.02)
                break
    more = journal.write(3)
    async with tail_of(journal, metrics) as tail:
        assert await take(tail, 3) == more
    assert seen == ids


async def test_a_consumer_that_fails_gets_its_batch_again(journal: Any, metrics: Metrics) -> None:
    ids = journal.write(5)

    async def consume() -> None:
        async with tail_of(journal, metrics) as tail:
            async for _ in tail:
                raise RuntimeError("consumer")

    with pytest.raises(RuntimeError, match="consumer"):
        await consume()
    async with tail_of(journal, metrics) as tail:
        assert await take(tail, 5) == ids


async def test_a_cancelled_wait_swallows_no_batch(journal: Any, metrics: Metrics) -> None:
    seen: list[str] = []
    async with tail_of(journal, metrics) as tail:
        expected: list[str] = []
        for _ in range(200):
            expected += journal.write(1)
            try:
                seen += [line.id for line in await asyncio.wait_for(anext(tail), 0.0005)]
            except TimeoutError:
                continue
        while len(seen) < len(expected):
            seen += [line.id for line in await asyncio.wait_for(anext(tail), 5)]
    assert seen == expected


async def test_the_offset_is_kept_once_a_second_at_most(
    journal: Any, metrics: Metrics, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    saves: list[int] = []
    real = offset.save

    def save(path: Path, kept: offset.Offset) -> None:
        saves.append(kept.offset)
        real(path, kept)

    monkeypatch.setattr(offset, "save", save)
    tail = tail_of(journal, metrics, clock=clock)
    for _ in range(20):
        journal.write(1)
        await take(tail, 1)
    assert saves == []
    clock.advance(1.0)
    journal.write(1)
    await take(tail, 1)
    assert len(saves) == 1
    await tail.close()
    # The last batch was handed out and never followed by a request for more: it is not consumed.
    assert offset.load(journal.state) == offset.Offset(**{**_as_dict(offset.load(journal.state)), "offset": saves[-1]})


def _as_dict(kept: offset.Offset | None) -> dict[str, Any]:
    assert kept is not None
    return {name: getattr(kept, name) for name in kept.__struct_fields__}


async def test_closing_ends_the_iteration(journal: Any, metrics: Metrics) -> None:
    journal.write(1)
    tail = tail_of(journal, metrics)
    batches = 0

    async def consume() -> None:
        nonlocal batches
        async for _ in tail:
            batches += 1

    consuming = asyncio.create_task(consume())
    while metrics.value("headgate_journal_lag_seconds") != 0 or not batches:
        await asyncio.sleep(0.001)
    await tail.close()
    await asyncio.wait_for(consuming, 5)
    assert batches == 1


async def test_a_directory_is_one_journal_per_envoy_and_none_starves(tmp_path: Path, journal: Any, metrics: Metrics) -> None:
    folder = tmp_path / "envoys"
    folder.mkdir()
    one, two = folder / "edge-1.log", folder / "edge-2.log"
    first = journal.write(3000, one)
    second = journal.write(3, two)
    tail = JournalTail(folder, tmp_path / "state", metrics, idle_s=0.001)
    batches = [[line.id for line in await anext(tail)] for _ in range(3)]
    assert any(set(batch) <= set(second) for batch in batches)
    seen = [name for batch in batches for name in batch] + await take(tail, 3003 - sum(map(len, batches)))
    assert sorted(seen) == sorted(first + second)
    await tail.close()
    assert {path.name for path in (tmp_path / "state").iterdir()} == {"edge-1.log.offset", "edge-2.log.offset"}


async def test_lines_and_lag_are_metrics(journal: Any, metrics: Metrics) -> None:
    journal.write(4)
    size, clock = journal.path.stat().st_size, FakeClock(start=1795178340.673473 + 7)
    tail = tail_of(journal, metrics, clock=clock)
    await take(tail, 4)
    assert metrics.value("headgate_journal_lag_bytes") == size
    assert metrics.value("headgate_journal_lines_total", log="request") == 4
    assert metrics.value("headgate_journal_lag_seconds") == pytest.approx(7, abs=0.01)
    clock.advance(1)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(tail), 0.02)
    assert metrics.value("headgate_journal_lag_seconds") == 0
    assert metrics.value("headgate_journal_lag_bytes") == 0
    await tail.close()


async def test_a_file_that_cannot_be_read_is_reported_once_and_tried_again(
    journal: Any, metrics: Metrics, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ids = journal.write(2)
    real, failing = os.pread, True

    def pread(fd: int, size: int, at: int) -> bytes:
        if failing:
            raise PermissionError(13, "Permission denied")
        return real(fd, size, at)

    monkeypatch.setattr(os, "pread", pread)
    tail = tail_of(journal, metrics)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(anext(tail), 0.05)
    assert [record.getMessage() for record in caplog.records if "cannot read" in record.getMessage()] == [caplog.records[0].getMessage()]
    failing = False
    assert await take(tail, 2) == ids
    await tail.close()


async def test_the_event_loop_is_never_held_for_20_ms(journal: Any, metrics: Metrics) -> None:
    """A backlog of 20,000 lines; the process's own time between two turns of the loop, so that a busy machine does not matter."""
    journal.write(20_000)
    tail = tail_of(journal, metrics)
    worst, done = 0.0, False

    async def watch() -> None:
        nonlocal worst
        last = time.thread_time()
        while not done:
            await asyncio.sleep(0)
            now = time.thread_time()
            worst, last = max(worst, now - last), now

    watching = asyncio.create_task(watch())
    seen = await take(tail, 20_000)
    done = True
    await watching
    await tail.close()
    assert len(seen) == 20_000
    assert worst < 0.02
