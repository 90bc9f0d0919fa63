"""Writing a whole message for a client."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.dialects.anthropic_messages import errors
from control_plane.dialects.anthropic_messages.answer_write import redacted_for_client, signature_for_client, signs_calls, stop_fields
from control_plane.dialects.anthropic_messages.usage import write_usage
from control_plane.dialects.anthropic_messages.vocabulary import NAME
from control_plane.dialects.api import IdSource
from control_plane.dialects.canon import Event, Failure, ForeignEvent, RedactedReasoning, Request, Stop
from control_plane.dialects.gather import Answer, CallPiece, Choice, Piece, TextPiece, ThinkingPiece
from control_plane.dialects.whole_writer import WholeAnswerWriter

_encode: Final = msgspec.json.Encoder().encode


class WholeWriter(WholeAnswerWriter):
    """One `message` document at the end."""

    def __init__(self, request: Request, ids: IdSource) -> None:
        super().__init__()
        self._request = request
        self._ids = ids
        self._answer = Answer()

    def _add(self, event: Event) -> None:
        self._answer.add(event)

    def _document(self) -> bytes:
        answer = self._answer
        choice = answer.choices.get(0) or Choice()
        refused = any(isinstance(piece, TextPiece) and piece.refusal for piece in choice.pieces)
        stop = choice.stop or Stop("other")
        if refused and stop.reason == "end":
            stop = Stop("refusal")
        return _encode(
            {
                "id": answer.start.id or self._ids.new("msg_"),
                "type": "message",
                "role": "assistant",
                "model": answer.start.model or self._request.model,
                "content": self._content(choice.pieces),
                **stop_fields(stop),
                "usage": write_usage(answer.usage),
            }
        )

    def _error(self, failure: Failure) -> bytes:
        return errors.write_error(failure)

    def _content(self, pieces: list[Piece]) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        fragments: list[str] = []  # of the input of the foreign block at the end
        for piece in pieces:
            match piece:
                case TextPiece():
                    blocks.append(_text(piece))
                case ThinkingPiece():
                    signature = "" if piece.signature is None else signature_for_client(piece.signature, piece.origin)
                    blocks.append({"type": "thinking", "thinking": "".join(piece.texts), "signature": signature})
                case RedactedReasoning():
                    blocks.append({"type": "redacted_thinking", "data": redacted_for_client(piece)})
                case CallPiece():
                    if piece.start.signature is not None and signs_calls(self._request):  # see StreamWriter
                        signature = signature_for_client(piece.start.signature, piece.start.origin)
                        blocks.append({"type": "thinking", "thinking": "", "signature": signature})
                    blocks.append(self._tool_use(piece))
                case ForeignEvent() if piece.origin == NAME:
                    _foreign(piece, blocks, fragments)
                case _:
                    pass
        return blocks

    def _tool_use(self, piece: CallPiece) -> dict[str, Any]:
        start, arguments = piece.start, "".join(piece.arguments)
        return {"type": "tool_use", "id": start.id or self._ids.new("toolu_"), "name": start.name, "input": _object(arguments)}


def _object(arguments: str) -> Any:
    """The arguments as the object that `input` must be; what a model wrote that is none is kept as text under `arguments`."""
    if not arguments.strip():
        return {}
    try:
        value = msgspec.json.decode(arguments)
    except (ValueError, RecursionError):
        return {"arguments": arguments}
    return value if isinstance(value, dict) else {"arguments": arguments}


def _text(piece: TextPiece) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": "".join(piece.texts)}
    citations = [citation.raw for citation in piece.citations if citation.origin == NAME]
    if citations:
        block["citations"] = citations
    return block


def _foreign(piece: ForeignEvent, blocks: list[dict[str, Any]], fragments: list[str]) -> None:
    raw: Any = piece.raw
    if raw["type"] == "content_block_start":
        blocks.append(dict(raw["content_block"]))
        fragments.clear()
    elif raw["type"] == "content_block_delta":
        fragments.append(str(raw["delta"].get("partial_json", "")))
    elif "".join(fragments):
        blocks[-1]["input"] = _object("".join(fragments))
        fragments.clear()
