"""Reading a provider's response, whole or streamed, into events (https://platform.openai.com/docs/api-reference/responses-streaming).

Servers that speak this dialect differ in which events they send: some leave out deltas, some the `done` events, some announce an
item only when it is complete. So an item is told once, by whatever says it first.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

from control_plane.dialects import freeform
from control_plane.dialects.body_reader import BodyReader, decode_any, unreadable
from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
    ForeignEvent,
    InStreamError,
    Logprobs,
    PartBreak,
    ReasoningDelta,
    RedactedReasoning,
    RefusalDelta,
    Request,
    Start,
    Stop,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
)
from control_plane.dialects.openai_responses import errors
from control_plane.dialects.openai_responses.usage import WireUsage, read_usage
from control_plane.dialects.openai_responses.vocabulary import INCOMPLETE_TO_CANON, NAME
from control_plane.kit.errors import ProviderProtocolError

ITEM_LIMIT: Final = 4096
"""Items in one answer, and parts in one item; keeps a hostile provider from growing our tables without end."""


class _Response(msgspec.Struct):
    """`response` of an event, and the whole answer."""

    object: str | None = None
    id: str | None = None
    model: str | None = None
    created_at: int | float | None = None
    status: str | None = None
    output: list[dict[str, Any]] | None = None
    incomplete_details: dict[str, Any] | None = None
    usage: WireUsage | None = None
    error: Any = None


class _WireEvent(msgspec.Struct):
    type: str
    response: _Response | None = None
    item: dict[str, Any] | None = None
    output_index: int | None = None
    content_index: int | None = None
    summary_index: int | None = None
    delta: Any = None
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None
    input: str | None = None
    annotation: dict[str, Any] | None = None
    logprobs: list[Any] | None = None


_decode_event: Final = msgspec.json.Decoder(_WireEvent).decode
_decode_response: Final = msgspec.json.Decoder(_Response).decode

_PART_OF: Final = {
    "response.output_text.delta": "text",
    "response.output_text.done": "text",
    "response.refusal.delta": "refusal",
    "response.refusal.done": "refusal",
    "response.reasoning_summary_text.delta": "summary",
    "response.reasoning_summary_text.done": "summary",
    "response.reasoning_text.delta": "reasoning",
    "response.reasoning_text.done": "reasoning",
}
"""Events that carry a part's text: what kind of part."""

_PartKey = tuple[str, int]
"""Kind of part and its index among those of its list."""


class _Item:
    """An output item: which parts of it were told, and for a call whether its arguments were."""

    __slots__ = ("annotated", "call", "closed", "kind", "told", "weighed")  # annotated: citations were told; weighed: probabilities

    def __init__(self, kind: str, call: int = -1) -> None:
        self.kind = kind
        self.call = call
        self.told: set[_PartKey] = set()
        self.annotated = False
        self.weighed: set[int] = set()  # content indices
        self.closed = False


class AnswerReader(BodyReader):
    """See control_plane.dialects.api.ResponseReader."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._items: dict[int, _Item] = {}
        self._calls = 0
        self._refused = False
        self._started = False
        self._last: tuple[int, _PartKey] | None = None  # the part whose text came last

    # ------------------------------------------------------------------------------------------------ streamed

    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        if payload == b"[DONE]" or name in (b"ping", b"keepalive", b"heartbeat"):  # OpenRouter and others add the other dialect's end
            return
        try:
            wire = _decode_event(payload)
        except (ValueError, RecursionError) as error:
            if name == b"error":
                self._fail(errors.error_payload(payload), events)
                return
            raise unreadable(error) from error
        kind = wire.type
        if (part := _PART_OF.get(kind)) is not None:
            self._text_event(part, kind.endswith(".delta"), wire, events)
        elif kind == "error" or name == b"error":
            self._fail(errors.error_payload(payload), events)
        elif wire.response is not None:
            self._response_event(kind, wire.response, events)
        elif kind == "response.output_item.added":
            self._added(wire, payload, events)
        elif kind == "response.output_item.done":
            self._done(wire, payload, events)
        elif kind in ("response.function_call_arguments.delta", "response.function_call_arguments.done"):
            self._arguments_event(wire, events)
        elif kind in ("response.custom_tool_call_input.delta", "response.custom_tool_call_input.done"):
            self._input_event(wire, events)
        elif kind == "response.output_text.annotation.added":
            self._annotation_event(wire, events)
        elif wire.output_index is not None and (item := self._items.get(wire.output_index)) is not None and item.kind == "foreign":
            events.append(ForeignEvent(NAME, decode_any(payload)))
        # Anything else repeats what other events say (`content_part.added` …), or is new and says nothing that we know.

    def _response_event(self, kind: str, response: _Response, events: list[Event]) -> None:
        self._begin(response, events)
        if kind in ("response.completed", "response.incomplete", "response.failed"):
            self._end(response, kind.removeprefix("response."), events)

    def _begin(self, response: _Response, events: list[Event]) -> None:
        if not self._started:
            self._started = True
            created = None if response.created_at is None else int(response.created_at)
            events.append(Start(response.id or None, response.model or None, created))

    def _fail(self, error: object, events: list[Event]) -> None:
        self._over = True
        events.append(InStreamError(errors.in_stream(error), error))

    def _end(self, response: _Response, status: str, events: list[Event]) -> None:
        if not self._items and status != "failed":  # told by nothing else
            for index, item in enumerate(response.output or ()):
                self._complete_item(index, item, events)
        if response.usage is not None:
            events.append(UsageUpdate(read_usage(response.usage)))
        if status == "failed":
            self._fail(response.error or {"message": "the provider says that the answer failed, and not why"}, events)
            return
        events.append(self._stop(response, status))
        self._over = True
        events.append(End())

    def _stop(self, response: _Response, status: str) -> Stop:
        if status == "incomplete":
            reason = (response.incomplete_details or {}).get("reason")
            native = reason if isinstance(reason, str) else status
            return Stop(INCOMPLETE_TO_CANON.get(native, "other"), native, detail=response.incomplete_details)
        return Stop("tool_use" if self._calls else "refusal" if self._refused else "end", status)

    # --------------------------------------------------------------------------------------------------- items

    def _item_at(self, index: int | None) -> _Item:
        item = self._items.get(-1 if index is None else index)
        if item is None:
            raise ProviderProtocolError("an event of an output item that was not added")
        return item

    def _added(self, wire: _WireEvent, payload: bytes, events: list[Event]) -> None:
        if wire.item is None or wire.output_index is None or wire.output_index in self._items:
            raise ProviderProtocolError("an output_item.added without a new index and an item")
        if self._open(wire.output_index, wire.item, events).kind == "foreign":
            events.append(ForeignEvent(NAME, decode_any(payload)))

    def _done(self, wire: _WireEvent, payload: bytes, events: list[Event]) -> None:
        index, value = wire.output_index, wire.item
        if index is None or value is None:
            raise ProviderProtocolError("an output_item.done without an index and an item")
        item = self._items.get(index)
        if item is None:
            self._complete_item(index, value, events)
        elif item.kind == "foreign":
            item.closed = True
            events.append(ForeignEvent(NAME, decode_any(payload)))
        else:
            self._close(index, item, value, events)

    def _open(self, index: int, value: dict[str, Any], events: list[Event]) -> _Item:
        if len(self._items) >= ITEM_LIMIT or index < 0:
            raise ProviderProtocolError("the answer has too many output items")
        kind = value.get("type")
        if kind in ("function_call", "custom_tool_call"):
            name = _string(value, "name")
            if not name:
                raise ProviderProtocolError("a function call begins without a name")
            item = _Item(str(kind), self._calls)
            self._calls += 1
            events.append(
                ToolCallStart(item.call, _string(value, "call_id") or _string(value, "id") or None, name, freeform=kind != "function_call")
            )
        else:
            item = _Item(str(kind) if kind in ("message", "reasoning") else "foreign")
        self._items[index] = item
        return item

    def _complete_item(self, index: int, value: dict[str, Any], events: list[Event]) -> None:
        """An item that comes in one piece."""
        item = self._open(index, value, events)
        if item.kind == "foreign":
            both = ("response.output_item.added", "response.output_item.done")
            events.extend(ForeignEvent(NAME, {"type": kind, "output_index": index, "item": value}) for kind in both)
        else:
            self._close(index, item, value, events)

    def _close(self, index: int, item: _Item, value: dict[str, Any], events: list[Event]) -> None:
        """Tells what of a complete item was not told before."""
        if item.closed:
            return
        item.closed = True
        if item.kind == "function_call":
            arguments = _string(value, "arguments")
            if arguments and not item.told:
                events.append(ToolArgumentsDelta(item.call, arguments))
            events.append(ToolCallEnd(item.call))
            return
        if item.kind == "custom_tool_call":
            if not item.told:
                self._input(item, _string(value, "input"), events)  # also where it is empty
            events += (ToolArgumentsDelta(item.call, freeform.CLOSING), ToolCallEnd(item.call))
            return
        told = {kind for kind, _ in item.told}  # by kind: Bedrock's places in deltas are not those in the item
        if item.kind == "message":
            for number, part in enumerate(_parts(value, "content")):
                self._message_part(index, item, told, (number, part), events)
            return
        for key, kind in (("summary", "summary"), ("content", "reasoning")):
            for number, part in enumerate(_parts(value, key)):
                if kind not in told:
                    self._text(index, item, (kind, number), _string(part, "text"), events)
        if data := _string(value, "encrypted_content"):
            events.append(RedactedReasoning(data, NAME, _string(value, "id") or None))

    def _message_part(self, index: int, item: _Item, told: set[str], numbered: tuple[int, dict[str, Any]], events: list[Event]) -> None:
        number, part = numbered
        kind = part.get("type")
        if kind == "refusal" and "refusal" not in told:
            self._text(index, item, ("refusal", number), _string(part, "refusal"), events)
        if kind != "output_text":
            return
        if "text" not in told:
            self._text(index, item, ("text", number), _string(part, "text"), events)
        if isinstance(logprobs := part.get("logprobs"), list) and logprobs and not item.weighed:
            events.append(Logprobs(tuple(logprobs)))
        if not item.annotated:
            events.extend(_citation(annotation) for annotation in _parts(part, "annotations"))

    # --------------------------------------------------------------------------------------------------- parts

    def _text_event(self, kind: str, delta: bool, wire: _WireEvent, events: list[Event]) -> None:
        item = self._item_at(wire.output_index)
        number = wire.summary_index if kind == "summary" else wire.content_index
        key = (kind, number or 0)
        if delta:
            if not isinstance(wire.delta, str):
                raise ProviderProtocolError("a delta is not a string")
            text = wire.delta
        else:
            text = "" if key in item.told else (wire.refusal if kind == "refusal" else wire.text) or ""
        self._text(wire.output_index or 0, item, key, text, events)
        if kind == "text" and wire.logprobs and (delta or key[1] not in item.weighed):  # some servers send them at the end only
            item.weighed.add(key[1])
            events.append(Logprobs(tuple(wire.logprobs)))

    def _text(self, index: int, item: _Item, key: _PartKey, text: str, events: list[Event]) -> None:
        if item.kind != ("message" if key[0] in ("text", "refusal") else "reasoning"):
            raise ProviderProtocolError(f"{key[0]} in a {item.kind} item")
        if not text:
            return
        here = (index, key)
        if self._last != here:
            before = self._last
            if before is not None and _shown_alike(before[1][0], key[0]):
                events.append(PartBreak())
            self._last = here
            if len(item.told) >= ITEM_LIMIT:
                raise ProviderProtocolError("an output item has too many parts")
            item.told.add(key)
        match key[0]:
            case "text":
                events.append(TextDelta(text))
            case "refusal":
                self._refused = True
                events.append(RefusalDelta(text))
            case _:
                events.append(ReasoningDelta(text))

    def _arguments_event(self, wire: _WireEvent, events: list[Event]) -> None:
        item = self._item_at(wire.output_index)
        if item.kind == "foreign":
            return
        if item.kind != "function_call":
            raise ProviderProtocolError(f"arguments in a {item.kind} item")
        text = wire.delta
        if wire.type.endswith(".done"):
            text = None if item.told else wire.arguments
        if text is not None and not isinstance(text, str):
            raise ProviderProtocolError("a delta is not a string")
        if text:
            item.told.add(("arguments", 0))
            events.append(ToolArgumentsDelta(item.call, text))

    def _input_event(self, wire: _WireEvent, events: list[Event]) -> None:
        """The free text of a custom tool call, which in canon is the argument of a function."""
        item = self._item_at(wire.output_index)
        if item.kind != "custom_tool_call":
            raise ProviderProtocolError(f"the input of a custom tool in a {item.kind} item")
        text = wire.delta
        if wire.type.endswith(".done"):
            text = None if item.told else wire.input
        if text is not None and not isinstance(text, str):
            raise ProviderProtocolError("a delta is not a string")
        if text:
            self._input(item, text, events)

    def _input(self, item: _Item, text: str, events: list[Event]) -> None:
        opening = "" if item.told else freeform.OPENING
        item.told.add(("arguments", 0))
        events.append(ToolArgumentsDelta(item.call, opening + freeform.escaped(text)))

    def _annotation_event(self, wire: _WireEvent, events: list[Event]) -> None:
        item = self._item_at(wire.output_index)
        if wire.annotation is not None and item.kind == "message":
            item.annotated = True
            events.append(_citation(wire.annotation))

    # --------------------------------------------------------------------------------------------------- whole

    def _document(self, body: bytes, events: list[Event]) -> None:
        try:
            response = _decode_response(body)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if response.error and response.status not in ("completed", "incomplete"):
            self._fail(response.error, events)
            return
        if response.output is None:
            raise ProviderProtocolError("the answer has neither output nor an error")
        status = response.status or "completed"
        if status in ("queued", "in_progress"):  # only an answer in the background may end so, which no other dialect can ask for
            raise ProviderProtocolError(f"the answer is not there: its status is {status}")
        self._begin(response, events)
        self._end(response, "failed" if status == "cancelled" else status, events)


def _shown_alike(before: str, now: str) -> bool:
    """Whether two kinds of part become the same kind of delta, so that a break must part them."""
    alike = ("summary", "reasoning")
    return before == now or (before in alike and now in alike)


def _string(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    if found is None or isinstance(found, str):
        return found or ""
    raise ProviderProtocolError(f"{key} of an output item is not a string")


def _parts(value: dict[str, Any], key: str) -> Iterable[dict[str, Any]]:
    found = value.get(key)
    if found is None:
        return ()
    if not isinstance(found, list) or len(found) > ITEM_LIMIT or not all(isinstance(part, dict) for part in found):
        raise ProviderProtocolError(f"{key} of an output item is not a list of objects")
    return found


def _citation(raw: dict[str, Any]) -> Citation:
    url, title, start, end = raw.get("url"), raw.get("title"), raw.get("start_index"), raw.get("end_index")
    return Citation(
        NAME,
        raw,
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        start=start if type(start) is int else None,
        end=end if type(end) is int else None,
    )
