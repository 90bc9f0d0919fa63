"""The gRPC access log, for Envoys whose journal files the control plane cannot read. Feeds the same consumer with the same lines.

Prefer files: this costs Envoy several times more a request, and what Envoy cannot send while the control plane is away is lost beyond the
logger's buffer, where a file waits.

The Envoy configuration it expects: two loggers `envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig`, one as the `access_log`
of the HTTP connection manager and one as the `upstream_log` of the router (with the filter that the file has), whose
`common_config.custom_tags` are the entries of
`formats.REQUEST_FORMAT` and `formats.ATTEMPT_FORMAT`: `{"tag": name, "value": format string}` (`custom_tags()` makes the list). So a tag
holds what the file's field would hold, as text; Envoy leaves out tags without a value. The cluster that the loggers name speaks HTTP/2.
Nothing else in an entry is read: no header, no path, no address.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Final

import grpc
from google.protobuf.message import DecodeError

from control_plane.pb import access_log_data_pb2, access_log_pb2
from control_plane.signals.lines import Line, Malformed, RequestLine, from_tags
from control_plane.telemetry import names
from control_plane.telemetry.logs import fields
from control_plane.telemetry.metrics import Metrics
from control_plane.telemetry.names import Field

log = logging.getLogger(__name__)

SERVICE: Final = "envoy.service.accesslog.v3.AccessLogService"
MAX_VALUE_BYTES: Final = 16 * 1024
"""A tag's value is cut here, as Envoy cuts none: the longest is the model name that a client sent."""


def custom_tags(line_format: Mapping[str, str]) -> list[dict[str, str]]:
    """`custom_tags` of the logger's configuration for one of the tables in `formats.py`."""
    return [{"tag": name, "value": value} for name, value in line_format.items()]


class AccessLogService:
    """Receives entries and hands their lines to `consume`, in the order of each Envoy's stream."""

    def __init__(self, consume: Callable[[Sequence[Line]], None], metrics: Metrics) -> None:
        self._consume = consume
        self._lines = metrics.counter(names.JOURNAL_LINES)
        self._skipped = metrics.counter(names.JOURNAL_SKIPPED)
        self._reported: set[str] = set()

    def add_to(self, server: grpc.aio.Server) -> None:
        """Serve on `server`, which may serve the discovery services too."""
        # Messages arrive as bytes and are parsed here: one that cannot be read is skipped instead of ending the stream.
        handler = grpc.stream_unary_rpc_method_handler(self._stream)
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {"StreamAccessLogs": handler}),))

    async def _stream(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        node = ""
        async for raw in requests:
            try:
                message = access_log_pb2.StreamAccessLogsMessage.FromString(raw)
            except DecodeError as error:
                self._skip("malformed_message", node, str(error))
                continue
            if message.HasField("identifier"):
                node = message.identifier.node.id
                log.info("an Envoy sends its access log", extra=fields(Field.NODE, node))
            self._deliver(message.http_logs.log_entry, node)
        return access_log_pb2.StreamAccessLogsResponse().SerializeToString()

    def _deliver(self, entries: Sequence[access_log_data_pb2.HTTPAccessLogEntry], node: str) -> None:
        lines: list[Line] = []
        for entry in entries:
            try:
                lines.append(line_of(entry))
            except Malformed as error:
                self._skip(f"malformed_{error.kind}", node, str(error))
        if lines:
            requests = sum(isinstance(line, RequestLine) for line in lines)
            self._lines.add("request", amount=requests)
            self._lines.add("attempt", amount=len(lines) - requests)
            self._consume(lines)

    def _skip(self, reason: str, node: str, why: str) -> None:
        self._skipped.add(reason)
        if reason not in self._reported:
            self._reported.add(reason)
            where = fields(Field.NODE, node, Field.REASON, reason, Field.ERROR, why)
            log.warning("skipped an access log entry; more of this kind are only counted", extra=where)


def line_of(entry: access_log_data_pb2.HTTPAccessLogEntry) -> Line:
    """The line that the tags of one entry hold. Raises Malformed."""
    tags = {tag.key: tag.value[:MAX_VALUE_BYTES].decode("utf-8", "replace") for tag in entry.common_properties.custom_tags}
    return from_tags(tags)
