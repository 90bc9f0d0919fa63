"""The parts run separately, as in a cluster: a control plane on TCP, translators, and Envoys that know nothing but a bootstrap."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from control_plane.demo.simulators import Fault, Simulator
from tests.live.gateway import load
from tests.live.gateway.fleet import HEADGATE, Fleet, running, until
from tests.live.gateway.rig import route


def mixed(i: int) -> tuple[str, bytes]:
    return (load.chat if i % 2 else load.messages)(("native", "translated", "failing-over")[i % 3], stream=i % 4 < 2)


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    """One Envoy, which another one joins."""
    routes = route("native", "openai", "local") + route("translated", "anthropic") + route("failing-over", "openai", "anthropic")
    with running(routes, "one") as fleet:
        yield fleet


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
