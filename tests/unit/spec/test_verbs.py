"""`headgate validate`, `explain`, `schema` and `presets`: what they print and how they exit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
import yaml
from typer.testing import CliRunner

from control_plane.cli import explain, presets, schema, validate

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
    for verb in (validate, explain, schema, presets):
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


OWN = """\
apiVersion: headgate.dev/v1alpha1
kind: Preset
metadata: {name: acme}
spec: {title: Acme, dialects: {openai-chat: {path: /chat}}, auth: {header: api-key}}
---
"""


def test_validate_counts_presets_where_there_are_some(app: typer.Typer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("specs.yaml").write_text(OWN + SPECS.replace("openai-compatible", "acme"))
    done = CliRunner().invoke(app, ["validate", "--no-local", "specs.yaml"])
    assert done.stdout.splitlines()[-1] == "ok: 1 preset, 1 provider, 1 route, 0 errors, 1 warning"
    report = json.loads(CliRunner().invoke(app, ["validate", "--no-local", "specs.yaml", "-o", "json"]).stdout)
    assert (report["presets"], report["providers"], report["routes"]) == (1, 1, 1)


def test_explain_and_schema_know_presets(app: typer.Typer) -> None:
    options = CliRunner().invoke(app, ["explain", "preset.spec.options"])
    assert "max_tokens_field? max_tokens | max_completion_tokens" in " ".join(options.stdout.split())
    for path in ("preset.spec.dialects.openai-chat.path", "spec.dialects.anthropic-messages.path"):  # the latter as a finding prints it
        assert CliRunner().invoke(app, ["explain", path]).stdout.startswith("preset.spec.dialects.path  text, optional\n")
    flag = CliRunner().invoke(app, ["explain", "preset.spec.options.stream_usage"])
    assert flag.stdout.startswith("preset.spec.options.stream_usage  true or false, optional\n")
    found = json.loads(CliRunner().invoke(app, ["schema", "preset"]).stdout)
    assert found["title"] == "Preset"
    assert found["$defs"]["PresetSpec"]["properties"]["options"]["properties"]["thinking"]["enum"] == [
        "adaptive",
        "budget",
        "none",
        "level",
        "reasoning_config",
        "reasoning_effort",
    ]
    assert "Preset" in json.loads(CliRunner().invoke(app, ["schema"]).stdout)["$defs"]


def test_presets(app: typer.Typer) -> None:
    lines = CliRunner().invoke(app, ["presets"]).stdout.splitlines()
    assert lines[0].split() == ["NAME", "TITLE", "DIALECTS", "BASE", "URL", "AUTH"]
    rows = {line.split()[0]: " ".join(line.split()) for line in lines[1:]}
    assert rows["groq"] == "groq Groq openai-chat https://api.groq.com/openai/v1 authorization: Bearer KEY"
    assert rows["ollama"] == "ollama Ollama openai-chat, anthropic-messages yours authorization: Bearer KEY (optional)"
    assert rows["anthropic"] == "anthropic Anthropic anthropic-messages https://api.anthropic.com/v1 x-api-key: KEY"
    assert list(rows) == sorted(rows)
    (one,) = CliRunner().invoke(app, ["presets", "groq", "-o", "table"]).stdout.splitlines()[1:]
    assert " ".join(one.split()) == rows["groq"]


def test_presets_as_data(app: typer.Typer) -> None:
    items = json.loads(CliRunner().invoke(app, ["presets", "-o", "json"]).stdout)["items"]
    assert items == yaml.safe_load(CliRunner().invoke(app, ["presets", "-o", "yaml"]).stdout)["items"]
    (mistral,) = (item for item in items if item["name"] == "mistral")
    assert mistral["options"]["rename_params"] == {"seed": "random_seed"}
    one = json.loads(CliRunner().invoke(app, ["presets", "mistral", "-o", "json"]).stdout)
    assert (one["kind"], one["metadata"], one["spec"]["baseUrl"]) == ("Preset", {"name": "my-mistral"}, "https://api.mistral.ai/v1")
    text = CliRunner().invoke(app, ["presets", "mistral"]).stdout
    assert text.startswith("# Mistral, https://docs.mistral.ai")
    assert text == CliRunner().invoke(app, ["presets", "mistral", "-o", "yaml"]).stdout
    assert yaml.safe_load(text)["spec"]["options"] == one["spec"]["options"]


def test_presets_that_do_not_exist(app: typer.Typer) -> None:
    wrong = CliRunner().invoke(app, ["presets", "mistrl"])
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert 'no preset is named "mistrl"; did you mean "mistral"?' in wrong.stderr
    assert "zai" in CliRunner().invoke(app, ["presets", "mainframe"]).stderr
