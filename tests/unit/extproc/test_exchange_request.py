"""The request half of an attempt."""

from __future__ import annotations

import json

import pytest

from control_plane.dialects.api import Call, TargetFacts
from control_plane.dialects.canon import Request
from control_plane.extproc import exchange as module
from control_plane.extproc.exchange import Exchange, Misconfigured, OutOfTurn
from control_plane.extproc.facts import Facts
from control_plane.extproc.tally import Tally
from control_plane.pb.ext_proc_pb2 import ProcessingRequest, ProcessingResponse
from tests.unit.extproc.conftest import Attempt, mutated
from tests.unit.extproc.fakes import Ids, LineDialect


def sent(answers: list[ProcessingResponse]) -> tuple[dict[str, str], list[str], bytes]:
    """(headers set, headers removed, body) of the provider's request."""
    head, body = answers
    mutation = head.request_headers.response.header_mutation
    piece = body.request_body.response.body_mutation.streamed_response
    assert piece.end_of_stream
    return mutated(mutation), list(mutation.remove_headers), piece.body


def test_request_is_answered_once_it_is_whole(attempt: Attempt) -> None:
    assert attempt.request(b'{"text":', end=False) == []
    headers, removed, body = sent(attempt.request_body(b'"hi"}', end=True))
    assert json.loads(body) == {"for": "up-model", "said": "hi"}
    assert headers == {
        ":path": "/up/path",
        "content-type": "application/json",
        "accept": "application/json",
        "content-length": str(len(body)),
        "x-version": "7",
    }
    assert "accept-encoding" in removed
    assert attempt.tally.translated == 1


def test_streamed_request_asks_for_events(attempt: Attempt) -> None:
    headers, _, _ = sent(attempt.request(b'{"stream":true}'))
    assert headers["accept"] == "text/event-stream"


def test_end_may_come_in_an_empty_piece(attempt: Attempt) -> None:
    attempt.request(b'{"text":"hi"}', end=False)
    _, _, body = sent(attempt.request_body(b"", end=True))
    assert json.loads(body)["said"] == "hi"


def test_request_that_trailers_end(attempt: Attempt) -> None:
    attempt.request(b'{"text":"hi"}', end=False)
    message = ProcessingRequest()
    message.request_trailers.SetInParent()
    head, body, trailers = attempt.say(message)
    assert head.WhichOneof("response") == "request_headers"
    assert not body.request_body.response.body_mutation.streamed_response.end_of_stream
    assert trailers.WhichOneof("response") == "request_trailers"


@pytest.mark.parametrize(
    ("body", "code", "param"),
    [(b'{"bad":"messages.3"}', "bad_field", "messages.3"), (b"not json", "invalid_json", None), (b"", "invalid_json", None)],
)
def test_client_fault_is_answered_at_once_in_its_dialect(attempt: Attempt, body: bytes, code: str, param: str | None) -> None:
    (answer,) = attempt.request(body)
    immediate = answer.immediate_response
    assert immediate.status.code == 400
    assert json.loads(immediate.body) == {"kind": "client_fault", "code": code, "param": param}
    assert mutated(immediate.headers) == {"content-type": "application/json", "x-headgate-lane": "translation"}
    assert (attempt.tally.refused, attempt.tally.translated) == (1, 0)


def test_request_without_a_body_is_the_clients_fault(attempt: Attempt) -> None:
    head = ProcessingRequest()
    head.request_headers.end_of_stream = True
    (answer,) = attempt.say(head)
    assert answer.immediate_response.status.code == 400


def test_request_over_the_limit(attempt: Attempt, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REQUEST_BYTES", 10)
    assert attempt.request(b"x" * 10, end=False) == []
    (answer,) = attempt.request_body(b"x", end=False)
    assert answer.immediate_response.status.code == 413


@pytest.mark.parametrize(
    ("body", "status", "code"), [(b'{"unfit":"n"}', "400", "unsupported_feature"), (b'{"bug":1}', "500", "translation_failed")]
)
def test_request_the_target_cannot_serve_goes_out_harmless_and_fails_over(attempt: Attempt, body: bytes, status: str, code: str) -> None:
    headers, removed, harmless = sent(attempt.request(body))
    assert harmless == b"{}"
    assert (headers[":path"], headers["content-length"]) == ("/", "2")
    assert {"authorization", "x-api-key", "api-key", "x-goog-api-key"} <= set(removed)
    attempt.answers.clear()
    attempt.head(404)
    assert attempt.client_head == {
        ":status": status,
        "content-type": "application/json",
        "x-headgate-lane": "translation",
        "x-headgate-failure": "unfit",
    }
    attempt.body("whatever the provider says", end=False)
    assert attempt.client_body == b""
    attempt.body("", end=True)
    assert json.loads(attempt.client_body)["code"] == code
    assert attempt.ended()
    assert attempt.metered is None
    assert attempt.tally.declined == 1


def test_declined_request_whose_answer_has_no_body(attempt: Attempt) -> None:
    attempt.request(b'{"unfit":"n"}')
    (answer,) = attempt.head(405, end=True)
    common = answer.response_headers.response
    assert common.status == common.CONTINUE_AND_REPLACE
    assert json.loads(common.body_mutation.body)["param"] == "n"


def test_misconfigured_target_declines() -> None:
    exchange = Misconfigured("no such dialect")
    message = ProcessingRequest()
    message.request_headers.SetInParent()
    assert exchange.on_message(message) == []
    message.request_body.end_of_stream = True
    head, body = (ProcessingResponse.FromString(m) for m in exchange.on_message(message))
    assert mutated(head.request_headers.response.header_mutation)[":path"] == "/"
    assert body.request_body.response.body_mutation.streamed_response.body == b"{}"
    message.response_headers.end_of_stream = False
    (answer,) = (ProcessingResponse.FromString(m) for m in exchange.on_message(message))
    headers = mutated(answer.response_headers.response.header_mutation)
    assert (headers[":status"], headers["x-headgate-failure"]) == ("500", "misconfigured")
    message.response_body.end_of_stream = True
    (answer,) = (ProcessingResponse.FromString(m) for m in exchange.on_message(message))
    assert b"no such dialect" in answer.response_body.response.body_mutation.streamed_response.body


@pytest.mark.parametrize("kind", ["response_headers", "response_body", "response_trailers", ""])
def test_messages_out_of_turn_are_refused(attempt: Attempt, kind: str) -> None:
    message = ProcessingRequest()
    if kind:
        getattr(message, kind).SetInParent()
    with pytest.raises(OutOfTurn):
        attempt.say(message)


def test_second_body_is_out_of_turn(attempt: Attempt) -> None:
    attempt.request(b"{}")
    with pytest.raises(OutOfTurn):
        attempt.request_body(b"{}", end=True)


def test_second_head_is_out_of_turn(streaming: Attempt) -> None:
    with pytest.raises(OutOfTurn):
        streaming.head()


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ("stream alt=sse a/b c", Call("a/b c", True, "alt=sse")),
        ("whole  größe", Call("größe", False, "")),
    ],
)
def test_the_client_dialect_learns_what_the_path_said(told: str, expected: Call) -> None:
    dialect = Named()
    attempt = Attempt(Exchange(Facts(dialect, dialect, "p/m", TargetFacts("up", "/up"), by_path=True), Ids(), Tally()), Tally())
    message = ProcessingRequest()
    message.request_headers.headers.headers.add(key="x-headgate-call", raw_value=told.encode())
    attempt.say(message)
    _, removed, _ = sent(attempt.request_body(b"{}", end=True))
    assert dialect.call == expected
    assert "x-headgate-call" in removed


@pytest.mark.parametrize("by_path", [False, True])
def test_the_client_dialect_learns_what_headers_said(by_path: bool) -> None:
    dialect = Named()
    attempt = Attempt(Exchange(Facts(dialect, dialect, "p/m", TargetFacts("up", "/up"), by_path=by_path), Ids(), Tally()), Tally())
    message = ProcessingRequest()
    for key, value in (("anthropic-beta", "a,b"), ("x-other", "no"), ("anthropic-beta", "c"), ("x-headgate-call", "whole  m")):
        message.request_headers.headers.headers.add(key=key, raw_value=value.encode())
    attempt.say(message)
    sent(attempt.request_body(b"{}", end=True))
    assert dialect.call == Call("m" if by_path else "", headers={"anthropic-beta": "a,b,c"})


def test_a_path_that_nobody_told_of_is_out_of_turn() -> None:
    dialect = Named()
    exchange = Exchange(Facts(dialect, dialect, "p/m", TargetFacts("up", "/up"), by_path=True), Ids(), Tally())
    message = ProcessingRequest()
    message.request_headers.SetInParent()
    with pytest.raises(OutOfTurn, match="x-headgate-call"):
        exchange.on_message(message)


class Named(LineDialect):
    call: Call | None = None

    def read_request(self, body: bytes, call: Call | None = None) -> Request:
        self.call = call
        return super().read_request(body, call)
