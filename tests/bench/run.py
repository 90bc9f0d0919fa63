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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bench.gateways import PASSTHROUGH, TRANSLATED, Running, check_answer, free_port, start_gateway, start_plain
from tests.bench.payloads import write_payloads

ROOT: Final = Path(__file__).resolve().parents[2]
HERE: Final = Path(__file__).parent
BIN: Final = HERE / "bin"
RESULTS: Final = HERE / "results"
GATEWAY_CORE, DRIVER_CORE = "0", "1"


@dataclass(frozen=True, slots=True)
class Workload:
    """body: name of a payload; shape: (chunks per stream, µs between chunks) of a streamed answer; conns: connections.

    base: for a streamed answer, the workload whose cost per request is taken off before the rest is divided by the chunks.
    most: what the gateway may cost, as a multiple of plain Envoy; most_us: in µs, translators included.
    """

    body: str
    conns: int = 16
    shape: tuple[int, int] | None = None
    model: str = PASSTHROUGH
    base: str = ""
    most: float | None = None
    most_us: float | None = None


ALONE, BURST = (64, 10_000), (64, 0)
WORKLOADS: Final = {
    "1k": Workload("1k", most=1.8),
    "32k": Workload("32k", most=2.4),
    "400k": Workload("400k", conns=8, most=3.0),
    "chunk-alone": Workload("stream", shape=ALONE, base="1k", most=1.2),
    "chunk-burst": Workload("stream", shape=BURST, base="1k", most=1.2),
    "chunk-alone-trim": Workload("stream-trim", shape=ALONE, base="1k"),
    "chunk-burst-trim": Workload("stream-trim", shape=BURST, base="1k"),
    "translated-1k": Workload("1k", model=TRANSLATED, most_us=650),
    "translated-32k": Workload("32k", model=TRANSLATED),
    "translated-400k": Workload("400k", conns=8, model=TRANSLATED),
    "translated-alone": Workload("stream", shape=ALONE, model=TRANSLATED, base="translated-1k", most_us=120),
    "translated-burst": Workload("stream", shape=BURST, model=TRANSLATED, base="translated-1k", most_us=30),
}
DEFAULT: Final = "1k,32k,400k,chunk-alone,chunk-burst,translated-1k,translated-alone,translated-burst"


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


def measure(one: Running, load: Workload, body: Path, options: argparse.Namespace, upstream: int) -> dict[str, Any]:
    """One run of the load driver; its JSON object."""
    ramp = ["--ramp", "0.64"] if load.shape and load.shape[1] else []
    command = [*prefix(DRIVER_CORE, options.priority), str(BIN / "loadgen"), "--url", one.url, "--body", str(body)]
    command += ["--conns", str(load.conns), "--duration", str(options.seconds)]
    command += ["--warmup", str(options.warmup + (0.64 if ramp else 0)), *ramp, "--aux-pid", str(upstream)]
    for flag, pids in (("--cpu-pid", one.pids), ("--side-pid", one.aside)):
        command += [word for pid in pids for word in (flag, str(pid))]
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


def start(names: Sequence[str], options: argparse.Namespace, upstream_port: int, folder: Path, out: list[Running]) -> None:
    """Starts everything that was asked for, and adds it to `out` when it is ready."""
    for number, name in enumerate(names):
        place, on_core = folder / f"{number}", prefix(GATEWAY_CORE, options.priority)
        kind, _, checkout = name.partition("@")
        if name == "plain":
            out.append(start_plain(place, upstream_port, on_core))
        elif kind in ("gateway", "gateway-hold"):
            where = Path(checkout).resolve() if checkout else ROOT
            out.append(start_gateway(name, where, place, upstream_port, on_core, DRIVER_CORE, kind == "gateway-hold"))
        else:
            raise SystemExit(f"unknown variant {name!r}; known are plain, gateway and gateway-hold, the latter two with @CHECKOUT")


def report(names: Sequence[str], loads: Sequence[str], costs: dict[tuple[str, str], list[float]], middle: Callable[..., float]) -> str:
    """A line a workload, a column a gateway: costs in µs and their ratio to the first gateway, and what must be reached."""
    rows = ["| | " + " | ".join(names) + " | must reach |", "|---" * (len(names) + 2) + "|"]
    for load in loads:
        cells = []
        for name in names:
            if (name, load) not in costs:
                cells.append("")
                continue
            mine, first = costs[name, load], costs.get((names[0], load))
            text = f"{middle(mine):.1f} ±{(max(mine) - min(mine)) / 2:.1f}"
            cells.append(text + (f" ({middle(mine) / middle(first):.2f}×)" if first and name != names[0] else ""))
        one = WORKLOADS[load]
        cells.append(f"≤ {one.most}×" if one.most else f"≤ {one.most_us:.0f}" if one.most_us else "")
        rows.append(f"| {load} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def missed(loads: Sequence[str], costs: dict[tuple[str, str], list[float]], middle: Callable[..., float]) -> list[str]:
    """Workloads in which the gateway costs more than it may."""
    out = []
    for name in loads:
        load, mine = WORKLOADS[name], middle(costs["gateway", name])
        if (load.most and mine > load.most * middle(costs["plain", name])) or (load.most_us and mine > load.most_us):
            out.append(name)
    return out


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--variants", default="plain,gateway", help="plain, gateway, gateway-hold; gateway@DIR is another checkout's")
    parser.add_argument("--workloads", default=DEFAULT, help=", ".join(WORKLOADS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0, help="measured time of one run")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds before it")
    default = "nice -n -15" if os.geteuid() == 0 else ""
    parser.add_argument("--priority", default=default, help="command that starts every measured process")
    parser.add_argument("--best", action="store_true", help="report the best run, not the median: for choices on a busy machine")
    parser.add_argument("--check", action="store_true", help="exit with 1 when 'gateway' misses what it must reach")
    return parser.parse_args()


def in_order(loads: Sequence[str]) -> list[str]:
    """The workloads, with those in front that others need."""
    needed = [base for x in loads if (base := WORKLOADS[x].base) and base not in loads]
    return [*dict.fromkeys(needed), *sorted(loads, key=lambda x: bool(WORKLOADS[x].base))]


def main() -> int:
    options = parse()
    build()
    folder = RESULTS / time.strftime("%Y%m%d-%H%M%S")
    files = {model: write_payloads(folder / "payloads" / model, model) for model in (PASSTHROUGH, TRANSLATED)}
    upstream_port = free_port()
    upstream = subprocess.Popen([*prefix(DRIVER_CORE, options.priority), str(BIN / "mock_upstream"), "--port", str(upstream_port)])
    loads = [x for x in options.workloads.split(",") if x]
    running: list[Running] = []
    costs: dict[tuple[str, str], list[float]] = {}
    aside: dict[str, list[float]] = {}
    middle = min if options.best else statistics.median
    try:
        time.sleep(0.2)
        start([x for x in options.variants.split(",") if x], options, upstream_port, folder, running)
        for one in running:
            check_answer(one.url, files[PASSTHROUGH]["1k"].read_bytes())
        with (folder / "runs.jsonl").open("w") as raw:
            for turn in range(options.rounds):
                for name in in_order(loads):
                    load = WORKLOADS[name]
                    if load.shape:
                        control = f"http://127.0.0.1:{upstream_port}/__ctl?chunks={load.shape[0]}&delay_us={load.shape[1]}&think_us=0"
                        urllib.request.urlopen(control).close()
                    for one in running if turn % 2 == 0 else reversed(running):
                        if load.model == TRANSLATED and one.name == "plain":
                            continue
                        result = measure(one, load, files[load.model][load.body], options, upstream.pid)
                        request_us = costs[one.name, load.base][-1] if load.base else 0.0
                        costs.setdefault((one.name, name), []).append(cost_us(result, load, request_us))
                        if one.aside and name == "1k":
                            aside.setdefault(one.name, []).append(result["side_s"] * 1e6 / result["ok"])
                        raw.write(json.dumps({"gateway": one.name, "workload": name, "turn": turn, **result}) + "\n")
        table = report([r.name for r in running], loads, costs, middle)
        (folder / "table.md").write_text(table + "\n")
        which = "best" if options.best else "median"
        print(f"CPU µs ({which} of {options.rounds}, ± half the range) and ratio to {running[0].name}; {folder}\n\n{table}")
        for gateway, found in aside.items():
            print(f"{gateway}: its control plane reads the journal for {middle(found):.1f} µs a request (1k)")
    finally:
        for one in running:
            one.close()
        upstream.terminate()
        upstream.wait(10)
    if options.check and (short := missed(loads, costs, middle)):
        print(f"misses what it must reach: {', '.join(short)}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
