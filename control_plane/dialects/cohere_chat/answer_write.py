"""Writing an answer for a client: streamed events or one document.

Reasoning appears as blocks of `thinking`, whoever thought. Signatures and encrypted reasoning have no place here; what needs them back
does without them (see the README).
"""

from __future__ import annotations

from typing import Any, Final, Literal

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
from control_plane.dialects.cohere_chat import errors
from control_plane.dialects.cohere_chat.usage import write_usage
from control_plane.dialects.cohere_chat.vocabulary import FILTERED, NAME, STOP_TO_CANON, STOP_TO_WIRE
from control_plane.dialects.gather import Answer, CallPiece, Choice, TextPiece, ThinkingPiece
from control_plane.dialects.whole_writer import WholeAnswerWriter

_encode: Final = msgspec.json.Encoder().encode
_OPENING: Final = {"message": {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}}
_CALL_DELTA: Final = (
    b"event: tool-call-delta\n"
    b'data: {"type":"tool-call-delta","index":%d,"delta":{"message":{"tool_calls":{"function":{"arguments":%b}}}}}\n\n'
)
_Open = Literal["", "text", "thinking", "foreign"]


def event(payload: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(payload["type"]).encode(), _encode(payload))


def finish_reason(stop: Stop | None) -> str:
    """The provider's own word where it is one of this dialect's, else the mapped one."""
    if stop is None:
        return "COMPLETE"
    native = stop.native
    return native if native is not None and native in STOP_TO_CANON else STOP_TO_WIRE[stop.reason]


def citation_for_client(item: Citation) -> dict[str, Any] | None:
    """Our own as it came; one that another dialect points at an address, with that as the source; None for others."""
    if item.origin == NAME:
        return dict(item.raw)
    if item.url is None:
        return None
    place = {"url": item.url} if item.title is None else {"url": item.url, "title": item.title}
    span = {"start": item.start, "end": item.end, "text": item.quote}
    source = {"type": "document", "id": item.url, "document": place}
    return {**{key: value for key, value in span.items() if value is not None}, "sources": [source], "type": "TEXT_CONTENT"}


def logprob_items(event: Logprobs) -> list[dict[str, Any]]:
    """One item for each token; ids of tokens are the vendor's own and not known."""
    found = [token for token in (*event.content, *event.refusal) if isinstance(token, dict)]
    return [{"text": token.get("token"), "token_ids": [], "logprobs": [token.get("logprob")]} for token in found]


class StreamWriter:
    """message-start, the blocks, calls and citations as they come, message-end with the finish reason and all usage."""

    content_type = "text/event-stream"

    def __init__(self, request: Request, ids: IdSource) -> None:
        self._ids = ids
        self._start = Start()
        self._usage = Usage()
        self._stop: Stop | None = None
        self._begun = False
        self._done = False
        self._index = -1
        self._open: _Open = ""
        self._head = b""  # what precedes the text of a delta of the open block
        self._calls: dict[int, bool] = {}  # calls that are open, and whether arguments came
        self._citations = 0

    def emit(self, event: Event) -> bytes:
        if self._done or getattr(event, "choice", False):  # this dialect has one choice, and its clients cannot ask for more
            return b""
        kind = type(event)
        if kind is TextDelta:
            return self._text("text", event.text)  # type: ignore[union-attr]
        if kind is ToolArgumentsDelta:
            return self._arguments(event.index, event.text)  # type: ignore[union-attr]
        if kind is ReasoningDelta:
            return self._text("thinking", event.text)  # type: ignore[union-attr]
        return self._other(event)

    def _other(self, item: Event) -> bytes:
        match item:
            case Start():
                self._start = item
            case UsageUpdate():
                self._usage = self._usage.updated(item.usage)
            case RefusalDelta():
                return self._text("text", item.text)
            case ToolCallStart():
                return self._call_start(item)
            case ToolCallEnd():
                return self._call_end(item.index)
            case PartBreak():
                return self._close()
            case Citation():
                return self._cite(item)
            case Logprobs():
                return b"".join(self._logprob(logprob) for logprob in logprob_items(item))
            case ForeignEvent() if item.origin == NAME:
                return self._foreign(dict(item.raw))
            case Stop():
                self._stop = item
            case End():
                return self.finish()
            case InStreamError():
                return self.fail(item.failure)
            case _:
                pass
        return b""

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return event({"id": self._start.id or self._ids.new(""), "type": "message-start", "delta": _OPENING})

    def _text(self, kind: Literal["text", "thinking"], text: str) -> bytes:
        opening = b"" if self._open == kind else self._switch(kind)
        return b"%b%b%b}}}}\n\n" % (opening, self._head, _encode(text))

    def _switch(self, kind: Literal["text", "thinking"]) -> bytes:
        closing = self._begin() + self._close()
        self._index += 1
        self._open = kind
        self._head = b'event: content-delta\ndata: {"type":"content-delta","index":%d,"delta":{"message":{"content":{"%b":' % (
            self._index,
            kind.encode(),
        )
        content = {"type": kind, kind: ""}
        return closing + event({"type": "content-start", "index": self._index, "delta": {"message": {"content": content}}})

    def _close(self) -> bytes:
        if not self._open:
            return b""
        self._open = ""
        return event({"type": "content-end", "index": self._index})

    def _call_start(self, start: ToolCallStart) -> bytes:
        closing = self._begin() + self._close()
        self._calls[start.index] = False
        function = {"name": start.name, "arguments": ""}
        call = {"id": start.id or self._ids.new("call_"), "type": "function", "function": function}
        return closing + event({"type": "tool-call-start", "index": start.index, "delta": {"message": {"tool_calls": call}}})

    def _arguments(self, index: int, text: str) -> bytes:
        self._calls[index] = True
        return _CALL_DELTA % (index, _encode(text))

    def _call_end(self, index: int) -> bytes:
        """A call that ends without arguments has the arguments `{}`."""
        if index not in self._calls:
            return b""
        filled = b"" if self._calls[index] else self._arguments(index, "{}")
        del self._calls[index]
        return filled + event({"type": "tool-call-end", "index": index})

    def _cite(self, item: Citation) -> bytes:
        cited = citation_for_client(item)
        if cited is None:
            return b""
        index = self._citations
        self._citations += 1
        delta = {"message": {"citations": cited}}
        ending = event({"type": "citation-end", "index": index})
        return self._begin() + event({"type": "citation-start", "index": index, "delta": delta}) + ending

    def _logprob(self, item: dict[str, Any]) -> bytes:
        opening = b"" if self._open == "text" else self._switch("text")
        delta = {"message": {"content": {"text": ""}}}
        return opening + event({"type": "content-delta", "index": self._index, "delta": delta, "logprobs": item})

    def _foreign(self, raw: dict[str, Any]) -> bytes:
        """A block of a kind that only this dialect has, under our own numbering."""
        if raw.get("type") == "content-start":
            closing = self._begin() + self._close()
            self._index += 1
            self._open = "foreign"
            return closing + event({**raw, "index": self._index})
        if self._open != "foreign":
            return b""
        return self._close() if raw.get("type") == "content-end" else event({**raw, "index": self._index})

    def finish(self) -> bytes:
        if self._done:
            return b""
        out = self._begin() + self._close() + b"".join(self._call_end(index) for index in list(self._calls))
        self._done = True
        reason = finish_reason(self._stop)
        delta: dict[str, Any] = {"finish_reason": reason, "usage": write_usage(self._usage)}
        if reason == "ERROR":
            delta["error"] = FILTERED
        return out + event({"type": "message-end", "delta": delta}) + b"data: [DONE]\n\n"

    def fail(self, failure: Failure) -> bytes:
        """The last event with the reason `ERROR`: the dialect has no other error in a stream, and its SDK reads no other."""
        if self._done:
            return b""
        opening = self._begin()
        self._done = True
        delta = {"finish_reason": "ERROR", "error": errors.document(failure)["message"], "usage": write_usage(self._usage)}
        return opening + event({"type": "message-end", "delta": delta})


class WholeWriter(WholeAnswerWriter):
    """One document at the end."""

    def __init__(self, request: Request, ids: IdSource) -> None:
        super().__init__()
        self._ids = ids
        self._answer = Answer()

    def _add(self, event: Event) -> None:
        self._answer.add(event)

    def _document(self) -> bytes:
        answer = self._answer
        choice = answer.choices.get(0) or Choice()
        reason = finish_reason(choice.stop)
        document: dict[str, Any] = {
            "id": answer.start.id or self._ids.new(""),
            "message": self._message(choice),
            "finish_reason": reason,
            "usage": write_usage(answer.usage),
        }
        if reason == "ERROR":
            document["error"] = FILTERED
        if logprobs := [item for part in choice.logprobs for item in logprob_items(part)]:
            document["logprobs"] = logprobs
        return _encode(document)

    def _error(self, failure: Failure) -> bytes:
        return errors.write_error(failure)

    def _message(self, choice: Choice) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        citations: list[dict[str, Any]] = []
        for piece in choice.pieces:
            match piece:
                case TextPiece():
                    if text := "".join(piece.texts):
                        content.append({"type": "text", "text": text})
                    citations.extend(cited for item in piece.citations if (cited := citation_for_client(item)) is not None)
                case ThinkingPiece():
                    if thought := "".join(piece.texts):
                        content.append({"type": "thinking", "thinking": thought})
                case CallPiece():
                    calls.append(self._call(piece))
                case ForeignEvent() if piece.origin == NAME and isinstance(piece.raw.get("content"), dict):
                    content.append(dict(piece.raw["content"]))  # type: ignore[call-overload]
                case _:
                    pass
        message: dict[str, Any] = {"role": "assistant"}
        if content:
            message["content"] = content
        if calls:
            message["tool_calls"] = calls
        if citations:
            message["citations"] = citations
        return message

    def _call(self, piece: CallPiece) -> dict[str, Any]:
        function = {"name": piece.start.name, "arguments": "".join(piece.arguments) or "{}"}
        return {"id": piece.start.id or self._ids.new("call_"), "type": "function", "function": function}
