"""What the live tests of the translator stand on: the Envoy configuration of translated targets, and processes.

The configuration here is the one that the gateway generates, in its smallest form: a priority-group route over targets, each a
thin aggregate over one provider cluster, whose upstream filters set the credential and call the translator.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control_plane.kit.envoy_binary import find_envoy
from tests.live.extproc.upstream import MIB

T = "type.googleapis.com/"
Json = dict[str, Any]


# --------------------------------------------------------------------------------------------------------------- envoy config
def extension(name: str, type_: str, **config: object) -> Json:
    return {"name": name, "typed_config": {"@type": T + type_, **config}}


def tcp(port: int) -> Json:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def http_options(filters: Sequence[Json] | None = None, http2: bool = False) -> Json:
    body: Json = {
        "@type": T + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}} if http2 else {"http_protocol_options": {}},
    }
    if filters is not None:
        codec = extension("envoy.filters.http.upstream_codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
        body["http_filters"] = [*filters, codec]
    return {"typed_extension_protocol_options": {"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": body}}


def endpoints(name: str, addresses: Sequence[Json]) -> Json:
    return {"cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": a}} for a in addresses]}]}


OUTLIER: Json = {
    "split_external_local_origin_errors": True,
    "consecutive_local_origin_failure": 1,
    "enforcing_consecutive_local_origin_failure": 100,
    "enforcing_local_origin_success_rate": 0,
    "enforcing_consecutive_5xx": 0,
    "enforcing_consecutive_gateway_failure": 0,
    "enforcing_success_rate": 0,
    "interval": "0.25s",
    "base_ejection_time": "0.25s",
    "max_ejection_time": "1s",
    "max_ejection_percent": 100,
}
HEALTH: Json = {
    "timeout": "1s",
    "interval": "0.5s",
    "unhealthy_interval": "0.25s",
    "unhealthy_threshold": 2,
    "healthy_threshold": 1,
    "http_health_check": {"path": "/healthz", "codec_client_type": "HTTP2"},
}


def translator_cluster(sockets: Sequence[Path], **more: object) -> Json:
    """The cluster of the translator's workers: one Unix socket each."""
    return {
        "name": "translator",
        "type": "STATIC",
        "connect_timeout": "0.25s",
        "lb_policy": "LEAST_REQUEST",
        "load_assignment": endpoints("translator", [{"pipe": {"path": str(s)}} for s in sockets]),
        "circuit_breakers": {
            "thresholds": [{"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000, "max_retries": 100000}]
        },
        "outlier_detection": OUTLIER,
        "health_checks": [HEALTH],
        **http_options(http2=True),
        **more,
    }


def header_mutation(*mutations: Json) -> Json:
    return extension(
        "envoy.filters.http.header_mutation",
        "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
        mutations={"request_mutations": mutations},
    )


def set_header(name: str, value: str) -> Json:
    return {"append": {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}


# A stream that found its worker dead, or lost it before the first answer, is replayed on another one.
REPLAY: Json = {
    "num_retries": 3,
    "retry_on": "connect-failure,reset,refused-stream",
    "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.01s"},
    "retry_host_predicate": [
        extension("envoy.retry_host_predicates.previous_hosts", "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate")
    ],
    "host_selection_retry_max_attempts": 100,
}


@dataclass
class Target:
    """One translated target: what its Envoy configuration tells the translator."""

    name: str
    port: int
    provider: str = "anthropic-messages"
    path: str = "/v1/messages"
    options: Json = field(default_factory=dict)
    connect_timeout: str = "1s"
    passthrough: bool = False
    idle_ms: int | None = None

    def filters(self, **ext_proc: object) -> list[Json]:
        metadata = {
            "x-headgate-asked": "%METADATA(ROUTE:headgate:asked)%",
            "x-headgate-offers": json.dumps([{"dialect": self.provider, "operation": "chat", "path": self.path}]),
            "x-headgate-target": f"{self.name}/upstream-model",
            "x-headgate-model": f"{self.name}-model",
            "x-headgate-options": json.dumps(self.options),
        }
        if self.idle_ms is not None:
            metadata["x-headgate-idle-ms"] = str(self.idle_ms)
        credentials = header_mutation(
            {"remove": "authorization"},
            set_header("x-api-key", f"key-{self.name}"),
            # Headers that one attempt sets are still there in the next: each begins with the client's own length.
            {"remove": "content-length"},
            set_header("content-length", "%REQ(x-headgate-length)%"),
        )
        if self.passthrough:
            return [credentials]
        grpc_service: Json = {
            "envoy_grpc": {"cluster_name": "translator"},
            "initial_metadata": [{"key": k, "value": v} for k, v in metadata.items()],
            "retry_policy": REPLAY,
        }
        config: Json = {
            "grpc_service": grpc_service,
            "processing_mode": {
                "request_header_mode": "SEND",
                "request_body_mode": "FULL_DUPLEX_STREAMED",
                "request_trailer_mode": "SEND",
                "response_header_mode": "SEND",
                "response_body_mode": "FULL_DUPLEX_STREAMED",
                "response_trailer_mode": "SEND",
            },
            "allow_content_length_header": True,
            "message_timeout": "30s",
            "mutation_rules": {"allow_all_routing": True},
            "metadata_options": {"receiving_namespaces": {"untyped": ["headgate.translation"]}},
            **ext_proc,
        }
        return [
            credentials,
            extension("envoy.filters.http.ext_proc", "envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor", **config),
        ]


def target_clusters(target: Target, **ext_proc: object) -> list[Json]:
    thin = {
        "name": f"target-{target.name}",
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": extension(
            "envoy.clusters.aggregate", "envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=[f"provider-{target.name}"]
        ),
        "circuit_breakers": {"thresholds": [{"max_retries": 10000}]},
        **http_options(target.filters(**ext_proc)),
    }
    provider = {
        "name": f"provider-{target.name}",
        "type": "STATIC",
        "connect_timeout": target.connect_timeout,
        "load_assignment": endpoints(f"provider-{target.name}", [tcp(target.port)]),
        "circuit_breakers": {"thresholds": [{"max_connections": 10000, "max_pending_requests": 10000, "max_requests": 10000}]},
        **http_options(),
    }
    return [thin, provider]


RETRY: Json = {
    "retry_on": "5xx,reset,connect-failure,retriable-status-codes,retriable-headers",
    "retriable_status_codes": [401, 403, 429],
    "retriable_headers": [{"name": "x-headgate-failure", "present_match": True}],
    "num_retries": 2,
    "refresh_cluster_on_retry": True,
    "per_try_timeout": "5s",
    "retry_back_off": {"base_interval": "0.001s", "max_interval": "0.002s"},
}
REQUEST_LOG: Json = {
    "id": "%REQ(X-REQUEST-ID)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "target": "%UPSTREAM_CLUSTER%",
    "translation": "%DYNAMIC_METADATA(headgate.translation)%",
}


def envoy_config(targets: Sequence[Target], translator: Json, journal: Path, retry: Json | None = None, **ext_proc: object) -> Json:
    """A listener whose one route tries `targets` in order, one priority group each; clients speak openai-chat."""
    groups = [{"name": f"g{i}", "clusters": [{"cluster_name": f"target-{t.name}", "weight": 100}]} for i, t in enumerate(targets)]
    plan = extension(
        "envoy.router.cluster_specifier_plugin.priority_group",
        "envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier",
        priority_groups=groups,
    )
    route = {
        "timeout": "60s",
        "idle_timeout": "30s",
        "retry_policy": RETRY | (retry or {}),
        "inline_cluster_specifier_plugin": {"extension": plan},
    }
    hcm = extension(
        "envoy.filters.network.http_connection_manager",
        "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="edge",
        delayed_close_timeout="0.1s",
        route_config={
            "virtual_hosts": [
                {
                    "name": "v",
                    "domains": ["*"],
                    "include_request_attempt_count": True,
                    "routes": [
                        {
                            "match": {"prefix": "/"},
                            "metadata": {
                                "filter_metadata": {"headgate": {"asked": json.dumps({"dialect": "openai-chat", "operation": "chat"})}}
                            },
                            "route": route,
                            "request_body_buffer_limit": 64 * MIB,
                        }
                    ],
                }
            ]
        },
        http_filters=[
            header_mutation(set_header("x-headgate-length", "%REQ(content-length)%")),
            extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router"),
        ],
        access_log=[
            extension(
                "envoy.access_loggers.file",
                "envoy.extensions.access_loggers.file.v3.FileAccessLog",
                path=str(journal),
                log_format={"json_format": REQUEST_LOG},
            )
        ],
    )
    clusters = [translator]
    for target in targets:
        clusters += target_clusters(target, **ext_proc)
    return {
        "admin": {"address": tcp(0)},
        "layered_runtime": {
            "layers": [{"name": "static", "static_layer": {"envoy.reloadable_features.grpc_side_stream_flow_control": False}}]
        },
        "static_resources": {
            "clusters": clusters,
            "listeners": [{"name": "edge", "address": tcp(0), "filter_chains": [{"filters": [hcm]}]}],
        },
    }


# ------------------------------------------------------------------------------------------------------------------ processes
@dataclass
class Envoy:
    """A running Envoy: its edge and admin ports."""

    process: subprocess.Popen[bytes]
    edge: int
    admin: int
    journal: Path
    errors: Path

    def lines(self) -> list[Json]:
        return [json.loads(line) for line in self.journal.read_text().splitlines()] if self.journal.exists() else []

    async def line(self, count: int = 1, seconds: float = 5.0) -> Json:
        """The `count`-th journal line, waited for."""
        deadline = time.monotonic() + seconds
        while len(self.lines()) < count:
            assert time.monotonic() < deadline, f"journal has {len(self.lines())} of {count} lines"
            await asyncio.sleep(0.02)
        return self.lines()[count - 1]


async def http_get(port: int, path: str) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(f"GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".encode())
        data = await reader.read()
        head, _, body = data.partition(b"\r\n\r\n")
        if b"chunked" in head:
            whole = b""
            while body:
                size, _, rest = body.partition(b"\r\n")
                whole += rest[: int(size, 16)]
                body = rest[int(size, 16) + 2 :]
            return whole
        return body
    finally:
        writer.close()


def _spawn(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as out:
        return subprocess.Popen(command, stdout=out, stderr=out)


@asynccontextmanager
async def running_envoy(config: Json, folder: Path) -> AsyncIterator[Envoy]:
    path, admin_path, errors = folder / "envoy.json", folder / "admin", folder / "envoy.err"
    path.write_text(json.dumps(config))
    admin_path.unlink(missing_ok=True)
    command = [find_envoy(), "-c", path, "--concurrency", "1", "-l", "error", "--use-dynamic-base-id"]
    command += ["--admin-address-path", admin_path, "--file-flush-min-size-kb", "0"]
    process = _spawn([str(part) for part in command], errors)
    try:
        edge, admin = await _ready(process, admin_path, errors)
        yield Envoy(process, edge, admin, folder / "journal", errors)
    finally:
        died = process.poll()
        process.terminate()
        process.wait(10)
        assert died is None, f"Envoy died with {died}: {errors.read_text(errors='replace')[-3000:]}"


async def _ready(process: subprocess.Popen[bytes], admin_path: Path, errors: Path) -> tuple[int, int]:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        assert process.poll() is None, errors.read_text(errors="replace")[-3000:]
        try:
            admin = int(admin_path.read_text().rsplit(":", 1)[1])
            if (await http_get(admin, "/ready")).strip() != b"LIVE":
                continue
            listeners = json.loads(await http_get(admin, "/listeners?format=json"))
            return int(listeners["listener_statuses"][0]["local_address"]["socket_address"]["port_value"]), admin
        except (OSError, IndexError, ValueError, KeyError):
            continue
    raise AssertionError("Envoy did not become ready: " + errors.read_text(errors="replace")[-3000:])


@dataclass
class Worker:
    """A translator process on its socket."""

    process: subprocess.Popen[bytes]
    socket: Path
    log: Path

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


_COMMAND = ("-c", "import typer; from control_plane.cli.translator import translator; typer.run(translator)")


async def start_worker(socket_path: Path, *arguments: str) -> Worker:
    log = socket_path.with_suffix(".log")
    process = _spawn([sys.executable, *_COMMAND, "--socket", str(socket_path), *arguments], log)
    deadline = time.monotonic() + 15
    while True:
        try:
            _, writer = await asyncio.open_unix_connection(str(socket_path))
        except OSError:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, "the worker did not listen: " + log.read_text()
            await asyncio.sleep(0.02)
            continue
        writer.close()
        return Worker(process, socket_path, log)


def stop_worker(worker: Worker) -> None:
    if worker.process.poll() is None:
        worker.process.terminate()
        try:
            worker.process.wait(10)
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
