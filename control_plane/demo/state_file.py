"""How other processes find a running demo: a small file in the user's runtime directory."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import msgspec

from control_plane.kit.atomic_file import write_atomic
from control_plane.kit.errors import SpecError


class DemoState(msgspec.Struct, frozen=True, kw_only=True):
    """A running demo: process id and addresses (URLs)."""

    pid: int
    gateway: str
    admin: str
    control: str


def runtime_directory() -> Path:
    """`$XDG_RUNTIME_DIR/headgate`, else `/tmp/headgate-UID`, private to the user. Raises SpecError when it is someone else's."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    folder = Path(base) / "headgate" if base else Path(tempfile.gettempdir()) / f"headgate-{os.getuid()}"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if folder.stat().st_uid != os.getuid():
        raise SpecError(f"{folder} belongs to another user; set XDG_RUNTIME_DIR to a directory of yours")
    return folder


def path() -> Path:
    return runtime_directory() / "demo.json"


def write(state: DemoState) -> None:
    write_atomic(path(), msgspec.json.encode(state))


def remove(pid: int) -> None:
    """Forget the demo of that process; another one's file stays."""
    if (state := _read()) is not None and state.pid == pid:
        path().unlink(missing_ok=True)


def running() -> DemoState | None:
    """The running demo, or None; what a killed one left behind does not count."""
    state = _read()
    return state if state is not None and _alive(state.pid) else None


def find() -> DemoState:
    """The running demo. Raises SpecError with what to do when there is none."""
    state = running()
    if state is None:
        raise SpecError("no demo is running; start one with `headgate demo` in another terminal")
    return state


def _read() -> DemoState | None:
    try:
        return msgspec.json.decode(path().read_bytes(), type=DemoState)
    except (OSError, ValueError):
        return None


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
