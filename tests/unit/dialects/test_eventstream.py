"""AWS's event streams: botocore's own decoder and ours agree, for any split, and what is broken is the provider's fault."""

from __future__ import annotations

import itertools
import struct
import zlib
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from control_plane.dialects.eventstream import (
    HEADERS_LIMIT_BYTES,
    MESSAGE_LIMIT_BYTES,
    EventDecoder,
    EventStreamDecoder,
    Message,
    encode,
    encode_event,
    encode_exception,
)
from control_plane.kit.errors import ProviderProtocolError

NAMES = st.text(min_size=1, max_size=20).filter(lambda name: len(name.encode()) < 256)
TEXTS = st.dictionaries(NAMES, st.text(max_size=40), max_size=4)

_KINDS: dict[int, tuple[st.SearchStrategy[Any], Any]] = {
    0: (st.just(True), lambda v: b""),
    1: (st.just(False), lambda v: b""),
    2: (st.integers(-(2**7), 2**7 - 1), lambda v: struct.pack(">b", v)),
    3: (st.integers(-(2**15), 2**15 - 1), lambda v: struct.pack(">h", v)),
    4: (st.integers(-(2**31), 2**31 - 1), lambda v: struct.pack(">i", v)),
    5: (st.integers(-(2**63), 2**63 - 1), lambda v: struct.pack(">q", v)),
    6: (st.binary(max_size=30), lambda v: struct.pack(">H", len(v)) + v),
    7: (st.text(max_size=30), lambda v: struct.pack(">H", len(v.encode())) + v.encode()),
    8: (st.integers(0, 2**62), lambda v: struct.pack(">q", v)),
    9: (st.binary(min_size=16, max_size=16), lambda v: v),
}
HEADERS = st.dictionaries(
    NAMES, st.sampled_from(sorted(_KINDS)).flatmap(lambda kind: st.tuples(st.just(kind), _KINDS[kind][0])), max_size=5
)


def framed(fields: bytes, payload: bytes, size: int | None = None, headers: int | None = None, flip: int | None = None) -> bytes:
    """A message made here, not by the code under test."""
    prelude = struct.pack(">II", 16 + len(fields) + len(payload) if size is None else size, len(fields) if headers is None else headers)
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + fields + payload
    made = bytearray(whole + struct.pack(">I", zlib.crc32(whole)))
    if flip is not None:
        made[flip] ^= 1
    return bytes(made)


def header(name: str, kind: int, value: Any) -> bytes:
    written: bytes = _KINDS[kind][1](value)
    return bytes((len(name.encode()),)) + name.encode() + bytes((kind,)) + written


def decoded(data: bytes, cuts: list[int] | None = None) -> list[Message]:
    decoder = EventStreamDecoder()
    places = [0, *sorted(cuts or []), len(data)]
    found = [message for a, b in itertools.pairwise(places) for message in decoder.feed(data[a:b])]
    return found + decoder.finish()


def theirs(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [(event.headers, event.payload) for event in buffer]


@given(st.lists(st.tuples(HEADERS, st.binary(max_size=50)), max_size=4), st.data())
def test_any_split_of_any_messages_is_read_as_botocore_reads_it(messages: list[Any], data: st.DataObject) -> None:
    body = b"".join(framed(b"".join(header(n, k, v) for n, (k, v) in fields.items()), payload) for fields, payload in messages)
    cuts = data.draw(st.lists(st.integers(0, len(body)), max_size=8))
    found = [(dict(message.headers), message.payload) for message in decoded(body, cuts)]
    assert found == theirs(body)
    assert found == [({n: v for n, (_, v) in fields.items()}, payload) for fields, payload in messages]


@given(st.lists(st.tuples(TEXTS, st.binary(max_size=50)), max_size=4))
def test_what_we_write_is_what_botocore_reads(messages: list[tuple[dict[str, str], bytes]]) -> None:
    assert theirs(b"".join(encode(*message) for message in messages)) == messages


def test_events_and_exceptions_have_names() -> None:
    error = {":message-type": "error", ":error-code": "InternalError", ":error-message": 'no "luck"'}
    body = encode_event("metadata", b"{}") + encode_exception("throttlingException", b'{"message":"slow"}') + encode(error, b"")
    assert EventDecoder().feed(body) == [
        (b"metadata", b"{}"),
        (b"!throttlingException", b'{"message":"slow"}'),
        (b"!InternalError", b'{"message":"no \\"luck\\""}'),
    ]
    with pytest.raises(ProviderProtocolError, match="unknown type 'x'"):
        EventDecoder().feed(encode({":message-type": "x"}, b""))


GOOD = framed(header(":event-type", 7, "metadata"), b"{}")


@pytest.mark.parametrize(
    ("body", "words"),
    [
        *[(framed(header("a", 7, "b"), b"{}", flip=place), "checksum") for place in (0, 5, 9, 13, 20, -1)],
        (GOOD[:-1], "inside a message"),
        (GOOD + GOOD[:5], "inside a message"),
        (framed(b"", b"", size=MESSAGE_LIMIT_BYTES + 1), "larger than"),
        (framed(b"", b"", size=HEADERS_LIMIT_BYTES + 99, headers=HEADERS_LIMIT_BYTES + 1), "headers .* larger than"),
        (framed(b"", b"", size=15), "shorter"),
        (framed(b"", b"", size=16, headers=1), "shorter"),
        (framed(b"\x01a\x0a", b""), "unknown type 10"),
        (framed(b"\x01a", b""), "cannot be read"),
        (framed(b"\xffa\x00", b""), "cannot be read"),
        (framed(b"\x01a\x07\xff\xffb", b""), "cannot be read"),
        (framed(b"\x01a\x05\x00", b""), "cannot be read"),
        (framed(b"\x01\xff\x00", b""), "cannot be read"),
        (framed(b"\x01a\x07\x00\x01\xff", b""), "cannot be read"),
        (framed(b"\x01a\x00\x01a\x01", b""), "twice"),
        (b"data: {}\n\ndata: {}\n\n", "checksum"),
    ],
)
def test_what_cannot_be_read(body: bytes, words: str) -> None:
    with pytest.raises(ProviderProtocolError, match=words):
        decoded(body)


def test_a_length_is_judged_before_the_bytes_come() -> None:
    """Nobody makes us keep what we would refuse."""
    with pytest.raises(ProviderProtocolError, match="larger than"):
        EventStreamDecoder().feed(framed(b"", b"", size=MESSAGE_LIMIT_BYTES + 1)[:12])
