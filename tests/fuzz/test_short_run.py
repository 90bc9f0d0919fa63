"""A short run of each fuzz target from its seeds, by the same engine as the long ones (see README.md)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.dialects.registry import DIALECTS, PROVIDERS
from tests.fuzz import targets

pytest.importorskip("atheris", reason="atheris is built for Linux and macOS on some processors only")

RUN = Path(__file__).with_name("run.py")
RUNS = int(os.environ.get("HEADGATE_FUZZ_RUNS", "1000"))
CASES = [(dialect, target) for dialect in PROVIDERS for target in targets.TARGETS if target != "request" or dialect in DIALECTS]


def fuzz(dialect: str, target: str, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), dialect, target, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


@pytest.mark.parametrize(("dialect", "target"), CASES)
def test_nothing_breaks_a_dialect(dialect: str, target: str, tmp_path: Path) -> None:
    done = fuzz(dialect, target, "--runs", str(RUNS), "--seed", "1", "--corpus", str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    found = re.search(r"Done (\d+) runs", done.stderr)
    assert found is not None
    assert int(found[1]) > RUNS  # beside the seeds, of which there must be some


class Broken:
    def read_request(self, *_: object, **__: object) -> None:
        raise IndexError("not what a reader may raise")


def test_a_breach_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "DIALECTS", {"broken": Broken()})
    with pytest.raises(IndexError):
        targets.run("request", "broken", b"\0\0\0{}")
