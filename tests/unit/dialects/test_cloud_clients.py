"""Clients made for Claude on a cloud: what their requests mean, and what they get."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from control_plane.dialects import canon
from control_plane.dialects.api import Call, ClientDialect, TargetFacts
from control_plane.dialects.eventstream import CONTENT_TYPE, EventDecoder
from control_plane.dialects.operations import SIDES
from control_plane.dialects.registry import DIALECTS
from control_plane.dialects.sse import SSEDecoder
from control_plane.kit.errors import ClientProtocolError

NAME = "anthropic-messages"
OPERATIONS = pytest.mark.parametrize("operation", ["raw_predict", "invoke"])
ASKED: dict[str, Any] = {"max_tokens": 9, "messages": [{"role": "user", "content": "hello"}]}


class Ids:
    def new(self, prefix: str) -> str:
        return f"{prefix}made"

    def now(self) -> int:
        return 1


def client(operation: str) -> ClientDialect:
    return SIDES[operation].clients[NAME]


def read(operation: str, streamed: bool = False, headers: dict[str, str] | None = None, **body: Any) -> canon.Request:
    return client(operation).read_request(json.dumps({**ASKED, **body}).encode(), Call("m", streamed, "", headers or {}))


@OPERATIONS
def test_a_request_is_one_to_messages(operation: str) -> None:
    request = read(operation, True, {"anthropic-beta": "a"}, anthropic_version="v", anthropic_beta=["b"], stream=False, odd=1)
    plain = json.dumps({**ASKED, "odd": 1, "model": "m", "stream": True}).encode()
    assert request == DIALECTS[NAME].read_request(plain, Call(headers={"anthropic-beta": "a,b"}))
    written = DIALECTS[NAME].write_request(request, TargetFacts("up", "/"))
    assert json.loads(written.body) == {**ASKED, "odd": 1, "model": "up", "stream": True}


@OPERATIONS
@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"anthropic_version": 1}, "anthropic_version"),
        ({"anthropic_beta": "b"}, "anthropic_beta"),
        ({"anthropic_beta": [1]}, "anthropic_beta.0"),
        ({"max_tokens": None}, "max_tokens"),
    ],
)
def test_bad_requests_name_the_field(operation: str, body: dict[str, Any], field: str) -> None:
    with pytest.raises(ClientProtocolError) as error:
        read(operation, **body)
    assert error.value.param == field


EVENTS: tuple[canon.Event, ...] = (
    canon.Start("i", "up", 1),
    canon.TextDelta("a\nb"),
    canon.UsageUpdate(canon.Usage(3, output=2)),
    canon.Stop("end"),
    canon.End(),
)


@pytest.mark.parametrize("piece", [1, 7, 4096])
def test_a_framed_stream_holds_the_same_events(piece: int) -> None:
    plain, framed = (client(operation).writer(read(operation, True), Ids()) for operation in ("raw_predict", "invoke"))
    assert (plain.content_type, framed.content_type) == ("text/event-stream", CONTENT_TYPE)
    events = [json.loads(data) for _, data in SSEDecoder().feed(b"".join(map(plain.emit, EVENTS)) + plain.finish())]
    out = b"".join(map(framed.emit, EVENTS)) + framed.finish()
    decoder = EventDecoder()
    got = [event for at in range(0, len(out), piece) for event in decoder.feed(out[at : at + piece])] + decoder.finish()
    assert {name for name, _ in got} == {b"chunk"}
    assert [json.loads(base64.b64decode(json.loads(payload)["bytes"])) for _, payload in got] == events
    assert events[-1] == {"type": "message_stop"}


@pytest.mark.parametrize(
    ("status", "name"), [(429, "throttlingException"), (503, "serviceUnavailableException"), (529, "modelStreamErrorException")]
)
def test_a_framed_stream_breaks_off_with_an_exception_once(status: int, name: str) -> None:
    writer = client("invoke").writer(read("invoke", True), Ids())
    decoder = EventDecoder()
    decoder.feed(b"".join(map(writer.emit, EVENTS[:2])))
    failure = canon.Failure("transient", status, "gone")
    ((kind, payload),) = decoder.feed(writer.fail(failure))
    assert kind is not None
    assert kind.endswith(name.encode())
    assert json.loads(payload) == {"message": "gone"}
    assert writer.fail(failure) == writer.finish() == b""


@OPERATIONS
def test_a_whole_answer_is_the_dialects_own(operation: str) -> None:
    writer = client(operation).writer(read(operation), Ids())
    document = json.loads(b"".join(map(writer.emit, EVENTS)) + writer.finish())
    assert (writer.content_type, document["content"]) == ("application/json", [{"type": "text", "text": "a\nb"}])
