"""Builders of ext_proc answers, as serialised `ProcessingResponse` messages.

Constant answers are serialised once; the answer to a body chunk is written by hand, because it is the one message sent per token
(the nested protobuf wrappers cost more than the bytes). Field numbers are those of protos/control_plane/pb/ext_proc.proto.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from google.protobuf.struct_pb2 import Struct

from control_plane.dialects.canon import Usage
from control_plane.pb import ext_proc_pb2 as pb
from control_plane.pb.core_pb2 import HeaderValueOption

Headers = Sequence[tuple[str, str]]

METADATA_NAMESPACE: Final = "headgate.translation"
LANE: Final = ("x-headgate-lane", "translation")
DROPPED_HEADER: Final = "x-headgate-dropped"
JSON_TYPE: Final = "application/json"

_OVERWRITE: Final = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


@dataclass(frozen=True, slots=True)
class Metered:
    """What the access log learns of an answer. `finish`: the provider's own stop word. `stream_error`: its error's class."""

    usage: Usage
    finish: str | None
    complete: bool
    stream_error: str | None
    dropped: tuple[str, ...]


NAMES_SHOWN: Final = 32  # of what was dropped; a client that sends more has other problems
NAME_CHARS: Final = 100
_NOT_IN_HEADERS: Final = re.compile(r"[^!-+\--~]")  # all but printable ASCII without space and comma


def shown(names: Sequence[str]) -> tuple[str, ...]:
    """Names of dropped fields as a header can carry them. They are the client's words: Envoy refuses an answer with others, or too many."""
    kept = tuple(_NOT_IN_HEADERS.sub("?", name[:NAME_CHARS]) for name in names[:NAMES_SHOWN])
    return kept if len(names) <= NAMES_SHOWN else (*kept, f"and-{len(names) - NAMES_SHOWN}-more")


def _mutate(mutation: pb.HeaderMutation, headers: Headers, remove: Iterable[str]) -> None:
    for name, value in headers:
        option = mutation.set_headers.add()
        option.header.key = name
        option.header.raw_value = value.encode("utf-8")
        option.append_action = _OVERWRITE
    mutation.remove_headers.extend(remove)


def _constant(kind: str) -> bytes:
    message = pb.ProcessingResponse()
    getattr(message, kind).SetInParent()
    return message.SerializeToString()


CONTINUE_REQUEST_TRAILERS: Final = _constant("request_trailers")
CONTINUE_RESPONSE_TRAILERS: Final = _constant("response_trailers")


def request_headers(headers: Headers, remove: Iterable[str]) -> bytes:
    """The head of the provider's request; content-length must be that of the body that follows."""
    message = pb.ProcessingResponse()
    _mutate(message.request_headers.response.header_mutation, headers, remove)
    return message.SerializeToString()


def immediate(status: int, content_type: str, body: bytes, details: str) -> bytes:
    """Answers the client at once. Envoy never retries this: only for faults of the client."""
    message = pb.ProcessingResponse()
    answer = message.immediate_response
    answer.status.code = status  # type: ignore[assignment]  # an open enum: any status is its own number
    answer.details = details
    answer.body = body
    _mutate(answer.headers, (("content-type", content_type), LANE), ())
    return message.SerializeToString()


@lru_cache(maxsize=1024)
def answer_headers(content_type: str, dropped: tuple[str, ...]) -> bytes:
    """The head of a translated 2xx answer, its status untouched."""
    headers = [("content-type", content_type), LANE]
    if dropped:
        headers.append((DROPPED_HEADER, ",".join(dropped)))
    message = pb.ProcessingResponse()
    _mutate(message.response_headers.response.header_mutation, headers, ("content-length",))
    return message.SerializeToString()


def error_headers(status: int, headers: Headers, whole_body: bytes | None = None) -> bytes:
    """The head of an error answer; the router judges `status`. `whole_body`: the body of an answer that had only headers."""
    message = pb.ProcessingResponse()
    common = message.response_headers.response
    fixed = ((":status", str(status)), ("content-type", JSON_TYPE), LANE)
    _mutate(common.header_mutation, (*fixed, *headers), ("content-length", "content-encoding"))
    if whole_body is not None:
        common.status = pb.CommonResponse.CONTINUE_AND_REPLACE
        common.body_mutation.body = whole_body
    return message.SerializeToString()


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


_END: Final = b"\x10\x01"  # StreamedBodyResponse.end_of_stream (2) = true
_REQUEST_BODY: Final = b"\x1a"
_RESPONSE_BODY: Final = b"\x22"
_ONE_BYTE: Final = 0x80  # lengths below this are one varint byte


def _piece(outer: bytes, body: bytes, end: bool) -> bytes:
    """A piece of a FULL_DUPLEX_STREAMED body.

    ProcessingResponse.request_body (3) or response_body (4) > BodyResponse.response (1) > CommonResponse.body_mutation (3)
    > BodyMutation.streamed_response (3) > StreamedBodyResponse.body (1), end_of_stream (2).
    """
    tail = _END if end else b""
    size = len(body)
    inner = size + 2 + len(tail)
    if inner + 6 < _ONE_BYTE:
        return b"".join((outer, bytes((inner + 6, 0x0A, inner + 4, 0x1A, inner + 2, 0x1A, inner, 0x0A, size)), body, tail))
    head = b"\x0a" + _varint(size)
    length = len(head) + size + len(tail)
    for tag in (b"\x1a", b"\x1a", b"\x0a", outer):
        prefix = tag + _varint(length)
        length += len(prefix)
        head = prefix + head
    return b"".join((head, body, tail))


def request_body(body: bytes, end: bool) -> bytes:
    """A piece of the provider's request."""
    return _piece(_REQUEST_BODY, body, end)


def response_body(body: bytes, end: bool) -> bytes:
    """A piece of the client's answer."""
    return _piece(_RESPONSE_BODY, body, end)


def metadata(metered: Metered) -> bytes:
    """Serialised `dynamic_metadata`: append it to any answer's bytes (a message is a concatenation of its fields).

    Every key is written every time: Envoy keeps a key of an earlier message until a later one overwrites it.
    """
    message = pb.ProcessingResponse()
    fields = message.dynamic_metadata.fields[METADATA_NAMESPACE].struct_value.fields
    usage: Struct = fields["usage"].struct_value
    usage.SetInParent()
    counts = metered.usage
    for name, count in (
        ("input", counts.input),
        ("cached", counts.cached),
        ("cache_write", counts.cache_write),
        ("output", counts.output),
        ("reasoning", counts.reasoning),
    ):
        if count is not None:
            usage.fields[name].number_value = count
    for name, text in (("finish", metered.finish), ("stream_error", metered.stream_error)):
        if text is None:
            fields[name].null_value = 0  # type: ignore[assignment]  # NullValue.NULL_VALUE
        else:
            fields[name].string_value = text
    fields["complete"].bool_value = metered.complete
    dropped = fields["dropped"].list_value
    dropped.SetInParent()
    for name in metered.dropped:
        dropped.values.add().string_value = name
    return message.SerializeToString()
