"""`headgate get` against a served admin API, as an operator runs it: what is printed where, and the exit code."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from typer.testing import CliRunner, Result

from control_plane.admin.api import create_app
from control_plane.admin.guard import Access
from control_plane.admin.server import bind_tcp, bind_unix, serving
from control_plane.cli import admin_client, get

Get = Callable[..., Awaitable[Result]]

NACK = "Error adding/updating cluster(s) target:z: Field 'lb_policy'\nis wrong"


@pytest.fixture
def run() -> Callable[..., Result]:
    app = typer.Typer()
    app.command("other")(lambda: None)
    get.register(app)
    runner = CliRunner()
    return lambda *words: runner.invoke(app, ["get", *words])


@pytest.fixture
async def served(gateway: Any, run: Callable[..., Result]) -> AsyncIterator[Get]:
    async with serving(create_app(gateway), bind_tcp("127.0.0.1", 0)) as address:
        yield lambda *words: asyncio.to_thread(run, *words, "--admin", address)


def proxy(**change: Any) -> dict[str, Any]:
    """A row as `NodeRegistry.to_dict` makes it."""
    synced = {"state": "SYNCED", "since": None, "sent": "a", "acked": "a", "error": None, "error_at": None}
    row = {"node": "edge-7c9/az1", "cluster": "edge", "version": "envoy 1.40.0", "mode": "delta", "connected_at": 1.0, "snapshot": 184}
    return {**row, "types": dict.fromkeys(("CDS", "EDS", "LDS", "RDS"), synced), **change}


async def test_proxies_as_operators_know_them(served: Get, gateway: Any) -> None:
    stale = {"state": "STALE", "since": time.time() - 12.5, "sent": "b", "acked": "a", "error": None}
    nack = {"state": "NACK", "since": time.time() - 3, "sent": "b", "acked": "a", "error": NACK}
    behind = proxy(snapshot=183, types={**proxy()["types"], "RDS": stale, "SDS": proxy()["types"]["CDS"]})
    refusing = proxy(node="edge-8", snapshot=0, types={"CDS": nack})
    gateway.rows["proxies"] = [behind, refusing]
    result = await served("proxies")
    assert result.exit_code == 0
    lines = [line.rstrip() for line in result.stdout.splitlines()]
    assert lines[:3] == [
        "NODE          CDS     EDS     LDS     RDS        SDS     VERSION  LAST ACK",
        "edge-7c9/az1  SYNCED  SYNCED  SYNCED  STALE 12s  SYNCED  1.40.0   v183 (want v184)",
        "edge-8        NACK    -       -       -          -       1.40.0   none (want v184)",
    ]
    assert lines[4] == "edge-8 refused CDS: Error adding/updating cluster(s) target:z: Field 'lb_policy' is wrong"


async def test_routes_providers_and_targets(served: Get, gateway: Any) -> None:
    pair = [{"target": "openai/gpt-5", "weight": 80}, {"target": "azure/gpt-5", "weight": 20}]
    gateway.rows["routes"] = [{"route": "chat", "models": ["chat", "gpt-5"], "plan": [pair, [{"target": "anthropic/claude", "weight": 1}]]}]
    gateway.rows["providers"] = [{"provider": "openai", "dialect": "openai-chat", "base_url": "https://api.openai.com", "targets": 2}]
    window = {"attempts": 40, "faults": 3, "classes": {"ok": 36, "transient": 3, "cancelled": 1}, "ttft_ms_p50": 412, "ttft_ms_p95": 2900}
    window["token_gap_ms"] = 21.5
    left = {"requests": {"remaining": 119, "limit": 250}, "tokens": {"remaining": 7, "limit": None}}
    gateway.rows["targets"] = [
        {
            "target": "openai/gpt-5",
            "lane": "passthrough",
            "windows": {"60s": window},
            "ratelimit": left,
            "breaker": {"state": "closed", "since": None},
        },
        {"target": "new/one"},
    ]
    assert "chat   chat, gpt-5  openai/gpt-5:80 + azure/gpt-5:20 -> anthropic/claude" in (await served("routes")).stdout
    assert "openai    openai-chat  https://api.openai.com  2" in (await served("providers")).stdout
    lines = [line.rstrip() for line in (await served("targets")).stdout.splitlines()]
    seen = "openai/gpt-5  CLOSED  passthrough  40            92.5%  412 ms    2900 ms   21.5 ms    transient:3 cancelled:1"
    assert lines[1] == f"{seen}  119/250 requests, 7 tokens"
    assert lines[2] == "new/one       -       -            0             -      -         -         -          -                        -"


async def test_a_target_that_lost_its_traffic_says_why(served: Get, gateway: Any) -> None:
    now = time.time()
    opened = {"state": "open", "since": now - 12, "until": now + 3.5, "percent": 0.0, "reason": "7/10 failed in 10 s, class=transient"}
    gateway.rows["targets"] = [
        {"target": "a/one", "breaker": opened},
        {"target": "b/two", "breaker": {**opened, "state": "returning", "percent": 25.0, "until": None}},
    ]
    lines = [line.rstrip() for line in (await served("targets")).stdout.splitlines()]
    assert lines[1].split()[:3] == ["a/one", "OPEN", "12s"]
    assert lines[2].split()[:3] == ["b/two", "RETURNING", "25%"]
    at = datetime.fromtimestamp(now - 12).astimezone().strftime("%H:%M:%S")
    assert lines[4] == f"a/one: breaker open since {at} (7/10 failed in 10 s, class=transient), probe in 3s"
    assert lines[6] == f"b/two: breaker returning since {at} (7/10 failed in 10 s, class=transient)"


async def test_credentials_show_what_they_are_and_never_what_they_hold(served: Get, gateway: Any) -> None:
    now = time.time()
    signed_in = {"provider": "azure", "source": "entra managed identity", "state": "FAILING", "error": "no answer\nwithin 60 s"}
    gateway.rows["credentials"] = [
        {"provider": "openai", "source": "env OPENAI_API_KEY", "state": "READY", "expires_at": None, "error": ""},
        {**signed_in, "expires_at": now + 1801, "refreshed_at": now - 65, "next_at": now + 31},
    ]
    lines = [line.rstrip() for line in (await served("credentials")).stdout.splitlines()]
    assert lines[0] == "PROVIDER  SOURCE                  STATE    EXPIRES  REFRESHED  NEXT TRY"
    assert lines[1] == "openai    env OPENAI_API_KEY      READY    -        -          -"
    assert lines[2].startswith("azure     entra managed identity  FAILING  in 30m   65s ago    in 3")
    assert lines[4] == "azure: no answer within 60 s"


async def test_findings_with_errors_exit_2(served: Get, gateway: Any) -> None:
    error = {"code": "HG1003", "severity": "error", "path": "spec.plan.0", "message": "unknown field", "fix": 'did you mean "weight"?'}
    place = {"file": "routes.yaml", "line": 9, "col": 7}
    gateway.rows["findings"] = [{**error, **place}]
    result = await served("findings")
    assert result.stdout == 'routes.yaml:9:7 HG1003 error spec.plan.0: unknown field; did you mean "weight"?\n'
    assert result.exit_code == 2
    gateway.rows["findings"] = [{**error, **place, "severity": "warning"}]
    assert (await served("findings")).exit_code == 0


@pytest.mark.parametrize("what", ["proxies", "routes", "providers", "credentials", "targets", "findings"])
async def test_nothing_to_list_is_said(served: Get, what: str) -> None:
    result = await served(what)
    assert (result.exit_code, result.stdout.startswith("no ")) == (0, True)


async def test_json_and_yaml_are_the_answer_itself(served: Get, gateway: Any) -> None:
    gateway.rows["proxies"] = [proxy(node="é")]
    as_json = json.loads((await served("proxies", "-o", "json")).stdout)
    as_yaml = yaml.safe_load((await served("proxies", "-o", "yaml")).stdout)
    assert as_json == as_yaml == {"items": [proxy(node="é")], "snapshot": "184"}


async def test_names_cannot_move_the_cursor(served: Get, gateway: Any) -> None:
    gateway.rows["proxies"] = [proxy(node="a\x1b[2J\nb")]
    assert "\x1b" not in (await served("proxies")).stdout


async def test_names_are_not_cut_in_a_pipe(served: Get, gateway: Any) -> None:
    gateway.rows["proxies"] = [proxy(node="n" * 300)]
    assert "n" * 300 in (await served("proxies")).stdout


def test_nobody_there(run: Callable[..., Result]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
        result = run("proxies", "--admin", f"127.0.0.1:{port}")
    assert result.exit_code == 1
    assert result.stderr == (
        f"headgate: no control plane at 127.0.0.1:{port}; start one with `headgate up -f DIR` or pass --admin HOST:PORT\n"
    )
    assert result.stdout == ""


@pytest.mark.parametrize("admin", ["nonsense", "host:", ":8080", "host:99999", "host:0", "http://"])
def test_a_wrong_address_is_explained(run: Callable[..., Result], admin: str) -> None:
    result = run("proxies", "--admin", admin)
    assert (result.exit_code, "needs HOST:PORT" in result.stderr) == (1, True)


def test_wrong_usage_exits_2(run: Callable[..., Result]) -> None:
    assert [run(*words).exit_code for words in (["secrets"], [], ["routes", "-o", "xml"])] == [2, 2, 2]


@pytest.mark.parametrize(
    "answer",
    [b"", b"SSH-2.0-OpenSSH\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]"],
)
def test_something_else_that_listens(run: Callable[..., Result], answer: bytes) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def serve() -> None:
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(answer)
            connection.close()

        thread = threading.Thread(target=serve)
        thread.start()
        result = run("proxies", "--admin", f"127.0.0.1:{listener.getsockname()[1]}")
        thread.join()
    assert result.exit_code == 1
    assert "--admin HOST:PORT" in result.stderr


def test_a_server_that_does_not_answer_is_given_up(run: Callable[..., Result], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admin_client, "TIMEOUT_S", 0.1)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        result = run("proxies", "--admin", f"127.0.0.1:{listener.getsockname()[1]}")
    assert (result.exit_code, "did not answer in time" in result.stderr) == (1, True)


async def test_a_token_and_a_unix_socket(gateway: Any, run: Callable[..., Result], tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    socket_path = tmp_path / "a.sock"
    access = Access(token=b"0123456789abcdef", check_host=False)
    async with serving(create_app(gateway, access), bind_unix(socket_path)) as address:
        refused = await asyncio.to_thread(run, "routes", "--admin", address)
        assert (refused.exit_code, "--token-file FILE" in refused.stderr) == (1, True)
        assert (await asyncio.to_thread(run, "routes", "--admin", address, "--token-file", str(token))).exit_code == 0
        missing = await asyncio.to_thread(run, "routes", "--admin", address, "--token-file", str(tmp_path / "no"))
        assert (missing.exit_code, "--token-file" in missing.stderr) == (1, True)
