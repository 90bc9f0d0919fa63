"""One attempt as a state machine without I/O: Envoy's messages in, serialised answers out.

    request headers   unanswered until the body is whole (Envoy then sends both at once, and a worker that dies here is replaced)
    request body      read by the client's dialect, written for the provider
    response          `answer.py`

A request that is the client's fault is answered at once. A request that this *target* cannot serve must fail over, and Envoy never
retries what a filter answers by itself: so the attempt sends a harmless request instead (the provider's root, `{}`, no credential)
and its answer, whatever it is, becomes an error with `x-headgate-failure`, which the route retries (`retriable_headers`) on the
next target. Its status is the client's (400 naming the field), so it counts against no provider, and is what the client gets when
no target is left.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Final

import msgspec

from control_plane.dialects import foreign_reasoning, lacking
from control_plane.dialects.api import BESIDE_BODY, Call, IdSource
from control_plane.dialects.canon import Failure, Request, Unfit
from control_plane.dialects.model_path import filled
from control_plane.extproc import thinking, wire
from control_plane.extproc.answer import Answer, Patience, ProviderError, Refusal, Translation
from control_plane.extproc.facts import Facts
from control_plane.extproc.tally import Tally
from control_plane.kit.errors import ClientProtocolError, ProtocolError
from control_plane.kit.headers import CALL_HEADER, FAILURE_HEADER
from control_plane.pb.ext_proc_pb2 import HttpBody, HttpHeaders, ProcessingRequest

log = logging.getLogger(__name__)

REQUEST_BYTES: Final = 64 * 1024 * 1024  # the largest request body; Envoy's own limit is lower and answers first

TOO_LARGE: Final = ClientProtocolError(413, "request_too_large", f"the request body is larger than {REQUEST_BYTES} bytes")
FAULT: Final = Failure("transient", 500, "the gateway failed to translate the request", code="translation_failed")

ATTEMPT_HEADER: Final = "x-envoy-attempt-count"
# The provider is asked for plain bytes whatever the client accepts: a compressed answer could not be read as it arrives.
_REMOVED: Final = ("accept-encoding", "transfer-encoding", "expect", CALL_HEADER)
_CREDENTIALS: Final = ("authorization", "x-api-key", "api-key", "x-goog-api-key")
_TOLD: Final = frozenset((CALL_HEADER, *BESIDE_BODY))
_HARMLESS_BODY: Final = b"{}"
_HARMLESS_HEAD: Final = wire.request_headers(
    ((":path", "/"), ("content-type", wire.JSON_TYPE), ("content-length", str(len(_HARMLESS_BODY)))), (*_REMOVED, *_CREDENTIALS)
)


class OutOfTurn(ProtocolError):
    """Envoy sent a message that cannot come now; the stream has to be closed."""


class _Rejected(Unfit):
    """The route rejects what the target would not get: `names`, in the client's own words."""

    def __init__(self, names: tuple[str, ...]) -> None:
        shown = wire.shown(names)
        super().__init__(names[0], f"not supported by the model behind this route, which rejects what it cannot carry: {', '.join(shown)}")

    @property
    def failure(self) -> Failure:
        return Failure(kind="client_fault", status=400, message=self.message, code="unsupported_parameter", param=self.field)


class Misconfigured:
    """The attempt of a target whose configuration this translator cannot use: it declines, since another target may serve."""

    settled = True

    def __init__(self, reason: str) -> None:
        text = msgspec.json.encode({"error": {"type": "gateway_error", "code": "translator_misconfigured", "message": reason}})
        self._answer = Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, ((FAILURE_HEADER, "misconfigured"),), text)

    def overdue(self) -> list[bytes] | None:
        return None

    def on_message(self, message: ProcessingRequest) -> list[bytes]:
        kind = message.WhichOneof("request")
        if kind == "response_headers":
            return self._answer.start(message.response_headers.end_of_stream)
        if kind == "response_body":
            return self._answer.feed(b"", message.response_body.end_of_stream)
        if kind == "response_trailers":
            return self._answer.trailers()
        whole = [_HARMLESS_HEAD, wire.request_body(_HARMLESS_BODY, kind != "request_trailers")]
        if kind == "request_trailers":
            return [*whole, wire.CONTINUE_REQUEST_TRAILERS]
        ended = message.request_headers.end_of_stream or message.request_body.end_of_stream
        return whole if ended else []


class Exchange:
    """The attempt that one gRPC stream carries. `on_message` raises OutOfTurn; nothing else ever leaves it."""

    def __init__(self, facts: Facts, ids: IdSource, tally: Tally, patience: Patience = Patience()) -> None:
        self._facts = facts
        self._patience = patience
        self._ids = ids
        self._tally = tally
        self._body = bytearray()
        self._sent = False  # the provider's request is with Envoy
        self._call: Call | None = None
        self._attempt = 1
        self._request: Request | None = None
        self._dropped: tuple[str, ...] = ()
        self._declined: Failure | None = None
        self._answer: Answer | None = None

    @property
    def settled(self) -> bool:
        """Whether the attempt's outcome is known: a reset before that is a client that left, or a provider that died."""
        return self._answer is not None and self._answer.settled

    def on_message(self, message: ProcessingRequest) -> list[bytes]:
        """Serialised `ProcessingResponse` messages, in order; none while something is being held or collected."""
        kind = message.WhichOneof("request")
        if kind == "response_body":
            if self._answer is None:
                raise OutOfTurn("a response body before response headers")
            piece = message.response_body
            return self._answer.feed(piece.body, piece.end_of_stream)
        if kind == "request_headers":
            self._call = _read_call(message.request_headers, self._facts.by_path)
            if self._facts.withheld_until:
                self._attempt = _read_attempt(message.request_headers)
            return self._send(trailers=False) if message.request_headers.end_of_stream else []
        if kind == "request_body":
            return self._collect(message.request_body)
        if kind == "request_trailers":
            return self._send(trailers=True)
        if kind == "response_headers":
            return self._begin_answer(message.response_headers)
        if kind == "response_trailers":
            if self._answer is None:
                raise OutOfTurn("response trailers before response headers")
            return self._answer.trailers()
        raise OutOfTurn("a message of no known kind")

    def overdue(self) -> list[bytes] | None:
        """Asked now and then: the last messages of an answer that has been silent for too long, else None."""
        return None if self._answer is None else self._answer.overdue()

    def _collect(self, piece: HttpBody) -> list[bytes]:
        if self._sent:
            raise OutOfTurn("a request body after its end")
        if len(self._body) + len(piece.body) > REQUEST_BYTES:
            self._sent = True
            return [self._refused(TOO_LARGE)]
        if piece.end_of_stream and not self._body:
            return self._send(trailers=False, body=piece.body)
        self._body += piece.body
        return self._send(trailers=False) if piece.end_of_stream else []

    def _send(self, trailers: bool, body: bytes | None = None) -> list[bytes]:
        """The client's request is whole: what the provider gets. `trailers`: the client's trailers end it, not its body."""
        if self._sent:
            raise OutOfTurn("the request ended twice")
        self._sent = True
        whole = bytes(self._body) if body is None else body
        self._body.clear()
        try:
            head, written = self._written(whole)
        except ClientProtocolError as error:
            return [self._refused(error)]
        messages = [head, wire.request_body(written, not trailers)]
        if trailers:
            messages.append(wire.CONTINUE_REQUEST_TRAILERS)
        return messages

    def _written(self, body: bytes) -> tuple[bytes, bytes]:
        """(head message, body) for the provider. Raises ClientProtocolError; every other problem declines."""
        facts = self._facts
        try:
            request = facts.client.read_request(body, self._call)
            unseen = facts.mute and thinking.expected(request)
            if facts.mute:
                request = thinking.hidden(request)
            self._request = request
            request, unknown = lacking.settled(request, facts.lacks)
            request, stripped = foreign_reasoning.settled(request, facts.provider.replay(facts.target), facts.foreign_reasoning)
            written = facts.provider.write_request(request, facts.target)
            names = (*unknown, *written.dropped, thinking.DROPPED_NAME) if unseen else (*unknown, *written.dropped)
            dropped = tuple(dict.fromkeys(map(self._request.named, names)))
            if facts.reject and dropped:
                raise _Rejected(dropped)
        except ClientProtocolError:
            raise
        except _Rejected as rejected:
            return self._decline(rejected.failure)
        except Unfit as unfit:
            named = unfit.field if self._request is None else self._request.named(unfit.field)
            return self._decline(Unfit(named, unfit.message).failure)
        except Exception:
            self._tally.faults += 1
            log.exception("target %s: translating a request failed", facts.name)
            return self._decline(FAULT)
        self._tally.translated += 1
        self._dropped = wire.shown(tuple(dict.fromkeys((*dropped, *map(self._request.named, stripped)))))
        headers = (
            (":path", written.path or filled(facts.target.path, facts.target.model)),
            ("content-type", wire.JSON_TYPE),
            ("accept", "text/event-stream" if request.stream else wire.JSON_TYPE),
            ("content-length", str(len(written.body))),
            *written.headers,
        )
        return wire.request_headers(headers, _REMOVED), written.body

    def _decline(self, failure: Failure) -> tuple[bytes, bytes]:
        self._tally.declined += 1
        self._declined = failure
        return _HARMLESS_HEAD, _HARMLESS_BODY

    def _refused(self, error: ClientProtocolError) -> bytes:
        self._tally.refused += 1
        self._answer = Refusal(error.status, (), b"")
        body = self._facts.client.write_error(Failure.of_client_error(error))
        return wire.immediate(error.status, wire.JSON_TYPE, body, f"headgate_{error.code}")

    def _begin_answer(self, head: HttpHeaders) -> list[bytes]:
        if self._answer is not None:
            raise OutOfTurn("response headers twice")
        answer = self._answer = self._answer_to(*_read_head(head))
        return answer.start(head.end_of_stream)

    def _answer_to(self, status: int, headers: dict[str, str]) -> Answer:
        facts, request = self._facts, self._request
        if self._declined is not None:
            marks = ((FAILURE_HEADER, "unfit"),)
            return Refusal(self._declined.status, marks, facts.client.write_error(self._declined))
        if request is None:
            raise OutOfTurn("an answer before the request was sent")
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return ProviderError(facts.client, facts.provider, facts.vendor, (status, headers), self._tally)
        reader, writer = facts.provider.reader(request), facts.client.writer(request, self._ids)
        if facts.mute:
            reader = thinking.WithoutThinking(reader)
        head = (status, headers)
        answer = Translation(facts.client, reader, writer, facts.vendor, head, request.stream, self._dropped, self._tally, self._patience)
        answer.moves_on_if_withheld = self._attempt < facts.withheld_until
        return answer


def _read_attempt(head: HttpHeaders) -> int:
    """The number of the attempt, from 1."""
    found = [pair.raw_value.decode("latin-1") or pair.value for pair in head.headers.headers if pair.key == ATTEMPT_HEADER]
    return int(found[0]) if found and found[0].isdigit() else 1


def _read_call(head: HttpHeaders, by_path: bool) -> Call | None:
    """What the client said beside the body: in headers, and what the edge filter noted of its path ("how query model")."""
    headers: dict[str, str] = {}
    for pair in head.headers.headers:
        if pair.key in _TOLD:
            value = pair.raw_value.decode("utf-8", "replace") or pair.value
            headers[pair.key] = f"{headers[pair.key]},{value}" if pair.key in headers else value
    told = headers.pop(CALL_HEADER, "")
    if not by_path:
        return Call(headers=headers) if headers else None
    how, _, rest = told.partition(" ")
    query, _, model = rest.partition(" ")
    if not model:
        raise OutOfTurn(f"a request without {CALL_HEADER}, which its target's configuration announces")
    return Call(model, how == "stream", query, headers)


def _read_head(head: HttpHeaders) -> tuple[int, dict[str, str]]:
    """Status and headers; Envoy's names are lower case, values are bytes that need not be UTF-8."""
    headers = {pair.key: pair.raw_value.decode("latin-1") or pair.value for pair in head.headers.headers}
    status = headers.pop(":status", "")
    if not status.isdigit():
        raise OutOfTurn("response headers without a status")
    return int(status), headers
