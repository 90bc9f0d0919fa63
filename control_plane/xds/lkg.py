"""The last known good snapshot on disk, so that a restart serves at once what the fleet already runs.

One file: a line `headgate-lkg <format> <sha256 of the rest>` and then MessagePack. Secret values are never in it, only the
names of secrets.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import msgspec

from control_plane.kit.atomic_file import write_atomic
from control_plane.kit.errors import GatewayError
from control_plane.xds.resource import Ref, Resource
from control_plane.xds.snapshot import Snapshot

FORMAT: Final = 1
_MAGIC: Final = "headgate-lkg"


class LkgError(GatewayError):
    """The file cannot be used (damaged, or of another format); the text says how to go on without it."""


class _Entry(msgspec.Struct, array_like=True, frozen=True):
    type_url: str
    name: str
    body: bytes
    refs: list[Ref]


class _Stored(msgspec.Struct, frozen=True):
    number: int
    saved_at: float
    routes: list[str]
    secrets: list[str]
    entries: list[_Entry]


@dataclass(frozen=True, slots=True)
class LastKnownGood:
    """What was read: a snapshot without secrets, their names, and when it was saved (seconds since the epoch)."""

    snapshot: Snapshot
    secret_names: frozenset[str]
    saved_at: float


def save(path: Path, snapshot: Snapshot, now: float) -> None:
    """Replace the file. Raises OSError, and then the old one is untouched."""
    stored = _Stored(
        number=snapshot.number,
        saved_at=now,
        routes=sorted(snapshot.routes),
        secrets=sorted(r.name for r in snapshot if r.secret),
        entries=[_Entry(r.type_url, r.name, r.body, sorted(r.refs)) for r in snapshot if not r.secret],
    )
    payload = msgspec.msgpack.encode(stored)
    write_atomic(path, f"{_MAGIC} {FORMAT} {hashlib.sha256(payload).hexdigest()}\n".encode() + payload)


def load(path: Path) -> LastKnownGood | None:
    """Read the file; None when there is none. Raises LkgError."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise LkgError(f"cannot read {path}: {error.strerror}; starting without the last known good configuration") from error
    head, _, payload = data.partition(b"\n")
    fields = head.decode(errors="replace").split(" ")
    if len(fields) != 3 or fields[0] != _MAGIC:
        raise LkgError(f"{path} is not a last known good configuration; starting without it")
    if fields[1] != str(FORMAT):
        raise LkgError(f"{path} has format {fields[1]}, this version reads {FORMAT}; starting without it")
    if hashlib.sha256(payload).hexdigest() != fields[2]:
        raise LkgError(f"{path} is damaged (its checksum does not match); starting without it")
    try:
        stored = msgspec.msgpack.decode(payload, type=_Stored)
    except msgspec.DecodeError as error:
        raise LkgError(f"{path} cannot be decoded ({error}); starting without it") from error
    resources = (Resource(e.type_url, e.name, e.body, frozenset((kind, name) for kind, name in e.refs)) for e in stored.entries)
    return LastKnownGood(Snapshot.of(resources, number=stored.number, routes=stored.routes), frozenset(stored.secrets), stored.saved_at)
