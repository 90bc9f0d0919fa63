"""The translation lane at a target: its own ext_proc stream per attempt, told by its own configuration what to do."""

from __future__ import annotations

from typing import Final

from google.protobuf.wrappers_pb2 import BoolValue

from control_plane.ir.model import Provider, TargetUse
from control_plane.pb.config_source_pb2 import GrpcService
from control_plane.pb.core_pb2 import HeaderValue
from control_plane.pb.ext_proc_filter_pb2 import ExternalProcessor, MetadataOptions, ProcessingMode
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.pb.mutation_rules_pb2 import HeaderMutationRules
from control_plane.xds.translate.names import TRANSLATION_NAMESPACE, TRANSLATOR_CLUSTER
from control_plane.xds.translate.packing import duration, pack

MESSAGE_TIMEOUT_MS: Final = 600_000
"""Longer than any first-token timer: the hold answers the response headers only when the first content has come, and
the router's own timers are the ones that should end a wait."""

MODES: Final = ProcessingMode(
    request_header_mode=ProcessingMode.SEND,
    request_body_mode=ProcessingMode.BUFFERED,
    response_header_mode=ProcessingMode.SEND,
    response_body_mode=ProcessingMode.FULL_DUPLEX_STREAMED,
    response_trailer_mode=ProcessingMode.SEND,
)


def ext_proc(use: TargetUse, provider: Provider) -> HttpFilter:
    """The filter for one translated use."""
    told = {
        "x-headgate-client-dialect": use.client_dialect,
        "x-headgate-provider-dialect": use.provider_dialect,
        "x-headgate-target": use.target,
        "x-headgate-model": use.model,
        "x-headgate-path": use.path,
        "x-headgate-options": provider.options,
    }
    config = ExternalProcessor(
        grpc_service=GrpcService(
            envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=TRANSLATOR_CLUSTER),
            initial_metadata=[HeaderValue(key=key, value=value.replace("%", "%%")) for key, value in told.items()],
        ),
        processing_mode=MODES,
        message_timeout=duration(MESSAGE_TIMEOUT_MS),
        mutation_rules=HeaderMutationRules(allow_all_routing=BoolValue(value=True)),
        metadata_options=MetadataOptions(receiving_namespaces=MetadataOptions.MetadataNamespaces(untyped=[TRANSLATION_NAMESPACE])),
    )
    return HttpFilter(name="envoy.filters.http.ext_proc", typed_config=pack(config))
