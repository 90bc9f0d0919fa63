"""Gateways for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from control_plane.app.supervisor import GatewayProcess, Options
from control_plane.demo.fault_proxy import FaultProxy
from control_plane.demo.simulators import Pace, Simulator
from tests.live.gateway.rig import (
    BEDROCK,
    BEDROCK_CLAUDE,
    BEDROCK_KEYS,
    COHERE,
    COHERE_KEYS,
    GEMINI,
    GEMINI_KEYS,
    KEYS,
    MODELS,
    RANKER_KEYS,
    RANKERS,
    SPECS,
    VERTEX,
    VERTEX_KEYS,
    Loop,
    Rig,
    RigFactory,
)


@pytest.fixture(scope="module")
def make_rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RigFactory]:
    """Start gateways for a test file; everything is stopped at its end."""
    loop = Loop()
    rigs: list[Rig] = []

    def make(
        routes: str,
        *,
        providers: str = "",
        env: dict[str, str] | None = None,
        pace: Pace | None = None,
        proxied: bool = False,
        **options: Any,
    ) -> Rig:
        folder = tmp_path_factory.mktemp("gateway")
        keys = {"openai": "SIM_OPENAI_KEY", "anthropic": "SIM_ANTHROPIC_KEY", "local": "SIM_LOCAL_KEY"}
        pace = pace or Pace(delay_ms=1)
        vendors = {
            "openai": Simulator("openai", keys=[KEYS[keys["openai"]]], pace=pace),
            "anthropic": Simulator("anthropic", keys=[KEYS[keys["anthropic"]]], pace=pace),
            "local": Simulator("openai", name="local", keys=[KEYS[keys["local"]]], models=[MODELS["local"]], pace=pace),
        }
        wanted, given = SPECS, KEYS
        if "provider: gemini" in routes:
            vendors["gemini"] = Simulator("gemini", keys=[*GEMINI_KEYS.values()], pace=pace)
            wanted, given = SPECS + GEMINI, KEYS | GEMINI_KEYS
        if "provider: bedrock" in routes:
            vendors["bedrock"] = Simulator("bedrock", keys=[*BEDROCK_KEYS.values()], pace=pace)
            wanted, given = wanted + BEDROCK + BEDROCK_CLAUDE, given | BEDROCK_KEYS
        if "provider: vertex" in routes:
            vendors["vertex"] = Simulator("vertex", keys=[*VERTEX_KEYS.values()], pace=pace)
            wanted, given = wanted + VERTEX, given | VERTEX_KEYS
        if "provider: cohere" in routes:
            vendors["cohere"] = Simulator("cohere", keys=[*COHERE_KEYS.values()], pace=pace)
            wanted, given = wanted + COHERE, given | COHERE_KEYS
        for name in RANKERS:
            if f"provider: {name}" in routes:
                vendors[name] = Simulator(name, keys=[*RANKER_KEYS.values()], pace=pace)
                wanted, given = wanted + RANKERS[name], given | RANKER_KEYS
        for vendor in vendors.values():
            loop.run(vendor.__aenter__())
        proxies = {n: FaultProxy("127.0.0.1", v.port) for n, v in vendors.items()} if proxied else {}
        for proxy in proxies.values():
            loop.run(proxy.__aenter__())
        urls = {f"{n}_direct": v.url for n, v in vendors.items()} | {n: v.url for n, v in (vendors | proxies).items()}
        specs = folder / "specs" / "gateway.yaml"
        specs.parent.mkdir()
        specs.write_text((wanted + providers).format(**urls) + routes, encoding="utf-8")
        lines: list[str] = []
        settings = Options(
            specs=(specs.parent,),
            listen=("127.0.0.1", 0),
            admin=("127.0.0.1", 0),
            state=folder / "state",
            translators=2,
            concurrency=2,
            drain_s=5,
            env={**given, **(env or {})},
            **options,
        )
        gateway = GatewayProcess(settings, lines.append)
        rig = Rig(loop, gateway, vendors, specs, lines, proxies)
        rigs.append(rig)
        try:
            loop.run(gateway.start())
        except BaseException:
            print("\n".join(lines))
            raise
        return rig

    yield make
    for rig in rigs:
        loop.run(rig.gateway.stop(drain=False))
        for proxy in rig.proxies.values():
            loop.run(proxy.__aexit__(None, None, None))
        for vendor in rig.vendors.values():
            loop.run(vendor.__aexit__(None, None, None))
    loop.close()
