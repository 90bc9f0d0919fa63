"""The Envoys that are measured: a plain one, and the passthrough lane with its parts switched on one by one."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from control_plane.kit.envoy_binary import find_envoy

TYPE = "type.googleapis.com/"
ENVOY_FOLDER = Path(__file__).parents[2] / "envoy"
MODEL = "bench-model"
UPSTREAM_MODEL = "mock-model-2026-01-01"
LIMIT_BYTES = 32 * 1024 * 1024
Config = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parts:
    """What an Envoy does beside routing by model. `edge` is the Lua file of the listener, None for no Lua."""

    edge: Path | None = ENVOY_FOLDER / "lua" / "edge.lua"
    rename: str = "edge"  # edge | target | none
    meter: bool = True
    credentials: bool = True
    journal: bool = True
    hold: bool = False


def _extension(name: str, type_name: str, **config: Any) -> Config:
    return {"name": name, "typed_config": {"@type": TYPE + type_name, **config}}


def _address(port: int) -> Config:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _provider(port: int, **more: Any) -> Config:
    endpoint = {"endpoint": {"hostname": "mock.example", "address": _address(port)}}
    assignment = {"cluster_name": "provider", "endpoints": [{"lb_endpoints": [endpoint]}]}
    thresholds = {"thresholds": [{"max_connections": 100000, "max_pending_requests": 100000, "max_requests": 100000, "max_retries": 10000}]}
    return {"name": "provider", "type": "STATIC", "load_assignment": assignment, "circuit_breakers": thresholds, **more}


def _lua(file: Path, **more: Any) -> Config:
    source = {"filename": str(file)}
    kind = "envoy.extensions.filters.http.lua.v3.Lua"
    return _extension("envoy.filters.http.lua", kind, default_source_code=source, clear_route_cache=False, **more)


def _credentials() -> list[Config]:
    removals = [{"remove": h} for h in ("authorization", "x-api-key", "api-key", "x-goog-api-key", "x-headgate-model")]
    wipe = _extension("wipe", "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation", mutations={"request_mutations": removals})
    generic = "envoy.extensions.http.injected_credentials.generic.v3.Generic"
    credential = _extension(
        "envoy.http.injected_credentials.generic",
        generic,
        credential={"name": "key"},
        header="authorization",
        header_value_prefix="Bearer ",
    )
    kind = "envoy.extensions.filters.http.credential_injector.v3.CredentialInjector"
    return [wipe, _extension("key", kind, overwrite=True, allow_request_without_credential=True, credential=credential)]


def _target(parts: Parts) -> Config:
    filters = _credentials() if parts.credentials else []
    if parts.rename == "target":
        filters.append(_lua(ENVOY_FOLDER / "lua" / "rename.lua", filter_context={"model": UPSTREAM_MODEL}, shared_vm_id="targets"))
    if parts.hold:
        vm = {
            "vm_id": "hold",
            "runtime": "envoy.wasm.runtime.v8",
            "code": {"local": {"filename": str(ENVOY_FOLDER / "wasm" / "hold.wasm")}},
        }
        config = {"name": "hold", "allow_on_headers_stop_iteration": True, "vm_config": vm}
        filters.append(_extension("envoy.filters.http.wasm", "envoy.extensions.filters.http.wasm.v3.Wasm", config=config))
    codec = _extension("envoy.filters.http.upstream_codec", "envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec")
    kind = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    options = {"@type": TYPE + kind, "explicit_http_config": {"http_protocol_options": {}}, "http_filters": [*filters, codec]}
    return {
        "name": "target",
        "connect_timeout": "1s",
        "lb_policy": "CLUSTER_PROVIDED",
        "cluster_type": _extension(
            "envoy.clusters.aggregate", "envoy.extensions.clusters.aggregate.v3.ClusterConfig", clusters=["provider"]
        ),
        "typed_extension_protocol_options": {kind: options},
        "circuit_breakers": {"thresholds": [{"max_retries": 10000}]},
    }


def _metadata(**values: Any) -> Config:
    return {"filter_metadata": {"envoy.filters.http.lua": values}}


def _scope(name: str, route: Config) -> Config:
    host = {
        "name": "v",
        "domains": ["*"],
        "request_body_buffer_limit": LIMIT_BYTES,
        "include_request_attempt_count": True,
        "routes": [route],
    }
    table = {"name": name, "validate_clusters": False, "virtual_hosts": [host]}
    return {"name": name, "key": {"fragments": [{"string_key": name}]}, "route_configuration": table}


def _scopes(parts: Parts) -> Config:
    match = {"path": "/v1/chat/completions"}
    absent = {"cluster": "no-such-model", "cluster_not_found_response_code": "NOT_FOUND"}
    default = {"match": match, "route": absent, "metadata": _metadata(dialect="openai-chat", operation="chat", models=[MODEL])}
    kind = "envoy.extensions.router.cluster_specifiers.priority_group.v3.PriorityGroupClusterSpecifier"
    group = {"name": "g0", "clusters": [{"cluster_name": "target", "weight": 1}]}
    plugin = {"extension": _extension("envoy.router.cluster_specifier_plugin.priority_group", kind, priority_groups=[group])}
    retry = {"retry_on": "5xx,reset,connect-failure,retriable-status-codes", "retriable_status_codes": [401, 403, 429], "num_retries": 2}
    action = {
        "timeout": "600s",
        "auto_host_rewrite": True,
        "retry_policy": {**retry, "refresh_cluster_on_retry": True, "per_try_timeout": "60s"},
        "inline_cluster_specifier_plugin": plugin,
    }
    lua: dict[str, Any] = {"route": MODEL, "dialect": "openai-chat", "operation": "chat", "meter": parts.meter}
    if parts.rename == "edge":
        lua["rename"] = UPSTREAM_MODEL
    elif parts.rename == "target":
        lua["mark"] = True
    name = MODEL if parts.edge else "*"
    tables = [_scope(name, {"match": match, "route": action, "metadata": _metadata(**lua), "name": MODEL})]
    if parts.edge:
        tables.append(_scope("*", default))
    return {
        "name": "scopes",
        "scope_key_builder": {"fragments": [{"header_value_extractor": {"name": "x-headgate-model", "index": 0}}]},
        "scoped_route_configurations_list": {"scoped_route_configurations": tables},
    }


_REQUEST_LINE = {
    "log": "request",
    "id": "%REQ(X-REQUEST-ID)%",
    "start": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "route": "%METADATA(ROUTE:envoy.filters.http.lua:route)%",
    "model": "%DYNAMIC_METADATA(headgate:request:model)%",
    "dialect": "%METADATA(ROUTE:envoy.filters.http.lua:dialect)%",
    "operation": "%METADATA(ROUTE:envoy.filters.http.lua:operation)%",
    "stream": "%DYNAMIC_METADATA(headgate:request:stream)%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
    "target": "%UPSTREAM_CLUSTER%",
    "ttft_us": "%COMMON_DURATION(DS_RX_BEG:DS_TX_BEG:us)%",
    "duration_ms": "%DURATION%",
    "rx": "%BYTES_RECEIVED%",
    "tx": "%BYTES_SENT%",
    "usage": "%DYNAMIC_METADATA(headgate:meter:usage)%",
    "finish": "%DYNAMIC_METADATA(headgate:meter:finish)%",
    "complete": "%DYNAMIC_METADATA(headgate:meter:complete)%",
    "stream_error": "%DYNAMIC_METADATA(headgate:meter:stream_error)%",
    "translation": "%DYNAMIC_METADATA(headgate.translation)%",
}
_ATTEMPT_LINE = {
    "log": "attempt",
    "id": "%REQ(X-REQUEST-ID)%",
    "start": "%START_TIME(%Y-%m-%dT%H:%M:%S.%3fZ)%",
    "n": "%REQ(X-ENVOY-ATTEMPT-COUNT)%",
    "route": "%METADATA(ROUTE:envoy.filters.http.lua:route)%",
    "target": "%UPSTREAM_CLUSTER%",
    "provider": "%UPSTREAM_HOST_NAME%",
    "status": "%RESPONSE_CODE%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
    "ttft_us": "%COMMON_DURATION(US_TX_BEG:US_RX_BODY_BEG:us)%",
    "duration_us": "%COMMON_DURATION(US_TX_BEG:US_RX_END:us)%",
    "rx": "%BYTES_RECEIVED%",
    "tx": "%BYTES_SENT%",
}


def _log(file: Path, line: dict[str, str]) -> Config:
    kind = "envoy.extensions.access_loggers.file.v3.FileAccessLog"
    return _extension("envoy.access_loggers.file", kind, path=str(file), log_format={"json_format": line})


def _router(**more: Any) -> Config:
    return _extension("envoy.filters.http.router", "envoy.extensions.filters.http.router.v3.Router", **more)


def _bootstrap(port: int, manager: Config, clusters: Sequence[Config], **more: Any) -> Config:
    kind = "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
    filters = [_extension("envoy.filters.network.http_connection_manager", kind, stat_prefix="edge", **manager)]
    listener = {"name": "edge", "address": _address(port), "filter_chains": [{"filters": filters}]}
    return {"static_resources": {"listeners": [listener], "clusters": list(clusters), **more}}


def plain_config(port: int, upstream_port: int) -> Config:
    """Envoy that passes everything to the upstream: what all ratios refer to."""
    options = {
        "@type": TYPE + "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http_protocol_options": {}},
    }
    cluster = _provider(upstream_port, typed_extension_protocol_options={"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": options})
    host = {"name": "v", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": {"cluster": "provider", "timeout": "600s"}}]}
    return _bootstrap(port, {"route_config": {"virtual_hosts": [host]}, "http_filters": [_router()]}, [cluster])


def lane_config(port: int, upstream_port: int, parts: Parts, journal: Path) -> Config:
    """The passthrough lane with `parts`, as a static configuration."""
    overwrite = "OVERWRITE_IF_EXISTS_OR_ADD"
    early = [
        {"remove_on_match": {"key_matcher": {"prefix": "x-headgate-"}}},
        {"append": {"header": {"key": "x-headgate-model", "value": "*"}, "append_action": overwrite}},
    ]
    kind = "envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation"
    manager: Config = {
        "early_header_mutation_extensions": [_extension("early", kind, mutations=early)],
        "scoped_routes": _scopes(parts),
        "http_filters": [
            *([_lua(parts.edge)] if parts.edge else []),
            _router(**({"upstream_log": [_log(journal, _ATTEMPT_LINE)]} if parts.journal else {})),
        ],
    }
    if parts.journal:
        manager["access_log"] = [_log(journal, _REQUEST_LINE)]
    secret = {"name": "key", "generic_secret": {"secret": {"inline_string": "sk-bench-upstream"}}}
    return _bootstrap(port, manager, [_provider(upstream_port), _target(parts)], secrets=[secret])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Running:
    """An Envoy with one worker, pinned and ready to be measured."""

    def __init__(self, folder: Path, config: Config, port: int, prefix: Sequence[str]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "envoy.json"
        file.write_text(json.dumps({**config, "admin": {"address": {"pipe": {"path": str(folder / "admin")}}}}))
        self.url = f"http://127.0.0.1:{port}/v1/chat/completions"
        options = ["--concurrency", "1", "-l", "error", "--use-dynamic-base-id", "--file-flush-min-size-kb", "1"]
        with (folder / "envoy.log").open("wb") as log:
            self.process = subprocess.Popen([*prefix, str(find_envoy()), "-c", str(file), *options], stderr=log)
        for _ in range(200):
            if self.process.poll() is not None:
                raise RuntimeError(f"Envoy ended: {(folder / 'envoy.log').read_text()[-2000:]}")
            try:
                with socket.create_connection(("127.0.0.1", port), 0.2):
                    return
            except OSError:
                time.sleep(0.05)
        raise RuntimeError("Envoy did not open its port")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(10)


def check_answer(url: str, body: bytes) -> None:
    """One request, so that a wrong configuration is not measured. Raises RuntimeError when it is not answered with 200."""
    request = urllib.request.Request(url, data=body, headers={"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            answer.read()
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url} answered {error.code}: {error.read()[:300]!r}") from error
