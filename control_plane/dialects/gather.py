"""Folding events into one whole answer, for writers that answer without a stream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.dialects.canon import (
    Citation,
    End,
    Event,
    ForeignEvent,
    Logprobs,
    PartBreak,
    ReasoningDelta,
    ReasoningSignature,
    RedactedReasoning,
    RefusalDelta,
    Start,
    Stop,
    TextDelta,
    ToolArgumentsDelta,
    ToolCallStart,
    Usage,
    UsageUpdate,
)


class TextPiece:
    __slots__ = ("citations", "refusal", "texts")

    def __init__(self, refusal: bool) -> None:
        self.texts: list[str] = []
        self.citations: list[Citation] = []
        self.refusal = refusal


class ThinkingPiece:
    __slots__ = ("origin", "signature", "texts")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.signature: str | None = None
        self.origin: str | None = None


class CallPiece:
    __slots__ = ("arguments", "start")

    def __init__(self, start: ToolCallStart) -> None:
        self.start = start
        self.arguments: list[str] = []


Piece = TextPiece | ThinkingPiece | CallPiece | RedactedReasoning | ForeignEvent


class Choice:
    """One choice: its pieces in order of appearance, and how it ended."""

    __slots__ = ("broken", "calls", "logprobs", "pieces", "stop")

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.calls: dict[int, CallPiece] = {}
        self.logprobs: list[Logprobs] = []
        self.stop: Stop | None = None
        self.broken = False

    def text(self, refusal: bool) -> TextPiece:
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, TextPiece) and last.refusal is refusal and not self.broken:
            return last
        self.broken = False
        piece = TextPiece(refusal)
        self.pieces.append(piece)
        return piece

    def thinking(self) -> ThinkingPiece:
        last = self.pieces[-1] if self.pieces else None
        if isinstance(last, ThinkingPiece) and last.signature is None and not self.broken:
            return last
        self.broken = False
        piece = ThinkingPiece()
        self.pieces.append(piece)
        return piece


class Answer:
    """`add` every event in order, then read the fields."""

    def __init__(self) -> None:
        self.start = Start()
        self.choices: dict[int, Choice] = {}
        self.usage = Usage()
        self.complete = False

    def choice(self, number: int) -> Choice:
        found = self.choices.get(number)
        if found is None:
            found = self.choices[number] = Choice()
        return found

    def add(self, event: Event) -> None:
        match event:
            case TextDelta():
                self.choice(event.choice).text(False).texts.append(event.text)
            case RefusalDelta():
                self.choice(event.choice).text(True).texts.append(event.text)
            case ReasoningDelta():
                self.choice(event.choice).thinking().texts.append(event.text)
            case ReasoningSignature():
                piece = self.choice(event.choice).thinking()
                piece.signature, piece.origin = event.signature, event.origin
            case ToolCallStart():
                call = CallPiece(event)
                choice = self.choice(event.choice)
                choice.calls[event.index] = call
                choice.pieces.append(call)
            case ToolArgumentsDelta():
                self.choice(event.choice).calls[event.index].arguments.append(event.text)
            case Citation():
                self.choice(event.choice).text(False).citations.append(event)
            case RedactedReasoning() | ForeignEvent():
                self.choice(event.choice).pieces.append(event)
            case PartBreak():
                self.choice(event.choice).broken = True
            case Logprobs():
                self.choice(event.choice).logprobs.append(event)
            case Stop():
                self.choice(event.choice).stop = event
            case UsageUpdate():
                self.usage = self.usage.updated(event.usage)
            case Start():
                self.start = event
            case End():
                self.complete = True
            case _:
                pass


def merged(target: dict[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`patch` added to `target` the way streamed deltas add up: strings and lists join, objects merge, others replace."""
    for key, value in patch.items():
        old = target.get(key)
        if isinstance(old, dict) and isinstance(value, Mapping):
            merged(old, value)
        elif isinstance(old, str) and isinstance(value, str):
            target[key] = old + value
        elif isinstance(old, list) and isinstance(value, list):
            target[key] = [*old, *value]
        else:
            target[key] = dict(value) if isinstance(value, Mapping) else value
    return target
