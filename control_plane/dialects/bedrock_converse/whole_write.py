"""Writing a whole answer for a client."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects.api import IdSource
from control_plane.dialects.bedrock_converse import errors
from control_plane.dialects.bedrock_converse.answer_write import (
    metrics,
    redacted_for_client,
    signature_for_client,
    signs_calls,
    stop_reason,
)
from control_plane.dialects.bedrock_converse.usage import write_usage
from control_plane.dialects.bedrock_converse.vocabulary import NAME
from control_plane.dialects.canon import Event, Failure, ForeignEvent, RedactedReasoning, Request, Stop
from control_plane.dialects.gather import Answer, CallPiece, Choice, Piece, TextPiece, ThinkingPiece
from control_plane.dialects.whole_writer import WholeAnswerWriter

_encode: Final = msgspec.json.Encoder().encode


class WholeWriter(WholeAnswerWriter):
    """One document at the end."""

    def __init__(self, request: Request, ids: IdSource) -> None:
        super().__init__()
        self._request = request
        self._ids = ids
        self._began = ids.now()
        self._answer = Answer()

    def _add(self, event: Event) -> None:
        self._answer.add(event)

    def _document(self) -> bytes:
        choice = self._answer.choices.get(0) or Choice()
        stop = choice.stop or Stop("other")
        if stop.reason == "end" and any(isinstance(piece, TextPiece) and piece.refusal for piece in choice.pieces):
            stop = Stop("refusal")
        content = [block for piece in choice.pieces for block in self._blocks(piece)]
        return _encode(
            {
                "output": {"message": {"role": "assistant", "content": content}},
                "stopReason": stop_reason(stop),
                "usage": write_usage(self._answer.usage),
                "metrics": metrics(self._began, self._ids),
            }
        )

    def _error(self, failure: Failure) -> bytes:
        return errors.write_error(failure)

    def _blocks(self, piece: Piece) -> list[dict[str, Any]]:
        match piece:
            case TextPiece():
                return [_text(piece)]
            case ThinkingPiece():
                return [_thinking("".join(piece.texts), piece.signature, piece.origin)]
            case RedactedReasoning():
                return [{"reasoningContent": {"redactedContent": redacted_for_client(piece)}}]
            case CallPiece():
                start = piece.start
                use = {"toolUseId": start.id or self._ids.new("tooluse_"), "name": start.name, "input": _object("".join(piece.arguments))}
                signed = start.signature is not None and signs_calls(self._request)  # see StreamWriter
                return [*([_thinking("", start.signature, start.origin)] if signed else []), {"toolUse": use}]
            case ForeignEvent() if piece.origin == NAME and isinstance(block := piece.raw.get("block"), dict):
                return [block]
            case ForeignEvent():
                return []


def _thinking(text: str, signature: str | None, origin: str | None) -> dict[str, Any]:
    wire = {"text": text}
    if signature is not None:
        wire["signature"] = signature_for_client(signature, origin)
    return {"reasoningContent": {"reasoningText": wire}}


def _object(arguments: str) -> Any:
    """The arguments as the object that `input` must be; what a model wrote that is none is kept as text under `arguments`."""
    if not arguments.strip():
        return {}
    try:
        is_object = isinstance(msgspec.json.decode(arguments), dict)
    except (ValueError, RecursionError):
        is_object = False
    return msgspec.Raw(arguments.encode()) if is_object else {"arguments": arguments}


def _text(piece: TextPiece) -> dict[str, Any]:
    text = "".join(piece.texts)
    citations = [citation.raw for citation in piece.citations if citation.origin == NAME]
    return {"citationsContent": {"content": [{"text": text}], "citations": citations}} if citations else {"text": text}
