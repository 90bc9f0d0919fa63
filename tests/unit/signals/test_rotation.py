"""Rotation against a scripted admin endpoint; the live tests do it on Envoy under load."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from control_plane.signals.rotation import STARTING_CHECKS, Rotation
from control_plane.telemetry.metrics import Metrics


class Admin:
    """Answers every request with `status` and remembers its first line."""

    def __init__(self) -> None:
        self.status = 200
        self.seen: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        self.seen.append(head.split(b"\r\n")[0].decode())
        writer.write(f"HTTP/1.1 {self.status} X\r\ncontent-length: 3\r\nconnection: close\r\n\r\nOK\n".encode())
        writer.close()


@pytest.fixture
async def admin(tmp_path: Path) -> AsyncIterator[Admin]:
    scripted = Admin()
    server = await asyncio.start_unix_server(scripted.serve, tmp_path / "admin.sock")
    yield scripted
    server.close()
    await server.wait_closed()


def rotation(tmp_path: Path, kept: int = 2, **options: object) -> tuple[Path, Rotation]:
    path = tmp_path / "journal.log"
    return path, Rotation(path, str(tmp_path / "admin.sock"), Metrics(), max_bytes=10, kept=kept, **options)  # type: ignore[arg-type]


async def test_a_small_journal_stays_and_envoy_is_told_once_at_the_start(tmp_path: Path, admin: Admin) -> None:
    path, one = rotation(tmp_path)
    path.write_text("short\n")
    assert [await one.step(), await one.step()] == [False, False]
    assert admin.seen == ["POST /reopen_logs HTTP/1.1"]
    assert path.read_text() == "short\n"


async def test_files_move_up_and_the_oldest_goes(tmp_path: Path, admin: Admin) -> None:
    path, one = rotation(tmp_path, kept=2)
    await one.step()
    for text in ("first file\n", "second file\n", "third file\n", "fourth file\n"):
        path.write_text(text)
        assert await one.step()
        assert not path.exists()
    assert {file.name: file.read_text() for file in tmp_path.glob("journal*")} == {
        "journal.log.1": "fourth file\n",
        "journal.log.2": "third file\n",
    }
    assert len(admin.seen) == 5


async def test_it_waits_while_envoy_cannot_be_told(tmp_path: Path, admin: Admin, caplog: pytest.LogCaptureFixture) -> None:
    path, one = rotation(tmp_path)
    await one.step()
    admin.status = 503
    path.write_text("first file\n")
    assert await one.step()
    # Somebody made a new file meanwhile; Envoy still writes into the renamed one: no second rename before it was told.
    path.write_text("second file\n")
    assert not await one.step()
    assert not await one.step()
    assert len([record for record in caplog.records if "503" in record.getMessage()]) == 1
    admin.status = 200
    assert not await one.step()
    assert await one.step()


async def test_no_admin_at_all_is_a_warning_not_a_crash(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, one = rotation(tmp_path)
    path.write_text("a long file\n")
    for _ in range(STARTING_CHECKS):
        assert not await one.step()
    assert "cannot tell Envoy" not in caplog.text
    assert not await one.step()
    assert "cannot tell Envoy" in caplog.text
    assert path.exists()


async def test_the_oldest_file_waits_for_its_reader_up_to_a_limit(tmp_path: Path, admin: Admin) -> None:
    at: list[tuple[int, int] | None] = [None]
    path, one = rotation(tmp_path, kept=1, reading=lambda: at[0])
    await one.step()
    path.write_text("first file\n")
    assert await one.step()
    about = path.with_name("journal.log.1").stat()
    at[0] = (about.st_dev, about.st_ino)
    path.write_text("second file\n")
    assert not await one.step()
    path.write_text("second file" * 10)
    assert await one.step()


async def test_a_wrong_configuration_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        Rotation(Path("x"), "/nowhere", Metrics(), kept=0)
    with pytest.raises(ValueError, match="at least one"):
        Rotation(Path("x"), "/nowhere", Metrics(), max_bytes=0)
