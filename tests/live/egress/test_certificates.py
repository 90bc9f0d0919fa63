"""The gateway's own certificate: shown to vendors that ask, renewed from its files under traffic, its key shown nowhere."""

from __future__ import annotations

import asyncio
import shutil
import signal
import ssl
from collections.abc import Callable
from pathlib import Path

from control_plane.demo.fault_proxy.certificates import authority, certificate, server
from control_plane.demo.simulators import Simulator
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


async def test_what_envoy_holds_stays_and_an_envoy_without_fails_over(tmp_path: Path) -> None:
    """While the certificate's file is broken the control plane starts anew, and then Envoy."""
    files(tmp_path)
    strict = Simulator("openai", name="strict", models=["m"], keys=[KEY], tls=server(tmp_path, "v", clients="clients"))
    async with strict, Simulator("openai", name="other", models=["m"], keys=[KEY]) as other:
        once = "{connection: {maxRequests: 1}}"  # every request shows it
        specs = provider("strict", f"https://v.localhost:{strict.port}", MUTUAL, once)
        specs += provider("other", f"http://127.0.0.1:{other.port}") + route("both", "strict", "other")
        async with serving(tmp_path, specs) as gateway:

            def by(name: str) -> Callable[[load.Answer], bool]:
                return lambda answer: load.served(answer) is None and answer.headers["x-headgate-target"] == f"{name}/m"

            async def again(part: str) -> None:
                child = gateway.gateway.children[part]
                starts = child.started
                child.signal(signal.SIGKILL)
                async with asyncio.timeout(20):
                    while child.started == starts:
                        await asyncio.sleep(0.05)

            assert by("strict")(await gateway.ask("both"))
            await asyncio.sleep(2.5)  # until the last known good is on disk
            (tmp_path / "client.pem").write_text("")
            async with asyncio.timeout(10):
                while not any("HG2015" in line for line in gateway.lines):
                    await asyncio.sleep(0.05)
            gateway.lines.clear()
            await again("control-plane")
            async with asyncio.timeout(20):
                while not any("specs taken over" in line for line in gateway.lines):
                    await asyncio.sleep(0.05)
            await asyncio.sleep(2)
            assert any("HG2015" in line for line in gateway.lines)
            for _ in range(5):
                assert by("strict")(await gateway.ask("both"))
            await again("envoy")
            async with asyncio.timeout(20):
                while not await _listens(gateway.url):
                    await asyncio.sleep(0.05)
            await gateway.asked("both", by("other"), within_s=20)


async def _listens(url: str) -> bool:
    host, _, port = url.removeprefix("http://").partition(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except OSError:
        return False
    writer.close()
    return True


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


async def test_a_renewed_authority_is_trusted_and_the_old_one_no_more(tmp_path: Path) -> None:
    """Under the same file name, for the provider and for the proxy in front of another one, while requests run."""
    files(tmp_path)
    authority(tmp_path, "next")
    certificate(tmp_path, "w", "v.localhost", ca="next")
    old, new = server(tmp_path, "v"), server(tmp_path, "w")
    trusting = "{caFile: trusted.pem}"
    shutil.copy(tmp_path / "ca.pem", tmp_path / "trusted.pem")
    vendors = [Simulator("openai", name=name, models=["m"], keys=[KEY], tls=tls) for name, tls in (("old", old), ("new", new))]
    async with vendors[0], vendors[1], ConnectProxy(tls=old) as before, ConnectProxy(tls=new) as after:
        once = "connection: {maxRequests: 1}"  # every request verifies
        specs = "".join(provider(v.name, f"https://v.localhost:{v.port}", trusting, f"{{{once}}}") + route(v.name, v.name) for v in vendors)
        for name, proxy in (("before", before), ("after", after)):
            way = f'{{proxy: {{url: "https://v.localhost:{proxy.port}", caFile: trusted.pem}}, {once}}}'
            vendor = f"https://v.localhost:{vendors[0].port}"
            specs += provider(name, vendor, "{caFile: ca.pem}", way) + route(name, name)
        async with serving(tmp_path, specs) as gateway:
            for model, status in (("old", 200), ("new", 503), ("before", 200), ("after", 503)):
                assert (await gateway.ask(model)).status == status, model
            slow = load.chat("old", stream=True, text="hello [[sim tokens=60 delay_ms=50]]")
            running = asyncio.create_task(load.run(gateway.url, 1, 1, lambda _: slow))
            await asyncio.sleep(0.2)
            shutil.copy(tmp_path / "next.pem", tmp_path / "trusted.pem")
            for model, status in (("new", 200), ("after", 200), ("old", 503), ("before", 503)):
                await gateway.asked(model, lambda answer, wanted=status: answer.status == wanted)  # type: ignore[misc]
            assert [problem for a in await running if (problem := load.served(a))] == []
