"""Lua at a target, only where a target needs what no native filter does: another path, another model name.

One source for all targets; what differs comes through `filter_context`, and `shared_vm_id` makes them share one VM per
worker thread (a VM of its own costs 87 kB a target and thread, a context 4 kB).
"""

from __future__ import annotations

from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue

from control_plane.ir.model import TargetUse
from control_plane.pb.core_pb2 import DataSource
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.pb.lua_pb2 import Lua
from control_plane.xds.translate.packing import pack
from control_plane.xds.translate.sources import lua_source


def target_lua(use: TargetUse) -> HttpFilter:
    """The filter for a use with `rename`, `restore` or `within`."""
    context = Struct()
    if use.rename:
        context["model"] = use.model
    if use.restore:
        context["path"] = use.path
    if use.within:
        context["within"] = True
    if use.stream_path:
        context["stream_path"] = use.stream_path
    config = Lua(
        default_source_code=DataSource(inline_string=lua_source("rename")),
        stat_prefix="target",
        clear_route_cache=BoolValue(value=False),
        filter_context=context,
        shared_vm_id="headgate-target",
    )
    return HttpFilter(name="envoy.filters.http.lua", typed_config=pack(config))
