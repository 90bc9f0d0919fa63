"""The translation lane at a target: its own ext_proc stream per attempt, told what to do by the target's configuration and the route's."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import msgspec
from envoy_data_plane.envoy.extensions.retry.host.previous_hosts.v3 import PreviousHostsPredicate
from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value

from control_plane.ir.model import Provider, TargetUse
from control_plane.ir.operations import OPERATIONS
from control_plane.pb.config_source_pb2 import BackoffStrategy, GrpcService, RetryPolicy
from control_plane.pb.core_pb2 import HeaderValue
from control_plane.pb.ext_proc_filter_pb2 import ExternalProcessor, MetadataOptions, ProcessingMode
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.pb.mutation_rules_pb2 import HeaderMutationRules
from control_plane.xds.translate.facts import SILENCE
from control_plane.xds.translate.names import NAMESPACE, TRANSLATION_NAMESPACE, TRANSLATOR_CLUSTER
from control_plane.xds.translate.packing import duration, pack_foreign, pack_more

MESSAGE_TIMEOUT_MS: Final = 600_000
"""Longer than any first-token timer: the hold answers the response headers only when the first content has come, and
the router's own timers are the ones that should end a wait."""

MODES: Final = ProcessingMode(
    request_header_mode=ProcessingMode.SEND,
    request_body_mode=ProcessingMode.FULL_DUPLEX_STREAMED,
    request_trailer_mode=ProcessingMode.SEND,
    response_header_mode=ProcessingMode.SEND,
    response_body_mode=ProcessingMode.FULL_DUPLEX_STREAMED,
    response_trailer_mode=ProcessingMode.SEND,
)

"""Full duplex both ways: the translator answers once it has the whole request, and lets an answer's headers go when it
has seen the first content. A worker that dies before its first answer loses nothing: the stream is replayed on another."""

RETRY: Final = RetryPolicy(
    retry_on="connect-failure,reset,refused-stream",
    num_retries=UInt32Value(value=3),
    retry_back_off=BackoffStrategy(base_interval=duration(1), max_interval=duration(10)),
    retry_host_predicate=[
        RetryPolicy.RetryHostPredicate(
            name="envoy.retry_host_predicates.previous_hosts",
            typed_config=pack_foreign("envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate", PreviousHostsPredicate()),
        )
    ],
    host_selection_retry_max_attempts=100,
)
"""For the stream to the worker: with one of two workers dead, 100 of 100 requests are served (52 without it)."""


_CONSTANT: Final = ExternalProcessor(
    grpc_service=GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=TRANSLATOR_CLUSTER), retry_policy=RETRY),
    processing_mode=MODES,
    allow_content_length_header=True,
    message_timeout=duration(MESSAGE_TIMEOUT_MS),
    mutation_rules=HeaderMutationRules(allow_all_routing=BoolValue(value=True)),
    metadata_options=MetadataOptions(receiving_namespaces=MetadataOptions.MetadataNamespaces(untyped=[TRANSLATION_NAMESPACE])),
).SerializeToString(deterministic=True)
"""What the filters of all targets have."""

_IDLE: Final = f"%METADATA(ROUTE:{NAMESPACE}:{SILENCE})%"
_ASKED: Final = f"%METADATA(ROUTE:{NAMESPACE}:asked)%"
"""What the route says of the call: read by Envoy when an attempt's stream begins, so nothing that a client or an attempt does to the
request's headers can change it."""


OFFERED: Final = frozenset(name for o in OPERATIONS if o.translated for name in (o.name, o.elsewhere))
"""Operations that a translated call may become."""


def ext_proc(use: TargetUse, provider: Provider) -> HttpFilter:
    """The filter for one translated use."""
    told = {"x-headgate-target": use.target, "x-headgate-model": use.model}
    if lacks := provider.lacks_of(use.model):
        told["x-headgate-lacks"] = ",".join(lacks)
    config = pack_more(_shared(provider), ExternalProcessor(grpc_service=GrpcService(initial_metadata=_values(told))))
    return HttpFilter(name="envoy.filters.http.ext_proc", typed_config=config)


@lru_cache(maxsize=4096)
def _shared(provider: Provider) -> bytes:
    """What all targets of a provider have, serialised."""
    offers = [s for s in provider.speaks if s.operation in OFFERED]
    told = {"x-headgate-offers": msgspec.json.encode(offers).decode(), "x-headgate-options": provider.options}
    if provider.errors:
        told["x-headgate-errors"] = provider.errors
    if provider.rate_limits:
        told["x-headgate-rate-limits"] = provider.rate_limits
    of_route = [HeaderValue(key="x-headgate-asked", value=_ASKED), HeaderValue(key="x-headgate-idle-ms", value=_IDLE)]
    service = GrpcService(initial_metadata=[*of_route, *_values(told)])
    return _CONSTANT + ExternalProcessor(grpc_service=service).SerializeToString(deterministic=True)


def _values(told: dict[str, str]) -> list[HeaderValue]:
    return [HeaderValue(key=key, value=value.replace("%", "%%")) for key, value in told.items()]
