"""A provider cluster: the connections to one vendor or pool, shared by all of its targets."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Any as AnyValue
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterDnsLookupFamily,
    ClusterPreconnectPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.google.protobuf import Any

from control_plane.ir.egress import Ejection
from control_plane.ir.model import Provider
from control_plane.xds.resource import CDS, SDS, Ref, Resource
from control_plane.xds.translate.limits import no_limits
from control_plane.xds.translate.lookup import discovery
from control_plane.xds.translate.names import provider_cluster, proxy_cluster
from control_plane.xds.translate.targets import HTTP_OPTIONS
from control_plane.xds.translate.transport import transport_socket
from control_plane.xds.translate.tunnel import tcp_keepalive, tunnel_endpoint
from control_plane.xds.translate.upstream_http import upstream_http

_STATIC: Final[dict[str, AnyValue]] = {"type": ClusterDiscoveryType.STATIC, "dns_lookup_family": ClusterDnsLookupFamily.ALL}

MAX_EJECTED_PERCENT: Final = 50


@lru_cache(maxsize=4096)
def provider_clusters(provider: Provider, connect_ms: int) -> Resource:
    """The cluster of a provider with one connect timer."""
    body, plain = _cluster(provider, connect_ms), None
    if provider.egress.client_certificate is not None or provider.authorities is not None:
        plain = _cluster(provider, connect_ms, by_sds=False)
    name = provider_cluster(provider.name, connect_ms)
    return Resource(type_url=CDS, name=name, body=body, refs=_refs(provider), checked_as=plain)


def _cluster(provider: Provider, connect_ms: int, *, by_sds: bool = True) -> bytes:
    name = provider_cluster(provider.name, connect_ms)
    egress = provider.egress
    preconnect = egress.connection.preconnect
    hosts = [host for host, _ in _hosts(provider)]
    cluster = Cluster(
        name=name,
        # A proxy looks names up, and is itself looked up.
        **(_STATIC if egress.proxy else discovery(hosts, egress.dns, each=egress.ejection is not None)),
        connect_timeout=timedelta(milliseconds=connect_ms),
        load_assignment=_endpoints(name, provider),
        circuit_breakers=no_limits(),
        outlier_detection=_ejection(egress.ejection) if egress.ejection else None,
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(upstream_http(provider))},
        transport_socket=transport_socket(provider, by_sds=by_sds),
        preconnect_policy=ClusterPreconnectPolicy(per_upstream_preconnect_ratio=preconnect) if preconnect > 1 else None,
        upstream_connection_options=None if egress.proxy else tcp_keepalive(egress),
    )
    return bytes(cluster)


def _ejection(ejection: Ejection) -> OutlierDetection:
    """At most half of the addresses: below that Envoy would panic and ask the ejected ones too. Failures in a row alone decide: the
    ratios that Envoy can also look at take what the vendor answers to bad requests for a sick host."""
    first = timedelta(milliseconds=ejection.duration_ms)
    return OutlierDetection(
        consecutive_5xx=ejection.failures,
        enforcing_consecutive_5xx=100,
        enforcing_consecutive_gateway_failure=0,
        enforcing_success_rate=0,
        interval=timedelta(seconds=1),
        base_ejection_time=first,
        max_ejection_time=10 * first,
        max_ejection_percent=MAX_EJECTED_PERCENT,
    )


def _refs(provider: Provider) -> frozenset[Ref]:
    refs: set[Ref] = set()
    if provider.egress.proxy is not None:
        refs.add((CDS, proxy_cluster(provider.name, provider.egress)))
    refs |= {(SDS, name) for name in (provider.egress.client_certificate, provider.authorities) if name is not None}
    return frozenset(refs)


def _hosts(provider: Provider) -> tuple[tuple[str, int], ...]:
    return provider.egress.addresses or ((provider.host, provider.port),)


def _endpoints(name: str, provider: Provider) -> ClusterLoadAssignment:
    """Wherever it connects to, the Host header is the base URL's."""
    found = []
    for host, port in _hosts(provider):
        if provider.egress.proxy is not None:
            found.append(tunnel_endpoint(provider, host, port, provider.authority))
        else:
            address = Address(socket_address=SocketAddress(address=host, port_value=port))
            found.append(LbEndpoint(endpoint=Endpoint(address=address, hostname=provider.authority)))
    # LOGICAL_DNS takes one endpoint in one locality, STRICT_DNS and STATIC any number.
    return ClusterLoadAssignment(cluster_name=name, endpoints=[LocalityLbEndpoints(lb_endpoints=found)])
