"""`headgate drill` as an operator types it."""

from __future__ import annotations

import json
import subprocess
import sys

from control_plane.demo.drills.catalogue import DRILLS


def headgate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "control_plane", *arguments], capture_output=True, text=True, timeout=100, check=False)


def test_a_drill_in_json() -> None:
    done = headgate("drill", "dns-gone", "--requests", "60", "--rate", "30", "--wait", "5", "-o", "json")
    (figures,) = json.loads(done.stdout)["drills"]
    assert figures["drill"] == "dns-gone"
    assert figures["requests"] >= 60
    assert figures["errors"] == 0
    assert done.returncode == (1 if figures["missed"] else 0)
    assert "dns-gone: " in done.stderr


def test_a_missed_promise_is_exit_code_1_and_said() -> None:
    """Nobody waits for the way back here, so no drill can show that the first vendor serves again."""
    done = headgate("drill", "dns-gone", "--requests", "40", "--rate", "30", "--wait", "0")
    assert done.returncode == 1, done.stderr
    assert "MISSED" in done.stdout
    assert "dns-gone: the first vendor did not serve again" in done.stdout


def test_list_and_a_wrong_name() -> None:
    listed = headgate("drill", "list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == [drill.name for drill in DRILLS]
    wrong = headgate("drill", "nothing")
    assert wrong.returncode == 1
    assert "there is no drill nothing; `headgate drill list` shows them" in wrong.stderr
