"""What README.md shows is run as written (other ports), and what it names exists."""

from __future__ import annotations

import json
import re
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner

from control_plane.cli.main import app
from tests.docs.conftest import Shell
from tests.docs.readme import README, ROOT, anchors, blocks, commands, expected, links, with_output

TEXT = README.read_text(encoding="utf-8")
RUN = list(with_output(TEXT, "run"))
PAGES = sorted(
    page.as_posix()
    for page in (path.relative_to(ROOT) for path in ROOT.rglob("*.md"))
    if not any(part.startswith(".") or part in ("results", "build", "dist") for part in page.parts)
)


def test_there_is_something_to_run() -> None:
    assert [block.language for block, _ in RUN].count("python") >= 2
    assert [block.language for block, _ in RUN].count("bash") >= 2
    assert {b.word for b in blocks(TEXT)} >= {"specs/gateway.yaml", "up", "up-run", "parts"}


@pytest.mark.parametrize("number", range(len(RUN)), ids=lambda n: f"{n}-{RUN[n][0].language}")
def test_snippets_run_as_written_against_the_demo(demo: Shell, number: int) -> None:
    block, output = RUN[number]
    command = ("python", "-c") if block.language == "python" else ("bash", "-euo", "pipefail", "-c")
    done = demo.run(*command, demo.literal(block.text))
    assert done.returncode == 0, done.stdout
    if output is not None:
        assert expected(output).fullmatch(done.stdout), done.stdout
    shown = done.stdout
    for promised in re.findall(r"^\s*print\(.*\)  # (.+)$", block.text, re.MULTILINE):
        assert promised in shown, done.stdout
        shown = shown.partition(promised)[2]


def test_own_specs_are_served_and_a_flipped_weight_too(shell: Shell) -> None:
    (serve,) = (block for block, _ in with_output(TEXT, "up"))
    ((edit, output),) = with_output(TEXT, "up-run")
    flags = " --listen 127.0.0.1:10000 --admin 127.0.0.1:8080"  # the defaults, written out so that our ports can stand there
    with shell.running(f"exec {shell.literal(serve.text.strip() + flags)}"):
        done = shell.run("bash", "-euo", "pipefail", "-c", shell.literal(edit.text))
    assert done.returncode == 0, done.stdout
    assert output is not None
    assert expected(output).fullmatch(done.stdout), done.stdout


def test_the_parts_run_separately(shell: Shell) -> None:
    (parts,) = (block for block, _ in with_output(TEXT, "parts"))
    script = shell.literal(parts.text).replace("envoy -c", "envoy --use-dynamic-base-id -c")  # other Envoys run on this machine
    deadline = time.monotonic() + 30
    with shell.running(f"{script}\nwait", until_ready=False):
        while time.monotonic() < deadline:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{shell.listen}/v1/models", timeout=5) as answer:
                    assert [model["id"] for model in json.load(answer)["data"]] == ["chat"]
                    return
            except OSError:
                time.sleep(0.1)
        pytest.fail((shell.folder / "stderr").read_text()[-2000:])


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists_with_its_options(page: str) -> None:
    for words in sorted(commands((ROOT / page).read_text(encoding="utf-8"))):
        verbs, known = command_of(words)
        assert CliRunner().invoke(app, [*verbs, "--help"]).exit_code == 0, words
        used = {word.partition("=")[0] for word in words if re.fullmatch(r"--?[a-z][a-z-]*(=.*)?", word)}
        assert used <= known, f"headgate {' '.join(words)}"


def test_a_command_or_option_that_does_not_exist_is_noticed() -> None:
    with pytest.raises(AssertionError, match="drian"):
        command_of(("demo", "drian"))
    assert "--lissen" not in command_of(("up", "-f", "specs/"))[1]
    shown = "```bash\nheadgate up \\\n  -f x # why\n```\n`headgate demo heal openai`"
    assert commands(shown) == {("up", "-f", "x"), ("demo", "heal", "openai")}


def command_of(words: tuple[str, ...]) -> tuple[list[str], set[str]]:
    """The verbs of the innermost command that `words` name, and its options. Fails for a word that should be a verb and is not."""
    command: Any = typer.main.get_command(app)
    verbs: list[str] = []
    for word in words:
        if not (below := getattr(command, "commands", None)) or word.startswith("-"):
            break
        assert word in below, f"no such command: headgate {' '.join(words)} ({word})"
        command = below[word]
        verbs.append(word)
    return verbs, {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_resolves(page: str) -> None:
    here = ROOT / page
    for label, path, anchor in links(here.read_text(encoding="utf-8")):
        there = (here.parent / path).resolve() if path else here
        assert there.exists(), f"{page}: {path}"
        assert ROOT in (there, *there.parents), f"{page}: {path} is outside of the repository"
        if anchor:
            assert anchor in anchors(there.read_text(encoding="utf-8")), f"{page}: {path}#{anchor}"
        if re.fullmatch(r"`?test_\w+`?", label) and there.suffix == ".py":
            assert f"def {label.strip('`')}(" in there.read_text(encoding="utf-8"), f"{page}: {path} has no {label}"


def test_the_make_targets_exist() -> None:
    named = {name for page in PAGES for name in re.findall(r"`make ([a-z]+)", (ROOT / page).read_text(encoding="utf-8"))}
    named |= set(re.findall(r"^make (\w+)", TEXT, re.MULTILINE))
    assert named >= {"demo", "test"}
    for name in sorted(named):
        done = subprocess.run(["make", "-n", name], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", [*sorted((ROOT / "deploy/examples").glob("*.yaml")), None], ids=lambda p: p.name if p else "README")
async def test_examples_are_fit_and_envoy_takes_them(path: Path | None, tmp_path: Path) -> None:
    from control_plane.ir.build import build
    from control_plane.kit.envoy_binary import find_envoy
    from control_plane.spec.load import load
    from control_plane.xds.preflight import Preflight
    from control_plane.xds.translate.gateway import translate
    from control_plane.xds.translate.settings import EdgeSettings

    if path is None:
        path = tmp_path / "gateway.yaml"
        path.write_text(next(block.text for block in blocks(TEXT) if block.language == "yaml"), encoding="utf-8")
    loaded = load([path])
    assert not loaded.findings
    edge = EdgeSettings(listen=("127.0.0.1", 10000), translators=("/run/translator-0.sock",), journal=str(tmp_path / "journal.log"))
    assert await Preflight(find_envoy(), work_dir=tmp_path)(translate(build(loaded.specs), {}, edge)) is None


def test_the_systemd_unit_starts_what_exists() -> None:
    unit = (ROOT / "deploy/systemd/headgate.service").read_text(encoding="utf-8")
    (line,) = re.findall(r"^ExecStart=\S+/headgate (.*)$", unit, re.MULTILINE)
    verbs, known = command_of(tuple(line.split()))
    assert verbs == ["up"]
    assert {word for word in line.split() if word.startswith("-")} <= known
    drain = int(re.findall(r"--drain-seconds (\d+)", line)[0])
    assert int(re.findall(r"^TimeoutStopSec=(\d+)$", unit, re.MULTILINE)[0]) > drain
    files = yaml.safe_load_all((ROOT / "deploy/examples/systemd.yaml").read_text(encoding="utf-8"))
    keys = [c["secretRef"]["file"] for d in files if d["kind"] == "Provider" for c in d["spec"]["credentials"]]
    assert keys
    assert {Path(key).name for key in keys} == set(re.findall(r"^LoadCredential=(\w+):", unit, re.MULTILINE))
