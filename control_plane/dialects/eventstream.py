"""AWS's binary event streams, both ways, for any split of the bytes (application/vnd.amazon.eventstream).

A message is a prelude (total length, length of the headers, CRC32 of both; big-endian), headers, a payload and the CRC32 of all
before it. Source: https://smithy.io/2.0/aws/amazon-eventstream.html.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec

from control_plane.kit.errors import ProviderProtocolError

CONTENT_TYPE: Final = "application/vnd.amazon.eventstream"

MESSAGE_LIMIT_BYTES: Final = 8 * 1024 * 1024
"""One message, 8 MiB like an event of SSE: images in base64 reach a few MiB; AWS itself allows 24."""

HEADERS_LIMIT_BYTES: Final = 128 * 1024
"""The headers of one message; AWS's own limit."""

_PRELUDE: Final = struct.Struct(">III")
_PRELUDE_BYTES: Final = _PRELUDE.size
_LEAST_BYTES: Final = _PRELUDE_BYTES + 4
_STRING: Final = 7

HeaderValue = bool | int | bytes | str


class Message(NamedTuple):
    """Headers as Python's values: numbers and timestamps (milliseconds) as int, byte arrays and UUIDs as bytes."""

    headers: Mapping[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """A header that is a text, "" where there is none."""
        value = self.headers.get(name)
        return value if isinstance(value, str) else ""


class EventStreamDecoder:
    """`feed` any slice of the body, get the messages completed by it; `finish` at the end of the body.

    Both raise ProviderProtocolError: a wrong checksum, a length out of bounds, a header of no known type, a message that is cut.
    """

    __slots__ = ("_buffer", "_limit", "_need")

    def __init__(self, limit: int = MESSAGE_LIMIT_BYTES) -> None:
        self._limit = limit
        self._buffer = bytearray()
        self._need = _PRELUDE_BYTES  # bytes without which nothing more can be read

    def feed(self, data: bytes) -> list[Message]:
        buffer = self._buffer
        buffer += data
        if len(buffer) < self._need:
            return []
        messages: list[Message] = []
        start = 0
        with memoryview(buffer) as view:
            while True:
                if len(view) - start < _PRELUDE_BYTES:
                    self._need = _PRELUDE_BYTES
                    break
                size, headers = self._prelude(view[start : start + _PRELUDE_BYTES])
                if len(view) - start < size:
                    self._need = size
                    break
                messages.append(_message(bytes(view[start : start + size]), headers))
                start += size
        del buffer[:start]
        return messages

    def finish(self) -> list[Message]:
        if self._buffer:
            raise ProviderProtocolError("the stream ends inside a message")
        return []

    def _prelude(self, prelude: memoryview) -> tuple[int, int]:
        """(bytes of the message, of its headers), once the checksum says that these are what was sent."""
        size, headers, checksum = _PRELUDE.unpack(prelude)
        if zlib.crc32(prelude[:8]) != checksum:
            raise ProviderProtocolError("the prelude of a message of the stream has a wrong checksum")
        if size > self._limit:
            raise ProviderProtocolError(f"a message of the stream is larger than {self._limit} bytes")
        if headers > HEADERS_LIMIT_BYTES:
            raise ProviderProtocolError(f"the headers of a message of the stream are larger than {HEADERS_LIMIT_BYTES} bytes")
        if size < _LEAST_BYTES + headers:
            raise ProviderProtocolError("a message of the stream is shorter than its own headers")
        return size, headers


def _message(whole: bytes, headers: int) -> Message:
    if zlib.crc32(whole[:-4]) != int.from_bytes(whole[-4:], "big"):
        raise ProviderProtocolError("a message of the stream has a wrong checksum")
    end = _PRELUDE_BYTES + headers
    return Message(_headers(whole[_PRELUDE_BYTES:end]), whole[end:-4])


def _number(size: int) -> Callable[[bytes], HeaderValue]:
    return lambda raw: int.from_bytes(raw[:size], "big", signed=True)


_FIXED: Final[Mapping[int, tuple[int, Callable[[bytes], HeaderValue]]]] = {
    0: (0, lambda _: True),
    1: (0, lambda _: False),
    2: (1, _number(1)),
    3: (2, _number(2)),
    4: (4, _number(4)),
    5: (8, _number(8)),
    8: (8, _number(8)),
    9: (16, bytes),
}
"""Types of a fixed size: bytes, and how they are read. Byte arrays (6) and texts (7) have their length in front."""


def _headers(raw: bytes) -> dict[str, HeaderValue]:
    found: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(raw):
            length = raw[at]
            name = _taken(raw, at + 1, length).decode()
            at += 1 + length
            kind = raw[at]
            at += 1
            value: HeaderValue
            if kind in _FIXED:
                size, read = _FIXED[kind]
                value = read(_taken(raw, at, size))
            elif kind in (6, _STRING):
                size = int.from_bytes(_taken(raw, at, 2), "big")
                at += 2
                value = _taken(raw, at, size)
                if kind == _STRING:
                    value = value.decode()
            else:
                raise ProviderProtocolError(f"a header of the stream has the unknown type {kind}")
            at += size
            if name in found:
                raise ProviderProtocolError(f"a message of the stream has the header {name[:100]} twice")
            found[name] = value
    except (IndexError, UnicodeDecodeError) as error:
        raise ProviderProtocolError("the headers of a message of the stream cannot be read") from error
    return found


def _taken(raw: bytes, at: int, size: int) -> bytes:
    if at + size > len(raw):
        raise IndexError(at)
    return raw[at : at + size]


# ---------------------------------------------------------------------------------------------------------- events

EXCEPTION: Final = b"!"
"""In front of the name of an exception, so that no event can be taken for one."""

_EVENTS: Final = ("event", "")


class EventDecoder:
    """The events of a stream as (name, payload), like those of SSE. An exception's name has `EXCEPTION` in front."""

    __slots__ = ("_decoder",)

    def __init__(self) -> None:
        self._decoder = EventStreamDecoder()

    def feed(self, data: bytes) -> list[tuple[bytes | None, bytes]]:
        return [_event(message) for message in self._decoder.feed(data)]

    def finish(self) -> list[tuple[bytes | None, bytes]]:
        return [_event(message) for message in self._decoder.finish()]


def _event(message: Message) -> tuple[bytes, bytes]:
    kind = message.text(":message-type")
    if kind in _EVENTS:
        return message.text(":event-type").encode(), message.payload
    if kind == "exception":
        return EXCEPTION + message.text(":exception-type").encode(), message.payload
    if kind == "error":  # outside of the service's model: code and text stand in the headers
        return EXCEPTION + message.text(":error-code").encode(), msgspec.json.encode({"message": message.text(":error-message")})
    raise ProviderProtocolError(f"a message of the stream has the unknown type {kind[:100]!r}")


def encode(headers: Mapping[str, str], payload: bytes) -> bytes:
    """One message; a header's name has at most 255 bytes, its value 65,535."""
    fields = bytearray()
    for name, value in headers.items():
        key, text = name.encode(), value.encode()
        fields += bytes((len(key),)) + key + bytes((_STRING,)) + len(text).to_bytes(2, "big") + text
    sizes = struct.pack(">II", _LEAST_BYTES + len(fields) + len(payload), len(fields))
    whole = b"".join((sizes, zlib.crc32(sizes).to_bytes(4, "big"), fields, payload))
    return whole + zlib.crc32(whole).to_bytes(4, "big")


def encode_event(name: str, payload: bytes) -> bytes:
    """An event whose payload is JSON."""
    return encode({":event-type": name, ":content-type": "application/json", ":message-type": "event"}, payload)


def encode_exception(name: str, payload: bytes) -> bytes:
    """An exception, which ends the stream."""
    return encode({":exception-type": name, ":content-type": "application/json", ":message-type": "exception"}, payload)
