"""The access journal: a file that Envoy writes whether the control plane lives or not, or a gRPC stream for remote fleets."""

from __future__ import annotations

from collections.abc import Mapping

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog
from envoy_data_plane.envoy.config.core.v3 import SubstitutionFormatString
from envoy_data_plane.envoy.extensions.access_loggers.file.v3 import FileAccessLog
from envoy_data_plane.google.protobuf import Any, Struct


def file_journal(path: str, fields: Mapping[str, str]) -> AccessLog:
    """One JSON object a line. `fields` are Envoy format strings; a missing value is null."""
    line = SubstitutionFormatString(json_format=Struct.from_dict(dict(fields)), omit_empty_values=False)
    return AccessLog(name="envoy.access_loggers.file", typed_config=Any.pack(FileAccessLog(path=path, log_format=line)))
