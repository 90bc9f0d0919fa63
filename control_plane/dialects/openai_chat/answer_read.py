"""Reading a provider's chat completion, whole or streamed, into events; completions of plain text differ in where the text stands.

Lenient where vendors differ without changing the meaning, strict where a guess could be wrong: an answer without choices
and without an error cannot be read, a stream that ends before a finish reason was cut.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects import freeform
from control_plane.dialects.body_reader import BodyReader, unreadable
from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
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
from control_plane.dialects.openai_chat import errors
from control_plane.dialects.openai_chat.messages_read import thinking_text
from control_plane.dialects.openai_chat.vocabulary import DETAILS_ORIGIN, FAILED_STOPS, NAME, STOP_TO_CANON
from control_plane.dialects.openai_usage import WireUsage, read_usage
from control_plane.kit.errors import ProviderProtocolError

CHOICE_LIMIT: Final = 128
"""OpenAI's own maximum of `n`."""

CALL_LIMIT: Final = 1024
"""Tool calls in one choice; keeps a hostile provider from growing our tables without end."""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class _Custom(msgspec.Struct):
    name: str | None = None
    input: str | None = None


class _Call(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    type: str | None = None
    function: _Function | None = None
    custom: _Custom | None = None


class _Delta(msgspec.Struct):
    """A streamed delta or a whole message: the same fields."""

    content: str | list[Any] | None = None
    reasoning_content: str | None = None
    reasoning: str | dict[str, Any] | None = None
    reasoning_details: list[dict[str, Any]] | None = None
    refusal: str | None = None
    tool_calls: list[_Call] | None = None
    function_call: dict[str, Any] | None = None
    annotations: list[dict[str, Any]] | None = None
    audio: dict[str, Any] | None = None


class _Choice(msgspec.Struct):
    index: int | None = None
    delta: _Delta | None = None
    message: _Delta | None = None
    text: str | None = None  # of completions, which have no message
    finish_reason: str | None = None
    logprobs: Any = None


class _GroqExtra(msgspec.Struct):
    usage: WireUsage | None = None


class _Chunk(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    created: int | float | str | None = None
    choices: list[_Choice] | None = None
    usage: WireUsage | None = None
    error: Any = None
    x_groq: _GroqExtra | None = None


_decode: Final = msgspec.json.Decoder(_Chunk).decode


class _CallState(msgspec.Struct):
    """A tool call under way. The wire index may have gaps or be missing; `index` counts from 0."""

    index: int
    id: str | None
    custom: bool = False
    begun: bool = False  # of a custom tool: some of its text came


class _ChoiceState:
    __slots__ = ("by_wire", "calls", "custom", "finished", "last", "refused")

    def __init__(self) -> None:
        self.calls = 0
        self.by_wire: dict[int, _CallState] = {}
        self.last: _CallState | None = None
        self.custom: list[_CallState] = []  # calls of custom tools, which end with the choice
        self.finished = False
        self.refused = False


class AnswerReader(BodyReader):
    """See control_plane.dialects.api.ResponseReader."""

    def __init__(self, request: Request) -> None:
        super().__init__(request)
        self._choices: dict[int, _ChoiceState] = {}
        self._started = False
        self._usage: Usage | None = None

    def _document(self, body: bytes, events: list[Event]) -> None:
        events += self._chunk(body)
        if not self._over and not self._choices:
            raise ProviderProtocolError("the answer has neither choices nor an error")
        if not self._over:
            events.append(End())

    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        if name == b"error":
            events.append(self._failed(errors.error_payload(payload)))
        elif payload == b"[DONE]" or payload.strip() == b"[DONE]":
            self._over = True
            events.append(End())
        elif name is None or name not in (b"ping", b"keepalive", b"heartbeat"):
            events += self._chunk(payload)

    def _ended_without_terminal(self, events: list[Event]) -> None:
        # Perplexity, Writer and gpustack never send [DONE]: the stream is complete when every choice said why it ended.
        if not self._choices or not all(choice.finished for choice in self._choices.values()):
            raise ProviderProtocolError("the stream ended before its last event")
        self._over = True
        events.append(End())

    def _failed(self, error: object) -> InStreamError:
        self._over = True
        return InStreamError(errors.in_stream(error), error)

    def _chunk(self, data: bytes) -> list[Event]:
        try:
            chunk = _decode(data)
        except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors
            raise unreadable(error) from error
        if chunk.error:
            return [self._failed(chunk.error)]
        events: list[Event] = []
        if not self._started and (chunk.choices or chunk.id):
            self._started = True
            created = chunk.created
            events.append(Start(chunk.id or None, chunk.model or None, int(created) if isinstance(created, int | float) else None))
        for choice in chunk.choices or ():
            self._choice(choice, events)
            if self._over:
                return events
        usage = chunk.usage or (chunk.x_groq.usage if chunk.x_groq is not None else None)
        if usage is not None and (counts := read_usage(usage)) != self._usage:
            self._usage = counts
            events.append(UsageUpdate(counts))
        return events

    def _choice(self, choice: _Choice, events: list[Event]) -> None:
        number = choice.index or 0
        state = self._choices.get(number)
        if state is None:
            if len(self._choices) >= CHOICE_LIMIT or number < 0:
                raise ProviderProtocolError("the answer has too many choices")
            state = self._choices[number] = _ChoiceState()
        whole = self._stream is None  # Writer and Perplexity fill both fields in both modes
        delta = (choice.message or choice.delta) if whole else (choice.delta or choice.message)
        if delta is not None:
            self._delta(delta, number, state, events)
        elif choice.text:
            events.append(TextDelta(choice.text, number))
        if choice.logprobs is not None:
            _logprobs(choice.logprobs, number, events)
        reason = choice.finish_reason
        if (reason or whole) and not state.finished:
            _end_custom(state, number, events)
        if reason and not state.finished:
            if reason in FAILED_STOPS:
                events.append(self._failed({"message": f"the provider ended the answer with {reason}"}))
                return
            state.finished = True
            events.append(self._stop(reason, number, state))
        elif whole and not state.finished:
            state.finished = True
            events.append(Stop("tool_use" if state.calls else "other", None, None, number))

    def _stop(self, native: str, number: int, state: _ChoiceState) -> Stop:
        reason = STOP_TO_CANON.get(native, "other")
        if reason == "end":
            # A forced call ends with "stop" at OpenAI, and at other vendors any call may.
            reason = "tool_use" if state.calls else "refusal" if state.refused else "end"
        return Stop(reason, native, None, number)

    def _delta(self, delta: _Delta, number: int, state: _ChoiceState, events: list[Event]) -> None:
        content = delta.content
        if delta.reasoning_content:
            events.append(ReasoningDelta(delta.reasoning_content, number))
        elif delta.reasoning and isinstance(delta.reasoning, str):
            events.append(ReasoningDelta(delta.reasoning, number))
        elif delta.reasoning_details:
            _details_text(delta.reasoning_details, number, events)
        if delta.reasoning_details:
            _details_signatures(delta.reasoning_details, number, events)
        if content:
            if isinstance(content, str):
                events.append(TextDelta(content, number))
            else:
                _content_list(content, number, events)
        if delta.refusal:
            state.refused = True
            events.append(RefusalDelta(delta.refusal, number))
        if delta.tool_calls:
            for call in delta.tool_calls:
                self._call(call, number, state, events)
        if delta.annotations:
            events.extend(_citation(annotation, number) for annotation in delta.annotations)
        if delta.function_call is not None:
            events.append(ForeignEvent(NAME, {"function_call": delta.function_call}, number))
        if delta.audio is not None:
            events.append(ForeignEvent(NAME, {"audio": delta.audio}, number))

    def _call(self, call: _Call, number: int, state: _ChoiceState, events: list[Event]) -> None:
        name = call.custom.name if call.custom is not None else call.function.name if call.function is not None else None
        current = state.last if call.index is None else state.by_wire.get(call.index)
        # A second id under a known index is a second call: some servers send every call with index 0.
        if current is None or (call.id and current.id and call.id != current.id and name):
            if name is None:
                raise ProviderProtocolError("a tool call begins without a name")
            if state.calls >= CALL_LIMIT:
                raise ProviderProtocolError("the answer has too many tool calls")
            current = _CallState(state.calls, call.id or None, call.custom is not None)
            state.calls += 1
            state.last = current
            if call.index is not None:
                state.by_wire[call.index] = current
            if current.custom:
                state.custom.append(current)
            events.append(ToolCallStart(current.index, current.id, name, number, freeform=current.custom))
        if call.custom is not None:
            _custom_text(current, call.custom.input, number, events)
        elif call.function is not None and (arguments := call.function.arguments):
            text = arguments if isinstance(arguments, str) else msgspec.json.encode(arguments).decode()
            events.append(ToolArgumentsDelta(current.index, text, number))


def _custom_text(call: _CallState, text: str | None, number: int, events: list[Event]) -> None:
    """The free text of a custom tool's call, which in canon is the argument of a function."""
    if text:
        opening = "" if call.begun else freeform.OPENING
        call.begun = True
        events.append(ToolArgumentsDelta(call.index, opening + freeform.escaped(text), number))


def _end_custom(state: _ChoiceState, number: int, events: list[Event]) -> None:
    for call in state.custom:
        closing = freeform.CLOSING if call.begun else freeform.arguments("")
        events += (ToolArgumentsDelta(call.index, closing, number), ToolCallEnd(call.index, number))


def _logprobs(value: object, number: int, events: list[Event]) -> None:
    if isinstance(value, dict):
        content, refusal = value.get("content"), value.get("refusal")
        if content or refusal:
            events.append(
                Logprobs(
                    tuple(content) if isinstance(content, list) else (),
                    tuple(refusal) if isinstance(refusal, list) else (),
                    number,
                )
            )


def _content_list(parts: list[Any], number: int, events: list[Event]) -> None:
    """Mistral's content as a list of text and thinking parts; Perplexity-like references inside it carry no text."""
    for part in parts:
        if not isinstance(part, dict):
            raise ProviderProtocolError("a part of the content is not an object")
        if part.get("type") == "thinking":
            if text := thinking_text(part.get("thinking")):
                events.append(ReasoningDelta(text, number))
        elif isinstance(text := part.get("text"), str):
            if text:
                events.append(TextDelta(text, number))
        else:
            events.append(Citation(NAME, part, choice=number))


def _details_text(details: list[dict[str, Any]], number: int, events: list[Event]) -> None:
    for detail in details:
        text = detail.get("text") or detail.get("summary")
        if isinstance(text, str) and text:
            events.append(ReasoningDelta(text, number))


def _details_signatures(details: list[dict[str, Any]], number: int, events: list[Event]) -> None:
    for detail in details:
        origin = DETAILS_ORIGIN.get(str(detail.get("format")), NAME)
        signature, data, identity = detail.get("signature"), detail.get("data"), detail.get("id")
        if isinstance(signature, str) and signature:
            events.append(ReasoningSignature(signature, origin, number))
        if isinstance(data, str) and data:
            events.append(RedactedReasoning(data, origin, identity if isinstance(identity, str) else None, number))


def _citation(annotation: dict[str, Any], number: int) -> Citation:
    inner = annotation.get("url_citation")
    facts = inner if isinstance(inner, dict) else {}
    url, title, start, end = facts.get("url"), facts.get("title"), facts.get("start_index"), facts.get("end_index")
    return Citation(
        NAME,
        annotation,
        url=url if isinstance(url, str) else None,
        title=title if isinstance(title, str) else None,
        start=start if type(start) is int else None,
        end=end if type(end) is int else None,
        choice=number,
    )
