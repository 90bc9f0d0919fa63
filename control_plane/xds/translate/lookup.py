"""Which hosts a cluster connects to, and how their names are looked up."""

from __future__ import annotations

import ipaddress
from datetime import timedelta
from typing import Any as AnyValue
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import ClusterCustomClusterType, ClusterDiscoveryType, ClusterDnsLookupFamily
from envoy_data_plane.envoy.config.core.v3 import Address, SocketAddress, TypedExtensionConfig
from envoy_data_plane.envoy.extensions.clusters.common.dns.v3 import DnsLookupFamily
from envoy_data_plane.envoy.extensions.clusters.dns.v3 import DnsCluster, DnsClusterRefreshRate
from envoy_data_plane.envoy.extensions.network.dns_resolver.cares.v3 import CaresDnsResolverConfig
from envoy_data_plane.google.protobuf import Any

from control_plane.ir.egress import DIRECT, Dns

_FAMILIES: Final = {
    "both": DnsLookupFamily.ALL,
    "ipv4": DnsLookupFamily.V4_ONLY,
    "ipv6": DnsLookupFamily.V6_ONLY,
    "prefer-ipv4": DnsLookupFamily.V4_PREFERRED,
    "prefer-ipv6": DnsLookupFamily.AUTO,
}


def is_address(host: str) -> bool:
    """Whether `host` is an IP address."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def discovery(hosts: list[str], dns: Dns, *, each: bool = False) -> dict[str, AnyValue]:
    """The fields of a cluster that say how it finds its hosts; a failed lookup keeps the last addresses, which is Envoy's own way.

    Of one name, a connection goes to whatever it resolves to then. Of several hosts, or where `each` address counts, all serve in turns.
    """
    if all(map(is_address, hosts)):
        return {"type": ClusterDiscoveryType.STATIC, "dns_lookup_family": ClusterDnsLookupFamily.ALL}
    logical = len(hosts) == 1 and not each
    if dns == DIRECT.dns:
        kind = ClusterDiscoveryType.LOGICAL_DNS if logical else ClusterDiscoveryType.STRICT_DNS
        return {"type": kind, "dns_lookup_family": ClusterDnsLookupFamily.ALL}
    config = _lookup(dns, logical=logical)
    return {"cluster_type": ClusterCustomClusterType(name="envoy.cluster.dns", typed_config=Any.pack(config))}


def _lookup(dns: Dns, *, logical: bool) -> DnsCluster:
    config = DnsCluster(
        dns_refresh_rate=timedelta(milliseconds=dns.refresh_ms),
        respect_dns_ttl=dns.respect_ttl,
        dns_lookup_family=_FAMILIES[dns.family],
        all_addresses_in_single_endpoint=logical,
    )
    if dns.failure_refresh_ms is not None:
        pause = timedelta(milliseconds=dns.failure_refresh_ms)
        config.dns_failure_refresh_rate = DnsClusterRefreshRate(base_interval=pause, max_interval=pause)
    if dns.servers:
        resolvers = [Address(socket_address=SocketAddress(address=host, port_value=port)) for host, port in dns.servers]
        cares = Any.pack(CaresDnsResolverConfig(resolvers=resolvers))
        config.typed_dns_resolver_config = TypedExtensionConfig(name="envoy.network.dns_resolver.cares", typed_config=cares)
    return config
