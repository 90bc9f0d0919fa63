"""The translator's service over real HTTP/2 bytes, without sockets."""

from __future__ import annotations

import json

import pytest

from control_plane.extproc.exchange import Exchange
from control_plane.extproc.facts import ASKED, MODEL, OFFERS, TARGET, FactsReader
from control_plane.extproc.frames import FrameReader, framed
from control_plane.extproc.server import PROCESS, ProcessIds, Translator
from control_plane.pb.ext_proc_pb2 import ProcessingRequest, ProcessingResponse
from tests.unit.extproc.fakes import LineDialect
from tests.unit.extproc.peer import Peer

METADATA = {
    ASKED: '{"dialect":"lines","operation":"chat"}',
    OFFERS: '[{"dialect":"lines","operation":"chat","path":"/v1/x"}]',
    TARGET: "p/m",
    MODEL: "up",
}


@pytest.fixture
def translator() -> Translator:
    return Translator(FactsReader({"lines": LineDialect()}, {"lines": LineDialect()}))


@pytest.fixture
def peer(translator: Translator) -> Peer:
    return Peer(translator.connection())


def process(peer: Peer, metadata: dict[str, str] = METADATA) -> int:
    return peer.open(PROCESS.encode(), [(name.encode(), value.encode()) for name, value in metadata.items()])


def request(text: bytes = b"{}") -> bytes:
    """A whole request as gRPC frames."""
    head, piece = ProcessingRequest(), ProcessingRequest()
    head.request_headers.SetInParent()
    piece.request_body.body = text
    piece.request_body.end_of_stream = True
    return framed([head.SerializeToString(), piece.SerializeToString()])


def answers(peer: Peer, number: int) -> list[ProcessingResponse]:
    return [ProcessingResponse.FromString(message) for message in FrameReader().feed(peer.data[number])]


def test_request_is_answered(translator: Translator, peer: Peer) -> None:
    number = process(peer)
    peer.send(number, request())
    assert peer.head[number] == {b":status": b"200", b"content-type": b"application/grpc"}
    assert [answer.WhichOneof("response") for answer in answers(peer, number)] == ["request_headers", "request_body"]
    assert translator.tally.open == 1


def test_nothing_is_said_before_the_first_answer(peer: Peer) -> None:
    """Until the response has begun, Envoy may replay the stream on another worker."""
    number = process(peer)
    peer.send(number, request()[:-1])
    assert number not in peer.head


def test_half_close_ends_with_a_status(translator: Translator, peer: Peer) -> None:
    number = process(peer)
    peer.send(number, request(), end=True)
    assert peer.trailers[number] == {b"grpc-status": b"0"}
    assert (translator.tally.open, translator.tally.cancelled) == (0, 1)


def test_half_close_before_anything_was_said(peer: Peer) -> None:
    number = process(peer)
    peer.client.end_stream(number)
    peer.pump()
    assert peer.head[number][b"grpc-status"] == b"0"
    assert number in peer.ended


def test_reset_before_the_outcome_was_a_cancel(translator: Translator, peer: Peer) -> None:
    number = process(peer)
    peer.send(number, request())
    peer.client.reset_stream(number)
    peer.pump()
    assert (translator.tally.open, translator.tally.streams, translator.tally.cancelled) == (0, 1, 1)


def test_attempt_that_was_answered_at_once_was_not_cancelled(translator: Translator, peer: Peer) -> None:
    number = process(peer)
    peer.send(number, request(b"not json"))
    peer.client.reset_stream(number)
    peer.pump()
    assert (translator.tally.refused, translator.tally.cancelled, translator.tally.open) == (1, 0, 0)


UNREADABLE = {"compressed": b"\1\0\0\0\0", "no message": b"\0\0\0\0\2\xff\xff", "no kind": b"\0\0\0\0\0"}


@pytest.mark.parametrize("name", UNREADABLE)
def test_unreadable_stream_gets_a_status(translator: Translator, peer: Peer, name: str) -> None:
    number = process(peer)
    peer.send(number, UNREADABLE[name])
    assert peer.head[number][b"grpc-status"] == b"13"
    assert number in peer.ended
    assert (translator.tally.protocol_errors, translator.tally.open) == (1, 0)


def test_stream_that_ends_inside_a_message(translator: Translator, peer: Peer) -> None:
    number = process(peer)
    peer.send(number, request()[:-1], end=True)
    assert peer.head[number][b"grpc-status"] == b"13"
    assert translator.tally.protocol_errors == 1


def test_unreadable_message_after_an_answer_ends_with_a_status(translator: Translator, peer: Peer) -> None:
    number = process(peer)
    peer.send(number, request())
    peer.send(number, b"\1\0\0\0\0")
    assert peer.trailers[number][b"grpc-status"] == b"13"
    assert (translator.tally.protocol_errors, translator.tally.open) == (1, 0)


def test_bug_ends_one_stream_only(translator: Translator, peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Exchange, message: ProcessingRequest) -> list[bytes]:
        raise RuntimeError("a bug")

    other = process(peer)
    with monkeypatch.context() as patch:
        patch.setattr(Exchange, "on_message", broken)
        number = process(peer)
        peer.send(number, request())
    assert peer.head[number][b"grpc-status"] == b"13"
    assert translator.tally.faults == 1
    peer.send(other, request())
    assert len(answers(peer, other)) == 2


def test_stream_that_failed_while_its_answer_waits_hears_nothing_more(translator: Translator) -> None:
    peer = Peer(translator.connection(), window=1)
    peer.auto_window = False
    number = process(peer)
    peer.send(number, request())
    peer.send(number, b"\1\0\0\0\0")
    peer.send(number, request(), end=True)
    assert (translator.tally.protocol_errors, translator.tally.open) == (1, 0)
    while number not in peer.ended:
        peer.client.increment_flow_control_window(1000, number)
        peer.pump()
    assert peer.trailers[number][b"grpc-status"] == b"13"


def test_target_that_is_misconfigured_declines(translator: Translator, peer: Peer) -> None:
    number = process(peer, METADATA | {ASKED: '{"dialect":"other","operation":"chat"}'})
    peer.send(number, request())
    head, piece = answers(peer, number)
    headers = {o.header.key: o.header.raw_value for o in head.request_headers.response.header_mutation.set_headers}
    assert headers[":path"] == b"/"
    assert piece.request_body.response.body_mutation.streamed_response.body == b"{}"
    assert translator.tally.faults == 1


def test_health_stats_and_other_paths(translator: Translator, peer: Peer) -> None:
    def get(path: bytes) -> tuple[bytes, bytes]:
        number = peer.open(path, end=True)
        assert number in peer.ended
        return peer.head[number][b":status"], peer.data[number]

    assert get(b"/healthz") == (b"200", b"ok")
    translator.draining = True
    assert get(b"/healthz") == (b"503", b"draining")
    status, stats = get(b"/stats")
    assert (status, json.loads(stats)["streams"]) == (b"200", 0)
    assert get(b"/other")[0] == b"404"


def test_ids_differ_between_calls_and_processes() -> None:
    one, other = ProcessIds(), ProcessIds()
    made = [source.new("msg_") for source in (one, other) for _ in range(1000)]
    assert len(set(made)) == len(made)
    assert all(name.startswith("msg_") for name in made)
    assert one.now() > 1_700_000_000
