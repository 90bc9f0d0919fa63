"""Writing answers for a client: chunks as server-sent events or as an array that grows, or one document.

A chunk is a whole response with the parts that are new. Calls go out whole, as their arguments are an object here; so does how the answer
ended, with the counts of tokens, when both are known.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from control_plane.dialects.api import IdSource
from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
    Failure,
    ForeignEvent,
    InStreamError,
    Logprobs,
    PartBreak,
    ReasoningDelta,
    ReasoningSignature,
    RedactedReasoning,
    RefusalDelta,
    Request,
    Start,
    Stop,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
    Usage,
    UsageUpdate,
)
from control_plane.dialects.gather import Answer, CallPiece, Choice, Piece, TextPiece, ThinkingPiece
from control_plane.dialects.gemini_generate_content import errors, signatures
from control_plane.dialects.gemini_generate_content.usage import write_usage
from control_plane.dialects.gemini_generate_content.vocabulary import NAME, STOP_TO_WIRE, UNCHECKED_SIGNATURE, WIRE_STOPS
from control_plane.dialects.whole_writer import WholeAnswerWriter
from control_plane.kit.errors import ProviderProtocolError

_encode: Final = msgspec.json.Encoder().encode

ARGUMENTS_BYTES: Final = 8 * 1024 * 1024
"""Arguments of calls that wait for their end, all together; a provider that sends more has lost its way."""


class StreamWriter:
    """Chunks as they come. Text goes on at once; a call waits for its end, and for the calls in front of it."""

    def __init__(self, request: Request, ids: IdSource) -> None:
        self._array = request.framing == "array"
        self.content_type = "application/json" if self._array else "text/event-stream"
        self._request = request
        self._ids = ids
        self._shows_thoughts = shows_thoughts(request)
        self._tail: dict[str, Any] = {}
        self._waiting: dict[int, dict[int, _Waiting]] = {}  # by choice and index, in order
        self._waiting_bytes = 0
        self._called: set[int] = set()  # choices with a call
        self._stops: dict[int, Stop] = {}
        self._usage = Usage()
        self._begun = False
        self._done = False

    def emit(self, event: Event) -> bytes:
        if self._done:
            return b""
        match event:
            case TextDelta() | RefusalDelta():
                return self._part(event.choice, {"text": event.text})
            case ReasoningDelta():
                return self._part(event.choice, {"text": event.text, "thought": True}) if self._shows_thoughts else b""
            case ToolCallStart():
                first = event.choice not in self._called
                self._called.add(event.choice)
                self._waiting.setdefault(event.choice, {})[event.index] = _Waiting(event, first)
            case ToolArgumentsDelta():
                return self._arguments(event)
            case ToolCallEnd():
                return self._call_end(event)
            case Stop():
                self._stops[event.choice] = event
                return self._calls(event.choice, every=True)
            case InStreamError():
                return self.fail(event.failure)
            case _:
                return self._rare(event)
        return b""

    def _rare(self, event: Event) -> bytes:
        match event:
            case Start():
                self._begin(event)
            case UsageUpdate():
                self._usage = self._usage.updated(event.usage)
            case ReasoningSignature():
                return self._part(event.choice, _sealed(signatures.for_client(event.signature, event.origin)))
            case RedactedReasoning():
                return self._part(event.choice, _sealed(signatures.redacted_for_client(event)))
            case Citation():
                source = citation_source(event)
                return b"" if source is None else self._candidate(event.choice, {"citationMetadata": {"citationSources": [source]}})
            case Logprobs():
                return self._candidate(event.choice, {"logprobsResult": logprobs_result([event])})
            case ForeignEvent() if event.origin == NAME:
                return self._part(event.choice, dict(event.raw))
            case PartBreak() | End() | ForeignEvent():
                pass  # every chunk is a part of its own
            case _:
                pass
        return b""

    # ------------------------------------------------------------------------------------------------ calls

    def _arguments(self, event: ToolArgumentsDelta) -> bytes:
        call = self._waiting.get(event.choice, {}).get(event.index)
        if call is None:
            return b""  # more text behind its end
        self._waiting_bytes += len(event.text)
        if self._waiting_bytes > ARGUMENTS_BYTES:
            raise ProviderProtocolError(f"the arguments of calls are longer than {ARGUMENTS_BYTES} bytes")
        call.texts.append(event.text)
        return b""

    def _call_end(self, event: ToolCallEnd) -> bytes:
        call = self._waiting.get(event.choice, {}).get(event.index)
        if call is None:
            return b""
        call.ended = True
        return self._calls(event.choice, every=False)

    def _calls(self, choice: int, *, every: bool) -> bytes:
        """The calls that are complete, up to the first that is not."""
        waiting = self._waiting.get(choice, {})
        parts = []
        while waiting:
            index = next(iter(waiting))
            if not (every or waiting[index].ended):
                break
            call = waiting.pop(index)
            self._waiting_bytes -= sum(map(len, call.texts))
            parts.append(call_part(call.start, call.texts, call.first, self._ids))
        return self._parts(choice, parts) if parts else b""

    # ----------------------------------------------------------------------------------------------- chunks

    def _begin(self, start: Start) -> None:
        if not self._tail:
            self._tail = {"modelVersion": start.model or self._request.model, "responseId": start.id or self._ids.new("")}

    def _part(self, choice: int, part: dict[str, Any]) -> bytes:
        return self._parts(choice, [part])

    def _parts(self, choice: int, parts: list[dict[str, Any]]) -> bytes:
        return self._candidate(choice, {"content": {"parts": parts, "role": "model"}})

    def _candidate(self, choice: int, fields: dict[str, Any]) -> bytes:
        return self._chunk({"candidates": [{**fields, "index": choice}]})

    def _chunk(self, fields: dict[str, Any]) -> bytes:
        if not self._tail:
            self._begin(Start())
        return self._framed(_encode({**fields, **self._tail}))

    def _framed(self, document: bytes) -> bytes:
        before, self._begun = self._begun, True
        if self._array:
            return (b",\r\n" if before else b"[") + document
        return b"data: %b\r\n\r\n" % document

    # -------------------------------------------------------------------------------------------------- end

    def finish(self) -> bytes:
        """The last chunk: how every choice ended, and the counts."""
        if self._done:
            return b""
        left = b"".join([self._calls(choice, every=True) for choice in list(self._waiting)])
        self._done = True
        stops = self._stops or {0: Stop("other")}
        candidates = [
            {"content": {"parts": [{"text": ""}], "role": "model"}, **stop_fields(stop), "index": choice}
            for choice, stop in sorted(stops.items())
        ]
        last = self._chunk({"candidates": candidates, **write_usage(self._usage)})
        return left + last + (b"]" if self._array else b"")

    def fail(self, failure: Failure) -> bytes:
        if self._done:
            return b""
        self._done = True
        return self._framed(errors.write_error(failure)) + (b"]" if self._array else b"")


class _Waiting:
    __slots__ = ("ended", "first", "start", "texts")

    def __init__(self, start: ToolCallStart, first: bool) -> None:
        self.start = start
        self.first = first
        self.texts: list[str] = []
        self.ended = False


class WholeWriter(WholeAnswerWriter):
    """One response at the end."""

    def __init__(self, request: Request, ids: IdSource) -> None:
        super().__init__()
        self._request = request
        self._ids = ids
        self._shows_thoughts = shows_thoughts(request)
        self._answer = Answer()

    def _add(self, event: Event) -> None:
        self._answer.add(event)

    def _document(self) -> bytes:
        answer = self._answer
        choices = answer.choices or {0: Choice()}
        return _encode(
            {
                "candidates": [self._candidate(number, choice) for number, choice in sorted(choices.items())],
                **write_usage(answer.usage),
                "modelVersion": answer.start.model or self._request.model,
                "responseId": answer.start.id or self._ids.new(""),
            }
        )

    def _error(self, failure: Failure) -> bytes:
        return errors.write_error(failure)

    def _candidate(self, number: int, choice: Choice) -> dict[str, Any]:
        made: dict[str, Any] = {"content": {"parts": self._parts(choice.pieces), "role": "model"}}
        made.update(stop_fields(choice.stop or Stop("other")))
        sources = [citation_source(c) for piece in choice.pieces if isinstance(piece, TextPiece) for c in piece.citations]
        if found := [source for source in sources if source is not None]:
            made["citationMetadata"] = {"citationSources": found}
        if choice.logprobs:
            made["logprobsResult"] = logprobs_result(choice.logprobs)
        return {**made, "index": number}

    def _parts(self, pieces: list[Piece]) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        called = False
        for piece in pieces:
            match piece:
                case TextPiece():
                    parts.append({"text": "".join(piece.texts)})
                case ThinkingPiece():
                    text = "".join(piece.texts) if self._shows_thoughts else ""
                    if piece.signature is not None:
                        parts.append({**_sealed(signatures.for_client(piece.signature, piece.origin)), "text": text})
                    elif text:
                        parts.append({"text": text, "thought": True})
                case RedactedReasoning():
                    parts.append(_sealed(signatures.redacted_for_client(piece)))
                case CallPiece():
                    parts.append(call_part(piece.start, piece.arguments, not called, self._ids))
                    called = True
                case ForeignEvent() if piece.origin == NAME:
                    parts.append(dict(piece.raw))
                case _:
                    pass
        return parts


def shows_thoughts(request: Request) -> bool:
    """Not for a client that configures thinking without asking to see it, as Gemini itself has it."""
    return request.reasoning is None or request.reasoning.visible is not False


def _sealed(signature: str) -> dict[str, Any]:
    return {"text": "", "thought": True, "thoughtSignature": signature}


def call_part(start: ToolCallStart, texts: list[str], first: bool, ids: IdSource) -> dict[str, Any]:
    """A call. The first of a turn has a signature in any case: Gemini refuses a replayed turn without one, and may be asked next."""
    function: dict[str, Any] = {"id": start.id or ids.new("call_"), "name": start.name, "args": _arguments("".join(texts))}
    part: dict[str, Any] = {"functionCall": function}
    if start.signature is not None:
        part["thoughtSignature"] = signatures.for_client(start.signature, start.origin)
    elif first:
        part["thoughtSignature"] = UNCHECKED_SIGNATURE
    return part


def _arguments(text: str) -> msgspec.Raw:
    """The arguments as they were written; what a model wrote that is no object is kept as text under `arguments`."""
    if not text.strip():
        return msgspec.Raw(b"{}")
    try:
        if isinstance(msgspec.json.decode(text), dict):
            return msgspec.Raw(msgspec.json.format(text.encode(), indent=-1))  # on one line, as an event must be
    except (ValueError, RecursionError):
        pass
    return msgspec.Raw(_encode({"arguments": text}))


def stop_fields(stop: Stop) -> dict[str, Any]:
    """The provider's own word where it is one of this dialect's, else the mapped one."""
    fields: dict[str, Any] = {"finishReason": stop.native if stop.native in WIRE_STOPS else STOP_TO_WIRE[stop.reason]}
    message = (stop.detail or {}).get("message")
    if isinstance(message, str):
        fields["finishMessage"] = message
    return fields


def citation_source(citation: Citation) -> dict[str, Any] | None:
    """A source with a URL; others point into the request's own documents, which this dialect cannot."""
    if citation.origin == NAME:
        return dict(citation.raw)
    if citation.url is None:
        return None
    source: dict[str, Any] = {"uri": citation.url}
    if citation.title:
        source["title"] = citation.title
    return source


def logprobs_result(events: Iterable[Logprobs]) -> dict[str, Any]:
    told = [token for event in events for token in (*event.content, *event.refusal)]
    tokens = [token for token in told if isinstance(token, dict)]
    return {
        "chosenCandidates": [_token(token) for token in tokens],
        "topCandidates": [{"candidates": _tops(token.get("top_logprobs"))} for token in tokens],
    }


def _tops(others: object) -> list[dict[str, Any]]:
    return [_token(other) for other in others if isinstance(other, dict)] if isinstance(others, list) else []


def _token(token: dict[str, Any]) -> dict[str, Any]:
    return {"token": token.get("token"), "logProbability": token.get("logprob")}
