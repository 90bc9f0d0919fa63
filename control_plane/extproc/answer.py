"""The response half of an attempt: provider bytes in, answers for Envoy out.

An answer is one of three, chosen by its head:

* `Translation` (2xx): first *held*: Envoy's response headers stay unanswered, so the router has nothing to send and can still
  retry. The first content event lets go; an error, garbage or the end of a cut answer turns the status into an error instead.
  A whole (not streamed) answer is held to its end, because it is written at its end. After letting go, a break ends with the
  client dialect's own error event.
* `ProviderError` (anything else): its body is read (bounded) and written in the client's dialect.
* `Refusal`: an error that is known whatever the provider says.

Each returns serialised `ProcessingResponse` messages in the order in which Envoy must get them.

Heartbeats keep every timer of Envoy from firing, so a `Translation` has its own: once the client has some of a stream, `overdue` ends it
when nothing of the answer has come for `idle_s`, whatever else has. Before that the router's first token timer does.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

import msgspec

from control_plane.dialects import error_rules, failures, rate_limits
from control_plane.dialects.api import ClientDialect, ProviderDialect, ResponseReader, ResponseWriter
from control_plane.dialects.canon import End, Event, Failure, InStreamError, Start, Stop, Usage, UsageUpdate
from control_plane.extproc import wire
from control_plane.extproc.facts import Vendor
from control_plane.extproc.tally import Tally
from control_plane.extproc.thinking import WithoutThinking
from control_plane.kit.errors import ProviderProtocolError
from control_plane.kit.headers import FAILURE_HEADER, FAULT_HEADER

log = logging.getLogger(__name__)

HOLD_EVENTS: Final = 64  # events without content before the hold lets go: an answer this odd is the client's to judge
HOLD_BYTES: Final = 256 * 1024  # the same, bytes of a stream
WHOLE_BYTES: Final = 64 * 1024 * 1024  # the largest whole answer; memory per attempt
STREAM_BYTES: Final = 128 * 1024 * 1024  # the longest stream, as the client gets it: below what a client may leave unread at Envoy
ERROR_BYTES: Final = 256 * 1024  # of an error answer's body; the rest cannot change its class
METER_EVERY: Final = 32  # messages between two reports of changed usage, for streams whose client leaves early

WITHHELD: Final = ("content_filter", "refusal")  # reasons to stop; without anything said before, the answer is the filter's alone
WITHHELD_WHOLE: Final = Failure("content_policy", 400, "the provider's content filter withheld the answer", code="content_filter")

# Status and headers (names in lower case) of a provider's answer.
Head = tuple[int, Mapping[str, str]]

CUT: Final = Failure("unreadable", 503, "the provider ended its answer early", code="provider_answer_cut")
FAULT: Final = Failure("transient", 500, "the gateway failed to translate the provider's answer", code="translation_failed")
STALLED: Final = Failure("transient", 504, "the provider stopped in the middle of its answer", code="provider_answer_stalled")

QUIET: Final = frozenset({Start, UsageUpdate})
"""Events that say nothing of the answer itself; heartbeats and empty deltas are no events at all."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an answer may say nothing once the client has some of it (None: for ever), and the clock for it, in seconds."""

    idle_s: float | None = None
    now: Callable[[], float] = time.monotonic


class Answer(Protocol):
    """`start`: the head is known (`end`: there is no body). `feed`: a piece of the body (`end`: the last). `trailers`: they end it.

    `settled`: the attempt's outcome is known; Envoy may drop the stream without anything being lost.
    """

    @property
    def settled(self) -> bool: ...

    def start(self, end: bool) -> list[bytes]: ...

    def feed(self, data: bytes, end: bool) -> list[bytes]: ...

    def trailers(self) -> list[bytes]: ...

    def overdue(self) -> list[bytes] | None:
        """Asked now and then: the last messages of an answer that has been silent for too long, else None."""
        ...


def failure_headers(failure: Failure, present: Mapping[str, str]) -> list[tuple[str, str]]:
    """The marks of an error answer: `x-headgate-failure` (retried elsewhere by the route's `retriable_headers`), `x-headgate-fault`, which
    the journal reads, and retry-after."""
    headers: list[tuple[str, str]] = [(FAULT_HEADER, failure.kind)]
    if failure.retryable_elsewhere:
        headers.append((FAILURE_HEADER, failure.kind))
    if failure.retry_after is not None and "retry-after" not in present:
        headers.append(("retry-after", str(max(0, math.ceil(failure.retry_after)))))
    return headers


class Refusal:
    """An error answer: its head at once, so that the router can retry; its body when the provider's own has ended.

    Only the client of a last attempt ever gets the body. Envoy owns the provider's stream until that has ended.
    """

    settled = True

    def __init__(self, status: int, headers: wire.Headers, body: bytes) -> None:
        self._status = status
        self._headers = headers
        self._body = body

    def start(self, end: bool) -> list[bytes]:
        return [wire.error_headers(self._status, self._headers, self._body if end else None)]

    def feed(self, data: bytes, end: bool) -> list[bytes]:
        return [wire.response_body(self._body, True)] if end else []

    def trailers(self) -> list[bytes]:
        return [wire.response_body(self._body, False), wire.CONTINUE_RESPONSE_TRAILERS]

    def overdue(self) -> list[bytes] | None:
        return None


class ProviderError:
    """A non-2xx answer, classified by the provider's dialect and written by the client's."""

    def __init__(self, client: ClientDialect, provider: ProviderDialect, vendor: Vendor, head: Head, tally: Tally) -> None:
        self._client = client
        self._provider = provider
        self._vendor = vendor
        self._status, self._headers = head
        self._tally = tally
        self._body = bytearray()
        self._refusal: Refusal | None = None

    @property
    def settled(self) -> bool:
        return self._refusal is not None

    def start(self, end: bool) -> list[bytes]:
        return self._classify().start(True) if end else []

    def feed(self, data: bytes, end: bool) -> list[bytes]:
        if self._refusal is not None:
            return self._refusal.feed(data, end)
        self._body += data[: ERROR_BYTES - len(self._body)]
        if not end and len(self._body) < ERROR_BYTES:
            return []
        refusal = self._classify()
        return refusal.start(False) + refusal.feed(b"", end)

    def trailers(self) -> list[bytes]:
        if self._refusal is not None:
            return self._refusal.trailers()
        refusal = self._classify()
        return refusal.start(False) + refusal.trailers()

    def overdue(self) -> list[bytes] | None:
        return None

    def _classify(self) -> Refusal:
        self._tally.provider_errors += 1
        body = bytes(self._body)
        failure = self._provider.read_error(self._status, self._headers, body)
        if self._vendor.errors:
            document, text = failures.error_document(body)
            failure = error_rules.settled(failure, self._vendor.errors, self._status, document or text)
        if failure.kind == "rate_limited" and failure.retry_after is None and self._vendor.limits is not None:
            failure = msgspec.structs.replace(failure, retry_after=rate_limits.wait_s(self._headers, self._vendor.limits))
        failure = failures.exhausted(failure)
        self._refusal = Refusal(failure.status, failure_headers(failure, self._headers), self._client.write_error(failure))
        return self._refusal


class Translation:
    """A 2xx answer on its way from the provider's dialect into the client's. `streams`: the client asked for a stream.

    `moves_on_if_withheld`: an answer of which a content filter lets nothing through is a failure, and another target's to answer.
    """

    def __init__(
        self,
        client: ClientDialect,
        reader: ResponseReader,
        writer: ResponseWriter,
        vendor: Vendor,
        head: Head,
        streams: bool,
        dropped: tuple[str, ...],
        tally: Tally,
        patience: Patience,
    ) -> None:
        self._client = client
        self._reader = reader
        self._writer = writer
        self._rules = vendor.errors
        self._status, self._headers = head
        self._streams = streams
        self._dropped = dropped
        self._tally = tally
        self.moves_on_if_withheld = False
        self._said = False  # something but a reason to stop
        self._may_let_go = False  # the hold's condition is met
        self._let_go = False  # the head has been answered
        self._over = False  # the terminal event was seen, or the answer was broken off: what follows is ignored
        self._patience = patience
        self._heard_at = 0.0  # when something of the answer came last
        self._refusal: Refusal | None = None
        self._held_events = 0
        self._received_bytes = 0
        self._sent_bytes = 0
        self._pieces: list[bytes] = []
        self._usage = Usage()
        self._finish: str | None = None
        self._stream_error: str | None = None
        self._complete = False
        self._unreported = 0  # messages since usage changed; 0: nothing new

    @property
    def settled(self) -> bool:
        return self._over or self._refusal is not None

    def start(self, end: bool) -> list[bytes]:
        encoding = self._headers.get("content-encoding", "identity")
        try:
            if encoding != "identity":
                raise ProviderProtocolError(f"the provider compressed its answer ({encoding}) although it was not asked to")
            self._reader.start(self._status, self._headers.get("content-type", ""))
            if end:
                raise ProviderProtocolError("the provider's answer has no body")
        except ProviderProtocolError as error:
            return self._refuse(_unreadable(error)).start(end)
        return []

    def feed(self, data: bytes, end: bool) -> list[bytes]:
        return self._advance(data, end, closes=end)

    def overdue(self) -> list[bytes] | None:
        idle_s, now = self._patience.idle_s, self._patience.now
        if idle_s is None or not self._let_go or now() - self._heard_at < idle_s:
            return None
        if not self._over:
            self._break_off(STALLED)
        return self._flush(end=False, closes=False)

    def trailers(self) -> list[bytes]:
        messages = self._advance(b"", end=True, closes=False)
        return messages + (self._refusal.trailers() if self._refusal is not None else [wire.CONTINUE_RESPONSE_TRAILERS])

    def _advance(self, data: bytes, end: bool, closes: bool) -> list[bytes]:
        """`end`: the provider has no more. `closes`: the message for it is the stream's last (no trailers follow)."""
        if self._refusal is not None:
            return self._refusal.feed(b"", closes)
        failure = None if self._over else self._read(data, end)
        if failure is not None:
            if not self._let_go:
                refusal = self._refuse(failure)
                return refusal.start(False) + refusal.feed(b"", closes)
            self._break_off(failure)
        return self._flush(end, closes)

    def _read(self, data: bytes, end: bool) -> Failure | None:
        """Read what came and write it for the client; the failure that ends the answer, or None."""
        try:
            if data:
                self._received_bytes += len(data)
                if not self._streams and self._received_bytes > WHOLE_BYTES:
                    raise ProviderProtocolError(f"the provider's answer is larger than {WHOLE_BYTES} bytes")
                if self._sent_bytes > STREAM_BYTES:
                    raise ProviderProtocolError(f"the provider's stream does not end within {STREAM_BYTES} bytes")
                events = self._reader.feed(data)
                self._listen(events)
                failure = self._take(events)
                if failure is not None or self._over:
                    return failure
            if end:
                return self._take(self._reader.finish()) or (None if self._over else CUT)
        except ProviderProtocolError as error:
            return _unreadable(error)
        except Exception:
            self._tally.faults += 1
            log.exception("translating an answer failed")
            return FAULT
        return None

    def _listen(self, events: list[Event]) -> None:
        """Note that the model is at work: it said something, or thought what the client must not see."""
        for event in events:
            if type(event) not in QUIET:
                self._heard_at = self._patience.now()
                return
        if isinstance(self._reader, WithoutThinking) and self._reader.took_out:
            self._heard_at = self._patience.now()

    def _take(self, events: list[Event]) -> Failure | None:
        pieces, emit = self._pieces, self._writer.emit
        for event in events:
            if isinstance(event, InStreamError):
                return error_rules.settled(event.failure, self._rules, self._status, event.error)
            if isinstance(event, UsageUpdate):
                self._usage = self._usage.updated(event.usage)
                self._unreported = self._unreported or 1
            elif isinstance(event, Stop):
                self._finish = event.native or event.reason
                if self.moves_on_if_withheld and not self._said and event.reason in WITHHELD:
                    return WITHHELD_WHOLE
            pieces.append(emit(event))
            if isinstance(event, End):
                pieces.append(self._writer.finish())
                self._complete = self._over = True
                self._tally.complete += 1
                break
            if event.is_content:
                self._said = True
                self._may_let_go = self._streams
        self._held_events += len(events)
        return None

    def _flush(self, end: bool, closes: bool) -> list[bytes]:
        """What Envoy may have now: nothing while held, else the head once, and the pieces so far."""
        messages: list[bytes] = []
        if not self._let_go:
            bounded = self._held_events >= HOLD_EVENTS or self._received_bytes >= HOLD_BYTES
            if not (end or self._may_let_go or (self._streams and (self._over or bounded))):
                return messages
            self._let_go = True
            self._heard_at = self._heard_at or self._patience.now()
            messages.append(wire.answer_headers(self._writer.content_type, self._dropped))
        body = b"".join(self._pieces)
        self._pieces.clear()
        self._sent_bytes += len(body)
        if end:
            messages.append(wire.response_body(body, closes) + self._report())
        elif body:
            piece = wire.response_body(body, False)
            if self._unreported:
                self._unreported += 1
                if messages or self._over or self._unreported > METER_EVERY:
                    piece += self._report()
            messages.append(piece)
        return messages

    def _report(self) -> bytes:
        self._unreported = 0
        return wire.metadata(wire.Metered(self._usage, self._finish, self._complete, self._stream_error, self._dropped))

    def _refuse(self, failure: Failure) -> Refusal:
        """Nothing has gone to the client yet: become an error answer, one that the router retries if another target may do better."""
        self._count(failure)
        failure = failures.exhausted(failure)
        status = failure.status
        if failure.retryable_elsewhere and status != HTTPStatus.TOO_MANY_REQUESTS and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            status = HTTPStatus.SERVICE_UNAVAILABLE
        self._refusal = Refusal(int(status), failure_headers(failure, self._headers), self._client.write_error(failure))
        self._pieces.clear()
        return self._refusal

    def _break_off(self, failure: Failure) -> None:
        """The client has seen content: end with its dialect's error event, never with a clean end."""
        self._count(failure)
        failure = failures.exhausted(failure)
        self._over = True
        self._stream_error = failure.code or failure.kind
        self._pieces.append(self._writer.fail(failure))
        self._unreported = 1

    def _count(self, failure: Failure) -> None:
        if failure.kind == "unreadable":
            self._tally.unreadable += 1
        else:
            self._tally.provider_errors += 1


def _unreadable(error: ProviderProtocolError) -> Failure:
    return Failure("unreadable", HTTPStatus.SERVICE_UNAVAILABLE, str(error), code="provider_answer_unreadable")
