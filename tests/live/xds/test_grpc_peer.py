"""A second, independent and strict xDS peer: gRPC's own client (`xds:///`), in a process of its own (X1, X7)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_plane.xds.resource import CDS, EDS, LDS, RDS, Resource
from control_plane.xds.snapshot import Snapshot
from tests.live.xds.harness import ADS, ControlPlane, address, extension, resource, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

CLIENT = textwrap.dedent("""
    import sys, time, grpc
    with grpc.insecure_channel("xds:///svc") as channel:
        call = channel.unary_unary("/test.Who/Am", request_serializer=bytes, response_deserializer=bytes)
        while True:
            try:
                said = call(b"", wait_for_ready=True, timeout=10).decode()
            except grpc.RpcError as error:
                said = f"{error.code().name} {error.details()}"
            print(said, flush=True)
            time.sleep(0.01)
""")


@contextlib.asynccontextmanager
async def who(name: str) -> AsyncIterator[int]:
    async def answer(_: bytes, context: Any) -> bytes:
        return name.encode()

    server = grpc.aio.server()
    handler = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Who", {"Am": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield port
    await server.stop(0)


def service(port: int, *, cluster: str = "c", **broken: Any) -> list[Resource]:
    router = extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
    kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    manager = extension("hcm", kind, rds={"route_config_name": "r", "config_source": ADS}, http_filters=[router])["typed_config"]
    routes = [{"match": {"prefix": ""}, "route": {"cluster": cluster}}]
    endpoint = {"endpoint": {"address": address(port)}}
    locality = {"locality": {"region": "here"}, "load_balancing_weight": 1, "lb_endpoints": [endpoint]}
    found = {"cluster_name": cluster, "endpoints": [locality]}
    value = {"name": cluster, "type": "EDS", "eds_cluster_config": {"eds_config": ADS}, "lb_policy": "ROUND_ROBIN", **broken}
    return [
        resource(LDS, {"name": "svc", "api_listener": {"api_listener": manager}}, [(RDS, "r")]),
        resource(RDS, {"name": "r", "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": routes}]}, [(CDS, cluster)]),
        resource(CDS, value, [(EDS, cluster)]),
        resource(EDS, found, name=cluster),
    ]


async def test_grpcs_own_client_follows_and_refuses(folder: Path) -> None:
    bootstrap = {
        "xds_servers": [
            {"server_uri": f"unix:{folder / 'xds.sock'}", "channel_creds": [{"type": "insecure"}], "server_features": ["xds_v3"]}
        ],
        "node": {"id": "grpc-1", "cluster": "clients"},
    }
    (folder / "grpc.json").write_text(json.dumps(bootstrap))
    said: list[str] = []
    async with who("a") as a, who("b") as b, ControlPlane(folder) as plane:
        await plane.publish(service(a))
        environment = {**os.environ, "GRPC_XDS_BOOTSTRAP": str(folder / "grpc.json"), "GRPC_VERBOSITY": "NONE"}
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", CLIENT, env=environment, stdout=asyncio.subprocess.PIPE)
        assert process.stdout is not None

        async def listen() -> None:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                said.append(line.decode().strip())

        listening = asyncio.create_task(listen())
        try:
            await until(lambda: "a" in said, 20)
            (row,) = plane.nodes.to_dict()
            assert (row["node"], row["mode"]) == ("grpc-1", "sotw")
            assert str(row["version"]).startswith("gRPC C-core")
            assert set(row["types"]) == {"LDS", "RDS", "CDS", "EDS"}
            # endpoints move
            await plane.publish(service(b))
            await until(lambda: said[-1] == "b", 5)
            # the route moves to another cluster, and the old one goes: no call fails
            await plane.publish(service(a, cluster="c2"))
            await until(lambda: said[-1] == "a", 5)
            await until(lambda: plane.publisher.report().retired == 0, 10)
            # a cluster that gRPC refuses: its text is kept, its version withdrawn, and traffic goes on
            await until(lambda: plane.publisher._proven_number == plane.publisher._number)
            await plane.publisher.submit(Snapshot.of(service(b, cluster="c2", type="STATIC")), reason="test", urgent=True)
            await until(lambda: plane.publisher.report().problems != (), 5)
            (problem,) = plane.publisher.report().problems
            assert problem.resource == (CDS, "c2")
            assert "grpc-1" in problem.text
            assert "c2" in problem.text
            await until(lambda: said[-1] == "b", 5)  # the endpoints of that change were fine
            assert set(said) == {"a", "b"}
            assert plane.nodes.nacks == {"CDS": 1}
        finally:
            process.kill()
            await process.wait()
            listening.cancel()
