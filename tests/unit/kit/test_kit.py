"""Files that are old or new, a clock that stands still, and where Envoy is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from control_plane.kit.atomic_file import write_atomic
from control_plane.kit.clock import FakeClock
from control_plane.kit.data_files import data_file
from control_plane.kit.envoy_binary import find_envoy
from control_plane.kit.errors import SpecError


def test_an_atomic_write_replaces_and_leaves_nothing_behind(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert os.listdir(path.parent) == ["file"]
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomic(path, b"one")

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"two")
    assert path.read_bytes() == b"one"
    assert os.listdir(tmp_path) == ["file"]


def test_the_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(100.0)
    assert (clock.now(), clock.monotonic()) == (100.0, 0.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 2.5)


def test_envoy_is_found_by_variable_package_or_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert os.access(find_envoy(), os.X_OK)
    monkeypatch.setenv("HEADGATE_ENVOY", str(tmp_path / "nothing"))
    with pytest.raises(SpecError, match="HEADGATE_ENVOY"):
        find_envoy()
    monkeypatch.setenv("HEADGATE_ENVOY", "/bin/true")
    assert find_envoy() == Path("/bin/true")


def test_a_missing_data_file_says_so() -> None:
    assert data_file("bootstrap.json").is_file()
    with pytest.raises(FileNotFoundError, match="reinstall"):
        data_file("lua/nothing.lua")
