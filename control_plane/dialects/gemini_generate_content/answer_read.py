"""Reading a provider's answer, whole or streamed, into events.

A stream is SSE without a terminal event: it is complete when every candidate has said why it ended. A whole answer is one object; an
array of objects is a stream that was asked for without `alt=sse`, read at its end. Some models say a reason with every chunk, so
the last one counts and is given at the end.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects.body_reader import BodyReader
from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
    ForeignEvent,
    InStreamError,
    Logprobs,
    ReasoningDelta,
    ReasoningSignature,
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
from control_plane.dialects.gemini_generate_content import errors
from control_plane.dialects.gemini_generate_content.usage import UsageCounter, WireUsage
from control_plane.dialects.gemini_generate_content.vocabulary import FAILED_STOPS, NAME, STOP_TO_CANON
from control_plane.kit.errors import ProviderProtocolError

CHOICE_LIMIT: Final = 128
"""Candidates in one answer, far above the 8 that can be asked for; keeps a hostile provider from growing our tables."""

CALL_LIMIT: Final = 1024
"""Function calls in one candidate, for the same reason."""


class _Call(msgspec.Struct, rename="camel"):
    name: str | None = None
    id: str | None = None
    args: msgspec.Raw = msgspec.Raw(b"")
    partial_args: Any = None


class _Part(msgspec.Struct, rename="camel"):
    text: str | None = None
    thought: bool | None = None
    thought_signature: str | None = None
    function_call: _Call | None = None


class _Content(msgspec.Struct):
    parts: list[msgspec.Raw] | None = None


class _Candidate(msgspec.Struct, rename="camel"):
    index: int | None = None
    content: _Content | None = None
    finish_reason: str | None = None
    finish_message: str | None = None
    citation_metadata: dict[str, Any] | None = None
    logprobs_result: dict[str, Any] | None = None


class _Feedback(msgspec.Struct, rename="camel"):
    block_reason: str | None = None
    block_reason_message: str | None = None


class _Chunk(msgspec.Struct, rename="camel"):
    response_id: str | None = None
    model_version: str | None = None
    candidates: list[_Candidate] | None = None
    prompt_feedback: _Feedback | None = None
    usage_metadata: WireUsage | None = None
    error: Any = None


_decode: Final = msgspec.json.Decoder(_Chunk).decode
_decode_many: Final = msgspec.json.Decoder(list[_Chunk]).decode
_decode_part: Final = msgspec.json.Decoder(_Part).decode
_decode_object: Final = msgspec.json.Decoder(dict[str, Any]).decode


class _Choice:
    __slots__ = ("calls", "message", "native")

    def __init__(self) -> None:
        self.calls = 0
        self.native: str | None = None
        self.message: str | None = None


class AnswerReader(BodyReader):
    """See control_plane.dialects.api.ResponseReader."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._choices: dict[int, _Choice] = {}
        self._blocked: _Feedback | None = None
        self._started = False
        self._counter = UsageCounter()
        self._usage: Usage | None = None

    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        if name == b"error":
            events.append(self._failed(_error_payload(payload)))
        elif payload.strip() != b"[DONE]":  # some gateways add the other dialect's end
            for chunk in _chunks(payload):
                self._chunk(chunk, events)

    def _document(self, body: bytes, events: list[Event]) -> None:
        for chunk in _chunks(body):
            self._chunk(chunk, events)
        if not self._over:
            self._ended_without_terminal(events)

    def _ended_without_terminal(self, events: list[Event]) -> None:
        """This dialect has no terminal event: the end of the body is the end, if every candidate has said why it ended."""
        if not self._choices and self._blocked is None:
            raise ProviderProtocolError("the answer has neither candidates nor an error")
        if not all(choice.native for choice in self._choices.values()):
            raise ProviderProtocolError("the answer ended before its last event")
        for number, choice in self._choices.items():
            if choice.native in FAILED_STOPS:
                words = choice.message or f"the model failed with {choice.native}"
                events.append(self._failed({"message": words, "code": 503, "status": choice.native}))
                return
            events.append(_stop(choice, number))
        if self._blocked is not None and 0 not in self._choices:
            events.append(_blocked(self._blocked))
        self._over = True
        events.append(End())

    def _failed(self, error: object) -> InStreamError:
        self._over = True
        return InStreamError(errors.in_stream(error), error)

    def _chunk(self, chunk: _Chunk, events: list[Event]) -> None:
        if self._over:
            return
        if chunk.error:
            events.append(self._failed(chunk.error))
            return
        if not self._started:
            self._started = True
            events.append(Start(chunk.response_id or None, chunk.model_version or None))
        for candidate in chunk.candidates or ():
            self._candidate(candidate, events)
        if chunk.prompt_feedback is not None and chunk.prompt_feedback.block_reason:
            self._blocked = chunk.prompt_feedback
        if chunk.usage_metadata is not None and (counts := self._counter.add(chunk.usage_metadata)) != self._usage:
            self._usage = counts
            events.append(UsageUpdate(counts))

    def _candidate(self, candidate: _Candidate, events: list[Event]) -> None:
        number = candidate.index or 0
        choice = self._choices.get(number)
        if choice is None:
            if len(self._choices) >= CHOICE_LIMIT or number < 0:
                raise ProviderProtocolError("the answer has too many candidates")
            choice = self._choices[number] = _Choice()
        for raw in (candidate.content.parts if candidate.content is not None else None) or ():
            self._part(bytes(raw), number, choice, events)
        if candidate.citation_metadata is not None:
            _citations(candidate.citation_metadata, number, events)
        if candidate.logprobs_result is not None:
            _logprobs(candidate.logprobs_result, number, events)
        if candidate.finish_reason and candidate.finish_reason != "FINISH_REASON_UNSPECIFIED":
            choice.native, choice.message = candidate.finish_reason, candidate.finish_message

    def _part(self, raw: bytes, number: int, choice: _Choice, events: list[Event]) -> None:
        try:
            part = _decode_part(raw)
            other = _other(raw) if part.text is None and part.function_call is None else {}
            arguments = _arguments(bytes(part.function_call.args)) if part.function_call is not None else ""
        except (ValueError, RecursionError) as error:  # text in raw JSON is not yet known to be UTF-8
            raise _unreadable(error) from error
        signature = part.thought_signature or None
        if part.function_call is not None:
            self._call(part.function_call, arguments, signature, number, choice, events)
        elif part.text is None:
            if other:
                events.append(ForeignEvent(NAME, other, number))
        elif part.thought:
            if part.text:
                events.append(ReasoningDelta(part.text, number))
            if signature is not None:
                events.append(ReasoningSignature(signature, NAME, number))
        elif part.text:
            events.append(TextDelta(part.text, number))  # its signature may be left out, see the README

    def _call(self, call: _Call, arguments: str, signature: str | None, number: int, choice: _Choice, events: list[Event]) -> None:
        if not call.name:
            raise ProviderProtocolError("a function call without a name")
        if call.partial_args is not None:
            raise ProviderProtocolError("a function call in pieces, which was not asked for")
        if choice.calls >= CALL_LIMIT:
            raise ProviderProtocolError("the answer has too many function calls")
        index = choice.calls
        choice.calls += 1
        events.append(ToolCallStart(index, call.id or None, call.name, number, signature, NAME if signature else None))
        if arguments:
            events.append(ToolArgumentsDelta(index, arguments, number))
        events.append(ToolCallEnd(index, number))


def _chunks(data: bytes) -> list[_Chunk]:
    try:
        return _decode_many(data) if data.lstrip()[:1] == b"[" else [_decode(data)]
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
        raise _unreadable(error) from error


def _unreadable(error: Exception) -> ProviderProtocolError:
    return ProviderProtocolError(f"the answer cannot be read: {str(error)[:200]}")


def _error_payload(data: bytes) -> object:
    try:
        value = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        return data[:2000].decode(errors="replace")
    return value.get("error", value) if isinstance(value, dict) else str(value)


def _stop(choice: _Choice, number: int) -> Stop:
    native = choice.native or ""
    reason = STOP_TO_CANON.get(native, "other")
    if reason == "end" and choice.calls:
        reason = "tool_use"
    return Stop(reason, native, None, number, {"message": choice.message} if choice.message else None)


def _blocked(feedback: _Feedback) -> Stop:
    """A prompt that was not answered at all."""
    message = feedback.block_reason_message
    return Stop("content_filter", feedback.block_reason, None, 0, {"message": message} if message else None)


def _arguments(raw: bytes) -> str:
    """The JSON text of the arguments without the white space of a pretty-printed answer; no number of it is touched."""
    if raw in (b"", b"null"):
        return ""
    if raw[:1] != b"{":
        raise ProviderProtocolError("the arguments of a function call are not an object")
    return bytes(msgspec.json.format(raw, indent=-1)).decode()


def _other(raw: bytes) -> dict[str, Any]:
    """A part of another kind (code execution, server tools, generated images); {} for one that only bears a signature."""
    part = _decode_object(raw)
    return part if part.keys() - {"thought", "thoughtSignature"} else {}


def _citations(metadata: dict[str, Any], number: int, events: list[Event]) -> None:
    """Sources that the text repeats. Their places are counted in bytes, so they are not given on."""
    sources = metadata.get("citationSources") or metadata.get("citations")
    for source in sources if isinstance(sources, list) else ():
        if isinstance(source, dict):
            url, title = source.get("uri"), source.get("title")
            events.append(
                Citation(
                    NAME,
                    source,
                    url=url if isinstance(url, str) else None,
                    title=title if isinstance(title, str) else None,
                    choice=number,
                )
            )


def _logprobs(result: dict[str, Any], number: int, events: list[Event]) -> None:
    chosen, steps = result.get("chosenCandidates"), result.get("topCandidates")
    if not isinstance(chosen, list) or not chosen:
        return
    tops = steps if isinstance(steps, list) else []
    tokens = []
    for i, item in enumerate(chosen):
        step = tops[i] if i < len(tops) and isinstance(tops[i], dict) else {}
        others = step.get("candidates")
        tokens.append({**_token(item), "top_logprobs": [_token(other) for other in others] if isinstance(others, list) else []})
    events.append(Logprobs(tuple(tokens), (), number))


def _token(value: object) -> dict[str, Any]:
    token = value.get("token") if isinstance(value, dict) else None
    probability = value.get("logProbability") if isinstance(value, dict) else None
    text = token if isinstance(token, str) else ""
    return {
        "token": text,
        "logprob": probability if isinstance(probability, int | float) and not isinstance(probability, bool) else -9999.0,
        "bytes": list(text.encode()),
    }
