"""Providers behind an HTTP CONNECT proxy.

    provider cluster ─► internal listener (bootstrap) ─► proxy cluster ─► the proxy, which resolves the provider's name
      TLS, HTTP           CONNECT host:port                Proxy-Authorization

The listener is one for all and never changes: each endpoint tells it, as metadata, which proxy to ask and for what. Envoy's own
`http_11_proxy` transport socket would send an address that Envoy has resolved itself, and has no place for a password. A proxy
that is down or refuses closes the tunnel, which is a failed connection to the provider and fails over.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, UpstreamConnectionOptions
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    EnvoyInternalAddress,
    Http1ProtocolOptions,
    Metadata,
    SocketAddress,
    TcpKeepalive,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import HttpFilter
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions, HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.google.protobuf import Any, Struct, Value

from control_plane.ir.egress import Egress, Proxy
from control_plane.ir.model import Provider
from control_plane.xds.resource import CDS, SDS, Ref, Resource
from control_plane.xds.translate.filters.proxy_authorization import proxy_authorization
from control_plane.xds.translate.limits import no_limits
from control_plane.xds.translate.lookup import discovery
from control_plane.xds.translate.names import TUNNEL_LISTENER, TUNNEL_NAMESPACE, proxy_cluster
from control_plane.xds.translate.targets import CODEC, HTTP_OPTIONS
from control_plane.xds.translate.transport import tls_context, tls_socket

CONNECT_TIMEOUT: Final = timedelta(seconds=10)
"""The provider's own connect timer runs over the whole way and is shorter where it matters."""


def tunnel_endpoint(provider: Provider, host: str, port: int, hostname: str) -> LbEndpoint:
    """An endpoint that is `host`:`port` behind the provider's proxy; `hostname` is what goes into the Host header."""
    text = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    told = Struct(fields={"host": Value(string_value=text), "cluster": Value(string_value=proxy_cluster(provider.name, provider.egress))})
    address = EnvoyInternalAddress(server_listener_name=TUNNEL_LISTENER, endpoint_id=f"{provider.name}/{text}")
    return LbEndpoint(
        endpoint=Endpoint(address=Address(envoy_internal_address=address), hostname=hostname),
        metadata=Metadata(filter_metadata={TUNNEL_NAMESPACE: told}),
    )


def tcp_keepalive(egress: Egress) -> UpstreamConnectionOptions | None:
    """The operating system's probes; through a proxy they are for the connection to it."""
    kept = egress.connection.tcp_keepalive
    if kept is None:
        return None
    probes = TcpKeepalive(keepalive_probes=kept.probes, keepalive_time=kept.idle_s, keepalive_interval=kept.interval_s)
    return UpstreamConnectionOptions(tcp_keepalive=probes)


@lru_cache(maxsize=4096)
def proxy(provider: str, egress: Egress) -> Resource:
    """The cluster of a provider's proxy."""
    way = egress.proxy
    assert way is not None, "only for a provider with a proxy"
    name = proxy_cluster(provider, egress)
    body, plain = _cluster(name, way, egress), None
    refs: frozenset[Ref] = frozenset((SDS, secret) for secret in (way.secret, way.authorities) if secret is not None)
    if refs:
        plain = _cluster(name, way, egress, by_sds=False)
    return Resource(type_url=CDS, name=name, body=body, refs=refs, checked_as=plain)


def _cluster(name: str, way: Proxy, egress: Egress, *, by_sds: bool = True) -> bytes:
    cluster = Cluster(
        name=name,
        **discovery([way.host], egress.dns),
        connect_timeout=CONNECT_TIMEOUT,
        load_assignment=_endpoints(name, way),
        circuit_breakers=no_limits(),
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(_http(way.secret if by_sds else None))},
        transport_socket=tls_socket(tls_context(way.host, way.authorities, by_sds=by_sds)) if way.tls else None,
        upstream_connection_options=tcp_keepalive(egress),
    )
    return bytes(cluster)


def _endpoints(name: str, way: Proxy) -> ClusterLoadAssignment:
    endpoint = Endpoint(address=Address(socket_address=SocketAddress(address=way.host, port_value=way.port)))
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=[LbEndpoint(endpoint=endpoint)])])


def _http(secret: str | None) -> HttpProtocolOptions:
    filters = [proxy_authorization(secret)] if secret else []
    return HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptionsExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
        http_filters=[HttpFilter.parse(f.SerializeToString(deterministic=True)) for f in (*filters, CODEC)],
    )
