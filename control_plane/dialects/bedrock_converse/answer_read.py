"""Reading a provider's answer, whole or streamed, into events.

A stream tells of a text block only by its deltas: one begins where the number of the block changes. It ends with `metadata`,
which has the usage, behind `messageStop`.
"""

from __future__ import annotations

from typing import Any, Final, Literal

import msgspec

from control_plane.dialects import aws_errors
from control_plane.dialects.bedrock_converse.usage import WireUsage, read_usage
from control_plane.dialects.bedrock_converse.vocabulary import FAILED_STOPS, NAME, STOP_TO_CANON
from control_plane.dialects.body_reader import BodyReader, StreamDecoder, unreadable
from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
    Failure,
    ForeignEvent,
    InStreamError,
    PartBreak,
    ReasoningDelta,
    ReasoningSignature,
    RedactedReasoning,
    Request,
    Start,
    Stop,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallEnd,
    ToolCallStart,
    UsageUpdate,
)
from control_plane.dialects.eventstream import CONTENT_TYPE, EXCEPTION, EventDecoder
from control_plane.kit.errors import ProviderProtocolError

BLOCK_LIMIT: Final = 4096
"""Content blocks in one answer; keeps a hostile provider from growing our tables without end."""

SERVER_TOOL: Final = "server_tool_use"
"""`type` of a call that the vendor itself answers; a call for the client has none, or `tool_use`, which is in no list of the vendor."""

Object = dict[str, Any]


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw(b"")
    type: str | None = None


class _ReasoningText(msgspec.Struct):
    text: str | None = None
    signature: str | None = None


class _Reasoning(msgspec.Struct, rename="camel"):
    """Of a whole block: `reasoning_text` or `redacted_content`; of a delta: one of the others."""

    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None
    text: str | None = None
    signature: str | None = None


class _Cited(msgspec.Struct):
    content: list[Object] | None = None
    citations: list[Object] | None = None


class _Block(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None
    citations_content: _Cited | None = None


class _BlockStart(msgspec.Struct, rename="camel"):
    tool_use: _ToolUse | None = None


class _ToolDelta(msgspec.Struct):
    input: str | None = None


class _Delta(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolDelta | None = None
    reasoning_content: _Reasoning | None = None
    citation: Object | None = None


class _StartEvent(msgspec.Struct, rename="camel"):
    start: msgspec.Raw = msgspec.Raw(b"{}")
    content_block_index: int = 0


class _DeltaEvent(msgspec.Struct, rename="camel"):
    delta: _Delta
    content_block_index: int = 0


class _StopEvent(msgspec.Struct, rename="camel"):
    content_block_index: int = 0


class _MessageStop(msgspec.Struct, rename="camel"):
    stop_reason: str
    additional_model_response_fields: Any = None


class _Metadata(msgspec.Struct):
    usage: WireUsage | None = None


class _Message(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


class _Output(msgspec.Struct):
    message: _Message | None = None


class _Answer(msgspec.Struct, rename="camel"):
    output: _Output | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None


_decode_block: Final = msgspec.json.Decoder(_Block).decode
_decode_start: Final = msgspec.json.Decoder(_BlockStart).decode
_decode_object: Final = msgspec.json.Decoder(Object).decode
_decode_answer: Final = msgspec.json.Decoder(_Answer).decode
_decode_delta: Final = msgspec.json.Decoder(_DeltaEvent).decode
_decode_block_start: Final = msgspec.json.Decoder(_StartEvent).decode
_decode_block_stop: Final = msgspec.json.Decoder(_StopEvent).decode
_decode_message_stop: Final = msgspec.json.Decoder(_MessageStop).decode
_decode_metadata: Final = msgspec.json.Decoder(_Metadata).decode

_Kind = Literal["", "text", "thinking", "tool", "foreign"]


class AnswerReader(BodyReader):
    """See control_plane.dialects.api.ResponseReader."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._model = request.model
        self._started = False
        self._stopped = False
        self._calls = 0
        self._blocks = 0
        self._open: dict[int, tuple[_Kind, int]] = {}  # block number to its kind and, of a call, the number of the call
        self._last: _Kind = ""

    def _decoder(self, content_type: str) -> StreamDecoder | None:
        return EventDecoder() if content_type.startswith(CONTENT_TYPE) else None

    # ------------------------------------------------------------------------------------------------ streamed

    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        name = name or b""
        if name.startswith(EXCEPTION):
            self._over = True
            events.append(InStreamError(aws_errors.in_stream(name, payload)))
            return
        try:
            if name == b"contentBlockDelta":
                self._delta(_decode_delta(payload), payload, events)
            elif name == b"contentBlockStart":
                self._block_start(_decode_block_start(payload), payload, events)
            elif name == b"contentBlockStop":
                self._block_stop(_decode_block_stop(payload), payload, events)
            elif name == b"messageStart":
                self._begin(events)
            elif name == b"messageStop":
                self._message_stop(_decode_message_stop(payload), events)
            elif name == b"metadata":
                self._metadata(_decode_metadata(payload), events)
            # Anything else is new.
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise unreadable(error) from error

    def _begin(self, events: list[Event]) -> None:
        if self._started:
            raise ProviderProtocolError("the stream begins twice")
        self._started = True
        events.append(Start())

    def _message_stop(self, wire: _MessageStop, events: list[Event]) -> None:
        if not self._started or self._stopped:
            raise ProviderProtocolError("the stream stops before it begins, or twice")
        self._stopped = True
        self._stop(wire.stop_reason, events)

    def _metadata(self, wire: _Metadata, events: list[Event]) -> None:
        if wire.usage is not None:
            events.append(UsageUpdate(read_usage(wire.usage)))
        if self._stopped:
            self._over = True
            events.append(End())

    def _ended_without_terminal(self, events: list[Event]) -> None:
        """Without the usage an answer is still whole; without the stop reason it was cut."""
        if not self._stopped:
            raise ProviderProtocolError("the stream ended before its last event")
        self._over = True
        events.append(End())

    def _new_block(self, kind: _Kind, events: list[Event]) -> None:
        self._blocks += 1
        if self._blocks > BLOCK_LIMIT:
            raise ProviderProtocolError("the answer has too many content blocks")
        if kind == self._last and kind in ("text", "thinking"):
            events.append(PartBreak())
        self._last = kind

    def _block_start(self, wire: _StartEvent, payload: bytes, events: list[Event]) -> None:
        number = wire.content_block_index
        if not self._started or number in self._open:
            raise ProviderProtocolError("a content block begins before the message, or twice")
        start = _decode_start(bytes(wire.start))
        use = start.tool_use
        if use is not None and use.type != SERVER_TOOL:
            self._open[number] = ("tool", self._calls)
            self._new_block("tool", events)
            self._call_start(use, events)
        else:
            self._open[number] = ("foreign", 0)
            self._new_block("foreign", events)
            events.append(ForeignEvent(NAME, {"contentBlockStart": _decode_object(payload)}))

    def _call_start(self, use: _ToolUse, events: list[Event]) -> None:
        if not use.name:
            raise ProviderProtocolError("a tool call begins without a name")
        events.append(ToolCallStart(self._calls, use.tool_use_id or None, use.name))
        self._calls += 1

    def _delta(self, wire: _DeltaEvent, payload: bytes, events: list[Event]) -> None:
        if not self._started:
            raise ProviderProtocolError("a delta comes before the message")
        number, delta = wire.content_block_index, wire.delta
        kind, call = self._open.get(number, ("", 0))
        if kind == "foreign":
            events.append(ForeignEvent(NAME, {"contentBlockDelta": _decode_object(payload)}))
            return
        if delta.tool_use is not None:
            if kind != "tool":
                raise ProviderProtocolError("arguments of a tool call outside of one")
            if delta.tool_use.input:
                events.append(ToolArgumentsDelta(call, delta.tool_use.input))
            return
        told: _Kind = "thinking" if delta.reasoning_content is not None else "text"
        if delta.text is None and delta.reasoning_content is None and delta.citation is None:
            told = "foreign"
        if not kind:
            self._open[number] = (told, 0)
            self._new_block(told, events)
        elif kind != told:
            raise ProviderProtocolError(f"a delta of another kind in a {kind} block")
        if told == "foreign":
            events.append(ForeignEvent(NAME, {"contentBlockDelta": _decode_object(payload)}))
        elif delta.reasoning_content is not None:
            _reasoning(delta.reasoning_content, events)
        elif delta.citation is not None:
            events.append(_citation(delta.citation))
        elif delta.text:
            events.append(TextDelta(delta.text))

    def _block_stop(self, wire: _StopEvent, payload: bytes, events: list[Event]) -> None:
        kind, call = self._open.pop(wire.content_block_index, ("", 0))  # an empty text has neither start nor delta
        if kind == "tool":
            events.append(ToolCallEnd(call))
        elif kind == "foreign":
            events.append(ForeignEvent(NAME, {"contentBlockStop": _decode_object(payload)}))

    # --------------------------------------------------------------------------------------------------- whole

    def _document(self, body: bytes, events: list[Event]) -> None:
        try:
            answer = _decode_answer(body)
            message = answer.output.message if answer.output is not None else None
            if message is None or message.content is None or answer.stop_reason is None:
                raise ProviderProtocolError("the answer has no message, or no stop reason")
            events.append(Start())
            for raw in message.content:
                self._block(bytes(raw), events)
        except (ValueError, RecursionError) as error:
            raise unreadable(error) from error
        if answer.usage is not None:
            events.append(UsageUpdate(read_usage(answer.usage)))
        self._stop(answer.stop_reason, events)
        if not self._over:
            self._over = True
            events.append(End())

    def _block(self, raw: bytes, events: list[Event]) -> None:
        block = _decode_block(raw)
        use, reasoning, cited = block.tool_use, block.reasoning_content, block.citations_content
        if use is not None and use.type != SERVER_TOOL:
            self._new_block("tool", events)
            self._call_start(use, events)
            if arguments := _arguments(bytes(use.input)):
                events.append(ToolArgumentsDelta(self._calls - 1, arguments))
            events.append(ToolCallEnd(self._calls - 1))
        elif reasoning is not None:
            self._new_block("thinking", events)
            _reasoning(reasoning, events)
        elif block.text is not None or cited is not None:
            self._new_block("text", events)
            texts = [block.text] if cited is None else [item.get("text") for item in cited.content or ()]
            events.extend(TextDelta(text) for text in texts if isinstance(text, str) and text)
            events.extend(_citation(item) for item in (cited.citations if cited is not None else None) or ())
        else:
            self._new_block("foreign", events)
            events.append(ForeignEvent(NAME, {"block": _decode_object(raw)}))

    def _stop(self, native: str, events: list[Event]) -> None:
        if native in FAILED_STOPS:
            self._over = True
            events.append(InStreamError(Failure("transient", 424, f"the model failed with {native}", code=native)))
            return
        reason = STOP_TO_CANON.get(native, "other")
        if reason == "end" and self._calls:
            reason = "tool_use"
        events.append(Stop(reason, native))


def _reasoning(wire: _Reasoning, events: list[Event]) -> None:
    whole = wire.reasoning_text
    text, signature = (wire.text, wire.signature) if whole is None else (whole.text, whole.signature)
    if text:
        events.append(ReasoningDelta(text))
    if signature:
        events.append(ReasoningSignature(signature, NAME))
    if wire.redacted_content:
        events.append(RedactedReasoning(wire.redacted_content, NAME))


def _citation(raw: Object) -> Citation:
    """`raw` as the vendor writes it in a stream; a whole answer has the same fields."""
    location = raw.get("location")
    web = location.get("web") if isinstance(location, dict) else None
    url = web.get("url") if isinstance(web, dict) else None
    title, sources = raw.get("title"), raw.get("sourceContent")
    quotes = [item.get("text") for item in sources if isinstance(item, dict)] if isinstance(sources, list) else []
    return Citation(
        NAME,
        raw,
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        quote="".join(text for text in quotes if isinstance(text, str)) or None,
    )


def _arguments(raw: bytes) -> str:
    """The JSON text of the arguments; no number of it is touched."""
    if raw in (b"", b"null", b"{}"):
        return ""
    if raw[:1] != b"{":
        raise ProviderProtocolError("the arguments of a tool call are not an object")
    return bytes(msgspec.json.format(raw, indent=-1)).decode()
