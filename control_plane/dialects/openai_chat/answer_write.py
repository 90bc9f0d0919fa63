"""Writing chat completions for a client: streamed chunks or one document.

Reasoning appears as `reasoning_content`, the field that most vendors of this dialect use; signatures as
`reasoning_details` in OpenRouter's shape, so that clients which replay those can continue a signed conversation.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects import freeform
from control_plane.dialects.api import IdSource
from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
    Failure,
    ForeignEvent,
    InStreamError,
    Logprobs,
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
from control_plane.dialects.gather import Answer, CallPiece, Choice, TextPiece, ThinkingPiece, merged
from control_plane.dialects.openai_chat import errors
from control_plane.dialects.openai_chat.vocabulary import CALL_SIGNATURES, DETAILS_FORMAT, NAME, OFFICIAL_STOPS, STOP_TO_WIRE
from control_plane.dialects.openai_usage import write_usage
from control_plane.dialects.whole_writer import WholeAnswerWriter

_encode: Final = msgspec.json.Encoder().encode


def finish_reason(stop: Stop) -> str:
    """The provider's own word where it is one of this dialect's, else the mapped one."""
    return stop.native if stop.native in OFFICIAL_STOPS else STOP_TO_WIRE[stop.reason]


def annotation(citation: Citation) -> dict[str, Any] | None:
    """A `url_citation`; None for citations of the request's own documents, which this dialect cannot point at."""
    if citation.origin == NAME and citation.raw.get("type") == "url_citation":
        return dict(citation.raw)
    if citation.url is None:
        return None
    span = {"start_index": citation.start or 0, "end_index": citation.end or 0}
    return {"type": "url_citation", "url_citation": {**span, "url": citation.url, "title": citation.title or ""}}


def reasoning_detail(event: ReasoningSignature | RedactedReasoning) -> dict[str, Any]:
    wire_format = DETAILS_FORMAT.get(event.origin, "unknown")
    if isinstance(event, ReasoningSignature):
        return {"type": "reasoning.text", "signature": event.signature, "format": wire_format, "index": 0}
    return {"type": "reasoning.encrypted", "data": event.data, "id": event.id, "format": wire_format, "index": 0}


def extra_content(start: ToolCallStart) -> dict[str, Any]:
    """The signature of a call where Google's OpenAI-compatible API puts it; clients give it back with the call."""
    names = CALL_SIGNATURES.get(start.origin or "")
    return {} if start.signature is None or names is None else {"extra_content": {names[0]: {"thought_signature": start.signature}}}


class StreamWriter:
    """Chunks as they come: the role first, one chunk per delta, the finish reason, usage when asked for, `[DONE]`."""

    content_type = "text/event-stream"

    def __init__(self, request: Request, ids: IdSource) -> None:
        self._request = request
        self._ids = ids
        self._head = b""
        self._opened: set[int] = set()
        self._custom = freeform.names(request)
        self._texts: dict[tuple[int, int], freeform.TextReader] = {}  # of the calls under way of tools that take free text
        self._silent_calls: dict[tuple[int, int], None] = {}  # calls that have no arguments yet, in order
        self._usage = Usage()
        self._done = False

    def emit(self, event: Event) -> bytes:
        if self._done:
            return b""
        kind = type(event)
        if kind is TextDelta:
            return self._delta(event.choice, b'{"content":' + _encode(event.text) + b"}")  # type: ignore[union-attr]
        if kind is ToolArgumentsDelta:
            return self._arguments(event)  # type: ignore[arg-type]
        if kind is ReasoningDelta:
            return self._delta(event.choice, b'{"reasoning_content":' + _encode(event.text) + b"}")  # type: ignore[union-attr]
        return self._other(event)

    def _other(self, event: Event) -> bytes:
        match event:
            case Start():
                self._begin(event)
                return b""
            case ToolCallStart():
                return self._call_start(event)
            case ToolCallEnd():
                return self._end_text(event.choice, event.index) or self._fill(event.choice, event.index)
            case RefusalDelta():
                return self._delta(event.choice, b'{"refusal":' + _encode(event.text) + b"}")
            case ReasoningSignature() | RedactedReasoning():
                return self._delta(event.choice, _encode({"reasoning_details": [reasoning_detail(event)]}))
            case Citation():
                note = annotation(event)
                return b"" if note is None else self._delta(event.choice, _encode({"annotations": [note]}))
            case Logprobs():
                return self._delta(event.choice, b"{}", _encode({"content": event.content, "refusal": event.refusal or None}))
            case ForeignEvent() if event.origin == NAME:
                return self._delta(event.choice, _encode(event.raw))
            case UsageUpdate():
                self._usage = self._usage.updated(event.usage)
            case Stop():
                return self._stop(event)
            case End():
                return self.finish()
            case InStreamError():
                return self.fail(event.failure)
            case _:
                pass
        return b""

    def _begin(self, start: Start) -> None:
        created = start.created if start.created is not None else self._ids.now()
        head = {
            "id": start.id or self._ids.new("chatcmpl-"),
            "object": "chat.completion.chunk",
            "created": created,
            "model": start.model or self._request.model,
        }
        self._head = b"data: " + _encode(head)[:-1]

    def _delta(self, choice: int, delta: bytes, logprobs: bytes = b"null", finish: bytes = b"null") -> bytes:
        opening = b"" if choice in self._opened else self._open(choice)
        return b'%b%b,"choices":[{"index":%d,"delta":%b,"logprobs":%b,"finish_reason":%b}]}\n\n' % (
            opening,
            self._head,
            choice,
            delta,
            logprobs,
            finish,
        )

    def _open(self, choice: int) -> bytes:
        if not self._head:
            self._begin(Start())
        self._opened.add(choice)
        return self._delta(choice, b'{"role":"assistant","content":"","refusal":null}')

    def _call_start(self, event: ToolCallStart) -> bytes:
        call: dict[str, Any] = {"index": event.index, "id": event.id or self._ids.new("call_")}
        if event.freeform or event.name in self._custom:
            self._texts[event.choice, event.index] = freeform.TextReader()
            call |= {"type": "custom", "custom": {"name": event.name, "input": ""}}
        else:
            self._silent_calls[event.choice, event.index] = None
            call |= {"type": "function", "function": {"name": event.name, "arguments": ""}}
        call |= extra_content(event)
        return self._delta(event.choice, _encode({"tool_calls": [call]}))

    def _arguments(self, event: ToolArgumentsDelta) -> bytes:
        if self._texts and (reader := self._texts.get((event.choice, event.index))) is not None:
            return self._text(event.choice, event.index, reader.feed(event.text))
        if self._silent_calls:
            self._silent_calls.pop((event.choice, event.index), None)
        text = _encode(event.text)
        return self._delta(event.choice, b'{"tool_calls":[{"index":%d,"function":{"arguments":%b}}]}' % (event.index, text))

    def _text(self, choice: int, index: int, text: str) -> bytes:
        """A fragment of what a tool that takes free text is given."""
        return self._delta(choice, b'{"tool_calls":[{"index":%d,"custom":{"input":%b}}]}' % (index, _encode(text))) if text else b""

    def _end_text(self, choice: int, index: int) -> bytes:
        reader = self._texts.pop((choice, index), None)
        return b"" if reader is None else self._text(choice, index, reader.finish())

    def _fill(self, choice: int, index: int) -> bytes:
        """A call that ends without arguments has the arguments `{}`."""
        return self._arguments(ToolArgumentsDelta(index, "{}", choice)) if (choice, index) in self._silent_calls else b""

    def _stop(self, stop: Stop) -> bytes:
        filled = b"".join(self._end_text(stop.choice, index) for choice, index in list(self._texts) if choice == stop.choice)
        filled += b"".join(self._fill(stop.choice, index) for choice, index in list(self._silent_calls) if choice == stop.choice)
        return filled + self._delta(stop.choice, b"{}", finish=_encode(finish_reason(stop)))

    def finish(self) -> bytes:
        if self._done:
            return b""
        self._done = True
        usage = b""
        if self._request.include_usage:
            if not self._head:
                self._begin(Start())
            usage = b'%b,"choices":[],"usage":%b}\n\n' % (self._head, _encode(write_usage(self._usage)))
        return usage + b"data: [DONE]\n\n"

    def fail(self, failure: Failure) -> bytes:
        """The error as the SDKs expect it inside a stream; no `[DONE]`, so that no reader takes the answer for complete."""
        if self._done:
            return b""
        self._done = True
        return b"data: " + errors.write_error(failure) + b"\n\n"


class WholeWriter(WholeAnswerWriter):
    """One `chat.completion` document at the end."""

    def __init__(self, request: Request, ids: IdSource) -> None:
        super().__init__()
        self._request = request
        self._ids = ids
        self._answer = Answer()
        self._custom = freeform.names(request)

    def _add(self, event: Event) -> None:
        self._answer.add(event)

    def _document(self) -> bytes:
        answer = self._answer
        start = answer.start
        document: dict[str, Any] = {
            "id": start.id or self._ids.new("chatcmpl-"),
            "object": "chat.completion",
            "created": start.created if start.created is not None else self._ids.now(),
            "model": start.model or self._request.model,
            "choices": [self._choice(number, choice) for number, choice in sorted(answer.choices.items())],
        }
        if answer.usage != Usage():
            document["usage"] = write_usage(answer.usage)
        return _encode(document)

    def _error(self, failure: Failure) -> bytes:
        return errors.write_error(failure)

    def _choice(self, number: int, choice: Choice) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
        for piece in choice.pieces:
            match piece:
                case TextPiece():
                    self._text(message, piece)
                case ThinkingPiece():
                    merged(message, {"reasoning_content": "".join(piece.texts)})
                    if piece.signature is not None and piece.origin is not None:
                        detail = reasoning_detail(ReasoningSignature(piece.signature, piece.origin))
                        merged(message, {"reasoning_details": [{**detail, "text": "".join(piece.texts)}]})
                case RedactedReasoning():
                    merged(message, {"reasoning_details": [reasoning_detail(piece)]})
                case CallPiece():
                    merged(message, {"tool_calls": [self._call(piece)]})
                case ForeignEvent() if piece.origin == NAME:
                    merged(message, piece.raw)
                case _:
                    pass
        logprobs = None
        if choice.logprobs:
            logprobs = {
                "content": [token for part in choice.logprobs for token in part.content] or None,
                "refusal": [token for part in choice.logprobs for token in part.refusal] or None,
            }
        reason = finish_reason(choice.stop) if choice.stop is not None else "stop"
        return {"index": number, "message": message, "logprobs": logprobs, "finish_reason": reason}

    def _text(self, message: dict[str, Any], piece: TextPiece) -> None:
        merged(message, {"refusal" if piece.refusal else "content": "".join(piece.texts)})
        notes = [note for citation in piece.citations if (note := annotation(citation)) is not None]
        if notes:
            merged(message, {"annotations": notes})

    def _call(self, piece: CallPiece) -> dict[str, Any]:
        start = piece.start
        if start.freeform or start.name in self._custom:
            custom = {"name": start.name, "input": freeform.text_of("".join(piece.arguments))}
            return {"id": start.id or self._ids.new("call_"), "type": "custom", "custom": custom, **extra_content(start)}
        function = {"name": start.name, "arguments": "".join(piece.arguments) or "{}"}
        return {"id": start.id or self._ids.new("call_"), "type": "function", "function": function, **extra_content(start)}
