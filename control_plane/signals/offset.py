"""How far a journal file has been consumed, kept on disk so that a restart goes on where the last run stopped."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from control_plane.kit.atomic_file import write_atomic

HEAD_BYTES: Final = 512
"""The first bytes of a file say which file it is: they hold a request id. An inode number alone is reused after a deletion."""


class Offset(msgspec.Struct, frozen=True):
    """A place in a journal file. `offset` is the byte after the last line consumed; `head` digests the first `head_bytes` of the file."""

    device: int
    inode: int
    offset: int
    head_bytes: int
    head: str
    modified_ns: int


def digest(head: bytes) -> str:
    """The fingerprint of a file's first bytes; a hash, because a journal names models and this file does not need to."""
    return hashlib.blake2b(head, digest_size=16).hexdigest()


def take(fd: int, offset: int) -> Offset:
    """The place `offset` in the open file `fd`."""
    about = os.fstat(fd)
    head = os.pread(fd, min(HEAD_BYTES, offset), 0)
    return Offset(about.st_dev, about.st_ino, offset, len(head), digest(head), about.st_mtime_ns)


def load(path: Path) -> Offset | None:
    """The kept offset; None when there is none or the file cannot be read as one (the journal is then read from its start)."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Offset)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def save(path: Path, offset: Offset) -> None:
    """Replace the kept offset. Raises OSError."""
    write_atomic(path, msgspec.json.encode(offset))


def generations(path: Path) -> list[tuple[Path, os.stat_result]]:
    """`path` and its rotated files `path.1`, `path.2`, ... that exist, newest first."""
    found: list[tuple[int, Path]] = [(0, path)]
    try:
        with os.scandir(path.parent) as entries:
            for entry in entries:
                number = entry.name.removeprefix(f"{path.name}.")
                if number != entry.name and number.isdecimal():
                    found.append((int(number), path.parent / entry.name))
    except FileNotFoundError:
        return []
    files: list[tuple[Path, os.stat_result]] = []
    for _, candidate in sorted(found):
        try:
            files.append((candidate, candidate.stat()))
        except FileNotFoundError:
            continue
    return files


def locate(kept: Offset, files: Sequence[tuple[Path, os.stat_result]]) -> int | None:
    """Which of `files` the offset is about; None when that file is gone. The bytes decide, the inode only breaks a tie."""
    same: list[int] = []
    for at, (path, about) in enumerate(files):
        if about.st_size < kept.offset:
            continue
        try:
            with path.open("rb", buffering=0) as file:
                if digest(file.read(kept.head_bytes)) == kept.head:
                    same.append(at)
        except OSError:
            continue
    for at in same:
        about = files[at][1]
        # Without a single byte consumed there are no bytes to compare.
        if (about.st_dev, about.st_ino) == (kept.device, kept.inode):
            return at
    return same[0] if same and kept.head_bytes else None
