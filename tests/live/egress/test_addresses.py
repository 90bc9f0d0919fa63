"""Private endpoints and DNS: where it connects to, under the vendor's own name."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from control_plane.demo.fault_proxy.certificates import authority, certificate, server
from control_plane.demo.fault_proxy.dns import DnsServer
from control_plane.demo.simulators import Simulator
from tests.live.egress.counterparts import ConnectProxy
from tests.live.egress.serving import KEY, provider, route, serving
from tests.live.gateway import load

TLS = "{caFile: ca.pem}"


async def test_a_private_endpoint_keeps_the_vendors_name(tmp_path: Path) -> None:
    """By addresses, by a name with a port, and through a proxy: SNI, certificate and Host stay the vendor's."""
    authority(tmp_path)
    certificate(tmp_path, "v", "api.vendor.example")
    names: list[str | None] = []
    context = server(tmp_path, "v")
    context.sni_callback = lambda _socket, host, _context: names.append(host)
    one, two = (Simulator("openai", name=n, models=["m"], keys=[KEY], tls=context) for n in ("one", "two"))
    async with one, two, ConnectProxy() as proxy:
        url = "https://api.vendor.example"
        both = f'{{addresses: ["127.0.0.1:{one.port}", "127.0.0.1:{two.port}"]}}'
        named = f'{{addresses: ["vpce.localhost:{one.port}"]}}'
        proxied = f'{{addresses: ["127.0.0.1:{two.port}"], proxy: {{url: "http://127.0.0.1:{proxy.port}"}}}}'
        specs = "".join(provider(n, url, TLS, e) + route(n, n) for n, e in (("both", both), ("named", named), ("proxied", proxied)))
        async with serving(tmp_path, specs) as gateway:
            answers = await load.run(gateway.url, 40, 8, lambda _: load.chat("both"))
            assert [problem for a in answers if (problem := load.served(a))] == []
            assert len(one.requests) + len(two.requests) == 40
            assert min(len(one.requests), len(two.requests)) >= 10
            assert {r.headers["host"] for r in one.requests} == {"api.vendor.example"}
            two.clear()
            assert load.served(await gateway.ask("named")) is None
            assert load.served(await gateway.ask("proxied")) is None
            assert len(two.requests) == 1
            assert proxy.asked == [f"127.0.0.1:{two.port}"]
            assert set(names) == {"api.vendor.example"}
            assert (await gateway.providers())["both"]["egress"] == [f"at 127.0.0.1:{one.port} 127.0.0.1:{two.port}"]


async def test_a_wrong_certificate_at_the_private_endpoint_is_refused(tmp_path: Path) -> None:
    authority(tmp_path)
    certificate(tmp_path, "v", "another.vendor.example")
    async with Simulator("openai", name="v", models=["m"], keys=[KEY], tls=server(tmp_path, "v")) as vendor:
        specs = provider("v", "https://api.vendor.example", TLS, f'{{addresses: ["127.0.0.1:{vendor.port}"]}}') + route("v", "v")
        async with serving(tmp_path, specs) as gateway:
            assert (await gateway.ask("v")).status >= 500
            assert not vendor.requests


def free_on(*hosts: str) -> int:
    """A port that is free on all of these addresses."""
    for _ in range(50):
        with socket.socket() as first:
            first.bind((hosts[0], 0))
            port = first.getsockname()[1]
        try:
            for host in hosts:
                with socket.socket() as probe:
                    probe.bind((host, port))
        except OSError:
            continue
        return int(port)
    raise AssertionError("no free port")


async def test_dns_is_followed_and_a_failure_keeps_the_last_addresses(tmp_path: Path) -> None:
    """The vendor moves to another loopback address; then the DNS server breaks."""
    port = free_on("127.0.0.1", "127.0.0.2")
    old = Simulator("openai", name="old", models=["m"], keys=[KEY], port=port)
    new = Simulator("openai", name="new", models=["m"], keys=[KEY], port=port, host="127.0.0.2")
    async with old, new, DnsServer({"api.vendor.example": "127.0.0.1"}) as dns:
        asking = f'{{respectTtl: true, family: ipv4, failureRefresh: 1s, servers: ["127.0.0.1:{dns.port}"]}}'
        way = f"{{connection: {{maxRequests: 1}}, dns: {asking}}}"
        specs = provider("v", f"http://api.vendor.example:{port}", egress=way) + route("v", "v")
        async with serving(tmp_path, specs) as gateway:
            await gateway.asked("v", lambda a: load.served(a) is None and bool(old.requests))
            assert not new.requests
            dns.names["api.vendor.example"] = "127.0.0.2"
            await gateway.asked("v", lambda _: bool(new.requests), within_s=8)
            dns.broken = True
            asked = len(dns.asked)
            old.clear()
            for _ in range(8):
                assert load.served(await gateway.ask("v")) is None
                await asyncio.sleep(0.5)
            assert len(dns.asked) > asked
            assert not old.requests
            assert {kind for _, kind in dns.asked} == {1}  # ipv4: no AAAA questions


async def test_addresses_change_under_streams(tmp_path: Path) -> None:
    one, two = (Simulator("openai", name=n, models=["m"], keys=[KEY]) for n in ("one", "two"))
    async with one, two:

        def specs(*ports: int) -> str:
            at = ", ".join(f'"127.0.0.1:{port}"' for port in ports)
            return provider("v", "http://v.vendor.example", egress=f"{{addresses: [{at}]}}") + route("v", "v")

        async with serving(tmp_path, specs(one.port)) as gateway:
            client, stop, answers = load.Client(gateway.url), asyncio.Event(), []

            async def stream() -> None:
                while not stop.is_set():
                    answers.append(await client.post(*load.chat("v", stream=True, text="hello [[sim tokens=60 delay_ms=15]]")))

            streams = [asyncio.create_task(stream()) for _ in range(6)]
            for number in range(4):
                await asyncio.sleep(1)
                to = (two, one)[number % 2]
                to.clear()
                gateway.write(specs(to.port))
                async with asyncio.timeout(8):
                    while not to.requests:
                        await asyncio.sleep(0.02)
            stop.set()
            await asyncio.gather(*streams)
            client.close()
            assert [problem for a in answers if (problem := load.served(a))] == []
