"""Every client's official SDK against every provider dialect, streamed and whole, through the real gateway: text, a tool call, usage."""

from __future__ import annotations

import pytest

from control_plane.demo.simulators import Pace
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from tests.live.gateway.matrix import CLIENTS, MORE_PROVIDERS, NAME, VENDORS
from tests.live.gateway.rig import MODELS, Rig, RigFactory, route


@pytest.fixture(scope="module")
def rig(make_rig: RigFactory) -> Rig:
    routes = "".join(route(f"via-{dialect}", vendor) for dialect, vendor in VENDORS.items())
    return make_rig(routes, providers=MORE_PROVIDERS, pace=Pace(delay_ms=1))


def test_the_tables_name_registered_dialects() -> None:
    assert set(CLIENTS) <= set(DIALECTS)
    assert set(VENDORS) <= set(PROVIDERS)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name in VENDORS])
@pytest.mark.parametrize("client", [name for name in DIALECTS if name in CLIENTS])
def test_cell(rig: Rig, client: str, provider: str, stream: bool) -> None:
    ask, model = CLIENTS[client], f"via-{provider}"
    said = ask(rig.url, model, "hello", stream)
    assert said.text.endswith(f"{MODELS[VENDORS[provider]]} heard: hello")
    assert said.calls == ()
    assert min(said.tokens) > 0
    called = ask(rig.url, model, f"call {NAME}", stream)
    ((name, arguments),) = called.calls
    assert name == NAME
    assert isinstance(arguments["city"], str)
    assert min(called.tokens) > 0
