"""A target: a thin aggregate over ONE provider cluster.

The target carries the upstream HTTP filters; connection pool, TLS and host health are the provider cluster's and shared
by all of its targets.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from envoy_data_plane.envoy.extensions.clusters.aggregate.v3 import ClusterConfig
from envoy_data_plane.envoy.extensions.filters.http.upstream_codec.v3 import UpstreamCodec
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.ir.model import Lane, Provider, TargetUse
from control_plane.pb.cluster_pb2 import CircuitBreakers, Cluster
from control_plane.pb.config_source_pb2 import Http1ProtocolOptions
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.pb.upstream_http_pb2 import HttpProtocolOptions
from control_plane.xds.resource import CDS, ECDS, SDS, Resource
from control_plane.xds.translate.facts import target_metadata
from control_plane.xds.translate.filters.credentials import credentials
from control_plane.xds.translate.filters.ext_proc import ext_proc
from control_plane.xds.translate.filters.faults import fault_rules, faults
from control_plane.xds.translate.filters.hold import hold
from control_plane.xds.translate.filters.signer import signer
from control_plane.xds.translate.filters.target_lua import target_lua
from control_plane.xds.translate.names import TRANSLATOR_CLUSTER, provider_cluster, signer_config, target_cluster
from control_plane.xds.translate.packing import duration, pack, pack_foreign

HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
MAX_RETRIES: Final = 10_000
"""Envoy counts concurrent retries on the first attempt's target and allows 3 by default: with a vendor down, all but
three requests would fail. How much retrying the fleet may do is decided elsewhere."""

CODEC: Final = HttpFilter(
    name="envoy.filters.http.upstream_codec",
    typed_config=pack_foreign("envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec", UpstreamCodec()),
)


@lru_cache(maxsize=65_536)
def target(use: TargetUse, provider: Provider) -> Resource:
    """The cluster of one use of a target."""
    below = provider_cluster(use.provider, use.connect_ms)
    refs = {(CDS, below)}
    if use.lane is Lane.TRANSLATION:
        refs.add((CDS, TRANSLATOR_CLUSTER))
    else:
        refs.add(fault_rules(provider).key)
    if provider.auth is not None:
        refs.add((SDS, (provider.auth.spare if use.spare else None) or provider.auth.secret))
    if provider.signing is not None:
        refs.add((ECDS, signer_config(provider.signing)))
    return Resource(
        type_url=CDS,
        name=target_cluster(use),
        body=_cluster(use, provider, below),
        refs=frozenset(refs),
    )


def _cluster(use: TargetUse, provider: Provider, below: str) -> bytes:
    options = HttpProtocolOptions(
        explicit_http_config=HttpProtocolOptions.ExplicitHttpConfig(http_protocol_options=Http1ProtocolOptions()),
        http_filters=_filters(use, provider),
    )
    cluster = Cluster(
        name=target_cluster(use),
        typed_extension_protocol_options={HTTP_OPTIONS: pack(options)},
        metadata=target_metadata(use),
    )
    return _shared(below, use.connect_ms) + cluster.SerializeToString(deterministic=True)


def _filters(use: TargetUse, provider: Provider) -> list[HttpFilter]:
    """In the order in which a request meets them; answers meet them in reverse."""
    filters = [credentials(provider, use.target, translated=use.lane is Lane.TRANSLATION, spare=use.spare)]
    if use.rename or use.restore or use.within:
        filters.append(target_lua(use, provider))
    if use.lane is Lane.TRANSLATION:
        filters.append(ext_proc(use, provider))
    else:
        filters.append(faults(provider))
    if use.hold:
        filters.append(hold())
    if provider.signing is not None:
        filters.append(signer(provider.signing))
    return [*filters, CODEC]


@lru_cache(maxsize=4096)
def _shared(below: str, connect_ms: int) -> bytes:
    """What all clusters over one provider cluster have, serialised; parsers merge it with the rest."""
    aggregate = pack_foreign("envoy.extensions.clusters.aggregate.v3.ClusterConfig", ClusterConfig(clusters=[below]))
    return Cluster(
        connect_timeout=duration(connect_ms),
        lb_policy=Cluster.CLUSTER_PROVIDED,
        cluster_type=Cluster.CustomClusterType(name="envoy.clusters.aggregate", typed_config=aggregate),
        circuit_breakers=CircuitBreakers(thresholds=[CircuitBreakers.Thresholds(max_retries=UInt32Value(value=MAX_RETRIES))]),
    ).SerializeToString(deterministic=True)
