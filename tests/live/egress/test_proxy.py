"""Providers behind an HTTP CONNECT proxy: by name, signed in, and a proxy that fails is a provider that fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from control_plane.demo.fault_proxy.certificates import authority, certificate, server
from control_plane.demo.simulators import Pace, Simulator
from tests.live.egress.counterparts import ConnectProxy
from tests.live.egress.serving import KEY, Serving, provider, route, serving
from tests.live.gateway import load

LOGIN = "headgate:canary-proxy-4716"
TLS = "{caFile: ca.pem}"


def vendor(folder: Path, name: str) -> Simulator:
    certificate(folder, name, f"{name}.vendor.example")
    return Simulator("openai", name=name, models=["m"], keys=[KEY], tls=server(folder, name), pace=Pace(delay_ms=1))


def through(proxy: ConnectProxy, login: bool = True) -> str:
    credentials = ", credentials: {secretRef: {file: login.txt}}" if login else ""
    return f'{{proxy: {{url: "http://127.0.0.1:{proxy.port}"{credentials}}}}}'


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[tuple[Serving, ConnectProxy, Simulator, Simulator]]:
    """A vendor whose name nobody but the proxy knows, and a second one that needs no proxy."""
    authority(folder)
    (folder / "login.txt").write_text(LOGIN + "\n")
    certificate(folder, "second", "second.localhost")
    second = Simulator("openai", name="second", models=["m"], keys=[KEY], tls=server(folder, "second"))
    async with vendor(folder, "first") as first, second, ConnectProxy(LOGIN) as proxy:
        specs = provider("first", f"https://first.vendor.example:{first.port}", TLS, through(proxy))
        specs += provider("second", f"https://second.localhost:{second.port}", TLS)
        specs += route("both", "first", "second") + route("alone", "first")
        async with serving(folder, specs) as gateway:
            yield gateway, proxy, first, second


async def test_the_proxy_is_asked_by_name_and_signed_in_to(tmp_path: Path) -> None:
    async with behind(tmp_path) as (gateway, proxy, first, second):
        answers = await load.run(gateway.url, 40, 8, lambda i: load.chat("both", stream=bool(i % 2)))
        assert [problem for a in answers if (problem := load.served(a))] == []
        assert {a.attempts for a in answers} == {1}
        assert set(proxy.asked) == {f"first.vendor.example:{first.port}"}  # the proxy resolves, not Envoy
        assert set(proxy.logins) == {LOGIN}
        assert not second.requests
        assert KEY.encode() not in proxy.seen  # TLS goes through unopened
        assert "proxy http://127.0.0.1" in (await gateway.providers())["first"]["egress"][0]
        assert (await gateway.providers())["second"]["egress"] == []
        dump = await gateway.envoy("/config_dump?include_eds")
        for secret in ("canary-proxy-4716", "aGVhZGdhdGU6"):  # and as base64
            assert secret not in dump
            assert not any(secret in line for line in gateway.lines)
        assert "proxy:first" in dump  # so the dump does hold the cluster
        assert all(b"canary-proxy" not in p.read_bytes() for p in (tmp_path / "state").rglob("*") if p.is_file())


@pytest.mark.parametrize("trouble", ["down", "403", "407", "password"])
async def test_a_failing_proxy_fails_over_and_recovers(tmp_path: Path, trouble: str) -> None:
    async with behind(tmp_path) as (gateway, proxy, first, _second):
        assert load.served(await gateway.ask("alone")) is None
        if trouble == "down":
            await proxy.down()
        else:
            await proxy.down()  # connections that are open already would go on
            await proxy.up()
            if trouble == "password":
                proxy.login = "headgate:another"
            else:
                proxy.refuse = int(trouble)
        first.clear()
        # What was open is gone, and one attempt may still meet it.
        answers = await load.run(gateway.url, 20, 4, lambda _: load.chat("both"))
        assert [problem for a in answers if (problem := load.served(a))] == []
        assert {(a.attempts, a.headers["x-headgate-target"]) for a in answers} == {(2, "second/m")}
        assert not first.requests
        alone = await gateway.ask("alone")
        assert alone.status >= 500
        assert b"error" in alone.body
        proxy.refuse, proxy.login = None, LOGIN
        if trouble == "down":
            await proxy.up()
        await gateway.asked("alone", lambda a: load.served(a) is None)


async def test_the_password_rotates_and_the_old_one_is_forgotten(tmp_path: Path) -> None:
    async with behind(tmp_path) as (gateway, proxy, _first, _second):
        assert load.served(await gateway.ask("alone")) is None
        proxy.login = "headgate:rotated"
        (tmp_path / "login.txt").write_text(proxy.login)

        async def settled() -> None:
            while True:
                await proxy.down()
                await proxy.up()
                proxy.logins.clear()
                if load.served(await gateway.ask("alone")) is None:
                    return
                await asyncio.sleep(0.05)

        await asyncio.wait_for(settled(), 10)
        assert proxy.logins == ["headgate:rotated"]


async def test_a_vendor_without_tls_goes_through_as_well(tmp_path: Path) -> None:
    async with Simulator("openai", name="plain", models=["m"], keys=[KEY]) as plain, ConnectProxy() as proxy:
        specs = provider("plain", f"http://plain.internal.example:{plain.port}", egress=through(proxy, login=False))
        async with serving(tmp_path, specs + route("plain", "plain")) as gateway:
            assert load.served(await gateway.ask("plain")) is None
            assert proxy.asked == [f"plain.internal.example:{plain.port}"]
            assert proxy.logins == [None]
            proxy.refuse = 403
            await proxy.down()
            await proxy.up()
            assert (await gateway.ask("plain")).status >= 500


@pytest.mark.parametrize(("ca", "status"), [("proxies.pem", 200), ("ca.pem", 503)])
async def test_a_proxy_that_speaks_tls_is_verified(tmp_path: Path, ca: str, status: int) -> None:
    """By an authority of its own: TLS to the vendor runs inside TLS to the proxy."""
    authority(tmp_path)
    authority(tmp_path, "proxies")
    certificate(tmp_path, "proxy", "proxy.localhost", ca="proxies")
    async with vendor(tmp_path, "first") as first, ConnectProxy(tls=server(tmp_path, "proxy")) as proxy:
        way = f'{{proxy: {{url: "https://proxy.localhost:{proxy.port}", caFile: {ca}}}}}'
        specs = provider("first", f"https://first.vendor.example:{first.port}", TLS, way) + route("alone", "first")
        async with serving(tmp_path, specs) as gateway:
            assert (await gateway.ask("alone")).status == status
            assert len(proxy.asked) == len(first.requests) == (status == 200)


async def test_a_proxy_comes_and_goes_under_streams(tmp_path: Path) -> None:
    """Direct, through the proxy by name, through another one, direct again: nothing fails and no stream is cut."""
    authority(tmp_path)
    (tmp_path / "login.txt").write_text(LOGIN)
    certificate(tmp_path, "v", "v.localhost")
    sim = Simulator("openai", name="v", models=["m"], keys=[KEY], tls=server(tmp_path, "v"), pace=Pace(delay_ms=1))
    async with sim, ConnectProxy(LOGIN) as one, ConnectProxy() as two:
        url = f"https://v.localhost:{sim.port}"

        def specs(egress: str) -> str:
            return provider("v", url, TLS, egress) + route("v", "v")

        named = f'{{proxy: {{url: "http://proxy.localhost:{one.port}", credentials: {{secretRef: {{file: login.txt}}}}}}}}'
        ways = [named, through(two, login=False), "", named, "{connection: {maxRequests: 3}}", through(two, login=False)]
        async with serving(tmp_path, specs("")) as gateway:
            client, stop, answers = load.Client(gateway.url), asyncio.Event(), []

            async def stream(i: int) -> None:
                while not stop.is_set():
                    text = "hello [[sim tokens=60 delay_ms=15]]" if i < 6 else "hello"
                    answers.append(await client.post(*load.chat("v", stream=i < 6, text=text)))

            streams = [asyncio.create_task(stream(i)) for i in range(8)]
            for way in ways:
                await asyncio.sleep(0.5)
                before = len(one.asked), len(two.asked)
                gateway.write(specs(way))
                for _ in range(400):
                    if (way == named and len(one.asked) > before[0]) or ("proxy" in way and len(two.asked) > before[1]):
                        break
                    await asyncio.sleep(0.05 if "proxy" in way else 0.0025)
                else:
                    assert "proxy" not in way, (ways.index(way), gateway.lines[-12:])
            await asyncio.sleep(0.5)
            stop.set()
            await asyncio.gather(*streams)
            client.close()
            assert [problem for a in answers if (problem := load.served(a))] == []
            assert len(answers) > 50
            assert one.asked
            assert two.asked
