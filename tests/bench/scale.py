"""A thousand routes over twenty providers: how long a full build takes, what a weight flip renders, how much memory it needs.

.venv/bin/python tests/bench/scale.py
.venv/bin/python tests/bench/scale.py --dialects openai-chat,anthropic-messages     # routes for clients of these alone
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from control_plane.ir.build import build
from control_plane.kit.envoy_binary import find_envoy
from control_plane.spec.load import load
from control_plane.xds.preflight import Preflight
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.translate.gateway import translate
from control_plane.xds.translate.settings import EdgeSettings

ROUTES, PROVIDERS = 1_000, 20
SETTINGS = EdgeSettings(listen=("127.0.0.1", 10000), translators=("/run/translator.sock",), journal="/var/log/journal.log")
HEAD = "apiVersion: headgate.dev/v1alpha1\nkind: {kind}\nmetadata: {{name: {name}}}\n"


def specs(weight: int, dialects: str) -> str:
    """Three targets a route in two groups; route 500 has `weight`. `dialects`: of clients, with commas; "" for all."""
    documents = []
    only = f", dialects: [{dialects}]" if dialects else ""
    for i in range(PROVIDERS):
        preset = "anthropic" if i % 3 == 0 else "openai-compatible"
        documents.append(
            HEAD.format(kind="Provider", name=f"p{i}") + f'spec: {{preset: {preset}, baseUrl: "https://p{i}.example.com/v1"}}\n'
        )
    for i in range(ROUTES):
        first = f"{{provider: p{i % 20}, model: u{i}, weight: {weight if i == 500 else 80}}}"
        second = f"{{provider: p{(i + 7) % 20}, model: v{i}, weight: 20}}"
        plan = f"[{{targets: [{first}, {second}]}}, {{targets: [{{provider: p{(i + 3) % 20}, model: w{i}}}]}}]"
        documents.append(HEAD.format(kind="ModelRoute", name=f"r{i}") + f"spec: {{models: [m{i}], plan: {plan}{only}}}\n")
    return "---\n".join(documents)


def snapshot(file: Path) -> Snapshot:
    """Everything that is done at a change of the specs, up to pre-flight."""
    loaded = load(file)
    assert loaded.ok
    found = Snapshot.of(translate(build(loaded.specs), {}, SETTINGS))
    found.check_closed()
    return found


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialects", default="", help="client dialects of every route, with commas; default: all")
    dialects = parser.parse_args().dialects
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "specs.yaml"
        file.write_text(specs(80, dialects))
        began = time.perf_counter()
        before = snapshot(file)
        full = time.perf_counter() - began
        began = time.perf_counter()
        refused = asyncio.run(Preflight(find_envoy())(list(before)))
        preflight = time.perf_counter() - began
        file.write_text(specs(10, dialects))
        began = time.perf_counter()
        change = before.diff(snapshot(file))
        flip = time.perf_counter() - began
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"{ROUTES} routes x {PROVIDERS} providers, {len(before)} resources: full build {full:.2f} s, pre-flight {preflight:.2f} s")
    rendered = ", ".join(name for _, name in change.changed)
    print(f"one weight: {flip:.2f} s with reading 1,000 routes again, rendered {rendered} alone; {memory} MiB")
    assert len(change.changed) == 1
    assert refused is None


if __name__ == "__main__":
    main()
