"""Answers to completions as clients get them, whole and streamed: `text_completion` in OpenAI's form, chat's shape in Mistral's.

What only chat can say (calls, thinking) cannot come, since no request for a completion can ask for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import openai_usage
from control_plane.dialects.api import IdSource, ResponseWriter
from control_plane.dialects.canon import (
    End,
    Event,
    Failure,
    InStreamError,
    Start,
    Stop,
    StopReason,
    TextDelta,
    Usage,
    UsageUpdate,
)
from control_plane.dialects.completions.canon import CompletionRequest
from control_plane.dialects.gather import Answer, Choice, TextPiece
from control_plane.dialects.whole_writer import WholeAnswerWriter

_ErrorWriter = Callable[[Failure], bytes]
_encode: Final = msgspec.json.Encoder().encode
_FINISH: Final[Mapping[StopReason, str]] = {"max_tokens": "length", "context_window": "length", "content_filter": "content_filter"}
"""All other reasons are "stop"."""


def writer(request: CompletionRequest, ids: IdSource, write_error: _ErrorWriter) -> ResponseWriter:
    """What writes the answer in the form that the client has asked in."""
    if request.stream:
        return (_FimStream if request.form == "fim" else _CompletionsStream)(request, ids, write_error)
    return _Whole(request, ids, write_error)


def _finish(stop: Stop | None) -> str:
    return "stop" if stop is None else _FINISH.get(stop.reason, "stop")


def _head(request: CompletionRequest, ids: IdSource, start: Start, kind: str) -> dict[str, Any]:
    return {
        "id": start.id or ids.new("" if request.form == "fim" else "cmpl-"),
        "object": kind,
        "created": ids.now() if start.created is None else start.created,
        "model": start.model or request.model,
    }


class _Whole(WholeAnswerWriter):
    def __init__(self, request: CompletionRequest, ids: IdSource, write_error: _ErrorWriter) -> None:
        super().__init__()
        self._request, self._ids, self._error_of = request, ids, write_error
        self._answer = Answer()

    def _add(self, event: Event) -> None:
        self._answer.add(event)

    def _document(self) -> bytes:
        fim = self._request.form == "fim"
        head = _head(self._request, self._ids, self._answer.start, "chat.completion" if fim else "text_completion")
        shown = _fim_choice if fim else _choice
        choices = [shown(number, _text(choice), _finish(choice.stop)) for number, choice in sorted(self._answer.choices.items())]
        usage = {} if self._answer.usage == Usage() else {"usage": openai_usage.write_usage(self._answer.usage)}
        return _encode(head | {"choices": choices} | usage)

    def _error(self, failure: Failure) -> bytes:
        return self._error_of(failure)


def _text(choice: Choice) -> str:
    return "".join(text for piece in choice.pieces if isinstance(piece, TextPiece) for text in piece.texts)


def _choice(number: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"text": text, "index": number, "logprobs": None, "finish_reason": finish}


def _fim_choice(number: int, text: str, finish: str | None) -> dict[str, Any]:
    return {"index": number, "message": {"role": "assistant", "tool_calls": None, "content": text}, "finish_reason": finish}


class _Stream:
    """See control_plane.dialects.api.ResponseWriter. A form says how its chunks look."""

    content_type = "text/event-stream"

    _kind: str

    def __init__(self, request: CompletionRequest, ids: IdSource, write_error: _ErrorWriter) -> None:
        self._request, self._ids, self._error_of = request, ids, write_error
        self._head: dict[str, Any] = {}
        self._usage = Usage()
        self._done = False

    def emit(self, event: Event) -> bytes:
        if self._done:
            return b""
        match event:
            case TextDelta():
                return self._text(event.choice, event.text)
            case Start():
                self._head = _head(self._request, self._ids, event, self._kind)
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

    def finish(self) -> bytes:
        if self._done:
            return b""
        self._done = True
        return self._last() + b"data: [DONE]\n\n"

    def fail(self, failure: Failure) -> bytes:
        """The error as the SDKs expect it inside a stream; no `[DONE]`, so that no reader takes the answer for complete."""
        if self._done:
            return b""
        self._done = True
        return b"data: " + self._error_of(failure) + b"\n\n"

    def _chunk(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        if not self._head:
            self._head = _head(self._request, self._ids, Start(), self._kind)
        return b"data: " + _encode(self._head | {"choices": choices} | more) + b"\n\n"

    def _text(self, choice: int, text: str) -> bytes:
        raise NotImplementedError

    def _stop(self, stop: Stop) -> bytes:
        raise NotImplementedError

    def _last(self) -> bytes:
        raise NotImplementedError


class _CompletionsStream(_Stream):
    """The usage comes after all choices, where it is asked for."""

    _kind = "text_completion"

    def _text(self, choice: int, text: str) -> bytes:
        return self._said(choice, text, None)

    def _stop(self, stop: Stop) -> bytes:
        return self._said(stop.choice, "", _finish(stop))

    def _last(self) -> bytes:
        return self._chunk([], usage=openai_usage.write_usage(self._usage)) if self._request.include_usage else b""

    def _said(self, number: int, text: str, finish: str | None) -> bytes:
        nothing: dict[str, object] = {"usage": None} if self._request.include_usage else {}
        return self._chunk([_choice(number, text, finish)], **nothing)


class _FimStream(_Stream):
    """The chunk with the finish reason has the usage as well, so it is the last and waits for it."""

    _kind = "chat.completion.chunk"

    def __init__(self, request: CompletionRequest, ids: IdSource, write_error: _ErrorWriter) -> None:
        super().__init__(request, ids, write_error)
        self._opened = False
        self._ended: Stop | None = None

    def _text(self, choice: int, text: str) -> bytes:
        return self._opening() + self._delta({"content": text}, None)

    def _stop(self, stop: Stop) -> bytes:
        self._ended = stop
        return b""

    def _last(self) -> bytes:
        usage = {} if self._usage == Usage() else {"usage": openai_usage.write_usage(self._usage)}
        return self._opening() + self._delta({"content": ""}, _finish(self._ended), **usage)

    def _opening(self) -> bytes:
        if self._opened:
            return b""
        self._opened = True
        return self._delta({"role": "assistant", "content": ""}, None)

    def _delta(self, delta: dict[str, Any], finish: str | None, **more: object) -> bytes:
        return self._chunk([{"index": 0, "delta": delta, "finish_reason": finish}], **more)
