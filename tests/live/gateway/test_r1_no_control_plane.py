"""R1: without any control plane the data plane serves, also when Envoy has to start again; and it is in charge once it is back."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest

from tests.live.gateway import load
from tests.live.gateway.rig import Rig, RigFactory, route


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    return make_rig(route("pair", "openai", "anthropic"))


def ask(rig: Rig, count: int, model: str = "pair") -> list[load.Answer]:
    return rig.loop.run(load.run(rig.url, count, 8, lambda i: (load.chat if i % 2 else load.messages)(model, stream=i % 4 < 2)))


def serves_again(rig: Rig, model: str, within_s: float) -> bool:
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):  # Envoy is not there yet
            (answer,) = ask(rig, 1, model)
            if load.served(answer) is None:
                return True
        time.sleep(0.1)
    return False


@pytest.mark.long
def test_r1_envoy_starts_without_a_control_plane(rig: Rig) -> None:
    assert serves_again(rig, "pair", 10)
    for _ in range(100):  # what was accepted by all is kept on disk
        if (rig.gateway.places.state / "last-known-good").exists():
            break
        time.sleep(0.1)
    rig.loop.run(rig.gateway.pause("control-plane"))
    assert rig.gateway.children["control-plane"].pid is None
    assert not [problem for a in ask(rig, 100) if (problem := load.served(a))]
    old = rig.gateway.children["envoy"].pid
    assert old is not None
    os.kill(old, signal.SIGKILL)
    assert serves_again(rig, "pair", 30), rig.lines[-10:]
    assert rig.gateway.children["control-plane"].pid is None, "and still there is none"
    assert rig.gateway.children["envoy"].pid not in (None, old)
    rig.break_vendor("openai", mode="status", status=503)
    try:
        assert not [problem for a in ask(rig, 100) if (problem := load.served(a))]
    finally:
        rig.heal()
    rig.loop.run(rig.gateway.resume("control-plane"))
    rig.specs.write_text(rig.specs.read_text() + route("after", "local"))
    assert serves_again(rig, "after", 20), "the control plane is in charge again"
    deadline = time.monotonic() + 10
    while "standby" in rig.gateway.children and time.monotonic() < deadline:
        time.sleep(0.1)
    assert "standby" not in rig.gateway.children
    assert not [problem for a in ask(rig, 50) if (problem := load.served(a))]
