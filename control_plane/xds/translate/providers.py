"""A provider cluster: the connections to one vendor or pool, shared by all of its targets."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from functools import lru_cache
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    DataSource,
    Http1ProtocolOptions,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    SocketAddress,
    TransportSocket,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions as UpstreamOptions
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptionsAutoHttpConfig, HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from control_plane.ir.model import Provider
from control_plane.xds.resource import CDS, Resource
from control_plane.xds.translate.names import provider_cluster
from control_plane.xds.translate.targets import HTTP_OPTIONS

SYSTEM_CA: Final = "/etc/ssl/certs/ca-certificates.crt"
NO_LIMIT: Final = 1_000_000
"""Envoy's own limits are 1,024 each; a stream holds one for minutes. What bounds load is decided by us."""

IDLE_CONNECTION: Final = timedelta(minutes=5)


@lru_cache(maxsize=4096)
def provider_clusters(provider: Provider, connect_ms: int) -> Resource:
    """The cluster of a provider with one connect timer."""
    name = provider_cluster(provider.name, connect_ms)
    cluster = Cluster(
        name=name,
        type=ClusterDiscoveryType.STATIC if _is_address(provider.host) else ClusterDiscoveryType.LOGICAL_DNS,
        dns_lookup_family=ClusterDnsLookupFamily.ALL,
        connect_timeout=timedelta(milliseconds=connect_ms),
        load_assignment=_endpoints(name, provider),
        circuit_breakers=CircuitBreakers(
            thresholds=[
                CircuitBreakersThresholds(
                    max_connections=NO_LIMIT,
                    max_pending_requests=NO_LIMIT,
                    max_requests=NO_LIMIT,
                    max_retries=NO_LIMIT,
                )
            ]
        ),
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(_http(provider))},
        transport_socket=_tls(provider) if provider.tls else None,
    )
    return Resource(type_url=CDS, name=name, body=bytes(cluster))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _endpoints(name: str, provider: Provider) -> ClusterLoadAssignment:
    address = Address(socket_address=SocketAddress(address=provider.host, port_value=provider.port))
    endpoint = Endpoint(address=address, hostname=provider.authority)
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])])


def _http(provider: Provider) -> UpstreamOptions:
    """HTTP/2 where the vendor's TLS offers it, else HTTP/1.1."""
    common = HttpProtocolOptions(idle_timeout=IDLE_CONNECTION)
    if provider.tls:
        auto = HttpProtocolOptionsAutoHttpConfig(
            http_protocol_options=Http1ProtocolOptions(), http2_protocol_options=Http2ProtocolOptions()
        )
        return UpstreamOptions(common_http_protocol_options=common, auto_config=auto)
    explicit = HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions())
    return UpstreamOptions(common_http_protocol_options=common, explicit_http_config=explicit)


def _tls(provider: Provider) -> TransportSocket:
    """SNI and the verified name are both the vendor's host name: the options must stand in the TLS context, since
    `auto_sni` among the HTTP options is silently ignored below an aggregate and any certificate would do."""
    name = provider.server_name or provider.host
    matcher = SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.DNS, matcher=StringMatcher(exact=name))
    if _is_address(name):
        matcher = SubjectAltNameMatcher(san_type=SubjectAltNameMatcherSanType.IP_ADDRESS, matcher=StringMatcher(exact=name))
    validation = CertificateValidationContext(
        trusted_ca=DataSource(filename=provider.ca_file or SYSTEM_CA), match_typed_subject_alt_names=[matcher]
    )
    context = UpstreamTlsContext(
        sni="" if _is_address(name) else name,
        common_tls_context=CommonTlsContext(validation_context=validation, alpn_protocols=[]),
    )
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))
