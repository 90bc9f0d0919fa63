"""Where fuzzing starts: one rich request and answer in each dialect, the hostile samples, and recorded traffic where it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Final

from control_plane.dialects import canon
from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from tests.conformance.conftest import RECORDINGS, Recording, load
from tests.fuzz.targets import Ids
from tests.siblings import SIBLINGS
from tests.unit.dialects.samples import REQUESTS, STREAMS, framed

RECORDED_BYTES: Final = 24_000  # longer recordings slow every mutation down and say nothing new
_APIS: Final = {"gemini-generate": "gemini-generate-content"}  # what recordings call otherwise

ANSWER: Final[tuple[canon.Event, ...]] = (
    canon.Start(id="r1", model="m", created=1),
    canon.ReasoningDelta("think"),
    canon.TextDelta("Hello "),
    canon.TextDelta("world"),
    canon.ToolCallStart(0, "call_1", "f"),
    canon.ToolArgumentsDelta(0, '{"a"'),
    canon.ToolArgumentsDelta(0, ":1}"),
    canon.ToolCallEnd(0),
    canon.ToolCallStart(1, "call_2", "g"),
    canon.ToolArgumentsDelta(1, "{}"),
    canon.UsageUpdate(canon.Usage(10, 2, 1, 5, 3)),
    canon.Stop("tool_use"),
    canon.End(),
)


def seeds(target: str, dialect: str) -> Iterator[bytes]:
    """Inputs: choices and body. `dialect` need only be spoken by providers, unless `target` is "request"."""
    choices = range(4)
    if target == "request":
        for body in _requests(dialect):
            for choice in choices:
                yield bytes((choice, choice, choice)) + body
    elif target == "answer":
        for body, streamed in _answers(dialect):
            for choice in choices:
                yield bytes((choice, (0, 1, 7, 64)[choice], streamed | choice % 2 << 1 | choice << 2)) + body
    else:
        for body in _errors(dialect):
            yield b"\0\0\0" + body


def _requests(dialect: str) -> Iterator[bytes]:
    for name, sample in REQUESTS.items():
        body = json.dumps(sample).encode()
        if name == dialect:
            yield body
            continue
        try:
            yield PROVIDERS[dialect].write_request(DIALECTS[name].read_request(body, Call("m")), TargetFacts("m", "/")).body
        except canon.Unfit:
            continue
    for recording in _recorded(dialect):
        if recording.request is not None and len(recording.request) < RECORDED_BYTES:
            yield recording.request


def _answers(dialect: str) -> Iterator[tuple[bytes, bool]]:
    if dialect in STREAMS:
        yield framed(dialect, STREAMS[dialect]), True
    if dialect in DIALECTS:
        for streams in (False, True):
            asked = canon.Request(dialect=dialect, model="m", messages=(), stream=streams, include_usage=True)
            writer = DIALECTS[dialect].writer(asked, Ids())
            yield b"".join(map(writer.emit, ANSWER)) + writer.finish(), streams
    if (sibling := SIBLINGS.get(dialect)) is not None:
        for body, streams in _answers(sibling.of):
            yield sibling.framed(body) if streams else body, streams
    for recording in _recorded(dialect):
        if 200 <= recording.status < 300 and len(recording.body) < RECORDED_BYTES:
            yield recording.body, recording.stream


def _errors(dialect: str) -> Iterator[bytes]:
    failure = canon.Failure("rate_limited", 429, "slow down", code="rate_limit_exceeded", param="messages.0", retry_after=3.0)
    errors = SIBLINGS[dialect].errors if dialect in SIBLINGS else dialect
    if errors in DIALECTS:
        yield DIALECTS[errors].write_error(failure)
    for recording in _recorded(dialect):
        if recording.status >= 400 and len(recording.body) < RECORDED_BYTES:
            yield recording.body
    yield b"{}"


def _recorded(dialect: str) -> list[Recording]:
    if not (RECORDINGS / "index.jsonl").is_file():
        return []
    names = {dialect, *(theirs for theirs, ours in _APIS.items() if ours == dialect)}
    return load(names)
