"""A real Envoy with a static configuration that writes the access journal as the product configures it, and vendors that play a script."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from control_plane.kit.envoy_binary import find_envoy
from control_plane.signals.als import custom_tags
from control_plane.signals.formats import ATTEMPT_FORMAT, REQUEST_FORMAT
from control_plane.xds.translate.access_log import worth_a_line
from tests.live.lua.edge_envoy import hold

Json = dict[str, Any]
Step = bytes | float | str

TYPE = "type.googleapis.com/"
PROTOCOL_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
FLUSH_AS_THE_PRODUCT = ("--file-flush-interval-msec", "100")
"""As `control_plane/app/supervisor.py`: every 64 KB, which is Envoy's default, and at the latest after 0.1 s."""
FLUSH_AT_ONCE = ("--file-flush-min-size-kb", "1", *FLUSH_AS_THE_PRODUCT)

# What the product's Lua filter leaves behind, reduced to what the journal reads.
LISTENER_LUA = """
function envoy_on_request(h)
  local m = h:streamInfo():dynamicMetadata()
  local model = h:headers():get("x-test-model") or "chat"
  m:set("headgate", "asked", "openai-chat stream " .. model)
  if h:headers():get("x-test-whole") then h:body() end
end
function envoy_on_response(h)
  if h:headers():get(":status") ~= "200" then return end
  local m, tail = h:streamInfo():dynamicMetadata(), ""
  m:set("headgate", "meter", "0;;;")
  for chunk in h:bodyChunks() do
    tail = tail .. chunk:getBytes(0, chunk:length())
    if tail:find("[DONE]", 1, true) then
      m = h:streamInfo():dynamicMetadata()
      m:set("headgate", "meter", "1;1234567,1000000,0,12,;stop;")
    end
  end
end"""
TARGET_LUA = """
function envoy_on_request(h)
  h:headers():replace("authorization", "Bearer sk-provider-canary-0123456789")
  local answer = h:headers():get("x-test-answer")
  if answer then h:respond({[":status"] = answer}, "") end
end"""
WORTH_A_LINE: Json = json.loads(worth_a_line().to_json())


def extension(name: str, kind: str, **config: Any) -> Json:
    return {"name": name, "typed_config": {"@type": TYPE + kind, **config}}


def lua(code: str) -> Json:
    return extension("envoy.filters.http.lua", "envoy.extensions.filters.http.lua.v3.Lua", default_source_code={"inline_string": code})


def http_options(filters: Sequence[Json] | None = None, h2: bool = False) -> Json:
    body: Json = {
        "@type": TYPE + PROTOCOL_OPTIONS,
        "explicit_http_config": {"http2_protocol_options" if h2 else "http_protocol_options": {}},
    }
    if filters is not None:
        codec = extension("envoy.filters.http.upstream_codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
        body["http_filters"] = [*filters, codec]
    return {"typed_extension_protocol_options": {PROTOCOL_OPTIONS: body}}


def file_logger(line_format: Mapping[str, str], path: Path) -> Json:
    return extension(
        "envoy.access_loggers.file",
        "envoy.extensions.access_loggers.file.v3.FileAccessLog",
        path=str(path),
        log_format={"json_format": dict(line_format), "omit_empty_values": True},
    )


def loggers(line_format: Mapping[str, str], journal: Path, als: Path | None, only: Json | None = None) -> list[Json]:
    where = {} if only is None else {"filter": only}
    file = {**file_logger(line_format, journal), **where}
    if als is None:
        return [file]
    common = {
        "log_name": "headgate",
        "transport_api_version": "V3",
        "grpc_service": {"envoy_grpc": {"cluster_name": "control-plane"}},
        "buffer_flush_interval": "0.05s",
        "custom_tags": custom_tags(line_format),
    }
    kind = "envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig"
    return [file, {**extension("envoy.access_loggers.http_grpc", kind, common_config=common), **where}]


def cluster(name: str, address: Json, **more: Any) -> Json:
    endpoint = {"endpoint": {"hostname": "vendor.example", "address": address}}
    load = {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]}
    return {"name": name, "connect_timeout": "0.3s", "type": "STATIC", "load_assignment": load, **more}


def configuration(folder: Path, providers: Mapping[str, int], als: Path | None, held: bool, route: Json) -> Json:
    """One route whose plan is `providers` (name -> port) in order, as the product lays it out.

    Beside the journal, `attempts.log` has a line of every attempt, also of those that the journal leaves out. `held`: the targets hold
    a response until its first event.
    """
    journal = folder / "journal.log"
    clusters = []
    for name, port in providers.items():
        clusters.append(cluster(f"provider:{name}", {"socket_address": {"address": "127.0.0.1", "port_value": port}}, **http_options()))
        aggregate = "envoy.extensions.clusters.aggregate.v3.ClusterConfig"
        clusters.append(
            {
                "name": f"target:{name}",
                "connect_timeout": "0.3s",
                "lb_policy": "CLUSTER_PROVIDED",
                "cluster_type": extension("envoy.clusters.aggregate", aggregate, clusters=[f"provider:{name}"]),
                "metadata": {"filter_metadata": {"headgate": {"at": f"passthrough {name}/m"}}},
                "circuit_breakers": {"thresholds": [{"max_retries": 10000}]},
                **http_options([lua(TARGET_LUA), *([hold()] if held else [])]),
            }
        )
    if als is not None:
        clusters.append(cluster("control-plane", {"pipe": {"path": str(als)}}, **http_options(h2=True)))
    groups = [{"name": f"g{at}", "clusters": [{"cluster_name": f"target:{name}", "weight": 100}]} for at, name in enumerate(providers)]
    plan = "envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
    retry = {
        "retry_on": "5xx,reset,connect-failure",
        "num_retries": len(providers) - 1,
        "refresh_cluster_on_retry": True,
        "per_try_timeout": "0.4s",
        "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
    }
    action = {
        "inline_cluster_specifier_plugin": {
            "extension": extension("envoy.router.cluster_specifier_plugin.priority_group", plan, priority_groups=groups)
        },
        "timeout": "20s",
        "retry_policy": retry,
        **route,
    }
    metadata = {"filter_metadata": {"headgate": {"call": "chat chat"}}}
    host = {
        "name": "v",
        "domains": ["*"],
        "include_request_attempt_count": True,
        "routes": [{"name": "r", "match": {"prefix": "/v1"}, "metadata": metadata, "route": action}],
    }
    router = "envoy.extensions.filters.http.router.v3.Router"
    attempts = [*loggers(ATTEMPT_FORMAT, journal, als, WORTH_A_LINE), file_logger(ATTEMPT_FORMAT, folder / "attempts.log")]
    manager = extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        use_remote_address=True,
        access_log=loggers(REQUEST_FORMAT, journal, als),
        route_config={"virtual_hosts": [host]},
        http_filters=[
            lua(LISTENER_LUA),
            extension("envoy.filters.http.router", router, upstream_log=attempts),
        ],
    )
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    return {
        "node": {"id": "edge-1", "cluster": "edge"},
        "admin": {"address": {"pipe": {"path": str(folder / "admin.sock")}}},
        "static_resources": {
            "clusters": clusters,
            "listeners": [{"name": "edge", "address": address, "filter_chains": [{"filters": [manager]}]}],
        },
    }


class Edge:
    """A running Envoy."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.journal = folder / "journal.log"
        self.every_attempt = folder / "attempts.log"
        self.admin = folder / "admin.sock"
        self.port = 0
        self.process: asyncio.subprocess.Process | None = None

    async def start(
        self,
        providers: Mapping[str, int],
        *,
        flags: Sequence[str] = FLUSH_AT_ONCE,
        als: Path | None = None,
        held: bool = False,
        **route: Any,
    ) -> None:
        config = self.folder / "envoy.json"
        config.write_text(json.dumps(configuration(self.folder, providers, als, held, route)))
        errors = (self.folder / "envoy.err").open("wb")
        self.process = await asyncio.create_subprocess_exec(
            str(find_envoy()), "-c", str(config), "--concurrency", "2", "-l", "warning", "--use-dynamic-base-id", *flags, stderr=errors
        )
        errors.close()
        for _ in range(200):
            await asyncio.sleep(0.05)
            if self.process.returncode is not None:
                break
            with contextlib.suppress(OSError, ValueError, KeyError, IndexError, asyncio.IncompleteReadError):
                listeners = json.loads(await self.ask("/listeners?format=json"))
                self.port = listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]
                if (await self.ask("/ready")).strip() == b"LIVE":
                    return
        raise AssertionError((self.folder / "envoy.err").read_text()[-3000:])

    async def ask(self, path: str) -> bytes:
        """GET `path` of Envoy's admin."""
        reader, writer = await asyncio.open_unix_connection(str(self.admin))
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        head, body = (await reader.read()).split(b"\r\n\r\n", 1)
        writer.close()
        return body if b"chunked" not in head else b"".join(body.split(b"\r\n")[1::2])

    async def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.send_signal(how)
            await asyncio.wait_for(self.process.wait(), 20)

    async def call(self, leave_after_s: float | None = None, **headers: str) -> tuple[int, bytes]:
        """One request on its own connection: status (0 when there was none) and all bytes of the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        extra = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        writer.write(f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\nconnection: close\r\n{extra}\r\nabcd".encode())
        if leave_after_s is not None:
            await asyncio.sleep(leave_after_s)
            writer.transport.abort()
            return 0, b""
        answer = b""
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                answer += data
        writer.close()
        return int(answer.split(b" ", 2)[1]) if answer else 0, answer


@pytest.fixture
async def edge() -> AsyncIterator[Edge]:
    """Stopped at the end. Its folder has a short name: Unix socket paths are limited."""
    with tempfile.TemporaryDirectory(prefix="hg") as folder:
        one = Edge(Path(folder))
        yield one
        await one.stop(signal.SIGKILL)


class Vendors:
    """Servers that answer each request with steps: bytes are written, numbers slept, "reset" aborts the connection, "end" closes it."""

    def __init__(self) -> None:
        self.servers: list[asyncio.Server] = []
        self.tasks: set[asyncio.Task[None]] = set()

    async def play(self, *steps: Step) -> int:
        """A new vendor's port."""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self.tasks.add(task)
            try:
                while True:
                    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").lower()
                    await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
                    for step in steps:
                        if isinstance(step, bytes):
                            writer.write(step)
                            await writer.drain()
                        elif isinstance(step, str):
                            writer.transport.abort() if step == "reset" else writer.close()
                            return
                        else:
                            await asyncio.sleep(step)
            except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                writer.transport.abort()
            finally:
                self.tasks.discard(task)

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        self.servers.append(server)
        port: int = server.sockets[0].getsockname()[1]
        return port


@pytest.fixture
async def vendors() -> AsyncIterator[Vendors]:
    one = Vendors()
    yield one
    for server in one.servers:
        server.close()
    for task in list(one.tasks):
        task.cancel()
    if one.tasks:
        await asyncio.wait(one.tasks)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n" % len(data) + data + b"\r\n"


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
TOKEN = chunk(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n')
END_MARK = chunk(b"data: [DONE]\n\n")
END_OF_BODY = b"0\r\n\r\n"
DONE = END_MARK + END_OF_BODY
QUICK = STREAM_HEAD + TOKEN + DONE


@pytest.fixture
def script() -> dict[str, bytes]:
    """Pieces of a vendor's answer."""
    return {
        "head": STREAM_HEAD,
        "token": TOKEN,
        "error": chunk(b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'),
        "end mark": END_MARK,
        "end of body": END_OF_BODY,
        "done": DONE,
        "quick": QUICK,
        "503": b"HTTP/1.1 503 X\r\ncontent-length: 0\r\n\r\n",
    }


class Load:
    """Keep-alive clients that count whole answers."""

    def __init__(self, port: int, clients: int = 8) -> None:
        self.answered = 0
        self._port = port
        self._stop = asyncio.Event()
        self._tasks = [asyncio.create_task(self._client()) for _ in range(clients)]

    async def _client(self) -> None:
        request = b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nabcd"
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while not self._stop.is_set():
                writer.write(request)
                await reader.readuntil(b"\r\n\r\n")
                await reader.readuntil(b"0\r\n\r\n")
                self.answered += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.transport.abort()

    async def until(self, answered: int) -> None:
        while self.answered < answered and any(not task.done() for task in self._tasks):
            await asyncio.sleep(0.005)

    async def stop(self) -> int:
        """Let every client finish its request; how many were answered."""
        self._stop.set()
        await asyncio.gather(*self._tasks)
        return self.answered


@pytest.fixture
def load() -> type[Load]:
    return Load


@pytest.fixture
def free_port() -> int:
    """A port that nothing listens on; never the one that a server of this test got."""
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
