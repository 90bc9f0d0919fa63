"""A provider of several addresses: one that fails is left out while the others serve, and comes back."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from control_plane.demo.fault_proxy.dns import DnsServer
from control_plane.demo.simulators import Fault, Simulator
from tests.live.egress.serving import KEY, provider, route, serving
from tests.live.egress.test_addresses import free_on
from tests.live.gateway import load

EJECTION = "ejection: {failures: 3, for: 2s}"


def simulator(name: str, **more: object) -> Simulator:
    return Simulator("openai", name=name, models=["m"], keys=[KEY], **more)  # type: ignore[arg-type]


async def test_a_failing_address_is_left_out_and_comes_back(tmp_path: Path) -> None:
    async with simulator("one") as one, simulator("two") as two, simulator("spare") as spare:
        at = f'addresses: ["127.0.0.1:{one.port}", "127.0.0.1:{two.port}"]'
        pool = provider("pool", "http://pool.vendor.example", egress=f"{{{at}, {EJECTION}}}")
        plain = provider("plain", "http://pool.vendor.example", egress=f"{{{at}}}")
        specs = pool + plain + provider("spare", f"http://127.0.0.1:{spare.port}")
        specs += route("pool", "pool", "spare") + route("plain", "plain", "spare")
        async with serving(tmp_path, specs) as gateway:
            one.fault = Fault(mode="status", status=503)
            for model in ("plain", "pool"):
                answers = await load.run(gateway.url, 40, 4, lambda _, model=model: load.chat(model))  # type: ignore[misc]
                assert [problem for a in answers if (problem := load.served(a))] == []
                if model == "plain":
                    assert len(one.requests) >= 15  # every second one tries it first, and fails over
                    one.clear()
                    spare.clear()
            assert 3 <= len(one.requests) <= 10
            assert len(spare.requests) == len(one.requests)
            one.clear()
            await load.run(gateway.url, 20, 2, lambda _: load.chat("pool"))
            assert len(one.requests) <= 3  # it may have come back for a try meanwhile
            one.fault = None
            one.clear()
            began = time.monotonic()
            while not one.requests:
                assert time.monotonic() - began < 15
                await gateway.ask("pool")
                await asyncio.sleep(0.1)
            assert (await gateway.providers())["pool"]["egress"][-1] == "ejects after 3"


async def test_half_of_the_addresses_stay_whatever_happens(tmp_path: Path) -> None:
    """With all of them down every request still tries one, fails fast and is served elsewhere."""
    async with simulator("one") as one, simulator("two") as two, simulator("spare") as spare:
        at = f'addresses: ["127.0.0.1:{one.port}", "127.0.0.1:{two.port}"]'
        specs = provider("pool", "http://pool.vendor.example", egress=f"{{{at}, {EJECTION}}}")
        specs += provider("spare", f"http://127.0.0.1:{spare.port}") + route("pool", "pool", "spare")
        async with serving(tmp_path, specs) as gateway:
            one.fault = two.fault = Fault(mode="status", status=503)
            answers = await load.run(gateway.url, 60, 6, lambda _: load.chat("pool"))
            assert [problem for a in answers if (problem := load.served(a))] == []
            assert len(spare.requests) == 60
            assert len(one.requests) + len(two.requests) == 60


async def test_each_address_behind_a_name_counts(tmp_path: Path) -> None:
    port = free_on("127.0.0.1", "127.0.0.2")
    good = simulator("good", port=port)
    async with good, DnsServer({"pool.vendor.example": "127.0.0.1 127.0.0.2"}) as dns:  # nothing listens on the second
        way = f'{{{EJECTION}, dns: {{family: ipv4, servers: ["127.0.0.1:{dns.port}"]}}}}'
        specs = provider("pool", f"http://pool.vendor.example:{port}", egress=way) + route("pool", "pool", "pool")
        async with serving(tmp_path, specs) as gateway:
            await gateway.asked("pool", lambda a: load.served(a) is None)
            for _ in range(10):
                await gateway.ask("pool")
            answers = await load.run(gateway.url, 20, 1, lambda _: load.chat("pool"))
            assert [problem for a in answers if (problem := load.served(a))] == []
            assert {a.attempts for a in answers} == {1}  # the dead one is not even tried
