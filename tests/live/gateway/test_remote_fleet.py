"""The parts run separately, as in a cluster: a control plane on TCP, translators, and Envoys that know nothing but a bootstrap."""

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from control_plane.demo.simulators import Fault, Pace, Simulator
from control_plane.kit import probe
from control_plane.kit.envoy_binary import find_envoy
from tests.live.gateway import load
from tests.live.gateway.rig import KEYS, SPECS, Loop, route

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


def mixed(i: int) -> tuple[str, bytes]:
    return (load.chat if i % 2 else load.messages)(("native", "translated", "failing-over")[i % 3], stream=i % 4 < 2)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """Two translators and a control plane, then an Envoy that joins."""
    folder, loop = Path(tempfile.mkdtemp(prefix="fleet")), Loop()
    pace = Pace(delay_ms=1)
    vendors = {
        "openai": Simulator("openai", keys=[KEYS["SIM_OPENAI_KEY"]], pace=pace),
        "anthropic": Simulator("anthropic", keys=[KEYS["SIM_ANTHROPIC_KEY"]], pace=pace),
        "local": Simulator("openai", name="local", keys=[KEYS["SIM_LOCAL_KEY"]], models=["llama-3.3-70b"], pace=pace),
    }
    for vendor in vendors.values():
        loop.run(vendor.__aenter__())
    routes = route("native", "openai", "local") + route("translated", "anthropic") + route("failing-over", "openai", "anthropic")
    (folder / "gateway.yaml").write_text(SPECS.format(**{n: v.url for n, v in vendors.items()}) + routes)
    fleet = Fleet(folder, loop, vendors)
    try:
        for number in (0, 1):
            fleet.start(f"translator-{number}", *HEADGATE, "translator", "--socket", str(folder / f"t{number}.sock"))
        fleet.control_plane()
        fleet.envoy("one")
        until(lambda: loop.run(probe.answers(f"127.0.0.1:{fleet.listen}", "/v1/models")), 30, lambda: fleet.output("control-plane"))
        yield fleet
    finally:
        for name in list(fleet.processes):
            fleet.stop(name)
        for vendor in vendors.values():
            loop.run(vendor.__aexit__(None, None, None))
        loop.close()
        shutil.rmtree(folder, ignore_errors=True)


async def set_fault(vendor: Simulator, **fault: Any) -> None:
    vendor.fault = Fault(**fault)


def counted(fleet: Fleet, metric: str, *having: str) -> int:
    lines = [line for line in fleet.get("/metrics").splitlines() if line.startswith(metric + "{") and all(h in line for h in having)]
    return round(sum(float(line.rpartition(" ")[2]) for line in lines))


def test_it_serves_and_fails_over(fleet: Fleet) -> None:
    fleet.ask(60, 6, mixed)
    fleet.loop.run(set_fault(fleet.vendors["openai"], mode="status", status=503))
    answers = fleet.ask(40, 6, lambda i: (load.chat if i % 2 else load.messages)(("native", "failing-over")[i // 2 % 2], stream=i % 4 < 2))
    fleet.loop.run(fleet.vendors["openai"].heal())
    assert {a.attempts for a in answers} == {2}


def test_the_access_log_comes_over_grpc(fleet: Fleet) -> None:
    """Every request and its tokens are counted within two seconds; nothing is written to a file."""
    until(
        lambda: counted(fleet, "headgate_requests_total", 'status_class="2xx"', 'operation="chat"') == 100, 4, lambda: fleet.get("/metrics")
    )
    until(lambda: counted(fleet, "headgate_attempts_total", 'class="transient"') == 40, 3)
    assert counted(fleet, "headgate_attempts_total", 'class="ok"') == 100
    assert counted(fleet, "headgate_tokens_total", 'type="output"') > 100
    assert counted(fleet, "headgate_requests_total", 'outcome="ok"', 'lane="translation"') > 20
    assert not list(fleet.folder.rglob("*journal*"))


def test_operators_see_it(fleet: Fleet) -> None:
    done = subprocess.run(
        [*HEADGATE, "get", "proxies", "--admin", f"127.0.0.1:{fleet.admin}"], capture_output=True, text=True, timeout=30, check=False
    )
    assert done.returncode == 0, done.stderr
    (row,) = [line for line in done.stdout.splitlines() if line.split()[:1] == ["one"]]
    assert "SYNCED" in row
    assert not {"STALE", "NACK"} & set(row.split())


def test_a_second_envoy_joins(fleet: Fleet) -> None:
    """Both listen on the same port here (the kernel shares it out); each serves, and edits reach both."""
    fleet.envoy("two")
    until(
        lambda: fleet.get("/api/v1/proxies").count('"one"') >= 1 and '"two"' in fleet.get("/api/v1/proxies"),
        15,
        lambda: fleet.output("two"),
    )

    def both() -> bool:
        fleet.ask(12, 12, mixed)
        return min(fleet.served_by("one"), fleet.served_by("two")) > 5

    until(both, 10)
    specs = fleet.folder / "gateway.yaml"
    specs.write_text(specs.read_text() + route("brand-new", "local"))

    def everywhere() -> bool:
        answers = fleet.loop.run(load.run(fleet.url, 24, 24, lambda _: load.chat("brand-new")))
        assert {a.status for a in answers} <= {200, 404}
        return {a.status for a in answers} == {200}

    assert until(everywhere, 10) < 5


def test_envoys_serve_on_without_their_control_plane(fleet: Fleet) -> None:
    assert fleet.stop("control-plane") == 0, fleet.output("control-plane")
    fleet.ask(60, 12, mixed)
    fleet.stop("one")
    fleet.ask(24, 6, mixed)
    fleet.control_plane()
    until(lambda: '"two"' in fleet.get("/api/v1/proxies"), 20, lambda: fleet.output("control-plane"))
    fleet.envoy("one")
    until(lambda: fleet.served_by("one") >= 0, 10)
    until(lambda: all(f'"{name}"' in fleet.get("/api/v1/proxies") for name in ("one", "two")), 10)
    fleet.ask(24, 12, mixed)


def test_a_killed_translator_is_not_missed(fleet: Fleet) -> None:
    fleet.stop("translator-0", signal.SIGKILL)
    answers = fleet.loop.run(load.run(fleet.url, 60, 6, lambda i: (load.chat if i % 2 else load.messages)(("translated", "native")[i % 2])))
    assert [problem for a in answers if (problem := load.served(a))] == []
