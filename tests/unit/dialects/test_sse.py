"""The SSE decoder: the standard's line rules, the deviations of real vendors, any split, a bound."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from control_plane.dialects.sse import EVENT_LIMIT_BYTES, SSEDecoder, SSEvent, encode
from control_plane.kit.errors import ProviderProtocolError

STEADY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def feed_all(decoder: SSEDecoder, pieces: list[bytes]) -> list[SSEvent]:
    return [event for piece in pieces for event in decoder.feed(piece)]


def decode(*pieces: bytes) -> list[SSEvent]:
    decoder = SSEDecoder()
    return feed_all(decoder, list(pieces)) + decoder.finish()


@pytest.mark.parametrize(
    ("body", "events"),
    [
        (b"data: a\n\n", [(None, b"a")]),
        (b"data:a\n\n", [(None, b"a")]),
        (b"data:  a\n\n", [(None, b" a")]),
        (b"data: a\r\n\r\ndata: b\r\n\r\n", [(None, b"a"), (None, b"b")]),
        (b"data: a\r\rdata: b\r\r", [(None, b"a"), (None, b"b")]),
        (b"data: a\n\r\ndata: b\n\n", [(None, b"a"), (None, b"b")]),
        (b"event: ping\ndata: {}\n\n", [(b"ping", b"{}")]),
        (b"data: {}\nevent: late\n\n", [(b"late", b"{}")]),
        (b"event:\ndata: x\n\n", [(None, b"x")]),
        (b"data: a\ndata: b\ndata:\n\n", [(None, b"a\nb\n")]),
        (b"data\n\n", [(None, b"")]),
        (b": OPENROUTER PROCESSING\n\ndata: a\n\n", [(None, b"a")]),
        (b"id: 7\nretry: 10\ndata: a\n\n", [(None, b"a")]),
        (b"event: nothing\n\ndata: a\n\n", [(None, b"a")]),
        (b"\n\n\n\ndata: a\n\n\n\n\ndata: b\n\n", [(None, b"a"), (None, b"b")]),
        (b"\xef\xbb\xbfdata: a\n\n", [(None, b"a")]),
        (b"data: a", [(None, b"a")]),
        (b"data: a\n", [(None, b"a")]),
        (b"error: out of memory\n\n", [(b"error", b"out of memory")]),
        (b"", []),
    ],
)
def test_lines(body: bytes, events: list[SSEvent]) -> None:
    assert decode(body) == events
    assert decode(*[body[i : i + 1] for i in range(len(body))]) == events


_LINES = st.lists(
    st.sampled_from(
        [b"data: {}", b"data:x", b"data", b"event: ping", b": note", b"", b"", b"id: 1", b"data: \xc3\xa9", b"error: no", b"\xef\xbb\xbf"]
    ),
    max_size=20,
)
_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@STEADY
@given(_LINES, st.lists(_ENDS, min_size=20, max_size=20), st.lists(st.integers(0, 400), max_size=12))
def test_any_split_gives_the_same_events(lines: list[bytes], ends: list[bytes], cuts: list[int]) -> None:
    body = b"".join(line + end for line, end in zip(lines, ends, strict=False))
    at = sorted({min(cut, len(body)) for cut in cuts})
    pieces = [body[a:b] for a, b in zip([0, *at], [*at, len(body)], strict=True)]
    assert decode(*pieces) == decode(body)


@STEADY
@given(st.binary(max_size=300).filter(lambda b: b"\r" not in b), st.sampled_from([None, b"message_start"]))
def test_what_is_encoded_decodes_to_itself(data: bytes, name: bytes | None) -> None:
    assert decode(encode(data, name)) == [(name, data)]


@pytest.mark.parametrize("whole", [True, False])
def test_an_event_over_the_limit_is_refused(whole: bool) -> None:
    body = b"data: " + b"x" * 2000 + b"\n\n"
    pieces = [body] if whole else [body[i : i + 1] for i in range(len(body))]
    with pytest.raises(ProviderProtocolError, match="larger than 1000 bytes"):
        feed_all(SSEDecoder(limit=1000), pieces)


def test_an_event_at_the_limit_passes_and_the_buffer_never_outgrows_it() -> None:
    body = b"data: " + b"x" * 994 + b"\n\n"
    decoder = SSEDecoder(limit=1000)
    events = [event for i in range(len(body)) for event in decoder.feed(body[i : i + 1])]
    assert events == [(None, b"x" * 994)]
    assert EVENT_LIMIT_BYTES == 8 * 1024 * 1024


def test_comments_without_end_are_bounded_too() -> None:
    with pytest.raises(ProviderProtocolError):
        feed_all(SSEDecoder(limit=1000), [b": keep-alive that never ends a line"] * 100)
