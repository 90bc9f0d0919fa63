"""The cluster of translator workers, each behind its own socket."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

from envoy_data_plane.envoy.config.cluster.v3 import (
    CircuitBreakers,
    CircuitBreakersThresholds,
    Cluster,
    ClusterDiscoveryType,
    ClusterLbPolicy,
)
from envoy_data_plane.envoy.config.core.v3 import Address, Http2ProtocolOptions, Pipe, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions, HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.google.protobuf import Any

from control_plane.xds.resource import CDS, Resource
from control_plane.xds.translate.names import TRANSLATOR_CLUSTER
from control_plane.xds.translate.providers import NO_LIMIT
from control_plane.xds.translate.targets import HTTP_OPTIONS


@lru_cache(maxsize=16)
def translator_cluster(translators: tuple[str, ...]) -> Resource:
    """The workers as one cluster."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=_address(t))) for t in translators]
    http2 = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions())
    cluster = Cluster(
        name=TRANSLATOR_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        connect_timeout=timedelta(milliseconds=250),
        load_assignment=ClusterLoadAssignment(cluster_name=TRANSLATOR_CLUSTER, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]),
        circuit_breakers=CircuitBreakers(
            thresholds=[
                CircuitBreakersThresholds(
                    max_connections=NO_LIMIT, max_pending_requests=NO_LIMIT, max_requests=NO_LIMIT, max_retries=NO_LIMIT
                )
            ]
        ),
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(HttpProtocolOptions(explicit_http_config=http2))},
    )
    return Resource(type_url=CDS, name=TRANSLATOR_CLUSTER, body=bytes(cluster))


def _address(translator: str) -> Address:
    if translator.startswith("/"):
        return Address(pipe=Pipe(path=translator))
    host, _, port = translator.rpartition(":")
    return Address(socket_address=SocketAddress(address=host, port_value=int(port)))
