"""`headgate validate`, `explain` and `schema`: what they print and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from control_plane.cli import explain, schema, validate

SPECS = """\
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: p}
spec: {preset: openai-compatible, baseUrl: "https://p.example.com", credentials: [{secretRef: {file: key}}]}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: r}
spec: {models: [m], plan: [{targets: [{provider: p, model: m}]}]}
"""


@pytest.fixture
def app() -> typer.Typer:
    made = typer.Typer()
    for verb in (validate, explain, schema):
        verb.register(made)
    return made


def test_validate(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("specs.yaml").write_text(SPECS)
    done = CliRunner().invoke(app, ["validate", "specs.yaml"])
    assert done.exit_code == 0
    assert [line.split(" ")[:3] for line in done.stdout.splitlines()[:-1]] == [
        ["specs.yaml:4:102", "HG3001", "warning"],
        ["specs.yaml:9:21", "HG3003", "warning"],
    ]
    assert done.stdout.splitlines()[-1] == "ok: 1 provider, 1 route, 0 errors, 2 warnings"
    assert CliRunner().invoke(app, ["validate", "specs.yaml", "--strict"]).exit_code == 2
    assert "HG3001" not in CliRunner().invoke(app, ["validate", "specs.yaml", "--no-local"]).stdout
    Path("key").write_text("sk-test\n")
    assert "HG3001" not in CliRunner().invoke(app, ["validate", "specs.yaml"]).stdout


def test_validate_with_errors(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("specs.yaml").write_text(SPECS.replace("models:", "modles:"))
    done = CliRunner().invoke(app, ["validate", "specs.yaml", "nowhere", "-o", "json"])
    assert done.exit_code == 2
    report = json.loads(done.stdout)
    assert (report["ok"], report["errors"], report["warnings"]) == (False, 3, 1)
    assert report["findings"][0] == {
        "code": "HG1001", "severity": "error", "path": "", "message": "cannot be read: no such file or directory",
        "fix": "check the path and its permissions", "file": "nowhere", "line": 1, "col": 1,
    }  # fmt: skip
    done = CliRunner().invoke(app, ["validate", "specs.yaml"])
    assert done.exit_code == 2
    assert 'specs.yaml:9:8 HG1003 error spec.modles: unknown field; did you mean "models"?' in done.stdout
    assert done.stdout.splitlines()[-1] == "refused: 1 provider, 0 routes, 2 errors, 1 warning"


def test_explain(app: typer.Typer) -> None:
    done = CliRunner().invoke(app, ["explain", "HG1003"])
    assert done.exit_code == 0
    assert done.stdout.startswith("HG1003 error: Unknown field\n\nCause\n")
    assert "wieght" in done.stdout
    done = CliRunner().invoke(app, ["explain", "modelroute.spec.plan"])
    assert done.exit_code == 0
    assert done.stdout.startswith("modelroute.spec.plan  list of mapping\n  Attempt 1 uses the first group")
    assert "targets" in done.stdout
    done = CliRunner().invoke(app, ["explain", "modelroute.spec.timeouts.idle"])
    assert "default: 1m" in done.stdout
    assert "bounds:  10ms to 1h" in done.stdout


@pytest.mark.parametrize(
    ("word", "answer"),
    [
        ("HG1103", 'did you mean "HG1003"?'),
        ("HG", "codes go from HG1001"),
        ("modelroute.spec.plna", 'did you mean "modelroute.spec.plan"?'),
        ("weather", "try a code such as HG1003"),
    ],
)
def test_explain_what_does_not_exist(app: typer.Typer, word: str, answer: str) -> None:
    done = CliRunner().invoke(app, ["explain", word])
    assert done.exit_code == 2
    assert answer in done.stderr
    assert done.stdout == ""


def test_schema(app: typer.Typer) -> None:
    both = CliRunner().invoke(app, ["schema"])
    assert set(json.loads(both.stdout)["$defs"]) >= {"Provider", "ModelRoute", "Target"}
    route = CliRunner().invoke(app, ["schema", "modelroute"])
    assert json.loads(route.stdout)["title"] == "ModelRoute"
    assert route.stdout == CliRunner().invoke(app, ["schema", "ModelRoute"]).stdout
    wrong = CliRunner().invoke(app, ["schema", "provder"])
    assert wrong.exit_code == 2
    assert 'did you mean "provider"?' in wrong.stderr
