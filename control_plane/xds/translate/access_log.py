"""The access journal: a file that Envoy writes whether the control plane lives or not, or a gRPC stream for remote fleets."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import ApiVersion, GrpcService, GrpcServiceEnvoyGrpc, SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.envoy.extensions.access_loggers.grpc.v3 import CommonGrpcAccessLogConfig, HttpGrpcAccessLogConfig
from envoy_data_plane.envoy.type.tracing.v3 import CustomTag
from envoy_data_plane.google.protobuf import Any, Struct

from control_plane.xds.translate.names import XDS_CLUSTER


def file_journal(path: str, fields: Mapping[str, str]) -> AccessLog:
    """One JSON object a line. `fields` are Envoy format strings; a missing value is null."""
    line = SubstitutionFormatString(json_format=Struct.from_dict(dict(fields)), omit_empty_values=False)
    return AccessLog(name="envoy.access_loggers.file", typed_config=Any.pack(FileAccessLog(path=path, log_format=line)))


def grpc_journal(fields: Mapping[str, str]) -> AccessLog:
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
    return AccessLog(name="envoy.access_loggers.http_grpc", typed_config=Any.pack(config))
