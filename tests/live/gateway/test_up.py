"""`headgate up` as an operator types it: what it prints, what it refuses, how it ends."""

from __future__ import annotations

import http.client
import json
import os
import select
import signal
import socket
import socketserver
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

SPECS = """
apiVersion: headgate.dev/v1alpha1
kind: Provider
metadata: {name: nobody}
spec: {preset: openai-compatible, baseUrl: "http://127.0.0.1:9/v1", allowInsecure: true}
---
apiVersion: headgate.dev/v1alpha1
kind: ModelRoute
metadata: {name: chat}
spec: {models: [chat], plan: [{targets: [{provider: nobody, model: m}]}]}
"""


def headgate(*arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "control_plane", *arguments], capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    file = tmp_path / "specs" / "gateway.yaml"
    file.parent.mkdir()
    file.write_text(SPECS)
    return file.parent


@pytest.fixture
def up(specs: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "control_plane", "up", "-f", str(specs), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    command += ["--state-dir", str(tmp_path / "state"), "--drain-seconds", "3", "--translators", "1"]
    with (tmp_path / "stderr").open("w") as errors:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, start_new_session=True)
    yield process
    if process.poll() is None:
        process.kill()
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def test_ready_line_then_a_clean_end(up: subprocess.Popen[str], tmp_path: Path) -> None:
    assert up.stdout is not None
    line = up.stdout.readline()
    assert line.startswith("ready http://127.0.0.1:"), (tmp_path / "stderr").read_text()
    with urllib.request.urlopen(line.split()[1] + "/v1/models", timeout=5) as answer:
        assert json.load(answer)["data"][0]["id"] == "chat"
    shown = (tmp_path / "stderr").read_text()
    assert shown.index("starting control plane") < shown.index("Envoy serves")
    children = _children(up.pid)
    assert len(children) >= 3
    up.send_signal(signal.SIGTERM)
    assert up.wait(15) == 0
    assert not [pid for pid in children if _alive(pid)]


class Slow(socketserver.StreamRequestHandler):
    """A vendor that takes two seconds for an answer."""

    def handle(self) -> None:
        while self.rfile.readline().strip():
            pass
        body = b'{"choices":[]}'
        self.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n" + body)
        self.wfile.flush()
        time.sleep(2)
        self.wfile.write(b" " * (1000 - len(body)))


def test_ctrl_c_in_a_terminal_drains_too(up: subprocess.Popen[str], specs: Path) -> None:
    """A terminal sends the signal to every process of the foreground group: the parts must not end before the supervisor says so."""
    with socketserver.TCPServer(("127.0.0.1", 0), Slow) as vendor:
        threading.Thread(target=vendor.handle_request, daemon=True).start()
        (specs / "gateway.yaml").write_text(SPECS.replace("127.0.0.1:9/", f"127.0.0.1:{vendor.server_address[1]}/"))
        assert up.stdout is not None
        url = up.stdout.readline().split()[1]
        parts = urlsplit(url)
        for _ in range(100):
            client = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=10)
            client.request("POST", "/v1/chat/completions", b'{"model":"chat","messages":[]}', {"content-type": "application/json"})
            time.sleep(0.2)
            if not select.select([client.sock], [], [], 0)[0]:
                break  # it is being served; what came before the edit was taken over is an error at once
            client.close()
        os.killpg(up.pid, signal.SIGINT)
        with client.getresponse() as answer:
            assert (answer.status, len(answer.read())) == (200, 1000)
        client.close()
        assert up.wait(15) == 0


def test_sigusr2_replaces_every_part(up: subprocess.Popen[str], tmp_path: Path) -> None:
    assert up.stdout is not None
    url = up.stdout.readline().split()[1]
    before = _children(up.pid)
    up.send_signal(signal.SIGUSR2)
    deadline = time.monotonic() + 60
    while "envoy is a new process" not in (tmp_path / "stderr").read_text():
        with urllib.request.urlopen(url + "/v1/models", timeout=5) as answer:
            assert json.load(answer)["data"][0]["id"] == "chat"
        assert time.monotonic() < deadline, (tmp_path / "stderr").read_text()
        time.sleep(0.02)
    while _alive(before[-1]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in before if _alive(pid)], "the old Envoy ends after the drain time"
    assert len(_children(up.pid)) == len(before)
    up.send_signal(signal.SIGTERM)
    assert up.wait(15) == 0


def test_nothing_is_left_when_the_supervisor_is_killed(up: subprocess.Popen[str]) -> None:
    assert up.stdout is not None
    assert up.stdout.readline().startswith("ready")
    children = _children(up.pid)
    up.kill()
    up.wait()
    deadline = time.monotonic() + 15
    while any(map(_alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [pid for pid in children if _alive(pid)]


def test_bad_specs_print_findings_and_exit_2(specs: Path) -> None:
    (specs / "gateway.yaml").write_text(SPECS.replace("models:", "modles:"))
    done = headgate("up", "-f", str(specs))
    assert done.returncode == 2
    assert 'HG1003 error spec.modles: unknown field; did you mean "models"?' in done.stderr
    assert "ready" not in done.stdout


@pytest.mark.parametrize("flag", ["--listen", "--admin"])
def test_a_taken_port_is_named_with_its_flag(specs: Path, tmp_path: Path, flag: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        other = "--admin" if flag == "--listen" else "--listen"
        done = headgate("up", "-f", str(specs), flag, f"127.0.0.1:{port}", other, "127.0.0.1:0", "--state-dir", str(tmp_path / "state"))
    assert done.returncode == 1
    assert f"{flag} 127.0.0.1:{port}" in done.stderr
    assert "taken" in done.stderr


def test_a_missing_path_is_a_finding(tmp_path: Path) -> None:
    done = headgate("up", "-f", str(tmp_path / "nothing"))
    assert done.returncode == 2
    assert "HG1001" in done.stderr


def test_get_says_how_to_start_what_is_not_running() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    done = headgate("get", "proxies", "--admin", f"127.0.0.1:{port}")
    assert done.returncode == 1
    assert "headgate up" in done.stderr


def test_bootstrap_prints_a_configuration_envoy_accepts(tmp_path: Path) -> None:
    from control_plane.kit.envoy_binary import find_envoy

    done = headgate("bootstrap", "--control-plane", "127.0.0.1:18000", "--node-id", "n", "--admin", str(tmp_path / "admin.sock"))
    assert done.returncode == 0
    file = tmp_path / "bootstrap.json"
    file.write_text(done.stdout)
    checked = subprocess.run([str(find_envoy()), "--mode", "validate", "-c", str(file)], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert json.loads(done.stdout)["node"] == {"id": "n", "cluster": "headgate"}


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in found]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
