"""Writing a response for a client: the stream of events, or one document.

Every event has its `sequence_number`, every item its place and id. Items of one kind never interleave, except calls: their
fragments carry the item's place, so those of parallel calls go out as they come.
"""

from __future__ import annotations

from typing import Any, Final, Literal

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
    seal_redacted,
    seal_signature,
)
from control_plane.dialects.openai_responses import errors
from control_plane.dialects.openai_responses.response import ResponseDocument, incomplete_reason
from control_plane.dialects.openai_responses.vocabulary import INCLUDE_REASONING, NAME
from control_plane.dialects.whole_writer import WholeAnswerWriter

_encode: Final = msgspec.json.Encoder().encode

_PartKind = Literal["", "output_text", "refusal", "summary"]

_DELTA: Final = {
    "output_text": ("response.output_text.delta", b',"logprobs":[]'),
    "refusal": ("response.refusal.delta", b""),
    "summary": ("response.reasoning_summary_text.delta", b""),
}
"""Kind of part: the event of its deltas, and what such an event says beside the text."""

UNSEALED: Final = seal_signature(None, None)
"""`encrypted_content` of reasoning that nobody can verify: it marks the item as none of OpenAI's, which would look for it in vain."""


def annotation(citation: Citation) -> dict[str, Any] | None:
    """A `url_citation`; None for citations of the request's own documents, which this dialect cannot point at."""
    if citation.origin == NAME:
        return dict(citation.raw)
    if citation.url is None:
        return None
    span = {"start_index": citation.start or 0, "end_index": citation.end or 0}
    return {"type": "url_citation", **span, "url": citation.url, "title": citation.title or ""}


class _Call:
    """A call under way: its item, what stands before the fragment in a delta, and for a tool that takes text what reads that."""

    __slots__ = ("fragments", "head", "index", "item", "text")

    def __init__(self, index: int, item: dict[str, Any], head: bytes, text: freeform.TextReader | None) -> None:
        self.index = index
        self.item = item
        self.head = head
        self.text = text
        self.fragments: list[str] = []


class StreamWriter:
    """response.created, the items with their parts, and response.completed or response.incomplete with the whole answer."""

    content_type = "text/event-stream"

    def __init__(self, request: Request, ids: IdSource) -> None:
        self._request = request
        self._ids = ids
        # a client that asked for nothing of the kind may go on at OpenAI itself, which refuses what it did not seal
        self._seals_calls = request.reasoning is not None or INCLUDE_REASONING in ((request.raw or {}).get("include") or ())  # type: ignore[operator]
        self._custom = freeform.names(request)
        self._start = Start()
        self._document: ResponseDocument | None = None
        self._usage = Usage()
        self._stop: Stop | None = None
        self._done = False
        self._sequence = 0
        self._refused = False
        self._output: list[dict[str, Any]] = []  # items in order, the unfinished ones as far as they got
        self._calls: dict[int, _Call] = {}
        self._places: dict[object, int] = {}  # of items that only this dialect has: the provider's index to ours
        # the open message or reasoning item, and in it the open part
        self._item: dict[str, Any] | None = None
        self._index = -1
        self._part: _PartKind = ""
        self._texts: list[str] = []
        self._annotations: list[dict[str, Any]] = []
        self._logprobs: list[object] = []
        self._head = b""
        self._tail = b""
        self.final: dict[str, Any] | None = None  # the whole answer, once it has ended

    def emit(self, event: Event) -> bytes:
        if self._done or getattr(event, "choice", False):  # this dialect has one choice, and its clients cannot ask for more
            return b""
        kind = type(event)
        if kind is TextDelta:
            return self._text("output_text", event.text)  # type: ignore[union-attr]
        if kind is ToolArgumentsDelta:
            return self._arguments(event)  # type: ignore[arg-type]
        if kind is ReasoningDelta:
            return self._text("summary", event.text)  # type: ignore[union-attr]
        return self._other(event)

    def _other(self, event: Event) -> bytes:
        match event:
            case Start():
                self._start = event
            case UsageUpdate():
                self._usage = self._usage.updated(event.usage)
            case ToolCallStart():
                return self._call_start(event)
            case ToolCallEnd():
                return self._call_end(event.index)
            case RefusalDelta():
                self._refused = True
                return self._text("refusal", event.text)
            case ReasoningSignature():
                return self._seal(seal_signature(event.signature, event.origin) if event.origin != NAME else event.signature, None)
            case RedactedReasoning():
                return self._redacted(event)
            case PartBreak():
                return self._close_part()
            case Citation():
                return self._cite(event)
            case Logprobs():
                return self._probabilities(event)
            case ForeignEvent() if event.origin == NAME:
                return self._foreign(event)
            case Stop():
                self._stop = event
                return self._close_all()
            case End():
                return self.finish()
            case InStreamError():
                return self.fail(event.failure)
            case _:
                pass
        return b""

    # ------------------------------------------------------------------------------------------------ events

    def _event(self, kind: str, fields: dict[str, Any]) -> bytes:
        payload = {"type": kind, "sequence_number": self._sequence, **fields}
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(payload))

    def _delta(self, head: bytes, text: str, tail: bytes) -> bytes:
        number = self._sequence
        self._sequence += 1
        return b'%b%b%b,"sequence_number":%d}\n\n' % (head, _encode(text), tail, number)

    def _begin(self) -> bytes:
        if self._document is not None:
            return b""
        self._document = ResponseDocument(self._request, self._start, self._ids)
        begun = {"response": self._document.begun()}
        return self._event("response.created", begun) + self._event("response.in_progress", begun)

    # ------------------------------------------------------------------------------------------------- items

    def _add(self, item: dict[str, Any]) -> bytes:
        """Puts an item at the end of the output; the open one has ended before."""
        out = self._begin()
        self._output.append(item)
        return out + self._event("response.output_item.added", {"output_index": len(self._output) - 1, "item": item})

    def _open_item(self, item: dict[str, Any]) -> bytes:
        out = self._close_item() + self._add(item)
        self._item, self._index = item, len(self._output) - 1
        return out

    def _close_item(self) -> bytes:
        item = self._item
        if item is None:
            return b""
        out = self._close_part()
        self._item = None
        if item["type"] == "reasoning":
            item.setdefault("encrypted_content", UNSEALED)
        else:
            item["status"] = self._item_status()
        return out + self._event("response.output_item.done", {"output_index": self._index, "item": item})

    def _item_status(self) -> str:
        cut = self._stop is not None and incomplete_reason(self._stop, self._refused) is not None
        return "incomplete" if cut else "completed"

    def _close_all(self) -> bytes:
        return self._close_item() + b"".join(self._call_end(index) for index in list(self._calls))

    # ------------------------------------------------------------------------------------------------- parts

    def _text(self, kind: _PartKind, text: str) -> bytes:
        opening = b"" if self._part == kind else self._open_part(kind)
        self._texts.append(text)
        return opening + self._delta(self._head, text, self._tail)

    def _open_part(self, kind: _PartKind) -> bytes:
        wanted = "reasoning" if kind == "summary" else "message"
        if self._item is None or self._item["type"] != wanted:
            if wanted == "reasoning":
                out = self._open_item({"id": self._ids.new("rs_"), "type": "reasoning", "summary": []})
            else:
                message = {"id": self._ids.new("msg_"), "type": "message", "status": "in_progress", "role": "assistant", "content": []}
                out = self._open_item(message)
        else:
            out = self._close_part()
        self._part = kind
        delta, self._tail = _DELTA[kind]
        place = self._place()
        self._head = b'event: %b\ndata: {"type":"%b",%b,"delta":' % (delta.encode(), delta.encode(), _encode(place)[1:-1])
        added = "response.reasoning_summary_part.added" if kind == "summary" else "response.content_part.added"
        return out + self._event(added, {**place, "part": self._part_object("")})

    def _place(self) -> dict[str, Any]:
        """Where the open part is."""
        assert self._item is not None
        key, parts = ("summary_index", "summary") if self._part == "summary" else ("content_index", "content")
        return {"item_id": self._item["id"], "output_index": self._index, key: len(self._item[parts])}

    def _part_object(self, text: str) -> dict[str, Any]:
        if self._part == "summary":
            return {"type": "summary_text", "text": text}
        if self._part == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "annotations": self._annotations, "logprobs": self._logprobs, "text": text}

    def _close_part(self) -> bytes:
        kind, item = self._part, self._item
        if not kind or item is None:
            return b""
        place, text = self._place(), "".join(self._texts)
        part = self._part_object(text)
        if kind == "summary":
            out = self._event("response.reasoning_summary_text.done", {**place, "text": text})
            out += self._event("response.reasoning_summary_part.done", {**place, "part": part})
        else:
            said = {"refusal": text} if kind == "refusal" else {"text": text, "logprobs": self._logprobs}
            out = self._event(f"response.{kind}.done", {**place, **said})
            out += self._event("response.content_part.done", {**place, "part": part})
        item["summary" if kind == "summary" else "content"].append(part)
        self._part, self._texts, self._annotations, self._logprobs = "", [], [], []
        return out

    def _probabilities(self, event: Logprobs) -> bytes:
        """Of the text that was just sent, so they follow in a delta without one."""
        if not event.content:
            return b""
        opening = b"" if self._part == "output_text" else self._open_part("output_text")
        self._logprobs.extend(event.content)
        return opening + self._delta(self._head, "", b',"logprobs":' + _encode(event.content))

    def _cite(self, citation: Citation) -> bytes:
        note = annotation(citation)
        if note is None:
            return b""
        opening = b"" if self._part == "output_text" else self._open_part("output_text")
        number = len(self._annotations)
        self._annotations.append(note)
        added = {**self._place(), "annotation_index": number, "annotation": note}
        return opening + self._event("response.output_text.annotation.added", added)

    # --------------------------------------------------------------------------------------------- reasoning

    def _redacted(self, event: RedactedReasoning) -> bytes:
        """Behind its own text where there is some, else an item of its own, under the id that the vendor knows it by."""
        own = event.origin == NAME
        if self._item is not None and self._item["type"] == "reasoning":
            plain = own and event.id in (None, self._item["id"])
            return self._seal(event.data if plain else seal_redacted(event.data, event.origin, event.id), None)
        return self._seal(event.data if own else seal_redacted(event.data, event.origin, event.id), event.id if own else None)

    def _seal(self, value: str, identity: str | None) -> bytes:
        out = b""
        if self._item is None or self._item["type"] != "reasoning":
            out = self._open_item({"id": identity or self._ids.new("rs_"), "type": "reasoning", "summary": []})
        out += self._close_part()
        assert self._item is not None
        self._item["encrypted_content"] = value
        return out + self._close_item()

    # ------------------------------------------------------------------------------------------------- calls

    def _call_start(self, start: ToolCallStart) -> bytes:
        out = self._close_item()
        if start.signature is not None and self._seals_calls:  # this dialect seals reasoning only, so an item without a text
            out += self._seal(seal_signature(start.signature, start.origin), None)
        custom = start.freeform or start.name in self._custom
        item = {
            "id": self._ids.new("ctc_" if custom else "fc_"),
            "type": "custom_tool_call" if custom else "function_call",
            "status": "in_progress",
            "input" if custom else "arguments": "",
            "call_id": start.id or self._ids.new("call_"),
            "name": start.name,
        }
        out += self._add(item)
        index = len(self._output) - 1
        place = _encode({"item_id": item["id"], "output_index": index})[1:-1]
        kind = b"response.custom_tool_call_input.delta" if custom else b"response.function_call_arguments.delta"
        head = b'event: %b\ndata: {"type":"%b",%b,"delta":' % (kind, kind, place)
        self._calls[start.index] = _Call(index, item, head, freeform.TextReader() if custom else None)
        return out

    def _arguments(self, event: ToolArgumentsDelta) -> bytes:
        call = self._calls.get(event.index)
        if call is None:
            return b""
        return self._fragment(call, event.text if call.text is None else call.text.feed(event.text))

    def _fragment(self, call: _Call, text: str) -> bytes:
        if not text:
            return b""
        call.fragments.append(text)
        return self._delta(call.head, text, b"")

    def _call_end(self, index: int) -> bytes:
        """A call that ends without arguments has the arguments `{}`."""
        call = self._calls.pop(index, None)
        if call is None:
            return b""
        if call.text is not None:
            return self._custom_end(call, call.text)
        out = b"" if call.fragments else self._fragment(call, "{}")
        arguments = "".join(call.fragments)
        place = {"item_id": call.item["id"], "output_index": call.index}
        done = self._event("response.function_call_arguments.done", {**place, "arguments": arguments})
        call.item.update(arguments=arguments, status=self._item_status())
        return out + done + self._event("response.output_item.done", {"output_index": call.index, "item": call.item})

    def _custom_end(self, call: _Call, text: freeform.TextReader) -> bytes:
        out = self._fragment(call, text.finish())
        said = "".join(call.fragments)
        place = {"item_id": call.item["id"], "output_index": call.index}
        done = self._event("response.custom_tool_call_input.done", {**place, "input": said})
        call.item.update(input=said, status=self._item_status())
        return out + done + self._event("response.output_item.done", {"output_index": call.index, "item": call.item})

    def _foreign(self, event: ForeignEvent) -> bytes:
        """An item that only this dialect has, under our own numbering."""
        raw: dict[str, Any] = dict(event.raw)
        kind, theirs = str(raw.pop("type")), raw.pop("output_index", None)
        raw.pop("sequence_number", None)
        if kind == "response.output_item.added":
            out = self._close_item() + self._begin()
            self._output.append(raw["item"])
            self._places[theirs] = len(self._output) - 1
            return out + self._event(kind, {"output_index": self._places[theirs], **raw})
        place = self._places.get(theirs)
        if place is None:
            return b""
        if kind == "response.output_item.done":
            self._output[place] = raw["item"]
        return self._event(kind, {"output_index": place, **raw})

    # --------------------------------------------------------------------------------------------------- end

    def finish(self) -> bytes:
        if self._done:
            return b""
        out = self._begin() + self._close_all()
        self._done = True
        assert self._document is not None
        reason = incomplete_reason(self._stop, self._refused) if self._stop is not None else None
        self.final = self._document.ended(self._output, reason, self._usage)
        return out + self._event(f"response.{self.final['status']}", {"response": self.final})

    def fail(self, failure: Failure) -> bytes:
        """The error event, for which the SDKs raise, and the failed response with what was said so far."""
        if self._done:
            return b""
        out = self._begin()
        self._done = True
        assert self._document is not None
        out += self._event("error", errors.error_event(failure))
        return out + self._event("response.failed", {"response": self._document.failed(self._output, failure)})


class WholeWriter(WholeAnswerWriter):
    """One `response` document at the end: what the stream's last event carries."""

    def __init__(self, request: Request, ids: IdSource) -> None:
        super().__init__()
        self._stream = StreamWriter(request, ids)

    def _add(self, event: Event) -> None:
        self._stream.emit(event)

    def _document(self) -> bytes:
        self._stream.finish()
        return _encode(self._stream.final)

    def _error(self, failure: Failure) -> bytes:
        return errors.write_error(failure)
