"""A running demo and a scratch folder, as a reader of the README has them."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.docs.readme import README, blocks


@dataclass(frozen=True, slots=True)
class Shell:
    """Where snippets run: a scratch folder, the tools on PATH, made-up keys, and ports of our own."""

    folder: Path
    env: dict[str, str]
    listen: int
    admin: int

    def literal(self, text: str) -> str:
        """The snippet with this shell's ports in place of the README's."""
        return text.replace("127.0.0.1:10000", f"127.0.0.1:{self.listen}").replace("127.0.0.1:8080", f"127.0.0.1:{self.admin}")

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run to the end; the output is stdout and stderr as a terminal shows them."""
        return subprocess.run(
            command, cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
        )

    @contextlib.contextmanager
    def running(self, script: str, *, until_ready: bool = True) -> Iterator[None]:
        """A script in a process group of its own, from its line `ready URL` on; ended at the end."""
        with (self.folder / "stderr").open("a") as errors:
            process = subprocess.Popen(
                ["bash", "-c", script],
                cwd=self.folder,
                env=self.env,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                start_new_session=True,
            )
        assert process.stdout is not None
        try:
            if until_ready and not any(line.startswith("ready ") for line in process.stdout):
                pytest.fail(f"it ended with {process.wait()}: {(self.folder / 'stderr').read_text()[-2000:]}")
            yield
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            process.stdout.close()


@contextlib.contextmanager
def new_shell() -> Iterator[Shell]:
    """The folder's path is short, since Unix sockets live below it."""
    folder = Path(tempfile.mkdtemp(prefix="hg-docs-", dir="/tmp"))
    shell = Shell(folder, dict(os.environ), free_port(), free_port())
    shell.env.update(XDG_RUNTIME_DIR=str(folder), XDG_STATE_HOME=str(folder / "state"), NO_COLOR="1")
    shell.env.update(OPENAI_API_KEY="sk-not-a-key", ANTHROPIC_API_KEY="sk-ant-not-a-key", HEADGATE_ADMIN=f"127.0.0.1:{shell.admin}")
    shell.env["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for block in blocks(README.read_text(encoding="utf-8")):
        if block.language == "yaml":
            (folder / block.word).parent.mkdir(exist_ok=True)
            (folder / block.word).write_text(block.text, encoding="utf-8")
    try:
        yield shell
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def shell() -> Iterator[Shell]:
    """A scratch folder with the README's specs in it."""
    with new_shell() as made:
        yield made


@pytest.fixture(scope="module")
def demo() -> Iterator[Shell]:
    """A shell beside a running `headgate demo`, which is what `make demo` starts."""
    with new_shell() as made, made.running(made.literal("exec headgate demo --listen 127.0.0.1:10000 --admin 127.0.0.1:8080")):
        yield made


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
