"""The gRPC access log over a real socket: the same lines as the file, and nothing that one message holds stops the stream."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from control_plane.pb import access_log_data_pb2, access_log_pb2
from control_plane.signals.als import AccessLogService, custom_tags
from control_plane.signals.formats import ATTEMPT_FORMAT
from control_plane.signals.lines import Line, Metered, RequestLine, Usage, decode
from control_plane.telemetry.metrics import Metrics

RawLine = Callable[..., dict[str, Any]]
METHOD = "/envoy.service.accesslog.v3.AccessLogService/StreamAccessLogs"


@pytest.fixture
async def service(tmp_path: Path, metrics: Metrics) -> AsyncIterator[tuple[list[Line], grpc.aio.StreamUnaryMultiCallable[bytes, bytes]]]:
    got: list[Line] = []

    def consume(lines: Sequence[Line]) -> None:
        got.extend(lines)

    server = grpc.aio.server()
    AccessLogService(consume, metrics).add_to(server)
    server.add_insecure_port(f"unix:{tmp_path}/als.sock")
    await server.start()
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/als.sock") as channel:
        yield got, channel.stream_unary(METHOD, None, None)
    await server.stop(None)


def message(*lines: dict[str, Any], raw: dict[str, bytes] | None = None) -> bytes:
    entries = []
    for line in lines:
        tags = {
            name: (value if isinstance(value, str) else json.dumps(value)).encode() for name, value in line.items() if value is not None
        }
        made = [access_log_data_pb2.AccessLogCommon.CustomTagsEntry(key=key, value=value) for key, value in {**tags, **(raw or {})}.items()]
        common = access_log_data_pb2.AccessLogCommon(custom_tags=made)
        entries.append(access_log_data_pb2.HTTPAccessLogEntry(common_properties=common))
    sent = access_log_pb2.StreamAccessLogsMessage()
    sent.http_logs.log_entry.extend(entries)
    return sent.SerializeToString()


async def test_entries_become_the_lines_that_the_file_would_hold(service: Any, request_line: RawLine, attempt_line: RawLine) -> None:
    got, call = service
    await call(iter([message(attempt_line(), request_line())]))
    assert got == [decode(json.dumps(line).encode()) for line in (attempt_line(), request_line())]


async def test_a_broken_message_or_entry_costs_itself_only(service: Any, metrics: Metrics, request_line: RawLine) -> None:
    got, call = service
    await call(
        iter(
            [
                message(request_line(id="1")),
                b"\xff\xff\xff",
                message({"log": "nothing"}, request_line(id="2")),
                message(request_line(id="3")),
            ]
        )
    )
    assert [line.id for line in got] == ["1", "2", "3"]
    assert metrics.value("headgate_journal_skipped_lines_total", reason="malformed_message") == 1
    assert metrics.value("headgate_journal_skipped_lines_total", reason="malformed_shape") == 1
    assert metrics.value("headgate_journal_lines_total", log="request") == 3


async def test_bytes_that_are_no_text_hide_no_request(service: Any, request_line: RawLine) -> None:
    got, call = service
    raw = {"asked": b"openai-chat whole a\xff\xfeb", "edge": b"1;7,,;\xff;", "translation": b'{"finish": \xff}'}
    await call(iter([message(request_line(), raw=raw)]))
    (line,) = got
    assert isinstance(line, RequestLine)
    assert (line.dialect, line.stream, line.model) == ("openai-chat", False, "a\ufffd\ufffdb")
    assert line.meter() == Metered(usage=Usage(input=7), finish="\ufffd", complete=True)
    assert line.translation is None


def test_the_configuration_is_the_same_table_as_the_files() -> None:
    assert {tag["tag"]: tag["value"] for tag in custom_tags(ATTEMPT_FORMAT)} == ATTEMPT_FORMAT
