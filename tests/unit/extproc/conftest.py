"""An exchange with the line dialect on both sides, and Envoy's messages in short."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from google.protobuf.json_format import MessageToDict

from control_plane.dialects.api import TargetFacts
from control_plane.extproc.exchange import Exchange
from control_plane.extproc.facts import Facts
from control_plane.extproc.tally import Tally
from control_plane.pb.ext_proc_pb2 import HeaderMutation, ProcessingRequest, ProcessingResponse
from tests.unit.extproc.fakes import STREAM, Ids, LineDialect


def mutated(mutation: HeaderMutation) -> dict[str, str]:
    """Headers that an answer sets, as Envoy would: by name, overwriting."""
    assert all(option.append_action == option.OVERWRITE_IF_EXISTS_OR_ADD for option in mutation.set_headers)
    return {option.header.key: option.header.raw_value.decode() for option in mutation.set_headers}


@dataclass
class Attempt:
    """Drives an exchange as Envoy does and keeps what Envoy would hold of the answers."""

    exchange: Exchange
    tally: Tally
    answers: list[ProcessingResponse] = field(default_factory=list)

    def say(self, message: ProcessingRequest) -> list[ProcessingResponse]:
        fresh = [
            ProcessingResponse.FromString(data)
            for data in self.exchange.on_message(ProcessingRequest.FromString(message.SerializeToString()))
        ]
        self.answers += fresh
        return fresh

    def request(self, body: bytes, end: bool = True) -> list[ProcessingResponse]:
        head = ProcessingRequest()
        head.request_headers.SetInParent()
        assert self.say(head) == []
        return self.request_body(body, end)

    def request_body(self, body: bytes, end: bool) -> list[ProcessingResponse]:
        message = ProcessingRequest()
        message.request_body.body = body
        message.request_body.end_of_stream = end
        return self.say(message)

    def head(self, status: int = 200, end: bool = False, **headers: str) -> list[ProcessingResponse]:
        message = ProcessingRequest()
        given = {":status": str(status), "content-type": STREAM} | {name.replace("_", "-"): value for name, value in headers.items()}
        for name, value in given.items():
            message.response_headers.headers.headers.add(key=name, raw_value=value.encode())
        message.response_headers.end_of_stream = end
        return self.say(message)

    def body(self, data: str, end: bool = False) -> list[ProcessingResponse]:
        message = ProcessingRequest()
        message.response_body.body = data.encode()
        message.response_body.end_of_stream = end
        return self.say(message)

    def trailers(self) -> list[ProcessingResponse]:
        message = ProcessingRequest()
        message.response_trailers.SetInParent()
        return self.say(message)

    @property
    def client_head(self) -> dict[str, str] | None:
        """What the answer to the response headers sets, or None while they are held."""
        for answer in self.answers:
            if answer.WhichOneof("response") == "response_headers":
                return mutated(answer.response_headers.response.header_mutation)
        return None

    @property
    def client_body(self) -> bytes:
        pieces = (a.response_body.response.body_mutation for a in self.answers if a.WhichOneof("response") == "response_body")
        whole = b"".join(p.streamed_response.body for p in pieces)
        for answer in self.answers:
            if answer.WhichOneof("response") == "response_headers":
                whole = answer.response_headers.response.body_mutation.body + whole
        return whole

    def ended(self) -> bool:
        """Whether the last answer ends the client's stream."""
        last = self.answers[-1]
        if last.WhichOneof("response") == "response_body":
            return bool(last.response_body.response.body_mutation.streamed_response.end_of_stream)
        return bool(last.WhichOneof("response") == "response_trailers")

    @property
    def metered(self) -> dict[str, object] | None:
        """The last dynamic metadata."""
        found = [a.dynamic_metadata for a in self.answers if a.HasField("dynamic_metadata")]
        if not found:
            return None
        ((namespace, metered),) = MessageToDict(found[-1]).items()
        assert namespace == "headgate.translation"
        return dict(metered)


@pytest.fixture
def attempt() -> Attempt:
    tally, dialect = Tally(), LineDialect()
    facts = Facts(dialect, dialect, "prov/model", TargetFacts("up-model", "/up/path"))
    return Attempt(Exchange(facts, Ids(), tally), tally)


@pytest.fixture
def streaming(attempt: Attempt) -> Attempt:
    """An attempt whose provider has answered 200 to a streamed request."""
    attempt.request(b'{"stream":true}')
    assert attempt.head() == []
    attempt.answers.clear()
    return attempt


@pytest.fixture
def whole(attempt: Attempt) -> Attempt:
    """An attempt whose provider has answered 200 to a request without `stream`."""
    attempt.request(b"{}")
    assert attempt.head() == []
    attempt.answers.clear()
    return attempt
