"""gRPC framing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.extproc import frames as module
from control_plane.extproc.frames import FrameError, FrameReader, framed


@given(st.lists(st.binary(max_size=300), max_size=12), st.lists(st.integers(1, 40), min_size=1, max_size=40))
def test_any_split_gives_the_same_messages(messages: list[bytes], sizes: list[int]) -> None:
    wire, reader, seen, at = framed(messages), FrameReader(), list[bytes](), 0
    for turn in range(len(wire)):
        if at >= len(wire):
            break
        size = sizes[turn % len(sizes)]
        seen += reader.feed(wire[at : at + size])
        at += size
    assert seen == messages
    assert not reader.partial


def test_frame_layout() -> None:
    assert framed([b"ab", b""]) == b"\0\0\0\0\2ab\0\0\0\0\0"


def test_begun_message_is_partial() -> None:
    reader = FrameReader()
    assert reader.feed(b"\0\0\0\0\3ab") == []
    assert reader.partial
    assert reader.feed(b"c\0") == [b"abc"]
    assert reader.partial


@pytest.mark.parametrize("before", [b"", b"\0\0\0\0\1x"])
def test_compressed_message_is_refused(before: bytes) -> None:
    with pytest.raises(FrameError, match="compressed"):
        FrameReader().feed(before + b"\1\0\0\0\1x")


def test_message_over_the_limit_is_refused_before_it_is_collected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MESSAGE_BYTES", 10)
    assert FrameReader().feed(framed([b"x" * 10])) == [b"x" * 10]
    with pytest.raises(FrameError, match="at most 10"):
        FrameReader().feed(b"\0\0\0\0\x0b")
