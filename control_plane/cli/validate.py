"""`headgate validate`: are these specs fit to be served?"""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from control_plane.spec.findings import Finding
    from control_plane.spec.load import Loaded

EXIT_FINDINGS: Final = 2


class Output(enum.StrEnum):
    """How to print."""

    table = "table"
    json = "json"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(name="validate")(validate)


def validate(
    paths: Annotated[list[Path], typer.Argument(metavar="PATH...", help="Spec files, or directories of them")],
    output: Annotated[Output, typer.Option("-o", "--output", help="table: one line a finding; json: one object")] = Output.table,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings fail, too")] = False,
    local: Annotated[bool, typer.Option(help="Also look for the keys and CA files that the specs refer to, here")] = True,
) -> None:
    """Check specs without serving them. Exit code 0: fit (warnings allowed); 2: findings."""
    from control_plane.sources.reader import read_specs
    from control_plane.spec.load import load

    loaded = read_specs(paths) if local else load(paths)
    print(_as_json(loaded) if output is Output.json else "\n".join([*map(str, loaded.findings), summary(loaded)]))
    if not loaded.ok or (strict and loaded.findings):
        raise typer.Exit(EXIT_FINDINGS)


def counts(findings: tuple[Finding, ...]) -> tuple[int, int]:
    """Errors and warnings."""
    errors = sum(finding.severity == "error" for finding in findings)
    return errors, len(findings) - errors


def summary(loaded: Loaded) -> str:
    """One line: "ok: 2 providers, 1 route, 0 errors, 1 warning"."""
    errors, warnings = counts(loaded.findings)
    presets = len(loaded.specs.presets)
    parts = (
        *(((presets, "preset"),) if presets else ()),
        (len(loaded.specs.providers), "provider"),
        (len(loaded.specs.routes), "route"),
        (errors, "error"),
        (warnings, "warning"),
    )
    words = ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts)
    return f"{'ok' if loaded.ok else 'refused'}: {words}"


def _as_json(loaded: Loaded) -> str:
    errors, warnings = counts(loaded.findings)
    return json.dumps(
        {
            "ok": loaded.ok,
            "presets": len(loaded.specs.presets),
            "providers": len(loaded.specs.providers),
            "routes": len(loaded.specs.routes),
            "errors": errors,
            "warnings": warnings,
            "findings": [finding.as_dict() for finding in loaded.findings],
        },
        indent=2,
        ensure_ascii=False,
    )
