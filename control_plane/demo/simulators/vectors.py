"""Vectors of a simulated embedding model: of the text alone, the same for every vendor, and exact in 32 bits."""

from __future__ import annotations

import base64
import hashlib
import struct

PERIOD_BYTES = 32  # of the digest that is repeated


def vector(text: str, size: int) -> list[float]:
    """`size` numbers from -1 to 1 with one bit set or more, each a multiple of 1/128."""
    digest = hashlib.sha256(text.encode(errors="replace")).digest()
    return [(digest[i % PERIOD_BYTES] - 128) / 128 for i in range(size)]


def packed(values: list[float]) -> str:
    """Little-endian 32-bit floats in base64."""
    return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
