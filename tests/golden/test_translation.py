"""Specs in; IR and Envoy resources out. `make golden` rewrites the expected part of every file in translation/."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from control_plane.app.offline import ir_of, xds_of
from control_plane.spec.load import load

CASES = sorted((Path(__file__).parent / "translation").glob("*.golden"))
MARK = "\n===== {} =====\n"


def _outputs(specs: str, folder: Path) -> str:
    file = folder / "specs.yaml"
    file.write_text(specs, encoding="utf-8")
    loaded = load(file)
    assert loaded.ok, [str(f) for f in loaded.findings]
    xds: dict[str, Any] = xds_of(loaded.specs, ("127.0.0.1", 10000))
    del xds["LDS"]  # constant; it has a golden file of its own
    del xds["RDS"]["default"]
    text = MARK.format("ir") + json.dumps(ir_of(loaded.specs), indent=1, sort_keys=False)
    return text + MARK.format("xds") + json.dumps(xds, indent=1, sort_keys=True) + "\n"


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.stem)
def test_translation_matches_golden(path: Path, tmp_path: Path) -> None:
    specs, _, _ = path.read_text(encoding="utf-8").partition(MARK.format("ir"))
    actual = specs + _outputs(specs, tmp_path)
    if os.environ.get("HEADGATE_GOLDEN") == "write":
        path.write_text(actual, encoding="utf-8")
    assert path.read_text(encoding="utf-8") == actual, f"{path.name} differs; if the change is meant, run `make golden` and read the diff"


def test_translation_is_stable(tmp_path: Path) -> None:
    """The same specs give the same bytes, whatever was translated before."""
    specs = CASES[0].read_text(encoding="utf-8").partition(MARK.format("ir"))[0]
    assert _outputs(specs, tmp_path) == _outputs(specs, tmp_path)
