"""Protobuf by concatenation: enough of the wire format to splice encoded resources into responses without re-encoding.

A message is the concatenation of its fields in any order, so a response is a small head (written per stream) followed by
resources (encoded once, shared by every stream). Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

LENGTH_DELIMITED = 2

_SHORT = tuple(bytes((value,)) for value in range(0x80))


def varint(value: int) -> bytes:
    """`value` (not negative) in base 128, least significant group first."""
    if value < len(_SHORT):
        return _SHORT[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def opening(number: int, length: int) -> bytes:
    """Tag and length of a length-delimited field; its `length` bytes follow."""
    return varint(number << 3 | LENGTH_DELIMITED) + varint(length)


def field(number: int, value: bytes | str) -> bytes:
    """A string, bytes or message field; empty strings are written too (on concatenation the last value wins)."""
    data = value.encode() if isinstance(value, str) else value
    return opening(number, len(data)) + data


def any_opening(type_url: str, length: int) -> bytes:
    """Everything of a google.protobuf.Any that comes before the `length` bytes of its value."""
    return field(1, type_url) + opening(2, length)
