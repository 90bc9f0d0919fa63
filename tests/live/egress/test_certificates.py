"""The gateway's own certificate: shown to vendors that ask, renewed from its files under traffic, its key shown nowhere."""

from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path

from control_plane.demo.simulators import Simulator
from tests.live.egress.certificates import authority, certificate, server
from tests.live.egress.counterparts import ConnectProxy
from tests.live.egress.serving import KEY, provider, route, serving
from tests.live.gateway import load

MUTUAL = "{caFile: ca.pem, certFile: client.pem, keyFile: client.key}"


def files(folder: Path) -> None:
    authority(folder)
    authority(folder, "clients")
    certificate(folder, "v", "v.localhost")
    certificate(folder, "client", "gateway.example", ca="clients")


async def test_a_vendor_that_asks_gets_the_certificate_and_others_fail_over(tmp_path: Path) -> None:
    files(tmp_path)
    strict = Simulator("openai", name="strict", models=["m"], keys=[KEY], tls=server(tmp_path, "v", clients="clients"))
    async with strict, Simulator("openai", name="other", models=["m"], keys=[KEY]) as other, ConnectProxy() as proxy:
        url = f"https://v.localhost:{strict.port}"
        specs = provider("mutual", url, MUTUAL) + provider("bare", url, "{caFile: ca.pem}")
        specs += provider("tunnelled", url, MUTUAL, f'{{proxy: {{url: "http://127.0.0.1:{proxy.port}"}}}}')
        specs += provider("other", f"http://127.0.0.1:{other.port}")
        specs += route("mutual", "mutual", "other") + route("bare", "bare", "other") + route("tunnelled", "tunnelled")
        async with serving(tmp_path, specs) as gateway:
            shown = await gateway.ask("mutual")
            assert load.served(shown) is None
            assert (shown.attempts, shown.headers["x-headgate-target"]) == (1, "mutual/m")
            assert load.served(await gateway.ask("tunnelled")) is None
            bare = await gateway.ask("bare")
            assert load.served(bare) is None
            assert (bare.attempts, bare.headers["x-headgate-target"]) == (2, "other/m")
            assert "client certificate" in (await gateway.providers())["mutual"]["egress"]
            key = (tmp_path / "client.key").read_text().split("-----")[2].strip().splitlines()[1]
            dump = await gateway.envoy("/config_dump")
            assert "client-certificate/mutual" in dump
            assert key not in dump
            assert not any(key in line for line in gateway.lines)
            kept = [p for p in (tmp_path / "state").rglob("*") if p.is_file()]
            assert kept
            assert not [p for p in kept if key.encode() in p.read_bytes()]


async def test_a_renewed_certificate_is_used_without_a_failed_request(tmp_path: Path) -> None:
    """The files are replaced one after the other, so that for a moment they do not belong together."""
    files(tmp_path)
    certificate(tmp_path, "next", "renewed.example", ca="clients")
    context = server(tmp_path, "v", clients="clients")
    seen: list[str] = []
    vendor = Simulator("openai", name="v", models=["m"], keys=[KEY], tls=context)
    watch(vendor, seen)
    async with vendor, ConnectProxy() as proxy:
        way = f'{{proxy: {{url: "http://127.0.0.1:{proxy.port}"}}, connection: {{maxRequests: 2}}}}'
        specs = provider("v", f"https://v.localhost:{vendor.port}", MUTUAL, way) + route("v", "v")
        async with serving(tmp_path, specs) as gateway:
            client, stop, answers = load.Client(gateway.url), asyncio.Event(), []

            async def ask() -> None:
                while not stop.is_set():
                    answers.append(await client.post(*load.chat("v", stream=True, text="hello [[sim tokens=20 delay_ms=10]]")))

            asking = [asyncio.create_task(ask()) for _ in range(4)]
            await asyncio.sleep(1)
            assert set(seen) == {"gateway.example"}
            shutil.copy(tmp_path / "next.pem", tmp_path / "client.pem")
            await asyncio.sleep(1)
            assert any("HG2015" in line for line in gateway.lines)  # told, and the old pair stays
            shutil.copy(tmp_path / "next.key", tmp_path / "client.key")
            async with asyncio.timeout(8):
                while "renewed.example" not in seen:
                    await asyncio.sleep(0.05)
            seen.clear()
            await asyncio.sleep(1)
            assert set(seen) == {"renewed.example"}
            stop.set()
            await asyncio.gather(*asking)
            client.close()
            assert [problem for a in answers if (problem := load.served(a))] == []


def watch(vendor: Simulator, seen: list[str]) -> None:
    """Note the common name of each client certificate that the vendor accepts."""
    factory = vendor._port._factory

    def make() -> asyncio.Protocol:
        connection = factory()
        made = connection.connection_made

        def connection_made(transport: asyncio.BaseTransport) -> None:
            found = transport.get_extra_info("peercert")
            seen.append(next(value for part in found["subject"] for name, value in part if name == "commonName"))
            made(transport)

        connection.connection_made = connection_made  # type: ignore[method-assign]
        return connection

    vendor._port._factory = make


async def test_the_lowest_tls_version_is_kept(tmp_path: Path) -> None:
    files(tmp_path)
    old = server(tmp_path, "v")
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    async with Simulator("openai", name="old", models=["m"], keys=[KEY], tls=old) as vendor:
        url = f"https://v.localhost:{vendor.port}"
        specs = provider("usual", url, "{caFile: ca.pem}") + provider("new", url, '{caFile: ca.pem, minVersion: "1.3"}')
        async with serving(tmp_path, specs + route("usual", "usual") + route("new", "new")) as gateway:
            assert load.served(await gateway.ask("usual")) is None
            assert (await gateway.ask("new")).status >= 500
            assert len(vendor.requests) == 1
