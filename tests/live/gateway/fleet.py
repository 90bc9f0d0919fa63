"""A gateway's parts run separately, as in a cluster: a control plane on TCP, translators, Envoys that know nothing but a bootstrap."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.demo.simulators import Pace, Simulator
from control_plane.kit import probe
from control_plane.kit.envoy_binary import find_envoy
from tests.live.gateway import load
from tests.live.gateway.rig import KEYS, SPECS, Loop

HEADGATE = [sys.executable, "-m", "control_plane"]


def free_port() -> int:
    with socket.socket() as probed:
        probed.bind(("127.0.0.1", 0))
        return int(probed.getsockname()[1])


@dataclass
class Fleet:
    """Processes by name, each with its output in a file; ended by their own ids."""

    folder: Path
    loop: Loop
    vendors: dict[str, Simulator]
    listen: int = field(default_factory=free_port)
    admin: int = field(default_factory=free_port)
    xds: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listen}"

    def start(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as output:
            self.processes[name] = subprocess.Popen(command, stdout=output, stderr=output, env={**os.environ, **KEYS})

    def output(self, name: str) -> str:
        return (self.folder / f"{name}.out").read_text(errors="replace")[-3000:]

    def control_plane(self) -> None:
        command = [*HEADGATE, "control-plane", "-f", str(self.folder / "gateway.yaml"), "--state-dir", str(self.folder / "state")]
        command += ["--xds", f"127.0.0.1:{self.xds}", "--admin", f"127.0.0.1:{self.admin}", "--listen", f"127.0.0.1:{self.listen}"]
        for number in (0, 1):
            command += ["--translator", str(self.folder / f"t{number}.sock")]
        self.start("control-plane", *command, "--access-log", "grpc")

    def envoy(self, name: str) -> None:
        """A sidecar: `headgate bootstrap` and the Envoy binary, nothing else."""
        said = [*HEADGATE, "bootstrap", "--control-plane", f"127.0.0.1:{self.xds}", "--node-id", name]
        config = subprocess.run([*said, "--admin", str(self.folder / f"{name}.sock")], check=True, capture_output=True, timeout=30).stdout
        (self.folder / f"{name}.json").write_bytes(config)
        options = ["--use-dynamic-base-id", "--concurrency", "1", "-l", "warning", "--drain-time-s", "1"]
        self.start(name, str(find_envoy()), "-c", str(self.folder / f"{name}.json"), *options)

    def stop(self, name: str, number: int = signal.SIGTERM) -> int:
        process = self.processes.pop(name)
        process.send_signal(number)
        try:
            return process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait(5)

    def ask(self, count: int, at_once: int, make: Callable[[int], tuple[str, bytes]]) -> list[load.Answer]:
        answers = self.loop.run(load.run(self.url, count, at_once, make))
        assert [problem for a in answers if (problem := load.served(a))] == []
        return answers

    def headgate(self, *words: str) -> subprocess.CompletedProcess[str]:
        """A verb that asks the admin API, as an operator types it."""
        command = [*HEADGATE, *words, "--admin", f"127.0.0.1:{self.admin}"]
        return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)

    def get(self, path: str) -> str:
        status, text = self.loop.run(probe.http(f"127.0.0.1:{self.admin}", "GET", path))
        assert status == 200, text
        return text

    def served_by(self, name: str) -> int:
        """Requests that this Envoy took."""
        question = "/stats?format=json&filter=^http.edge.downstream_rq_2xx$"
        _, text = self.loop.run(probe.http(str(self.folder / f"{name}.sock"), "GET", question))
        return int(sum(stat.get("value", 0) for stat in json.loads(text)["stats"]))


def until(found: Callable[[], bool], within_s: float, why: Callable[[], str] = lambda: "") -> float:
    began = time.monotonic()
    while True:
        try:
            if found():
                return time.monotonic() - began
        except (OSError, TimeoutError, AssertionError):
            pass
        assert time.monotonic() - began < within_s, f"not within {within_s} s: {why()}"
        time.sleep(0.03)


@contextmanager
def running(routes: str, *envoys: str) -> Iterator[Fleet]:
    """Two translators, a control plane and these Envoys, in front of simulated vendors."""
    folder, loop = Path(tempfile.mkdtemp(prefix="fleet")), Loop()
    pace = Pace(delay_ms=1)
    vendors = {
        "openai": Simulator("openai", keys=[KEYS["SIM_OPENAI_KEY"]], pace=pace),
        "anthropic": Simulator("anthropic", keys=[KEYS["SIM_ANTHROPIC_KEY"]], pace=pace),
        "local": Simulator("openai", name="local", keys=[KEYS["SIM_LOCAL_KEY"]], models=["llama-3.3-70b"], pace=pace),
    }
    for vendor in vendors.values():
        loop.run(vendor.__aenter__())
    (folder / "gateway.yaml").write_text(SPECS.format(**{n: v.url for n, v in vendors.items()}) + routes)
    fleet = Fleet(folder, loop, vendors)
    try:
        for number in (0, 1):
            fleet.start(f"translator-{number}", *HEADGATE, "translator", "--socket", str(folder / f"t{number}.sock"))
        fleet.control_plane()
        for name in envoys:
            fleet.envoy(name)
        until(lambda: loop.run(probe.answers(f"127.0.0.1:{fleet.listen}", "/v1/models")), 30, lambda: fleet.output("control-plane"))
        yield fleet
    finally:
        for name in list(fleet.processes):
            fleet.stop(name)
        for vendor in vendors.values():
            loop.run(vendor.__aexit__(None, None, None))
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)
