"""Spec files and what they refer to, read again and again at the price of what changed."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from control_plane.catalogue.check import check_known
from control_plane.credentials.references import check_references, fingerprint
from control_plane.spec.findings import in_order
from control_plane.spec.load import Loaded, Parsed, SpecFile, combine, list_files, parse_file
from control_plane.spec.models import SpecSet

# A file whose time stamp is this young may change again without a new one (the clock of file systems ticks every 1 to 10 ms),
# so it is read again instead of trusted. The same rule as git's index.
RACY_NS: Final = 100_000_000


@dataclass(frozen=True, slots=True)
class Reading:
    """A set and 32 bytes that stand for all that was read, keys included: equal digests, nothing new."""

    loaded: Loaded
    digest: bytes


@dataclass(frozen=True, slots=True)
class _Known:
    signature: tuple[int, ...]
    racy: bool
    parsed: Parsed


def read_specs(paths: Sequence[Path | str], environ: Mapping[str, str] | None = None) -> Loaded:
    """Read once: the specs, checked with the keys and CA files that they refer to."""
    return SpecReader(paths, environ).read().loaded


class SpecReader:
    """Reads the same paths many times. Not for use by two threads at once."""

    def __init__(self, paths: Sequence[Path | str], environ: Mapping[str, str] | None = None) -> None:
        self._paths = [Path(path) for path in paths]
        self._environ = environ
        self._known: dict[str, _Known] = {}
        self._specs_digest = b""
        self._combined: Loaded | None = None
        self.last_good: SpecSet | None = None  # what is in force while there are errors

    def read(self) -> Reading:
        """What is there now. Never raises for what files hold or that they are gone; that is findings."""
        files, listing = list_files(self._paths)
        known = {file.name: self._read_file(file) for file in files}
        self._known = known
        digest = hashlib.sha256("\n".join(map(str, listing)).encode("utf-8", "surrogatepass"))
        for file in files:
            parsed = known[file.name].parsed
            digest.update(b"\0" + file.name.encode("utf-8", "surrogatepass") + b"\0" + parsed.digest)
            if not parsed.digest:  # not read at all: the reason may change
                digest.update("\n".join(map(str, parsed.findings)).encode("utf-8", "surrogatepass"))
        if self._combined is None or digest.digest() != self._specs_digest:
            self._combined = combine([known[file.name].parsed for file in files], listing)
            self._specs_digest = digest.digest()
        specs = self._combined.specs
        outside = [*check_references(specs, self._environ), *check_known(specs)]
        digest.update(fingerprint(specs, self._environ))
        digest.update("\n".join(map(str, outside)).encode("utf-8", "surrogatepass"))
        loaded = Loaded(specs, in_order([*self._combined.findings, *outside]))
        if loaded.ok:
            self.last_good = specs
        elif self.last_good is not None:
            digest.update(fingerprint(self.last_good, self._environ))  # its keys may rotate meanwhile
        return Reading(loaded, digest.digest())

    def _read_file(self, file: SpecFile) -> _Known:
        """The parsed file; what is known of it while its status is unchanged."""
        now_ns = time.time_ns()
        try:
            status = os.stat(file.name)
        except (OSError, ValueError):
            return _Known((), True, parse_file(file))
        signature = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        racy = now_ns - max(status.st_mtime_ns, status.st_ctime_ns) < RACY_NS
        before = self._known.get(file.name)
        if before is not None and before.signature == signature and not before.racy:
            return before
        return _Known(signature, racy, parse_file(file, known=before.parsed if before is not None else None))
