"""gRPC's framing of messages in a byte stream: a compressed flag, a big-endian length of four bytes, the message."""

from __future__ import annotations

from typing import Final

from control_plane.kit.errors import ProtocolError

PREFIX_BYTES: Final = 5
# The largest message accepted: a whole body (64 MiB at most, sent in one piece when the listener had buffered it) and its wrapping.
MESSAGE_BYTES: Final = 65 * 1024 * 1024


class FrameError(ProtocolError):
    """Bytes that are not gRPC frames; nothing after them can be read."""


class FrameReader:
    """Collects pieces of any size; `feed` gives the messages that are whole."""

    __slots__ = ("_need", "_pending")

    def __init__(self) -> None:
        self._pending = bytearray()
        self._need = PREFIX_BYTES

    def feed(self, data: bytes) -> list[bytes]:
        """Raises FrameError."""
        pending = self._pending
        if not pending and len(data) >= PREFIX_BYTES and len(data) == PREFIX_BYTES + _size(data, 0):
            return [data[PREFIX_BYTES:]]  # the usual case: one message, nothing to keep
        pending += data
        if len(pending) < self._need:
            return []
        messages: list[bytes] = []
        start = 0
        with memoryview(pending) as view:
            while True:
                if len(view) - start < PREFIX_BYTES:
                    self._need = PREFIX_BYTES
                    break
                end = start + PREFIX_BYTES + _size(view, start)
                if end > len(view):
                    self._need = end - start
                    break
                messages.append(bytes(view[start + PREFIX_BYTES : end]))
                start = end
        del pending[:start]
        return messages

    @property
    def partial(self) -> bool:
        """Whether a message has begun and not ended."""
        return bool(self._pending)


def _size(data: bytes | memoryview, at: int) -> int:
    if data[at]:
        raise FrameError("a compressed message, although no compression was offered")
    size = int.from_bytes(data[at + 1 : at + PREFIX_BYTES], "big")
    if size > MESSAGE_BYTES:
        raise FrameError(f"a message of {size} bytes; at most {MESSAGE_BYTES} are accepted")
    return size


def framed(messages: list[bytes]) -> bytes:
    """The messages as they go on the wire."""
    parts: list[bytes] = []
    for message in messages:
        parts.append(b"\0" + len(message).to_bytes(4, "big"))
        parts.append(message)
    return b"".join(parts)
