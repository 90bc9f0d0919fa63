"""The largest request body, enforced while it arrives.

The `request_body_buffer_limit` of a route only raises what the listener allows, and the listener's own limit cannot be
small (see `listener.SEND_BUFFER_BYTES`). So Envoy's buffer filter counts the bytes, with the limit of the default scope's
routes, since the model is not known before the body is there.
"""

from __future__ import annotations

from typing import Final

from envoy_data_plane.envoy.extensions.filters.http.buffer.v3 import Buffer, BufferPerRoute
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.google.protobuf import Any
from google.protobuf.any_pb2 import Any as UpbAny

from control_plane.xds.translate.packing import pack_foreign

NAME: Final = "envoy.filters.http.buffer"
CEILING_BYTES: Final = 256 << 20
"""The largest `maxRequestBytes` that specs may ask for."""


def body_limit() -> HttpFilter:
    """The filter of the listener, with the ceiling."""
    return HttpFilter(name=NAME, typed_config=Any.pack(Buffer(max_request_bytes=CEILING_BYTES)))


def body_limit_of(max_request_bytes: int) -> dict[str, UpbAny]:
    """`typed_per_filter_config` of a route with its own limit."""
    limit = BufferPerRoute(buffer=Buffer(max_request_bytes=max_request_bytes))
    return {NAME: pack_foreign("envoy.extensions.filters.http.buffer.v3.BufferPerRoute", limit)}
