"""A TCP reset: what a crashed server or an impatient middlebox sends."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct


def reset(transport: asyncio.WriteTransport) -> None:
    """Send RST: nothing more is flushed, and what the peer has not read yet is lost."""
    raw = transport.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
