"""The way through the resumer, for routes whose broken answers are gone on with: to it, and from it back into Envoy.

Envoy begins no other attempt once an answer's head has gone to the client, so something must stand between the client and the attempts.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache
from typing import Final

from envoy_data_plane.envoy.config.cluster.v3 import Cluster, ClusterDiscoveryType, ClusterLbPolicy
from envoy_data_plane.envoy.config.core.v3 import Address, Metadata, Pipe
from envoy_data_plane.envoy.config.endpoint.v3 import ClusterLoadAssignment, Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy_data_plane.envoy.type.v3 import CodecClientType
from envoy_data_plane.google.protobuf import Struct
from google.protobuf.wrappers_pb2 import UInt32Value

from control_plane.ir.model import Route
from control_plane.kit.headers import RESUME_HEADER
from control_plane.pb import core_pb2
from control_plane.pb.matcher_pb2 import StringMatcher
from control_plane.pb.route_pb2 import HeaderMatcher, RetryPolicy, RouteAction, RouteMatch
from control_plane.pb.route_pb2 import Route as EnvoyRoute
from control_plane.xds.resource import CDS, Resource
from control_plane.xds.translate.limits import no_limits
from control_plane.xds.translate.names import NAMESPACE, RESUMER_CLUSTER
from control_plane.xds.translate.packing import duration
from control_plane.xds.translate.translators import OUTLIERS, health

LANE: Final = "resume"
"""What the journal calls the lane of a request that the resumer answers; its attempts have lines of their own."""


@lru_cache(maxsize=16)
def resumer_cluster(sockets: tuple[str, ...]) -> Resource:
    """The resumers as one cluster, each in a translator's process."""
    endpoints = [LbEndpoint(endpoint=Endpoint(address=Address(pipe=Pipe(path=path)))) for path in sockets]
    cluster = Cluster(
        name=RESUMER_CLUSTER,
        type=ClusterDiscoveryType.STATIC,
        lb_policy=ClusterLbPolicy.LEAST_REQUEST,
        connect_timeout=timedelta(milliseconds=250),
        load_assignment=ClusterLoadAssignment(cluster_name=RESUMER_CLUSTER, endpoints=[LocalityLbEndpoints(lb_endpoints=endpoints)]),
        outlier_detection=OUTLIERS,
        health_checks=[health(CodecClientType.HTTP1)],
        circuit_breakers=no_limits(),
        metadata=Metadata(filter_metadata={NAMESPACE: Struct.from_dict({"at": LANE})}),
    )
    return Resource(type_url=CDS, name=RESUMER_CLUSTER, body=bytes(cluster))


def attempt_match(match: RouteMatch, which: str) -> RouteMatch:
    """The same requests, when the resumer sends them as this attempt. The listener of clients removes such a mark."""
    mark = HeaderMatcher(name=RESUME_HEADER, string_match=StringMatcher(exact=which))
    made = RouteMatch()
    made.CopyFrom(match)
    made.headers.append(mark)
    return made


def silence_ms(node: Route) -> int:
    """How long the resumer may say nothing: while an attempt's own timers run out, and those of what goes on with it. Then it is stuck."""
    return min(node.timers.total_ms, 2 * node.timers.idle_ms + 1_000)


def to_resumer(node: Route, match: RouteMatch, facts: core_pb2.Metadata) -> bytes:
    """The route of a client's request: unmarked, so that no attempt of the resumer's can come back to it. Only a worker that is not
    there is tried again: another one may be."""
    unmarked = RouteMatch()
    unmarked.CopyFrom(match)
    unmarked.headers.append(HeaderMatcher(name=RESUME_HEADER, present_match=True, invert_match=True))
    mark = core_pb2.HeaderValueOption(
        header=core_pb2.HeaderValue(key=RESUME_HEADER, value=str(node.resume_attempts)),
        append_action=core_pb2.HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    again = RetryPolicy(retry_on="connect-failure,refused-stream", num_retries=UInt32Value(value=3))
    action = RouteAction(
        cluster=RESUMER_CLUSTER,
        timeout=duration(node.timers.total_ms),
        idle_timeout=duration(silence_ms(node)),
        retry_policy=again,
    )
    made = EnvoyRoute(name=node.name, match=unmarked, metadata=facts, route=action, request_headers_to_add=[mark])
    return made.SerializeToString(deterministic=True)
