"""HTTP towards a provider: which version, and how long connections live."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import (
    AlternateProtocolsCacheOptions,
    AlternateProtocolsCacheOptionsAlternateProtocolsCacheEntry,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    Http3ProtocolOptions,
    HttpProtocolOptions,
    KeepaliveSettings,
    QuicKeepAliveSettings,
    QuicProtocolOptions,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as UpstreamOptions
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsAutoHttpConfig, HttpProtocolOptionsExplicitHttpConfig

from control_plane.ir.egress import Connection
from control_plane.ir.model import Provider

PING_TIMEOUT: Final = timedelta(seconds=5)
"""A vendor answers a ping within a round trip; longer than this the path is dead."""


def upstream_http(provider: Provider) -> UpstreamOptions:
    """HTTP/2 where the vendor's TLS offers it, else HTTP/1.1, unless the spec names a version."""
    protocol, kept = provider.egress.protocol, provider.egress.connection
    common = _common(kept)
    if protocol == "http3":
        return UpstreamOptions(common_http_protocol_options=common, auto_config=_with_http3(provider, kept))
    if protocol == "auto" and provider.tls:
        auto = HttpProtocolOptionsAutoHttpConfig(http_protocol_options=Http1ProtocolOptions(), http2_protocol_options=_http2(kept))
        return UpstreamOptions(common_http_protocol_options=common, auto_config=auto)
    explicit = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    if protocol == "http2":
        explicit = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=_http2(kept))
    return UpstreamOptions(common_http_protocol_options=common, explicit_http_config=explicit)


def _common(kept: Connection) -> HttpProtocolOptions:
    common = HttpProtocolOptions(idle_timeout=timedelta(milliseconds=kept.idle_ms))
    if kept.max_age_ms is not None:
        common.max_connection_duration = timedelta(milliseconds=kept.max_age_ms)
    if kept.max_requests is not None:
        common.max_requests_per_connection = kept.max_requests
    return common


def _http2(kept: Connection) -> Http2ProtocolOptions:
    if kept.ping_ms is None:
        return Http2ProtocolOptions()
    interval = timedelta(milliseconds=kept.ping_ms)
    return Http2ProtocolOptions(connection_keepalive=KeepaliveSettings(interval=interval, timeout=min(PING_TIMEOUT, interval)))


def _with_http3(provider: Provider, kept: Connection) -> HttpProtocolOptionsAutoHttpConfig:
    """HTTP/3 is tried first because the cache says from the start that the vendor has it; TCP follows where QUIC does not connect."""
    quic = QuicProtocolOptions()
    if kept.ping_ms is not None:
        interval = timedelta(milliseconds=kept.ping_ms)
        quic.connection_keepalive = QuicKeepAliveSettings(max_interval=interval, initial_interval=interval)
    ports = sorted({port for _, port in provider.egress.addresses} or {provider.port})
    name = provider.server_name or provider.host
    known = [AlternateProtocolsCacheOptionsAlternateProtocolsCacheEntry(hostname=name, port=port) for port in ports]
    return HttpProtocolOptionsAutoHttpConfig(
        http_protocol_options=Http1ProtocolOptions(),
        http2_protocol_options=_http2(kept),
        http3_protocol_options=Http3ProtocolOptions(quic_protocol_options=quic),
        alternate_protocols_cache_options=AlternateProtocolsCacheOptions(name=f"http3:{provider.name}", prepopulated_entries=known),
    )
