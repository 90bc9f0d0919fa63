"""Reading again: only what changed is parsed, and nothing that changed is missed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from control_plane.sources import reader as reader_module
from control_plane.sources.reader import RACY_NS, SpecReader, read_specs
from control_plane.spec import load as loading

SPEC = """\
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec: {{preset: openai-compatible, baseUrl: "https://p.example.com", credentials: [{{secretRef: {{env: KEY}}}}]}}
"""


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that were parsed, in order."""
    names: list[str] = []
    original = loading.parse_bytes

    def counting(file: loading.SpecFile, data: bytes) -> loading.Parsed:
        names.append(file.path.name)
        return original(file, data)

    monkeypatch.setattr(loading, "parse_bytes", counting)
    return names


def test_only_what_changed_is_parsed_again(tmp_path: Path, parsed: list[str]) -> None:
    for name in "abc":
        (tmp_path / f"{name}.yaml").write_text(SPEC.format(name=name))
    reader = SpecReader([tmp_path], {"KEY": "k"})
    first = reader.read()
    assert parsed == ["a.yaml", "b.yaml", "c.yaml"]
    again = reader.read()
    assert again.digest == first.digest
    (tmp_path / "b.yaml").write_text(SPEC.format(name="d"))
    (tmp_path / "a.yaml").touch()
    changed = reader.read()
    assert parsed == ["a.yaml", "b.yaml", "c.yaml", "b.yaml"]
    assert changed.digest != first.digest
    assert [provider.name for provider in changed.loaded.specs.providers] == ["a", "c", "d"]
    (tmp_path / "b.yaml").unlink()
    assert [provider.name for provider in reader.read().loaded.specs.providers] == ["a", "c"]
    assert len(parsed) == 4


@pytest.fixture
def frozen_stat(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """A file system whose status never changes, as one with a coarse clock does for a moment."""

    def freeze(age_ns: int) -> None:
        at_ns = time.time_ns() - age_ns
        status = SimpleNamespace(st_dev=1, st_ino=2, st_size=3, st_mtime_ns=at_ns, st_ctime_ns=at_ns)
        monkeypatch.setattr(reader_module, "os", SimpleNamespace(stat=lambda _: status))

    return freeze


def test_a_young_time_stamp_is_not_trusted(tmp_path: Path, frozen_stat: Callable[[int], None]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(SPEC.format(name="a"))
    frozen_stat(-60_000_000_000)  # written "just now" for the whole test
    reader = SpecReader([file], {})
    assert reader.read().loaded.specs.providers[0].name == "a"
    file.write_text(SPEC.format(name="b"))
    assert reader.read().loaded.specs.providers[0].name == "b"


def test_an_old_time_stamp_is_trusted(tmp_path: Path, frozen_stat: Callable[[int], None]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(SPEC.format(name="a"))
    frozen_stat(RACY_NS * 2)
    reader = SpecReader([file], {})
    reader.read()
    file.write_text(SPEC.format(name="b"))  # impossible on a real file system: the proof that the file was not opened
    assert reader.read().loaded.specs.providers[0].name == "a"


def test_digests_stand_for_everything_that_was_read(tmp_path: Path) -> None:
    """Content, names, keys, and why something cannot be read."""
    environ = {"KEY": "one"}
    file = tmp_path / "a.yaml"
    reader = SpecReader([tmp_path], environ)
    digests = [reader.read().digest]  # no file

    def look() -> None:
        digests.append(reader.read().digest)

    file.write_text(SPEC.format(name="a"))
    look()
    environ["KEY"] = "two"
    look()
    del environ["KEY"]
    look()
    file.rename(tmp_path / "b.yaml")
    look()
    (tmp_path / "b.yaml").unlink()
    (tmp_path / "b.yaml").symlink_to("nowhere")
    look()
    assert len(set(digests)) == len(digests)


def test_reading_once_includes_keys(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(SPEC.format(name="a"))
    assert "HG3001" in [finding.code for finding in read_specs([tmp_path], {}).findings]
    assert "HG3001" not in [finding.code for finding in read_specs([tmp_path], {"KEY": "k"}).findings]
