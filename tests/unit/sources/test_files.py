"""Watching spec files: every way in which editors and orchestrators replace them is seen, and nothing else is."""

from __future__ import annotations

import asyncio
import os
import shutil
import statistics
import time
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

import pytest

from control_plane.sources import files as files_module
from control_plane.sources import notify
from control_plane.sources.files import FileSource
from control_plane.spec.load import Loaded

SOON_S = 20.0  # an answer that comes at all comes long before this
QUIET_S = 0.3  # long enough for several looks at the files

PROVIDER = """\
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: p}}
spec: {{preset: openai-compatible, baseUrl: "https://p.example.com", headers: {{x-version: "{version}"}}{more}}}
"""


def write(path: Path, version: object, more: str = "") -> None:
    path.write_text(PROVIDER.format(version=version, more=more))


def replace(path: Path, version: object) -> None:
    """As vim, sed -i and write_atomic do."""
    new = path.with_name(f".{path.name}.swp")
    write(new, version)
    os.replace(new, path)


class Watched:
    """A running source and what it delivered last."""

    def __init__(self, stream: AsyncIterator[Loaded]) -> None:
        self._stream = stream
        self._next: asyncio.Task[Loaded] | None = None

    async def next(self, timeout_s: float = SOON_S) -> Loaded:
        if self._next is None:
            self._next = asyncio.ensure_future(anext(self._stream))
        loaded = await asyncio.wait_for(asyncio.shield(self._next), timeout_s)
        self._next = None
        return loaded

    async def until(self, wanted: Callable[[Loaded], bool]) -> Loaded:
        """The first delivery that is wanted; a change may be seen in several steps."""
        async with asyncio.timeout(SOON_S):
            while True:
                loaded = await self.next()
                if wanted(loaded):
                    return loaded

    async def nothing(self) -> bool:
        try:
            await self.next(QUIET_S)
        except TimeoutError:
            return True
        return False

    async def close(self) -> None:
        if self._next is not None:
            self._next.cancel()
            await asyncio.gather(self._next, return_exceptions=True)


@asynccontextmanager
async def watching(*paths: Path, environ: dict[str, str] | None = None, poll_s: float = 3600.0) -> AsyncIterator[Watched]:
    """With polling off (an hour), so that what is seen is seen by events; tests of polling say so."""
    async with aclosing(FileSource(paths, environ or {}, poll_s).changes()) as stream:  # type: ignore[type-var]
        watched = Watched(stream)
        try:
            yield watched
        finally:
            await watched.close()


def version(loaded: Loaded) -> str | None:
    return loaded.specs.providers[0].spec.headers["x-version"] if loaded.ok and loaded.specs.providers else None


def is_version(wanted: object) -> Callable[[Loaded], bool]:
    return lambda loaded: version(loaded) == str(wanted)


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    folder = tmp_path / "specs"
    folder.mkdir()
    write(folder / "p.yaml", 1)
    return folder


async def test_what_is_there_comes_first_and_only_once(specs: Path) -> None:
    async with watching(specs) as watched:
        assert version(await watched.next()) == "1"
        assert await watched.nothing()


@pytest.mark.parametrize("given", ["folder", "file"])
async def test_editing_in_place_and_by_renaming(specs: Path, given: str) -> None:
    file = specs / "p.yaml"
    async with watching(specs if given == "folder" else file) as watched:
        await watched.next()
        for number in range(2, 8):
            (write if number % 2 else replace)(file, number)
            await watched.until(is_version(number))


async def test_relative_paths(specs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(specs)
    async with watching(Path("p.yaml")) as watched:
        await watched.next()
        replace(Path("p.yaml"), 2)
        await watched.until(is_version(2))


async def test_unchanged_content_and_foreign_files_deliver_nothing(specs: Path) -> None:
    async with watching(specs) as watched:
        await watched.next()
        replace(specs / "p.yaml", 1)
        os.utime(specs / "p.yaml")
        (specs / "notes.txt").write_text("x")
        (specs / ".p.yaml.swp").write_text("not: [valid")
        assert await watched.nothing()
        replace(specs / "p.yaml", 2)
        assert version(await watched.next()) == "2"


async def test_new_removed_and_nested_files(specs: Path) -> None:
    async with watching(specs) as watched:
        await watched.next()
        (specs / "sub" / "deep").mkdir(parents=True)
        write(specs / "sub" / "deep" / "q.yaml", 5)
        await watched.until(lambda loaded: "HG2002" in [f.code for f in loaded.findings])  # a second provider p
        (specs / "p.yaml").unlink()
        await watched.until(is_version(5))


async def test_a_file_mid_edit_is_findings_and_then_good_again(specs: Path) -> None:
    async with watching(specs) as watched:
        await watched.next()
        (specs / "p.yaml").write_text("spec: {preset: [")
        broken = await watched.until(lambda loaded: [f.code for f in loaded.findings] == ["HG1002"])
        assert not broken.ok
        (specs / "p.yaml").write_bytes(b"\xff\xfe")
        assert not (await watched.until(lambda loaded: [f.code for f in loaded.findings] == ["HG1010"])).ok
        (specs / "p.yaml").unlink()
        assert not (await watched.until(lambda loaded: [f.code for f in loaded.findings] == ["HG1011"])).ok
        write(specs / "p.yaml", 2)
        await watched.until(is_version(2))


async def test_a_kubernetes_volume_swaps_a_link(tmp_path: Path) -> None:
    mount = tmp_path / "mount"
    mount.mkdir()

    def publish(number: int) -> None:
        data = mount / f"..2026_{number}"
        data.mkdir()
        write(data / "p.yaml", number)
        (mount / "..data_tmp").symlink_to(data.name)
        os.replace(mount / "..data_tmp", mount / "..data")
        shutil.rmtree(mount / f"..2026_{number - 1}", ignore_errors=True)

    publish(1)
    (mount / "p.yaml").symlink_to("..data/p.yaml")
    async with watching(mount) as folder, watching(mount / "p.yaml") as file:
        for number in range(2, 6):
            if number > 2:
                publish(number - 1)
            for watched in (folder, file):
                await watched.until(is_version(number - 1))


async def test_the_folder_goes_and_comes_back_again_and_again(specs: Path) -> None:
    async with watching(specs) as watched:
        await watched.next()
        for number in range(2, 6):
            shutil.rmtree(specs)
            gone = await watched.until(lambda loaded: not loaded.ok)
            assert {f.code for f in gone.findings} <= {"HG1001", "HG1011"}
            specs.mkdir()
            write(specs / "p.yaml", number)
            await watched.until(is_version(number))
            replace(specs / "p.yaml", number * 10)
            await watched.until(is_version(number * 10))


async def test_the_folder_is_swapped_for_another(specs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    write(other / "p.yaml", 2)
    link = tmp_path / "current"
    link.symlink_to("specs")
    async with watching(link) as watched:
        await watched.next()
        (tmp_path / "new").symlink_to("other")
        os.replace(tmp_path / "new", link)
        await watched.until(is_version(2))
        replace(other / "p.yaml", 3)
        await watched.until(is_version(3))


async def test_nothing_there_at_the_start(tmp_path: Path) -> None:
    specs = tmp_path / "a" / "b" / "specs"
    async with watching(specs) as watched:
        assert [f.code for f in (await watched.next()).findings] == ["HG1001"]
        specs.mkdir(parents=True)
        write(specs / "p.yaml", 1)
        await watched.until(is_version(1))


async def test_keys_are_watched_too(specs: Path, tmp_path: Path) -> None:
    key = tmp_path / "keys" / "openai"
    write(specs / "p.yaml", 1, ', credentials: [{secretRef: {file: "../keys/openai"}}]')
    async with watching(specs) as watched:
        missing = await watched.next()
        assert missing.ok
        assert "HG3001" in [f.code for f in missing.findings]
        key.parent.mkdir()
        key.write_text("sk-one\n")
        there = await watched.until(lambda loaded: "HG3001" not in [f.code for f in loaded.findings])
        for text in ("sk-two\n", "sk-six\n"):  # same length, other content: the specs stay equal, and are delivered again
            new = key.with_name(".new")
            new.write_text(text)
            os.replace(new, key)
            assert (await watched.next()).specs == there.specs
        (key.parent / "unrelated").write_text("x")
        assert await watched.nothing()


async def test_a_key_rotates_while_the_specs_are_broken(specs: Path, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("sk-one")
    write(specs / "p.yaml", 1, f', credentials: [{{secretRef: {{file: "{key}"}}}}]')
    async with watching(specs) as watched:
        assert (await watched.next()).ok
        (specs / "p.yaml").write_text("spec: [")
        assert not (await watched.until(lambda loaded: not loaded.ok and "HG1002" in [f.code for f in loaded.findings])).ok
        key.write_text("sk-two")  # the set that is still in force uses it
        assert not (await watched.next()).ok


async def test_a_slow_consumer_gets_the_newest(specs: Path) -> None:
    async with watching(specs) as watched:
        await watched.next()
        for number in range(2, 30):
            replace(specs / "p.yaml", number)
            await asyncio.sleep(0.002)
        await asyncio.sleep(QUIET_S)
        assert version(await watched.next()) == "29"
        assert await watched.nothing()


async def test_without_events_changes_are_found_by_the_clock(
    specs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_watches(*_: object) -> object:
        raise OSError("OS file watch limit reached")

    monkeypatch.setattr(notify, "RustNotify", no_watches)
    monkeypatch.setattr(files_module, "POLL_WITHOUT_EVENTS_S", 0.02)
    async with watching(specs) as watched:
        await watched.next()
        for number in range(2, 12):  # within one tick of the file system's clock, and of the same length
            write(specs / "p.yaml", number % 10)
            await watched.until(is_version(number % 10))
    assert "watch limit" in caplog.text


async def test_closing_ends_the_threads(specs: Path) -> None:
    import threading

    async with watching(specs) as watched:
        await watched.next()
        assert [thread for thread in threading.enumerate() if thread.name == "spec-watch"]
    deadline = time.monotonic() + SOON_S
    while [thread for thread in threading.enumerate() if thread.name == "spec-watch"] and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert not [thread for thread in threading.enumerate() if thread.name == "spec-watch"]


async def test_a_change_is_delivered_within_a_fraction_of_the_flip_budget(specs: Path) -> None:
    """The promise is 250 ms from the edit to the first request; most of it belongs to Envoy and to the publisher."""
    spent_s = []
    async with watching(specs) as watched:
        await watched.next()
        for number in range(2, 32):
            await asyncio.sleep(0.02)
            before = time.perf_counter()
            replace(specs / "p.yaml", number)
            await watched.until(is_version(number))
            spent_s.append(time.perf_counter() - before)
    print(f"median {statistics.median(spent_s) * 1000:.1f} ms, worst {max(spent_s) * 1000:.1f} ms")
    assert statistics.median(spent_s) < 0.1  # 10 to 20 ms on an idle machine
