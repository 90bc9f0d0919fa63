"""One embedding vector, kept as it came: JSON numbers or packed floats, and turned into the other only where a client wants that."""

from __future__ import annotations

import base64
import binascii
import sys
from array import array
from typing import Final

import msgspec

from control_plane.kit.errors import ProviderProtocolError

_FLOAT_BYTES: Final = 4
_numbers: Final = msgspec.json.Decoder(list[float]).decode


class Vector(msgspec.Struct, frozen=True):
    """Exactly one of `json` (an array of numbers as text, so that none changes) and `packed` (32-bit floats, little-endian)."""

    json: bytes = b""
    packed: bytes = b""

    @classmethod
    def of(cls, raw: bytes) -> Vector:
        """From a JSON value: an array of numbers, or a text of packed floats in base64. Raises ProviderProtocolError."""
        try:
            if raw[:1] != b'"':
                _numbers(raw)
                return cls(json=raw)
            packed = base64.b64decode(msgspec.json.decode(raw, type=str), validate=True)
        except (ValueError, RecursionError, binascii.Error) as error:
            raise ProviderProtocolError(f"an embedding cannot be read: {str(error)[:200]}") from error
        if not packed or len(packed) % _FLOAT_BYTES:
            raise ProviderProtocolError("an embedding is not made of 32-bit floats")
        return cls(packed=packed)

    def as_json(self) -> bytes:
        return self.json or msgspec.json.encode(_swapped(array("f", self.packed)).tolist())

    def as_base64(self) -> str:
        """Packed floats in base64. A number beyond 32 bits becomes the nearest that there is."""
        packed = self.packed or _swapped(array("f", _numbers(self.json))).tobytes()
        return base64.b64encode(packed).decode()


def _swapped(values: array[float]) -> array[float]:
    if sys.byteorder == "big":
        values.byteswap()
    return values
