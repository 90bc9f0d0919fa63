"""The first-event hold of the passthrough lane: WebAssembly inside Envoy, so that no body enters Python.

It keeps the response headers back until the first content event; an error inside a 200 becomes a 503, which the router
retries on the next group. Opt-in per route (`firstEventHold`).
"""

from __future__ import annotations

from functools import cache

from envoy_data_plane.envoy.config.core.v3 import AsyncDataSource, DataSource
from envoy_data_plane.envoy.extensions.filters.http.wasm.v3 import Wasm
from envoy_data_plane.envoy.extensions.wasm.v3 import PluginConfig, VmConfig

from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.xds.translate.packing import pack_foreign
from control_plane.xds.translate.sources import wasm_module


@cache
def hold() -> HttpFilter:
    """The filter; the same for all targets, so that they share one VM."""
    plugin = PluginConfig(
        name="hold",
        root_id="hold",
        vm_config=VmConfig(
            vm_id="hold",
            runtime="envoy.wasm.runtime.v8",
            code=AsyncDataSource(local=DataSource(inline_bytes=wasm_module("hold"))),
        ),
        allow_on_headers_stop_iteration=True,
    )
    return HttpFilter(
        name="envoy.filters.http.wasm", typed_config=pack_foreign("envoy.extensions.filters.http.wasm.v3.Wasm", Wasm(config=plugin))
    )
