"""What is fuzzed: for one dialect, bytes as a client's request, as a provider's answer and as a provider's error.

An input is three bytes of choices and a body. Whatever the body is, only the declared errors may leave a dialect, any split of an
answer must give the same events, and what is written must be readable. A breach raises AssertionError (or the undeclared error
itself), which is what a fuzzing engine looks for; hangs and memory are the engine's to watch.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import msgspec

from control_plane.dialects import canon
from control_plane.dialects.api import Call, ResponseWriter, TargetFacts
from control_plane.dialects.eventstream import CONTENT_TYPE, EventStreamDecoder
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.dialects.sse import SSEDecoder
from control_plane.kit.errors import ClientProtocolError, ProviderProtocolError
from tests.siblings import STREAMED

_T = TypeVar("_T")
CHOICE_BYTES: Final = 3
_SSE: Final = "text/event-stream"
_STATUSES: Final = (400, 401, 403, 404, 408, 413, 422, 429, 500, 502, 503, 504, 529)
_MODELS: Final = ("claude-sonnet-4-5", "gpt-5", "gemini-3-pro", "m")


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}x"

    def now(self) -> int:
        return 1


def request(dialect: str, choices: Sequence[int], body: bytes) -> None:
    """`choices`: the provider's dialect, the model's name there, whether the request is edited."""
    try:
        read = DIALECTS[dialect].read_request(body, Call("m", bool(choices[2] & 2), ("", "alt=sse")[choices[2] >> 2 & 1]))
    except ClientProtocolError as refused:
        _refused(dialect, canon.Failure.of_client_error(refused))
        return
    provider = _chosen(tuple(PROVIDERS.values()), choices[0])
    asked = read.edited() if choices[2] % 2 else read
    try:
        written = provider.write_request(asked, TargetFacts(_chosen(_MODELS, choices[1]), "/v1/x"))
    except canon.Unfit as unfit:
        _refused(dialect, canon.Unfit(read.named(unfit.field), unfit.message).failure)
        return
    assert isinstance(msgspec.json.decode(written.body), dict)
    assert all(isinstance(read.named(path), str) for path in written.dropped)


def _refused(dialect: str, failure: canon.Failure) -> None:
    assert failure.status == 400, failure
    assert failure.message
    assert failure.kind != "client_fault" or failure.code
    msgspec.json.decode(DIALECTS[dialect].write_error(failure))


def answer(dialect: str, choices: Sequence[int], body: bytes) -> None:
    """`choices`: the client's dialect, how the body is split, whether provider and client stream."""
    client = _chosen(tuple(DIALECTS.values()), choices[0])
    streamed, streams = bool(choices[2] & 1), bool(choices[2] & 2)
    asked = canon.Request(dialect=client.name, model="m", messages=(), stream=streams, include_usage=True)
    pieces = [body] if choices[1] == 0 else [body[at : at + choices[1]] for at in range(0, len(body), choices[1])]
    events = _events(dialect, asked, streamed, pieces)
    other = _events(dialect, asked, streamed, [body])
    assert events == other, "another split gives other events"
    if events is not None:
        _written(lambda: client.writer(asked, Ids()), events, choices[2] >> 2)


def error(dialect: str, choices: Sequence[int], body: bytes) -> None:
    """`choices`: the client's dialect, the status."""
    failure = PROVIDERS[dialect].read_error(_chosen(_STATUSES, choices[1]), {"retry-after": str(choices[2])}, body)
    assert 400 <= failure.status < 600
    msgspec.json.decode(_chosen(tuple(DIALECTS.values()), choices[0]).write_error(failure))


def _events(dialect: str, asked: canon.Request, streamed: bool, pieces: list[bytes]) -> list[canon.Event] | None:
    """None: the answer cannot be read."""
    reader = PROVIDERS[dialect].reader(asked)
    reader.start(200, STREAMED.get(dialect, _SSE) if streamed else "application/json")
    events: list[canon.Event] = []
    try:
        for piece in pieces:
            events += reader.feed(piece)
        return events + reader.finish()
    except ProviderProtocolError:
        return None


def _written(make: Callable[[], ResponseWriter], events: list[canon.Event], broken_after: int) -> None:
    """Written to the end, and broken off after some events: both must be readable."""
    whole = make()
    out = b"".join(map(whole.emit, events)) + whole.finish()
    _readable(whole.content_type, out)
    broken = make()
    out = b"".join(map(broken.emit, events[:broken_after]))
    _readable(broken.content_type, out + broken.fail(canon.Failure("transient", 503, "broken off")))


def _readable(content_type: str, out: bytes) -> None:
    if content_type == CONTENT_TYPE:
        frames = EventStreamDecoder()
        pieces = [frame.payload for frame in frames.feed(out) + frames.finish()]
    elif content_type.startswith(_SSE):
        decoder = SSEDecoder()
        pieces = [data for _, data in decoder.feed(out) + decoder.finish() if data != b"[DONE]"]
    else:
        pieces = [out]
    for piece in pieces:
        msgspec.json.decode(piece)


def _chosen(options: Sequence[_T], number: int) -> _T:
    return options[number % len(options)]


TARGETS: Final = {"request": request, "answer": answer, "error": error}


def run(target: str, dialect: str, data: bytes) -> None:
    """One input. Too short ones are no inputs."""
    if len(data) > CHOICE_BYTES:
        TARGETS[target](dialect, data[:CHOICE_BYTES], data[CHOICE_BYTES:])
