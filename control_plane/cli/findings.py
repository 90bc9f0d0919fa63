"""What every verb that reads specs does with findings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from control_plane.spec.models import SpecSet


def refuse_errors(paths: Sequence[Path]) -> SpecSet:
    """The specs under `paths`; warnings go to stderr. Exits with 2 after printing the findings when any is an error."""
    from control_plane.sources.reader import read_specs

    loaded = read_specs(paths)
    for finding in loaded.findings:
        print(finding, file=sys.stderr)
    if not loaded.ok:
        errors = sum(f.severity == "error" for f in loaded.findings)
        print(f"headgate: {errors} error{'s' * (errors != 1)} in the specs; nothing was started or changed", file=sys.stderr)
        raise typer.Exit(2)
    return loaded.specs
