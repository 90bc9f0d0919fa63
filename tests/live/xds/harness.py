"""A control plane in this process, a real Envoy beside it, vendors that stream, and Envoy resources to play with."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
import urllib.request
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from control_plane.kit.clock import SystemClock
from control_plane.kit.envoy_binary import find_envoy
from control_plane.xds.ads import AdsOptions, AdsServer
from control_plane.xds.envoy_schema import EnvoySchema
from control_plane.xds.feed import Feed
from control_plane.xds.nodes import NodeRegistry
from control_plane.xds.preflight import Preflight, Validate
from control_plane.xds.publisher import Publisher, PublishOptions
from control_plane.xds.resource import CDS, EDS, LDS, RDS, SDS, SRDS, Ref, Resource
from control_plane.xds.snapshot import Snapshot

T = "type.googleapis.com/"
ADS = {"ads": {}, "resource_api_version": "V3"}
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


@cache
def schema() -> EnvoySchema:
    return EnvoySchema()


def resource(type_url: str, value: dict[str, Any], refs: Iterable[Ref] = (), name: str | None = None) -> Resource:
    """A resource from its JSON form."""
    body = schema().from_dict(type_url.removeprefix(T), value)
    return Resource(type_url, name or value["name"], body, frozenset(refs))


def extension(name: str, kind: str, **config: Any) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": T + kind, **config}}


def address(port: int) -> dict[str, Any]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def provider(name: str, port: int, **more: Any) -> Resource:
    """A static cluster with one endpoint."""
    endpoints = [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]
    value = {"name": name, "connect_timeout": "1s", "load_assignment": {"cluster_name": name, "endpoints": endpoints}, **more}
    return resource(CDS, value)


def discovered_provider(name: str, port: int, **more: Any) -> tuple[Resource, Resource]:
    """A cluster whose endpoints come over EDS, and these endpoints."""
    value = {"name": name, "connect_timeout": "1s", "type": "EDS", "eds_cluster_config": {"eds_config": ADS}, **more}
    endpoints = {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address(port)}}]}]}
    return resource(CDS, value, [(EDS, name)]), resource(EDS, endpoints, name=name)


def stamp(value: str) -> dict[str, Any]:
    """A filter that sets the request header x-stamp."""
    header = {"append": {"header": {"key": "x-stamp", "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}
    kind = "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation"
    return extension("envoy.filters.http.header_mutation", kind, mutations={"request_mutations": [header]})


def injector(secret_name: str) -> dict[str, Any]:
    """A filter that sets Authorization from an SDS secret."""
    sds = {"name": secret_name, "sds_config": {**ADS, "initial_fetch_timeout": "2s"}}
    generic = "envoy.extensions.http.injected_credentials.generic.v3.Generic"
    credential = extension("envoy.http.injected_credentials.generic", generic, credential=sds, header="authorization")
    kind = "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"
    name = "envoy.filters.http.credential_injector"
    return extension(name, kind, overwrite=True, allow_request_without_credential=True, credential=credential)


def target(name: str, member: str, *, stamped: str = "", secret: str = "", filters: Sequence[dict[str, Any]] = ()) -> Resource:
    """A thin aggregate over `member`, with its own upstream filters."""
    chain = [*([injector(secret)] if secret else []), *([stamp(stamped)] if stamped else []), *filters]
    chain.append(extension("envoy.filters.http.upstream_codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec"))
    options = {"@type": T + _HTTP_OPTIONS, "explicit_http_config": {"http_protocol_options": {}}, "http_filters": chain}
    value = {
        "name": name,
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": extension("envoy.clusters.aggregate", "envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=[member]),
        "circuit_breakers": {"thresholds": [{"max_retries": 10000}]},
        "typed_extension_protocol_options": {_HTTP_OPTIONS: options},
    }
    return resource(CDS, value, [(CDS, member), *([(SDS, secret)] if secret else [])])


def secret(name: str, value: str) -> Resource:
    return resource(SDS, {"name": name, "generic_secret": {"secret": {"inline_string": value}}})


def plan(name: str, *groups: dict[str, int], route: dict[str, Any] | None = None) -> Resource:
    """A route configuration: one route to a plan of groups, each target → weight."""
    specified = [
        {"name": f"g{i}", "clusters": [{"cluster_name": t, "weight": w} for t, w in group.items()]} for i, group in enumerate(groups)
    ]
    kind = "envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
    specifier = {"extension": extension("envoy.router.cluster_specifier_plugin.priority_group", kind, priority_groups=specified)}
    retry = {"retry_on": "5xx,reset,connect-failure", "num_retries": 2, "refresh_cluster_on_retry": True}
    action = {"timeout": "0s", "retry_policy": retry, "inline_cluster_specifier_plugin": specifier, **(route or {})}
    value = {"name": name, "virtual_hosts": [{"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": action}]}]}
    return resource(RDS, value, [(CDS, t) for group in groups for t in group])


def scope(model: str, table: str | None = None) -> Resource:
    value = {"name": model, "route_configuration_name": table or model, "key": {"fragments": [{"string_key": model}]}}
    return resource(SRDS, value, [(RDS, table or model)])


def scoped_routing() -> dict[str, Any]:
    extractor = {"name": "x-model", "element_separator": ";", "index": 0}
    builder = {"fragments": [{"header_value_extractor": extractor}]}
    scoped = {"name": "models", "scope_key_builder": builder, "rds_config_source": ADS, "scoped_rds": {"scoped_rds_config_source": ADS}}
    return {"scoped_routes": scoped}


def table_routing(name: str) -> dict[str, Any]:
    return {"rds": {"route_config_name": name, "config_source": ADS}}


def listener(routing: dict[str, Any], refs: Iterable[Ref] = (), name: str = "edge", **more: Any) -> Resource:
    """A listener on a free port of 127.0.0.1."""
    router = extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")
    kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    manager = extension("envoy.filters.network.http_connection_manager", kind, stat_prefix="edge", http_filters=[router], **routing)
    return resource(LDS, {"name": name, "address": address(0), "filter_chains": [{"filters": [manager]}], **more}, refs)


# ---------------------------------------------------------------------------------------------- a vendor and its clients
@dataclass
class Vendor:
    """An HTTP/1.1 server that answers every request with `chunks` pieces, `gap_s` apart."""

    name: str
    chunks: int = 1
    gap_s: float = 0.0
    port: int = 0
    heads: list[str] = field(default_factory=list)
    _server: asyncio.Server | None = None
    _clients: set[asyncio.StreamWriter] = field(default_factory=set)

    async def __aenter__(self) -> Vendor:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._clients:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients.add(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
                self.heads.append(head)
                writer.write(b"HTTP/1.1 200 OK\r\nx-who: " + self.name.encode() + b"\r\ntransfer-encoding: chunked\r\n\r\n")
                for i in range(self.chunks):
                    if i and self.gap_s:
                        await asyncio.sleep(self.gap_s)
                    writer.write(b"4\r\ntok \r\n")
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        self._clients.discard(writer)
        writer.close()

    def seen(self, header: str) -> list[str]:
        """The values of a request header, in order of arrival."""
        marker = f"\r\n{header}: "
        return [head.split(marker)[1].split("\r\n")[0] if marker in head else "" for head in self.heads]


@dataclass(frozen=True)
class Answer:
    status: int
    who: str
    tokens: int
    whole: bool
    text: str


async def ask(port: int, model: str = "m", *, timeout_s: float = 10.0) -> Answer:
    """One request on a connection of its own. Raises OSError when there is no listener."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET /v1 HTTP/1.1\r\nhost: h\r\nx-model: {model}\r\n\r\n".encode())
        data = b""
        async with asyncio.timeout(timeout_s):
            while not data.endswith(b"0\r\n\r\n"):
                piece = await reader.read(65536)
                if not piece:
                    break
                data += piece
                head, _, body = data.partition(b"\r\n\r\n")
                if b"content-length:" in head and len(body) >= int(head.split(b"content-length: ")[1].split(b"\r\n")[0]):
                    break
    finally:
        writer.close()
    head_text = head.decode("latin-1")
    who = head_text.split("x-who: ")[1].split("\r\n")[0] if "x-who: " in head_text else ""
    status = int(head_text.split(" ")[1]) if head_text.startswith("HTTP/") else 0
    return Answer(status, who, body.count(b"tok"), body.endswith(b"0\r\n\r\n"), data.decode("latin-1")[:300])


# ---------------------------------------------------------------------------------------------- Envoy
class Envoy:
    """One real Envoy, fed over ADS on a Unix socket."""

    def __init__(self, folder: Path, xds_socket: Path, *, delta: bool = True, node: str = "n1", args: Sequence[str] = ()) -> None:
        self.folder, self.node, self._args = folder, node, args
        self.process: asyncio.subprocess.Process | None = None
        self._admin = 0
        pipe = {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": str(xds_socket)}}}}]}
        http2 = {_HTTP_OPTIONS: {"@type": T + _HTTP_OPTIONS, "explicit_http_config": {"http2_protocol_options": {}}}}
        cluster = {
            "name": "xds",
            "connect_timeout": "1s",
            "load_assignment": {"cluster_name": "xds", "endpoints": [pipe]},
            "typed_extension_protocol_options": http2,
        }
        backoff = {"retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.5s"}}}
        self._bootstrap = {
            "node": {"id": node, "cluster": "edge"},
            "admin": {"address": address(0)},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC" if delta else "GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "xds", **backoff}}],
                },
                "lds_config": ADS,
                "cds_config": ADS,
            },
            "static_resources": {"clusters": [cluster]},
        }

    async def __aenter__(self) -> Envoy:
        config, admin = self.folder / f"{self.node}.json", self.folder / f"{self.node}.admin"
        config.write_text(json.dumps(self._bootstrap))
        admin.unlink(missing_ok=True)
        flags = ("--concurrency", "1", "--use-dynamic-base-id", "--admin-address-path", str(admin), "--log-level", "error", *self._args)
        with (self.folder / f"{self.node}.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                str(find_envoy()), "--config-path", str(config), *flags, stdout=asyncio.subprocess.DEVNULL, stderr=log
            )
        async with asyncio.timeout(20):
            while not (admin.exists() and admin.read_text()):
                assert self.process.returncode is None, self.log()
                await asyncio.sleep(0.02)
        self._admin = int(admin.read_text().rpartition(":")[2])
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
        await self.process.wait()

    def log(self) -> str:
        return (self.folder / f"{self.node}.log").read_text()[-3000:]

    def freeze(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGCONT)

    async def admin(self, path: str) -> str:
        def get() -> str:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._admin}{path}", timeout=5) as answer:
                return str(answer.read().decode())

        return await asyncio.to_thread(get)

    async def stat(self, name: str) -> int:
        """A counter or gauge; 0 where Envoy has none of that name."""
        lines = (await self.admin(f"/stats?filter=^{name}$")).splitlines()
        return sum(int(line.rpartition(": ")[2]) for line in lines if line.startswith(f"{name}: "))

    async def port(self, name: str = "edge", timeout_s: float = 15.0) -> int:
        """The port of a listener, once it is there and its routes are known."""
        async with asyncio.timeout(timeout_s):
            while True:
                listeners = json.loads(await self.admin("/listeners?format=json")).get("listener_statuses", [])
                for each in listeners:
                    if each["name"] == name:
                        return int(each["local_address"]["socket_address"]["port_value"])
                await asyncio.sleep(0.02)

    async def ready(self, timeout_s: float = 15.0) -> int:
        """Wait until Envoy is live and accepts; returns the port of the listener `edge`."""
        port = await self.port(timeout_s=timeout_s)
        async with asyncio.timeout(timeout_s):
            while await self.stat("server.live") != 1 or not await _accepts(port):
                await asyncio.sleep(0.02)
        return port


async def _accepts(port: int) -> bool:
    """A listener is listed a moment before its worker listens."""
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    writer.close()
    return True


# ---------------------------------------------------------------------------------------------- the control plane
class ControlPlane:
    """Feed, node registry, publisher and ADS server, as the product wires them."""

    def __init__(
        self,
        folder: Path,
        *,
        validate: Validate | None = None,
        options: PublishOptions | None = None,
        ads: AdsOptions | None = None,
        lkg_path: Path | None = None,
        socket: str = "xds.sock",
    ) -> None:
        self.socket = folder / socket
        self.clock = SystemClock()
        self.feed, self.nodes = Feed(), NodeRegistry(self.clock)
        chosen = options or PublishOptions(min_drain_s=0.5)
        self.publisher = Publisher(self.feed, self.nodes, validate=validate, lkg_path=lkg_path, options=chosen, clock=self.clock)
        self.server = AdsServer(self.feed, self.nodes, ads or AdsOptions(removal_delay_s=1.0), self.clock)
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> ControlPlane:
        await self.server.start(f"unix:{self.socket}")
        self._task = asyncio.create_task(self.publisher.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.server.stop(0.2)
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    async def publish(self, resources: Iterable[Resource], *, confirm: bool = False, timeout_s: float = 10.0) -> Snapshot:
        """Submit, and wait until every connected node runs it."""
        outcome = await self.publisher.submit(Snapshot.of(resources), reason="test", urgent=True, confirm_mass_delete=confirm)
        assert outcome.accepted, outcome.problems
        assert await self.publisher.converged(timeout_s), json.dumps(self.nodes.to_dict(), indent=1)
        return self.publisher.live


def preflight(folder: Path) -> Preflight:
    return Preflight(find_envoy(), work_dir=folder)


async def streams(port: int, stop: asyncio.Event, answers: list[Answer], models: Sequence[str], clients: int) -> None:
    """`clients` clients that ask one request after the other until `stop`."""

    async def client(number: int) -> None:
        while not stop.is_set():
            answers.append(await ask(port, models[number % len(models)]))

    await asyncio.gather(*(client(number) for number in range(clients)))


async def until(condition: Any, timeout_s: float = 10.0) -> float:
    """Poll `condition` (a plain or async function) until it is true; returns the seconds it took."""
    began = time.monotonic()
    async with asyncio.timeout(timeout_s):
        while True:
            value = condition()
            if asyncio.iscoroutine(value):
                value = await value
            if value:
                return time.monotonic() - began
            await asyncio.sleep(0.01)
