"""What is measured: a plain Envoy, and whole gateways as `headgate up` starts them, of this checkout or of another one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from control_plane.kit.envoy_binary import find_envoy

TYPE: Final = "type.googleapis.com/"
PASSTHROUGH, TRANSLATED = "bench-model", "bench-translated"
"""Models of the gateway: the first reaches a vendor of the client's dialect under another name, the second one of another dialect."""

START_LIMIT_S: Final = 60.0

SPECS: Final = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: same}}
spec:
  {{preset: openai, baseUrl: "http://127.0.0.1:{port}/v1", allowInsecure: true, credentials: [{{secretRef: {{env: HEADGATE_BENCH_KEY}}}}]}}
---
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {{name: other}}
spec:
  {{preset: anthropic, baseUrl: "http://127.0.0.1:{port}", allowInsecure: true, credentials: [{{secretRef: {{env: HEADGATE_BENCH_KEY}}}}]}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: bench}}
spec: {{models: [{passthrough}], plan: [{{targets: [{{provider: same, model: mock-model-2026-01-01}}]}}], firstEventHold: {hold}}}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {{name: translated}}
spec: {{models: [{translated}], plan: [{{targets: [{{provider: other, model: mock-claude}}]}}]}}
"""


@dataclass(slots=True)
class Running:
    """A gateway that takes requests. `pids` are what a request costs (Envoy and translators), `aside` what follows it (the
    control plane, which reads the journal)."""

    name: str
    url: str
    pids: list[int]
    aside: list[int] = field(default_factory=list)
    process: subprocess.Popen[bytes] | None = None

    def close(self) -> None:
        """End what was started here."""
        if self.process:
            self.process.terminate()
            self.process.wait(30)


def _address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _plain_config(port: int, upstream_port: int) -> dict[str, Any]:
    """Envoy that passes everything to the upstream, with the defaults of Envoy: what all ratios refer to."""
    router = {"name": "router", "typed_config": {"@type": TYPE + "envoy.extensions.filters.http.router.v3.Router"}}
    host = {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "600s"}}]}
    manager = {
        "@type": TYPE + "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "plain",
        "route_config": {"virtual_hosts": [host]},
        "http_filters": [router],
    }
    thresholds = [{"max_connections": 100_000, "max_pending_requests": 100_000, "max_requests": 100_000}]
    assignment = {"cluster_name": "provider", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(upstream_port)}}]}]}
    cluster = {"name": "provider", "type": "STATIC", "load_assignment": assignment, "circuit_breakers": {"thresholds": thresholds}}
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
    listener = {"name": "plain", "address": _address(port), "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener], "clusters": [cluster]}}


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def start_plain(folder: Path, upstream_port: int, prefix: Sequence[str]) -> Running:
    """A plain Envoy with one worker."""
    folder.mkdir(parents=True)
    port = free_port()
    file = folder / "envoy.json"
    file.write_text(json.dumps(_plain_config(port, upstream_port)))
    with (folder / "log").open("wb") as log:
        command = [*prefix, str(find_envoy()), "-c", str(file), "--concurrency", "1", "-l", "error", "--use-dynamic-base-id"]
        process = subprocess.Popen(command, stderr=log)
    _wait(process, folder / "log", lambda: _accepts(port))
    return Running("plain", _chat(port), [process.pid], process=process)


def start_gateway(
    name: str, checkout: Path, folder: Path, upstream_port: int, prefix: Sequence[str], aside_core: str, hold: bool
) -> Running:
    """`headgate up` of a checkout, one Envoy worker and one translator; its control plane runs on `aside_core`."""
    folder.mkdir(parents=True)
    specs = SPECS.format(port=upstream_port, passthrough=PASSTHROUGH, translated=TRANSLATED, hold=str(hold).lower())
    (folder / "specs.yaml").write_text(specs)
    port = free_port()
    command = [*prefix, sys.executable, "-m", "control_plane", "up", "-f", str(folder / "specs.yaml"), "--state-dir", str(folder / "state")]
    command += ["--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{free_port()}", "--concurrency", "1", "--translators", "1"]
    environment = {**os.environ, "HEADGATE_BENCH_KEY": "sk-bench-upstream", "PYTHONPATH": str(checkout)}
    with (folder / "log").open("wb") as log, (folder / "out").open("wb") as out:
        process = subprocess.Popen([*command, "--drain-seconds", "2"], stdout=out, stderr=log, cwd=checkout, env=environment)
    _wait(process, folder / "log", lambda: "ready" in (folder / "out").read_text())
    parts = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0") for pid in _children(process.pid)}
    aside = [pid for pid, words in parts.items() if b"control-plane" in words]
    for pid in aside:
        subprocess.run(["taskset", "-a", "-cp", aside_core, str(pid)], check=True, stdout=subprocess.DEVNULL)
    return Running(name, _chat(port), [pid for pid in parts if pid not in aside], aside, process)


def _chat(port: int) -> str:
    return f"http://127.0.0.1:{port}/v1/chat/completions"


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 0.2):
            return True
    except OSError:
        return False


def _wait(process: subprocess.Popen[bytes], log: Path, ready: Any) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while not ready():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise RuntimeError(f"did not start: {log.read_text()[-2000:]}")
        time.sleep(0.05)


def check_answer(url: str, body: bytes) -> None:
    """One request, so that a wrong configuration is not measured. Raises RuntimeError when it is not answered with 200."""
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url} answered {error.code}: {error.read()[:300]!r}") from error
