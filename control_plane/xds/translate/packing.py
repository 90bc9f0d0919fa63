"""Messages → `google.protobuf.Any`, from both sources of messages.

Two sources, by cost: envoy-data-plane (betterproto2) takes about 1.1 ms for one cluster, which is fine for what exists
once (listener, provider clusters); our own trimmed protos (upb) take about 10 µs and are used for what exists once per
route and target.
"""

from __future__ import annotations

from typing import Final

import betterproto2
from google.protobuf.any_pb2 import Any
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from control_plane.pb.config_source_pb2 import AggregatedConfigSource, ApiVersion, ConfigSource

PREFIX: Final = "type.googleapis.com/"


def pack(message: Message) -> Any:
    """A trimmed-proto message as Any. Deterministic, because versions are hashes of these bytes."""
    return Any(type_url=PREFIX + message.DESCRIPTOR.full_name, value=message.SerializeToString(deterministic=True))


def pack_more(already: bytes, message: Message) -> Any:
    """As `pack`, for a message whose other part is serialised already: parsers merge the two, as protobuf's encoding defines it.

    What thousands of targets share is so encoded once. No field that is not repeated may be in both parts.
    """
    return Any(type_url=PREFIX + message.DESCRIPTOR.full_name, value=already + message.SerializeToString(deterministic=True))


def pack_foreign(type_name: str, message: betterproto2.Message) -> Any:
    """An envoy-data-plane message as Any, for use inside trimmed-proto messages."""
    return Any(type_url=PREFIX + type_name, value=bytes(message))


def duration(milliseconds: int) -> Duration:
    """Milliseconds as a protobuf Duration."""
    return Duration(seconds=milliseconds // 1000, nanos=milliseconds % 1000 * 1_000_000)


def by_ads(wait_ms: int) -> ConfigSource:
    """What comes on the same stream as the rest; what needs it warms up for `wait_ms` at most."""
    return ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3, initial_fetch_timeout=duration(wait_ms))
