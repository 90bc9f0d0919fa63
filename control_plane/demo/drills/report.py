"""Figures as a table, JSON or YAML."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec
import yaml

from control_plane.demo.drills.figures import Figures

HEADS: Final = ("DRILL", "REQUESTS", "ERRORS", "TTFT+ 1ST SECOND", "TTFT+ LATER", "ATTEMPTS", "LATER", "DIVERTED", "RETURNED", "PROMISE")
NOTE: Final = (
    "TTFT+: time to first content beyond calm traffic's, p50/p99 in ms. ATTEMPTS: a request, in all and after the first second. "
    "DIVERTED, RETURNED: seconds after the outage began and ended."
)


def row(found: Figures) -> tuple[str, ...]:
    """The cells of one drill."""
    errors = str(found.errors) + (f" ({', '.join(f'{n} {what}' for what, n in found.verdicts.items())})" if found.verdicts else "")
    return (
        found.drill,
        f"{found.requests:,}",
        errors,
        f"{_ms(found.first.p50_ms)}/{_ms(found.first.p99_ms)}",
        f"{_ms(found.later.p50_ms)}/{_ms(found.later.p99_ms)}",
        f"{found.amplification:.2f}",
        "-" if found.amplification_later is None else f"{found.amplification_later:.2f}",
        _seconds(found.divert_s),
        _seconds(found.return_s),
        ("MISSED" if found.missed else "held") + ("" if found.acked_s is None else f", acked in {found.acked_s:.2f} s"),
    )


def table(all_figures: Sequence[Figures]) -> str:
    """A table, what was missed, and what the columns mean."""
    rows = [HEADS, *map(row, all_figures)]
    widths = [max(len(r[i]) for r in rows) for i in range(len(HEADS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(r, widths, strict=True)).rstrip() for r in rows]
    for found in all_figures:
        lines += [f"{found.drill}: {text}" for text in found.missed]
        lines += [f"{found.drill}: for example {text}" for text in found.examples if found.missed]
    return "\n".join([*lines, NOTE])


def document(all_figures: Sequence[Figures], form: str) -> str:
    """`json` or `yaml`: {"drills": [...]}."""
    data = {"drills": [msgspec.to_builtins(found) for found in all_figures]}
    if form == "yaml":
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True).rstrip()
    return msgspec.json.format(msgspec.json.encode(data), indent=2).decode()


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
