"""`headgate dialects` prints the matrix that ships."""

from __future__ import annotations

import json

import pytest
import yaml
from typer.testing import CliRunner, Result

from control_plane.cli.main import app
from control_plane.dialects.matrix import load_matrix
from control_plane.dialects.registry import DIALECTS, PROVIDERS


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["dialects", *arguments])


def test_the_summary_has_a_line_for_each_client_dialect() -> None:
    done = run()
    assert done.exit_code == 0
    head, *lines = done.output.splitlines()
    assert head.split()[3:] == sorted(PROVIDERS)
    assert [line.split()[0] for line in lines] == sorted(DIALECTS)


@pytest.mark.parametrize("client", sorted(DIALECTS))
def test_one_client_dialect_feature_by_feature(client: str) -> None:
    lines = run(client).output.splitlines()
    assert lines[0].split() == [client, *sorted(PROVIDERS)]
    tools = next(line for line in lines if line.startswith("parallel tool results"))
    assert tools.split()[3:] == ["yes"] * len(PROVIDERS)
    assert any(line.startswith("partly ") for line in lines)


def test_as_data() -> None:
    data = json.loads(run("-o", "json").output)
    assert {(cell["client"], cell["provider"]) for cell in data["cells"]} == {(c, p) for c in DIALECTS for p in PROVIDERS}
    assert yaml.safe_load(run("-o", "yaml").output) == data
    one = json.loads(run("openai-chat", "-o", "json").output)
    assert one["clients"] == ["openai-chat"]
    assert len(one["cells"]) == len(PROVIDERS)
    dropped = load_matrix().cell("openai-chat", "anthropic-messages").features["seed"]
    assert (dropped.outcome, dropped.named) == ("partly", ("seed",))


def test_an_unknown_dialect_is_named_with_the_nearest() -> None:
    done = run("openai-chatt")
    assert done.exit_code == 2
    assert "openai-chat" in done.stderr
