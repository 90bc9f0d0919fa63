"""CPU per request and per streamed chunk, side by side with plain Envoy in one run. See README.md beside this file."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.gateways import ENVOY_FOLDER, MODEL, Parts, Running, check_answer, free_port, lane_config, plain_config
from tests.bench.payloads import write_payloads

HERE: Final = Path(__file__).parent
BIN: Final = HERE / "bin"
RESULTS: Final = HERE / "results"
GATEWAY_CORE, DRIVER_CORE = "0", "1"


@dataclass(frozen=True, slots=True)
class Workload:
    """body: name of a payload; shape: (chunks per stream, µs between chunks) of a streamed answer; conns: connections."""

    body: str
    conns: int
    shape: tuple[int, int] | None = None


WORKLOADS: Final = {
    "1k": Workload("1k", 16),
    "32k": Workload("32k", 16),
    "400k": Workload("400k", 8),
    "chunk-alone": Workload("stream", 16, (64, 10_000)),
    "chunk-burst": Workload("stream", 16, (64, 0)),
    "chunk-alone-trim": Workload("stream-trim", 16, (64, 10_000)),
    "chunk-burst-trim": Workload("stream-trim", 16, (64, 0)),
}
LANES: Final = {
    "lane": Parts(),
    "lane-target-rename": Parts(rename="target"),
    "lane-no-journal": Parts(journal=False),
    "lane-no-meter": Parts(meter=False, journal=False),
    "lane-no-lua": Parts(edge=None, rename="none", journal=False),
    "lane-hold": Parts(hold=True),
}
# Ratios to plain Envoy that the passthrough lane must keep, with rename, metering, credentials and journal on.
TARGETS: Final = {"1k": 1.8, "32k": 2.4, "400k": 3.0, "chunk-alone": 1.2, "chunk-burst": 1.2}


@dataclass(slots=True)
class Measured:
    """Something that takes requests: its URL, the roots of its process trees, and its Envoy if we started it."""

    name: str
    url: str
    pids: list[int]
    running: Running | None = None


def build() -> None:
    """Compiles the load driver and the mock provider when their sources are newer. Needs gcc and glibc ≥ 2.35."""
    BIN.mkdir(exist_ok=True)
    for name in ("loadgen", "mock_upstream"):
        source, binary = HERE / "src" / f"{name}.c", BIN / name
        if not binary.exists() or binary.stat().st_mtime < source.stat().st_mtime:
            flags = ["-O2", "-g", "-std=gnu11", "-Wall", "-Wno-unused-result", "-Wno-format-truncation"]
            subprocess.run(["gcc", *flags, "-o", str(binary), str(source)], check=True)


def prefix(core: str, priority: str) -> list[str]:
    return [*shlex.split(priority), "taskset", "-c", core]


def measure(one: Measured, load: Workload, body: Path, options: argparse.Namespace, upstream: int) -> dict[str, Any]:
    """One run of the load driver; its JSON object."""
    ramp = ["--ramp", "0.64"] if load.shape and load.shape[1] else []
    pids = [x for pid in one.pids for x in ("--cpu-pid", str(pid))]
    command = [
        *prefix(DRIVER_CORE, options.priority),
        str(BIN / "loadgen"),
        "--url",
        one.url,
        "--body",
        str(body),
        "--conns",
        str(load.conns),
    ]
    command += ["--duration", str(options.seconds), "--warmup", str(options.warmup + (0.64 if ramp else 0)), *ramp, *pids]
    command += ["--aux-pid", str(upstream), *(x for h in options.header for x in ("--header", h))]
    for _ in range(3):
        result: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        if result["ok"] or result["err"] or result["neterr"]:
            break  # else: starved by others on this machine
    if result["err"] or result["neterr"] or not result["ok"]:
        raise RuntimeError(f"{one.name}: {result['err']} errors, {result['neterr']} network errors: {result.get('err_body', '')}")
    return result


def cost_us(result: dict[str, Any], load: Workload, request_us: float) -> float:
    """CPU µs per request; of a streamed workload per chunk, without what the request itself costs."""
    if load.shape is None:
        return float(result["cpu_us_per_req"])
    return (float(result["cpu_s"]) * 1e6 - float(result["ok"]) * request_us) / float(result["tokens"])


def start(names: Sequence[str], options: argparse.Namespace, upstream_port: int, folder: Path) -> list[Measured]:
    """Plain Envoy, the lanes asked for, and what was given by URL."""
    out: list[Measured] = []
    for name in names:
        port = free_port()
        base, _, edge = name.partition("@")
        if base == "plain":
            config = plain_config(port, upstream_port)
        else:
            parts = LANES[base]
            if edge:
                parts = Parts(Path(edge).resolve(), parts.rename, parts.meter, parts.credentials, parts.journal, parts.hold)
            config = lane_config(port, upstream_port, parts, folder / f"{len(out)}-journal.jsonl")
        running = Running(folder / f"{len(out)}-{base}", config, port, prefix(GATEWAY_CORE, options.priority))
        out.append(Measured(name, running.url, [running.process.pid], running))
    for given in options.gateway:
        name, url, pids = given.split("=", 2)
        out.append(Measured(name, url, [int(p) for p in pids.split(",")]))
    return out


def report(
    names: Sequence[str], loads: Sequence[str], costs: dict[tuple[str, str], list[float]], middle: Callable[[list[float]], float]
) -> str:
    """A table of costs in µs and their ratio to the first gateway."""
    rows = ["| gateway | " + " | ".join(loads) + " |", "|---" * (len(loads) + 1) + "|"]
    for name in names:
        cells = []
        for load in loads:
            mine, first = middle(costs[name, load]), middle(costs[names[0], load])
            spread = f"±{(max(costs[name, load]) - min(costs[name, load])) / 2:.1f}"
            cells.append(f"{mine:.1f} {spread}" + ("" if name == names[0] else f" ({mine / first:.2f}×)"))
        rows.append(f"| {name} | " + " | ".join(cells) + " |")
    rows.append("| must reach | " + " | ".join(f"≤ {TARGETS[x]}×" if x in TARGETS else "" for x in loads) + " |")
    return "\n".join(rows)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", default="plain,lane", help=f"plain, {', '.join(LANES)}; NAME@FILE takes another edge.lua")
    parser.add_argument(
        "--gateway", action="append", default=[], help="NAME=URL=PID[,PID...]: something that runs already (needs --upstream-port)"
    )
    parser.add_argument("--workloads", default="1k,32k,400k,chunk-alone,chunk-burst", help=", ".join(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of one run")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds before it")
    parser.add_argument("--model", default=MODEL, help="the model that the bodies name")
    parser.add_argument("--header", action="append", default=[], help="'name: value' of every request")
    parser.add_argument("--upstream-port", type=int, default=0, help="port of the mock provider, 0 for any")
    default = "nice -n -15" if os.geteuid() == 0 else ""
    parser.add_argument("--priority", default=default, help="command that starts every measured process")
    parser.add_argument(
        "--best", action="store_true", help="report the best run, not the median: for choices between variants on a busy machine"
    )
    parser.add_argument("--check", action="store_true", help="exit with 1 when 'lane' misses what it must reach")
    return parser.parse_args()


def main() -> int:
    options = parse()
    build()
    folder = RESULTS / time.strftime("%Y%m%d-%H%M%S")
    files = write_payloads(folder / "payloads", options.model)
    upstream_port = options.upstream_port or free_port()
    upstream = subprocess.Popen([*prefix(DRIVER_CORE, options.priority), str(BIN / "mock_upstream"), "--port", str(upstream_port)])
    loads = [x for x in options.workloads.split(",") if x]
    measured: list[Measured] = []
    costs: dict[tuple[str, str], list[float]] = {}
    try:
        time.sleep(0.2)
        measured = start([x for x in options.variants.split(",") if x], options, upstream_port, folder)
        for one in measured:
            check_answer(one.url, files["1k"].read_bytes())
        with (folder / "runs.jsonl").open("w") as raw:
            for turn in range(options.rounds):
                for name in ["1k", *(x for x in loads if x != "1k")] if any(WORKLOADS[x].shape for x in loads) else loads:
                    load = WORKLOADS[name]
                    if load.shape:
                        control = f"http://127.0.0.1:{upstream_port}/__ctl?chunks={load.shape[0]}&delay_us={load.shape[1]}&think_us=0"
                        urllib.request.urlopen(control).close()
                    for one in measured if turn % 2 == 0 else reversed(measured):
                        result = measure(one, load, files[load.body], options, upstream.pid)
                        request_us = costs[one.name, "1k"][-1] if load.shape else 0.0
                        costs.setdefault((one.name, name), []).append(cost_us(result, load, request_us))
                        raw.write(json.dumps({"gateway": one.name, "workload": name, "turn": turn, **result}) + "\n")
        table = report([m.name for m in measured], loads, costs, min if options.best else statistics.median)
        (folder / "table.md").write_text(table + "\n")
        which = "best" if options.best else "median"
        print(f"CPU µs ({which} of {options.rounds}, ± half the range) and ratio to {measured[0].name}; {folder}\n\n{table}")
    finally:
        for one in measured:
            if one.running:
                one.running.close()
        upstream.terminate()
        upstream.wait(10)
    if options.check:
        return int(
            any(statistics.median(costs["lane", x]) / statistics.median(costs["plain", x]) > TARGETS[x] for x in loads if x in TARGETS)
        )
    return 0


if __name__ == "__main__":
    assert ENVOY_FOLDER.is_dir()
    sys.exit(main())
