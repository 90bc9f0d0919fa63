"""How much memory Envoy may take on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from control_plane.kit.errors import SpecError
from control_plane.spec.quantities import format_quantity, parse_quantity
from control_plane.xds.bootstrap import MIN_HEAP_BYTES

SHARE: Final = 0.5
"""Of the machine's memory: the rest is the translators', the control plane's and the system's."""


def heap_bytes(asked: str, flag: str) -> int:
    """The limit that `asked` names ("2Gi"); of nothing, a share of what this machine or container has. Raises SpecError."""
    if not asked:
        return max(MIN_HEAP_BYTES, int(SHARE * min(_limits())))
    try:
        found = parse_quantity(asked)
    except ValueError:
        raise SpecError(f"{flag} {asked}: expected a size, for example 2Gi") from None
    if found < MIN_HEAP_BYTES:
        raise SpecError(f"{flag} {asked}: Envoy needs at least {format_quantity(MIN_HEAP_BYTES)}")
    return found


def _limits(root: Path = Path("/")) -> Iterator[int]:
    """Bytes: the machine's memory, and what this process's control group may have (both versions)."""
    for line in (root / "proc/meminfo").read_text().splitlines():
        if line.startswith("MemTotal:"):
            yield int(line.split()[1]) * 1024
    for file in ("sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            text = (root / file).read_text().strip()
        except OSError:
            continue
        if text.isdigit():
            yield int(text)
