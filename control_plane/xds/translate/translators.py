"""The cluster of translator workers, each behind its own socket."""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import (
    Cluster,
    ClusterDiscoveryType,
    ClusterLbPolicy,
    OutlierDetection,
)
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    HealthCheck,
    HealthCheckHttpHealthCheck,
    Http2ProtocolOptions,
    KeepaliveSettings,
    Pipe,
    SocketAddress,
)
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.extensions.upstreams.http.v3 import HttpProtocolOptions, HttpProtocolOptionsExplicitHttpConfig
from envoy_data_plane.envoy.type.v3 import CodecClientType
from envoy_data_plane.google.protobuf import Any

from control_plane.xds.resource import CDS, Resource
from control_plane.xds.translate.limits import no_limits
from control_plane.xds.translate.names import TRANSLATOR_CLUSTER
from control_plane.xds.translate.targets import HTTP_OPTIONS

OUTLIERS: Final = OutlierDetection(
    split_external_local_origin_errors=True,
    consecutive_local_origin_failure=1,
    enforcing_consecutive_local_origin_failure=100,
    enforcing_local_origin_success_rate=0,
    enforcing_consecutive_5xx=0,
    enforcing_consecutive_gateway_failure=0,
    enforcing_success_rate=0,
    interval=timedelta(milliseconds=250),
    base_ejection_time=timedelta(milliseconds=250),
    max_ejection_time=timedelta(seconds=1),
    max_ejection_time_jitter=timedelta(0),
    max_ejection_percent=100,
)
"""A worker whose socket refuses is skipped at once and tried again soon: it is restarted within a second."""


def health(codec: CodecClientType) -> HealthCheck:
    """Finds a worker that is stopped or stuck, which still accepts connections, and one that drains.

    Envoy plans the next check when one ends: without a `no_traffic_interval` of its own a cluster that had no request by then is not looked
    at for a minute, whatever comes meanwhile.
    """
    return HealthCheck(
        timeout=timedelta(seconds=1),
        interval=timedelta(milliseconds=500),
        no_traffic_interval=timedelta(milliseconds=500),
        unhealthy_interval=timedelta(milliseconds=250),
        unhealthy_threshold=2,
        healthy_threshold=1,
        http_health_check=HealthCheckHttpHealthCheck(path="/healthz", codec_client_type=codec),
    )


_ALIVE: Final = KeepaliveSettings(interval=timedelta(milliseconds=400), timeout=timedelta(milliseconds=1500))
"""A worker that answers no ping for so long has its connections closed: what it had begun to answer breaks where the client sees it,
and what it had not is replayed on another worker. Health checks alone leave running streams where they are. Not shorter, since a worker
that is only busy would lose its streams."""


@lru_cache(maxsize=16)
def translator_cluster(translators: tuple[str, ...]) -> Resource:
    """The workers as one cluster."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=_address(t))) for t in translators]
    http2 = HttpProtocolOptionsExplicitHttpConfig(http2_protocol_options=Http2ProtocolOptions(connection_keepalive=_ALIVE))
    cluster = Cluster(
        name=TRANSLATOR_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        connect_timeout=timedelta(milliseconds=250),
        load_assignment=ClusterLoadAssignment(cluster_name=TRANSLATOR_CLUSTER, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]),
        outlier_detection=OUTLIERS,
        health_checks=[health(CodecClientType.HTTP2)],
        circuit_breakers=no_limits(),
        typed_extension_protocol_options={HTTP_OPTIONS: Any.pack(HttpProtocolOptions(explicit_http_config=http2))},
    )
    return Resource(type_url=CDS, name=TRANSLATOR_CLUSTER, body=bytes(cluster))


def _address(translator: str) -> Address:
    if translator.startswith("/"):
        return Address(pipe=Pipe(path=translator))
    host, _, port = translator.rpartition(":")
    return Address(socket_address=SocketAddress(address=host, port_value=int(port)))
