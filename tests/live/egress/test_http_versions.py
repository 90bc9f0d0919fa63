"""HTTP/1.1, 2 and 3 to a vendor, as the spec says, and what connections do."""

from __future__ import annotations

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from control_plane.demo.fault_proxy.certificates import authority, certificate, server
from control_plane.demo.simulators import Simulator
from control_plane.kit.envoy_binary import find_envoy
from tests.live.egress.counterparts import ConnectProxy, Http2Vendor
from tests.live.egress.serving import KEY, provider, route, serving
from tests.live.gateway import load

TLS = "{caFile: ca.pem}"
T = "type.googleapis.com/envoy.extensions."


async def test_http2_carries_many_streams_on_one_connection(tmp_path: Path) -> None:
    """With prior knowledge on plain TCP, with TLS, and with TLS through a proxy."""
    authority(tmp_path)
    certificate(tmp_path, "v", "v.localhost")
    tls = server(tmp_path, "v", alpn=("h2",))
    async with Http2Vendor(answer_after_s=0.4) as plain, Http2Vendor(tls, answer_after_s=0.4) as secure, ConnectProxy() as proxy:
        specs = provider("plain", f"http://127.0.0.1:{plain.port}", egress="{protocol: http2}") + route("plain", "plain")
        specs += provider("secure", f"https://v.localhost:{secure.port}", TLS, "{protocol: http2}") + route("secure", "secure")
        way = f'{{protocol: http2, proxy: {{url: "http://127.0.0.1:{proxy.port}"}}}}'
        specs += provider("tunnelled", f"https://v.localhost:{secure.port}", TLS, way) + route("tunnelled", "tunnelled")
        async with serving(tmp_path, specs) as gateway:
            for model, vendor in (("plain", plain), ("secure", secure), ("tunnelled", secure)):
                before = vendor.connections
                vendor.most = 0
                answers = await load.run(gateway.url, 60, 30, lambda _, model=model: load.chat(model))  # type: ignore[misc]
                assert [problem for a in answers if (problem := load.served(a))] == [], model
                assert vendor.connections - before == 1, model
                assert vendor.most >= 25, model
            assert len(proxy.asked) == 1
            assert (await gateway.providers())["plain"]["egress"] == ["http2"]


async def test_auto_takes_what_tls_offers_and_http1_does_not(tmp_path: Path) -> None:
    authority(tmp_path)
    certificate(tmp_path, "v", "v.localhost")
    async with Http2Vendor(server(tmp_path, "v", alpn=("h2", "http/1.1"))) as vendor:
        url = f"https://v.localhost:{vendor.port}"
        specs = provider("auto", url, TLS) + route("auto", "auto")
        specs += provider("old", url, TLS, "{protocol: http1}") + route("old", "old")
        async with serving(tmp_path, specs) as gateway:
            assert load.served(await gateway.ask("auto")) is None
            assert vendor.requests == 1
            assert (await gateway.ask("old")).status >= 500  # the vendor of this test speaks HTTP/2 only
            assert vendor.requests == 1


def quic_front(udp: int, upstream: int, folder: Path) -> dict[str, Any]:
    """An Envoy that takes HTTP/3 on `udp` and speaks HTTP/1.1 to a simulated vendor."""

    def at(port: int, **more: Any) -> dict[str, Any]:
        return {"socket_address": {"address": "127.0.0.1", "port_value": port, **more}}

    def extension(name: str, kind: str, **config: Any) -> dict[str, Any]:
        return {"name": name, "typed_config": {"@type": T + kind, **config}}

    pair = {"certificate_chain": {"filename": str(folder / "v.pem")}, "private_key": {"filename": str(folder / "v.key")}}
    hosts = [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "vendor"}}]}]
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        codec_type="HTTP3",
        stat_prefix="quic",
        http3_protocol_options={},
        route_config={"virtual_hosts": hosts},
        http_filters=[extension("envoy.filters.http.router", "filters.http.router.v3.Router")],
    )
    tls = extension(
        "envoy.transport_sockets.quic",
        "transport_sockets.quic.v3.QuicDownstreamTransport",
        downstream_tls_context={"common_tls_context": {"tls_certificates": [pair]}},
    )
    listener = {
        "name": "quic",
        "address": at(udp, protocol="UDP"),
        "udp_listener_config": {"quic_options": {}},
        "filter_chains": [{"transport_socket": tls, "filters": [manager]}],
    }
    cluster = {
        "name": "vendor",
        "connect_timeout": "1s",
        "load_assignment": {"cluster_name": "vendor", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": at(upstream)}}]}]},
    }
    admin = {"address": {"pipe": {"path": str(folder / "quic.sock")}}}
    return {"admin": admin, "static_resources": {"listeners": [listener], "clusters": [cluster]}}


@asynccontextmanager
async def quic(udp: int, upstream: int, folder: Path) -> AsyncIterator[None]:
    config = folder / "quic.json"
    config.write_text(json.dumps(quic_front(udp, upstream, folder)))
    command = (str(find_envoy()), "-c", str(config), "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "error")
    process = await asyncio.create_subprocess_exec(*command, stderr=subprocess.DEVNULL)
    try:
        async with asyncio.timeout(15):
            while not (folder / "quic.sock").exists():
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.5)
        yield
    finally:
        process.terminate()
        await process.wait()


async def test_http3_is_used_where_it_works_and_tcp_where_not(tmp_path: Path) -> None:
    """UDP and TCP on the same port of 127.0.0.1: first both, then TCP alone."""
    authority(tmp_path)
    certificate(tmp_path, "v", "v.localhost")
    over_tcp = Simulator("openai", name="tcp", models=["m"], keys=[KEY], tls=server(tmp_path, "v"))
    async with Simulator("openai", name="quic", models=["m"], keys=[KEY]) as behind, over_tcp:
        specs = provider("v", f"https://v.localhost:{over_tcp.port}", TLS, "{protocol: http3, dns: {family: ipv4}}") + route("v", "v")
        async with serving(tmp_path, specs) as gateway:
            async with quic(over_tcp.port, behind.port, tmp_path):
                answers = await load.run(gateway.url, 20, 4, lambda i: load.chat("v", stream=bool(i % 2)))
                assert [problem for a in answers if (problem := load.served(a))] == []
                assert len(behind.requests) == 20
                assert not over_tcp.requests
            # Nobody answers on UDP any more.
            await gateway.asked("v", lambda a: load.served(a) is None)
            assert over_tcp.requests
