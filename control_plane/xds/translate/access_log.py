"""The access journal: a file that Envoy writes whether the control plane lives or not, or a gRPC stream for remote fleets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLog,
    AccessLogFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    HeaderFilter,
    OrFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import ApiVersion, GrpcService, GrpcServiceEnvoyGrpc, RuntimeUInt32, SubstitutionFormatString
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.tracing.v3 import CustomTag
from envoy_data_plane.google.protobuf import Any, Struct

from control_plane.xds.translate.names import XDS_CLUSTER


def worth_a_line() -> AccessLogFilter:
    """Attempts that failed, or were not the first: of a first one that went well the request's own line says everything.

    Status 0 is asked for by itself: an attempt whose client left, or which a filter of its target answered, has no flag.
    """
    again = HeaderMatcher(name="x-envoy-attempt-count", string_match=StringMatcher(exact="1"), invert_match=True)
    return AccessLogFilter(
        or_filter=OrFilter(
            filters=[
                AccessLogFilter(header_filter=HeaderFilter(header=again)),
                AccessLogFilter(response_flag_filter=ResponseFlagFilter()),
                _status(ComparisonFilterOp.GE, 400),
                _status(ComparisonFilterOp.EQ, 0),
            ]
        )
    )


def _status(op: ComparisonFilterOp, value: int) -> AccessLogFilter:
    compared = ComparisonFilter(op=op, value=RuntimeUInt32(default_value=value, runtime_key=f"headgate.journal.{value}"))
    return AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=compared))


def file_journal(path: str, fields: Mapping[str, str], only: AccessLogFilter | None = None) -> AccessLog:
    """One JSON object a line. `fields` are Envoy format strings; a missing value is left out."""
    line = SubstitutionFormatString(json_format=Struct.from_dict(dict(fields)), omit_empty_values=True)
    return AccessLog(name="envoy.access_loggers.file", filter=only, typed_config=Any.pack(FileAccessLog(path=path, log_format=line)))


def grpc_journal(fields: Mapping[str, str], only: AccessLogFilter | None = None) -> AccessLog:
    """The same fields as tags of a gRPC access log entry, sent to the control plane."""
    common = CommonGrpcAccessLogConfig(
        log_name="headgate",
        transport_api_version=ApiVersion.V3,
        grpc_service=GrpcService(envoy_grpc=GrpcServiceEnvoyGrpc(cluster_name=XDS_CLUSTER)),
        buffer_flush_interval=timedelta(milliseconds=200),
        buffer_size_bytes=65_536,
        custom_tags=[CustomTag(tag=name, value=value) for name, value in fields.items()],
    )
    config = HttpGrpcAccessLogConfig(common_config=common)
    return AccessLog(name="envoy.access_loggers.http_grpc", filter=only, typed_config=Any.pack(config))
