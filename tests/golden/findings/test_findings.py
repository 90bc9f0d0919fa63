"""Specs in, findings out, both in one file; `make golden` rewrites the findings.

A golden holds sections that begin with `>>>`: `>>> file NAME [ENCODING]` (a file of that content), `>>> missing NAME` (a path that is
given but does not exist), `>>> env NAME=VALUE`, `>>> without MODULE` (as if it were not installed), and at the end `>>> findings`. Where
no `providers.yaml` is in it, a good one is added.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from control_plane.credentials.sign_in import source
from control_plane.sources.reader import read_specs
from control_plane.spec.catalogue import CATALOGUE

HERE = Path(__file__).parent
GOLDENS = sorted(HERE.glob("*.txt"))
WRITE = os.environ.get("HEADGATE_GOLDEN") == "write"

AT_RUN_TIME = {"HG3015"}
"""Codes that only a running gateway tells; tests/unit/app/test_sign_ins.py."""

PROVIDERS = """\
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: openai}
spec: {preset: openai, credentials: [{secretRef: {env: OPENAI_API_KEY}}]}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: anthropic}
spec: {preset: anthropic, credentials: [{secretRef: {env: ANTHROPIC_API_KEY}}]}
"""


@dataclass
class Golden:
    files: dict[str, bytes] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    environ: dict[str, str] = field(default_factory=lambda: {"OPENAI_API_KEY": "sk-o", "ANTHROPIC_API_KEY": "sk-a"})
    before: str = ""
    findings: str = ""

    @classmethod
    def read(cls, path: Path) -> Golden:
        golden = cls()
        text = path.read_text(encoding="utf-8")
        golden.before, _, golden.findings = text.partition(">>> findings\n")
        for section in golden.before.split(">>> ")[1:]:
            head, _, body = section.partition("\n")
            word, *rest = head.split(maxsplit=2)
            if word == "file":
                golden.files[rest[0]] = body.encode(rest[1] if len(rest) > 1 else "utf-8")
            elif word == "missing":
                golden.missing.append(rest[0])
            elif word == "without":
                golden.without.append(rest[0])
            elif word == "env":
                name, _, value = rest[0].partition("=")
                golden.environ[name] = value
            else:
                raise AssertionError(f"{path}: unknown section {word}")
        return golden


@pytest.mark.parametrize("path", GOLDENS, ids=lambda path: path.stem)
def test_findings_are_as_written(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    golden = Golden.read(path)
    monkeypatch.chdir(tmp_path)
    installed = source._installed
    monkeypatch.setattr(source, "_installed", lambda module: module not in golden.without and installed(module))
    files = {"providers.yaml": PROVIDERS.encode(), **golden.files}
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)
    specs = sorted(name for name in files if name.endswith((".yaml", ".json")))
    loaded = read_specs([*specs, *golden.missing], golden.environ)
    found = "".join(f"{finding}\n" for finding in loaded.findings)
    if WRITE:
        path.write_text(golden.before + ">>> findings\n" + found, encoding="utf-8")
        return
    assert found == golden.findings
    assert loaded.ok == (" error" not in found)


def test_every_code_has_a_golden_and_every_golden_a_code_of_the_catalogue() -> None:
    codes = {line.split(" ")[1] for path in GOLDENS for line in Golden.read(path).findings.splitlines()}
    assert codes == set(CATALOGUE) - AT_RUN_TIME


def test_a_golden_is_named_after_a_code_that_it_shows() -> None:
    for path in GOLDENS:
        code = path.stem.split("-")[0]
        shown = Golden.read(path).findings
        assert (not shown) if code == "none" else f" {code} " in shown, path.name


def test_no_finding_shows_a_secret() -> None:
    secret = "VERYSECRET"  # what the goldens use wherever a key could be
    goldens = [Golden.read(path) for path in GOLDENS]
    assert sum(secret in golden.before for golden in goldens) >= 5
    assert not [golden.findings for golden in goldens if secret in golden.findings]
