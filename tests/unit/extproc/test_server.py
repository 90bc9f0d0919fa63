"""The ASGI application, driven without a server."""

from __future__ import annotations

import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from control_plane.extproc.facts import CLIENT_DIALECT, MODEL, PATH, PROVIDER_DIALECT, TARGET, FactsReader
from control_plane.extproc.frames import FrameReader, framed
from control_plane.extproc.server import PROCESS, ProcessIds, Translator
from control_plane.pb.ext_proc_pb2 import ProcessingRequest, ProcessingResponse
from tests.unit.extproc.fakes import LineDialect

METADATA = {CLIENT_DIALECT: "lines", PROVIDER_DIALECT: "lines", TARGET: "p/m", MODEL: "up", PATH: "/v1/x"}
Events = list[MutableMapping[str, Any]]
DISCONNECT = {"type": "http.disconnect"}


@pytest.fixture
def translator() -> Translator:
    return Translator(FactsReader({"lines": LineDialect()}))


async def play(translator: Translator, events: Events, path: str = PROCESS, metadata: dict[str, str] = METADATA) -> Events:
    """What the application sends while it receives `events`."""
    given, sent = iter(events), list[MutableMapping[str, Any]]()

    async def receive() -> MutableMapping[str, Any]:
        return next(given)

    async def send(event: MutableMapping[str, Any]) -> None:
        sent.append(event)

    headers = [(name.encode(), value.encode()) for name, value in metadata.items()]
    await translator({"type": "http", "path": path, "headers": headers}, receive, send)
    return sent


def body(*messages: ProcessingRequest, more: bool = True) -> MutableMapping[str, Any]:
    return {"type": "http.request", "body": framed([m.SerializeToString() for m in messages]), "more_body": more}


def request(text: bytes = b"{}") -> list[ProcessingRequest]:
    head, piece = ProcessingRequest(), ProcessingRequest()
    head.request_headers.SetInParent()
    piece.request_body.body = text
    piece.request_body.end_of_stream = True
    return [head, piece]


def answers(sent: Events) -> list[ProcessingResponse]:
    reader = FrameReader()
    return [ProcessingResponse.FromString(m) for event in sent if event["type"] == "http.response.body" for m in reader.feed(event["body"])]


async def test_answers_of_one_event_go_out_together_after_the_head(translator: Translator) -> None:
    sent = await play(translator, [body(*request()), DISCONNECT])
    assert [event["type"] for event in sent] == ["http.response.start", "http.response.body"]
    assert [a.WhichOneof("response") for a in answers(sent)] == ["request_headers", "request_body"]


async def test_nothing_is_said_before_the_first_answer(translator: Translator) -> None:
    """Until the response has begun, Envoy may replay the stream on another worker."""
    assert await play(translator, [body(request()[0]), DISCONNECT]) == []


async def test_half_close_ends_the_answer(translator: Translator) -> None:
    sent = await play(translator, [body(*request()), {"type": "http.request", "body": b"", "more_body": False}])
    assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


@pytest.mark.parametrize("end", [DISCONNECT, {"type": "http.request", "body": b"", "more_body": False}])
async def test_attempt_that_ends_unanswered_was_cancelled(translator: Translator, end: MutableMapping[str, Any]) -> None:
    await play(translator, [body(*request()), end])
    assert (translator.tally.open, translator.tally.streams, translator.tally.cancelled) == (0, 1, 1)


async def test_attempt_that_was_answered_at_once_was_not_cancelled(translator: Translator) -> None:
    await play(translator, [body(*request(b"not json")), DISCONNECT])
    assert (translator.tally.refused, translator.tally.cancelled) == (1, 0)


@pytest.mark.parametrize("data", [b"\1\0\0\0\0", b"\0\0\0\0\2\xff\xff", b"\0\0\0\0\0"])
async def test_unreadable_stream_gets_a_status_when_nothing_was_said(translator: Translator, data: bytes) -> None:
    sent = await play(translator, [{"type": "http.request", "body": data, "more_body": True}])
    assert (b"grpc-status", b"13") in sent[0]["headers"]
    assert sent[1]["more_body"] is False
    assert (translator.tally.protocol_errors, translator.tally.open) == (1, 0)


async def test_unreadable_message_after_an_answer_leaves_the_stream_unended(translator: Translator) -> None:
    """Returning without an end makes the server reset the stream."""
    sent = await play(translator, [body(*request()), {"type": "http.request", "body": b"\1\0\0\0\0", "more_body": True}])
    assert all(event.get("more_body", True) for event in sent)
    assert translator.tally.protocol_errors == 1


async def test_target_that_is_misconfigured_declines(translator: Translator) -> None:
    sent = await play(translator, [body(*request()), DISCONNECT], metadata=METADATA | {PROVIDER_DIALECT: "other"})
    head, piece = answers(sent)
    headers = {o.header.key: o.header.raw_value for o in head.request_headers.response.header_mutation.set_headers}
    assert headers[":path"] == b"/"
    assert piece.request_body.response.body_mutation.streamed_response.body == b"{}"
    assert translator.tally.faults == 1


async def test_health_stats_and_other_paths(translator: Translator) -> None:
    start, health = await play(translator, [], "/healthz")
    assert (start["status"], health["body"]) == (200, b"ok")
    translator.draining = True
    start, _ = await play(translator, [], "/healthz")
    assert start["status"] == 503
    _, stats = await play(translator, [], "/stats")
    assert json.loads(stats["body"])["streams"] == 0
    start, _ = await play(translator, [], "/other")
    assert start["status"] == 404


async def test_other_kinds_of_connection_are_ignored(translator: Translator) -> None:
    async def never(*_: object) -> Any:
        raise AssertionError

    await translator({"type": "lifespan"}, never, never)


def test_ids_differ_between_calls_and_processes() -> None:
    one, other = ProcessIds(), ProcessIds()
    made = [source.new("msg_") for source in (one, other) for _ in range(1000)]
    assert len(set(made)) == len(made)
    assert all(name.startswith("msg_") for name in made)
    assert one.now() > 1_700_000_000
