"""A real Envoy with the edge filter in front of scripted vendors.

One Envoy serves a whole module (starting one takes half a second); a test scripts what the vendors answer and reads
what they saw. Vendors are threads, so that fixtures may outlive a test's event loop.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h11
import msgspec
from google.protobuf.json_format import MessageToDict

from control_plane.kit.envoy_binary import find_envoy
from control_plane.signals.formats import REQUEST_FORMAT
from control_plane.signals.lines import RequestLine, decode
from control_plane.xds.translate.facts import route_metadata
from control_plane.xds.translate.sources import lua_source

WASM = Path(__file__).parents[3] / "envoy" / "wasm"
TYPE = "type.googleapis.com/"
LIMIT_BYTES = 32 * 1024 * 1024
Config = dict[str, Any]
Step = bytes | float | str


@dataclass(slots=True)
class Seen:
    """One request as a vendor saw it."""

    path: str
    headers: dict[str, str]
    body: bytes


def whole(body: bytes, status: int = 200, kind: str = "application/json", more: str = "") -> list[Step]:
    """The steps of a plain answer."""
    return [f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n".encode() + body]


def head(kind: str = "text/event-stream", status: int = 200, more: str = "") -> bytes:
    """The head of a chunked answer."""
    return f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{more}transfer-encoding: chunked\r\n\r\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


END = chunk(b"")


def stream(pieces: Sequence[bytes], gap_s: float = 0.0) -> list[Step]:
    """A streamed answer, one HTTP chunk per piece, `gap_s` apart."""
    steps: list[Step] = [head()]
    for piece in pieces:
        steps.append(chunk(piece))
        if gap_s:
            steps.append(gap_s)
    return [*steps, END]


class Vendor:
    """Answers every request with `script(seen)`: bytes are sent, floats are slept, "close" closes the connection."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []
        self.script: Callable[[Seen], list[Step]] = lambda _: whole(b"{}")
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def answer(self, *steps: Step) -> None:
        """Answers everything with these steps from now on, and forgets what was seen."""
        self.seen = []
        self.script = lambda _: list(steps)

    def _accept(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.append(peer)
            threading.Thread(target=self._serve, args=(peer,), daemon=True).start()

    def _serve(self, peer: socket.socket) -> None:
        parser = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
        try:
            while self._exchange(peer, parser):
                parser = h11.Connection(h11.SERVER, max_incomplete_event_size=65536)
        except (OSError, h11.RemoteProtocolError):
            pass
        finally:
            peer.close()

    def _exchange(self, peer: socket.socket, parser: h11.Connection) -> bool:
        seen, body = Seen("", {}, b""), bytearray()
        while True:
            event = parser.next_event()
            if event is h11.NEED_DATA:
                parser.receive_data(peer.recv(1 << 20))
            elif isinstance(event, h11.Request):
                seen.path = event.target.decode()
                seen.headers = {k.decode(): v.decode("latin1") for k, v in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                break
            else:
                return False
        seen.body = bytes(body)
        self.seen.append(seen)
        for step in self.script(seen):
            if step == "close":
                return False
            if isinstance(step, bytes):
                peer.sendall(step)
            else:
                time.sleep(float(step))
        return True

    def close(self) -> None:
        self._socket.close()
        for peer in self._open:
            peer.close()


def extension(name: str, type_name: str, **config: Any) -> Config:
    return {"name": name, "typed_config": {"@type": TYPE + type_name, **config}}


def address(port: int) -> Config:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def provider(name: str, port: int) -> Config:
    endpoint = {"endpoint": {"hostname": f"{name}.example", "address": address(port)}}
    return {
        "name": name,
        "connect_timeout": "1s",
        "type": "STATIC",
        "load_assignment": {"cluster_name": name, "endpoints": [{"lb_endpoints": [endpoint]}]},
    }


def target(name: str, member: str, filters: Sequence[Config] = ()) -> Config:
    """A thin aggregate over one provider cluster with its own upstream filters."""
    codec = extension("envoy.filters.http.upstream_codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
    options = {
        "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
        "http_filters": [*filters, codec],
    }
    return {
        "name": name,
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": extension("envoy.clusters.aggregate", "envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=[member]),
        "typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options},
        "circuit_breakers": {"thresholds": [{"max_retries": 10000}]},
    }


def lua(file: str, **more: Any) -> Config:
    source = {"inline_string": lua_source(file.removesuffix(".lua"))}
    return extension(
        "envoy.filters.http.lua", "envoy.extensions.filters.http.lua.v3.Lua", default_source_code=source, clear_route_cache=False, **more
    )


def rename(**context: str) -> Config:
    return lua("rename.lua", filter_context=context, shared_vm_id="targets")


def hold() -> Config:
    vm = {"vm_id": "hold", "runtime": "envoy.wasm.runtime.v8", "code": {"local": {"filename": str(WASM / "hold.wasm")}}}
    return extension(
        "envoy.filters.http.wasm",
        "envoy.extensions.filters.http.wasm.v3.Wasm",
        config={"name": "hold", "allow_on_headers_stop_iteration": True, "vm_config": vm},
    )


def metadata(told: dict[str, str], call: str, models: Sequence[str] | None = None, at_targets: str = "") -> Config:
    """Metadata of a route, as the control plane writes it."""
    return dict(MessageToDict(route_metadata(told, call, models, at_targets=at_targets), preserving_proto_field_name=True))


OPERATIONS = (
    ("/v1/chat/completions", "openai-chat", "chat"),
    ("/v1/embeddings", "openai-chat", "embeddings"),
    ("/v1/messages/count_tokens", "anthropic-messages", "count_tokens"),
    ("/v1/messages", "anthropic-messages", "chat"),
)


@dataclass(slots=True)
class Model:
    """A route as the edge filter needs it: targets in the order of attempts, and the facts beside `route` and `dialect`."""

    name: str
    targets: Sequence[str]
    facts: dict[str, str] = field(default_factory=dict)
    paths: Sequence[str] = tuple(p for p, _, _ in OPERATIONS)
    retry: dict[str, Any] = field(default_factory=dict)


def scope(name: str, routes: list[Config]) -> Config:
    host = {"name": "v", "domains": ["*"], "request_body_buffer_limit": LIMIT_BYTES, "routes": routes}
    return {
        "name": name,
        "key": {"fragments": [{"string_key": name}]},
        "route_configuration": {"name": name, "validate_clusters": False, "virtual_hosts": [host]},
    }


def plan(model: Model) -> Config:
    groups = [{"name": f"g{i}", "clusters": [{"cluster_name": t, "weight": 1}]} for i, t in enumerate(model.targets)]
    kind = "envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
    plugin = {"extension": extension("envoy.router.cluster_specifier_plugin.priority_group", kind, priority_groups=groups)}
    retry = {
        "retry_on": "5xx,reset,connect-failure",
        "num_retries": max(1, len(groups) - 1),
        "refresh_cluster_on_retry": True,
        "retry_back_off": {"base_interval": "0.001s"},
    }
    action = {"timeout": "60s", "retry_policy": {**retry, **model.retry}, "inline_cluster_specifier_plugin": plugin}
    routes = [
        {
            "match": {"path": p},
            "route": action,
            "metadata": metadata({"route": model.name, "dialect": d, **model.facts}, f"{o} {model.name}", at_targets=f"{d}/{o}"),
        }
        for p, d, o in OPERATIONS
        if p in model.paths
    ]
    return scope(model.name, routes)


def default_scope(names: Sequence[str]) -> Config:
    # A route with an action and not a direct response: only such a one carries request_body_buffer_limit.
    answer = {"cluster": "no-such-model", "cluster_not_found_response_code": "NOT_FOUND"}
    routes: list[Config] = [
        {
            "match": {"path": p, "headers": [{"name": ":method", "string_match": {"exact": "POST"}}]},
            "route": answer,
            "metadata": metadata({"dialect": d, "operation": o}, o, names),
        }
        for p, d, o in OPERATIONS
    ]
    return scope("*", [*routes, {"match": {"prefix": "/"}, "direct_response": {"status": 404, "body": {"inline_string": "no such path"}}}])


SAID = ("status", "route", "operation", "dialect", "model", "stream")


def known(value: msgspec.Struct) -> dict[str, Any]:
    """What is known of `value`."""
    return {name: found for name in value.__struct_fields__ if (found := getattr(value, name)) is not None}


class Gateway:
    """A running Envoy. `url` takes HTTP/1.1 and HTTP/2 (prior knowledge); `journal()` reads its access log."""

    def __init__(self, folder: Path, models: Sequence[Model], clusters: list[Config]) -> None:
        self._log = folder / "journal.jsonl"
        early = [
            {"remove_on_match": {"key_matcher": {"prefix": "x-headgate-"}}},
            {"append": {"header": {"key": "x-headgate-model", "value": "*"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}},
        ]
        manager = extension(
            "envoy.filters.network.http_connection_manager",
            "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            stat_prefix="edge",
            early_header_mutation_extensions=[
                extension("early", "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation", mutations=early)
            ],
            scoped_routes={
                "name": "scopes",
                "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": "x-headgate-model", "index": 0}}]},
                "scoped_route_configurations_list": {
                    "scoped_route_configurations": [default_scope([m.name for m in models]), *map(plan, models)]
                },
            },
            http_filters=[lua("edge.lua"), extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router")],
            access_log=[
                extension(
                    "file",
                    "envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    path=str(self._log),
                    log_format={"json_format": REQUEST_FORMAT, "omit_empty_values": True},
                )
            ],
        )
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]
        listener = {"name": "edge", "address": address(self.port), "filter_chains": [{"filters": [manager]}]}
        config = {
            "admin": {"address": {"pipe": {"path": str(folder / "admin")}}},
            "static_resources": {"listeners": [listener], "clusters": clusters},
        }
        file = folder / "envoy.json"
        file.write_text(json.dumps(config))
        self._stderr = (folder / "envoy.log").open("wb")
        options = [
            "--concurrency",
            "1",
            "-l",
            "warning",
            "--use-dynamic-base-id",
            "--file-flush-min-size-kb",
            "0",
            "--file-flush-interval-msec",
            "20",
        ]
        self._process = subprocess.Popen([str(find_envoy()), "-c", str(file), *options], stderr=self._stderr)
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._await_ready()

    def _await_ready(self) -> None:
        for _ in range(200):
            if self._process.poll() is not None:
                raise RuntimeError(f"Envoy ended: {self.log()[-2000:]}")
            try:
                with urllib.request.urlopen(f"{self.url}/ready-probe", timeout=1):
                    pass
            except urllib.error.HTTPError as answer:
                answer.close()
                self.journal(0)  # its line is there: no test takes it for its own
                return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError(f"Envoy did not become ready: {self.log()[-2000:]}")

    def log(self) -> str:
        return (self._folder / "envoy.log").read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    def lines(self) -> int:
        return len(self._log.read_text().splitlines()) if self._log.exists() else 0

    def journal(self, after: int, wait_s: float = 3.0) -> dict[str, Any]:
        """What the first line written after the first `after` ones says; None where it says nothing."""
        deadline = time.monotonic() + wait_s
        while time.monotonic() < deadline:
            lines = self._log.read_text().splitlines() if self._log.exists() else []
            if len(lines) > after:
                line = decode(lines[after].encode())
                assert isinstance(line, RequestLine)
                meter = line.meter()
                told = {"usage": meter.usage and known(meter.usage), "finish": meter.finish, "complete": meter.complete}
                return {**{name: getattr(line, name) for name in SAID}, **told, "stream_error": meter.stream_error}
            time.sleep(0.02)
        raise AssertionError("no line in the journal")

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._stderr.close()
