"""Coded diagnostics: what is wrong in which line of a spec, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Severity = Literal["error", "warning"]

WARNING_PREFIX: Final = "HG3"  # HG1 shape of a document, HG2 what documents say together, HG3 warnings


def severity_of(code: str) -> Severity:
    """The severity that a code has everywhere: HG3xxx warn, all others are errors."""
    return "warning" if code.startswith(WARNING_PREFIX) else "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """One diagnostic.

    `path` is the field in dots ("spec.plan.0.weight", empty for a whole file); `line` and `col` count from 1; `file` is the
    name as the operator gave it. `fix` says what to do and follows the message after a semicolon. No finding holds a secret.
    """

    code: str
    severity: Severity
    path: str
    message: str
    fix: str = ""
    file: str = ""
    line: int = 1
    col: int = 1

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.col} " if self.file else ""
        field = f" {self.path}" if self.path else ""
        fix = f"; {self.fix}" if self.fix else ""
        return f"{place}{self.code} {self.severity}{field}: {self.message}{fix}"

    def as_dict(self) -> dict[str, str | int]:
        """For `-o json`: every field by its name."""
        return {
            "code": self.code,
            "severity": self.severity,
            "path": self.path,
            "message": self.message,
            "fix": self.fix,
            "file": self.file,
            "line": self.line,
            "col": self.col,
        }


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sorted by file, then position, then code; equal ones once."""
    return tuple(sorted(set(findings), key=lambda f: (f.file, f.line, f.col, f.code, f.path, f.message)))


def has_errors(findings: Iterable[Finding]) -> bool:
    return any(finding.severity == "error" for finding in findings)
