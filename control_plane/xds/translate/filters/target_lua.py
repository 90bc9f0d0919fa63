"""Lua at a target, only where a target needs what no native filter does: another path, another model name.

One source for all targets; what differs comes through `filter_context`, and `shared_vm_id` makes them share one VM per
worker thread (a VM of its own costs 87 kB a target and thread, a context 4 kB).
"""

from __future__ import annotations

from functools import cache

from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BoolValue

from control_plane.ir.model import Provider, TargetUse
from control_plane.ir.target_paths import paths_of
from control_plane.pb.core_pb2 import DataSource
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.pb.lua_pb2 import Lua
from control_plane.xds.translate.packing import pack_more
from control_plane.xds.translate.sources import lua_source, vm_id


@cache
def _shared() -> bytes:
    """What all targets have, serialised."""
    source = lua_source("rename")
    config = Lua(
        default_source_code=DataSource(inline_string=source),
        stat_prefix="target",
        clear_route_cache=BoolValue(value=False),
        shared_vm_id=vm_id("target", source),
    )
    return config.SerializeToString(deterministic=True)


def target_lua(use: TargetUse, provider: Provider) -> HttpFilter:
    """The filter for a use with `rename`, `restore` or `within`."""
    context = Struct()
    if use.rename:
        context.fields["model"].string_value = use.model
    if use.within:
        context.fields["within"].bool_value = True
    if use.restore:
        paths = "".join(f"\n{call}={path}" for call, path in paths_of(provider, use.model))
        context.fields["paths"].string_value = f"{paths}\n"
    return HttpFilter(name="envoy.filters.http.lua", typed_config=pack_more(_shared(), Lua(filter_context=context)))
