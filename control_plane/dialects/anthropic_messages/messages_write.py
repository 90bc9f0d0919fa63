"""Writing the `messages` and the `system` prompt of a messages request from the canonical conversation."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.anthropic_messages.vocabulary import NAME
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.call_ids import CallIds
from control_plane.dialects.canon import (
    CacheMark,
    Document,
    ForeignPart,
    Image,
    Message,
    Part,
    RedactedThinking,
    Refusal,
    Request,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    Unfit,
    unseal_signature,
)

_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_-]")
_TTLS: Final = frozenset(("5m", "1h"))
_decode: Final = msgspec.json.Decoder().decode


def cache_control(mark: CacheMark) -> dict[str, str]:
    """The marker with a lifetime this vendor knows; its default of five minutes otherwise."""
    return {"type": "ephemeral", "ttl": mark.ttl} if mark.ttl in _TTLS else {"type": "ephemeral"}


class MessageWriter:
    """One use: `write` gives (system, messages); what cannot be carried is added to `dropped`."""

    def __init__(self, request: Request, target: TargetFacts, dropped: list[str]) -> None:
        self._request = request
        self._dropped = dropped
        self._ids = CallIds(_NOT_IN_IDS)
        self._inline_system = request.dialect == NAME or quirks.flag(target.options, "system_messages", False)

    def write(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        system = [self._text(part) for part in self._request.system if part.text]
        messages: list[dict[str, Any]] = []
        for message in self._request.messages:
            instructs = message.role in ("system", "developer")
            blocks = self._blocks(message)
            if not blocks:
                continue  # Anthropic refuses empty messages, and one says nothing
            if instructs and not self._inline_system:
                system.extend(blocks)
                continue
            role = "system" if instructs else "assistant" if message.role == "assistant" else "user"
            if messages and messages[-1]["role"] == role and role != "system":
                messages[-1]["content"].extend(blocks)  # results of one turn's calls must share one message
            else:
                messages.append({"role": role, "content": blocks})
        return system, messages

    def _blocks(self, message: Message) -> list[dict[str, Any]]:
        blocks: list[dict[str, Any]] = []
        for part in message.parts:
            block = self._block(part, message.path)
            if block is not None:
                blocks.append(block)
        return blocks

    def _block(self, part: Part, path: str) -> dict[str, Any] | None:
        match part:
            case Text():
                return self._text(part) if part.text else None
            case ToolCall():
                return self._tool_use(part, path)
            case ToolResult():
                return self._tool_result(part, path)
            case Thinking():
                if part.signature and part.origin == NAME:
                    return {"type": "thinking", "thinking": part.text, "signature": part.signature}
                self._dropped.append(f"{path}.reasoning")  # unsigned, or signed by a vendor whose signature Anthropic refuses
                return None
            case RedactedThinking():
                if part.origin == NAME:
                    return {"type": "redacted_thinking", "data": part.data}
                self._dropped.append(f"{path}.reasoning")
                return None
            case Refusal():
                return {"type": "text", "text": part.text} if part.text else None
            case Image():
                return _cached(self._image(part, path), part.cache)
            case Document():
                return _cached(self._document(part, path), part.cache)
            case ForeignPart() if part.origin == NAME:
                return dict(part.raw)
            case ForeignPart():
                raise Unfit(part.path, f"cannot be expressed in {NAME}")
            case _:
                raise Unfit(path, f"audio cannot be expressed in {NAME}")

    def _text(self, part: Text) -> dict[str, Any]:
        return _cached({"type": "text", "text": part.text}, part.cache)

    def _tool_use(self, part: ToolCall, path: str) -> dict[str, Any]:
        arguments: Any = {}
        if part.arguments.strip():
            try:
                arguments = _decode(part.arguments)
            except (ValueError, RecursionError):
                arguments = part.arguments
            if not isinstance(arguments, dict):
                # A model wrote these arguments and the client must give them back, or its conversation ends here.
                arguments = {"arguments": part.arguments}
                self._dropped.append(f"{path}.tool_calls.arguments")
        if part.signature is not None:
            self._dropped.append(f"{path}.tool_calls.extra_content")  # another vendor's: here thinking is signed, not calls
        wire = {"type": "tool_use", "id": self._ids.of_call(part.id), "name": part.name, "input": arguments}
        return _cached(wire, part.cache)

    def _tool_result(self, part: ToolResult, path: str) -> dict[str, Any]:
        content = [block for inner in part.parts if (block := self._block(inner, path)) is not None]
        wire: dict[str, Any] = {"type": "tool_result", "tool_use_id": self._ids.of_result(part.call_id)}
        if content:
            wire["content"] = content
        if part.is_error:
            wire["is_error"] = True
        return _cached(wire, part.cache)

    def _image(self, part: Image, path: str) -> dict[str, Any]:
        if part.detail not in (None, "auto"):
            self._dropped.append(f"{path}.image_url.detail")
        if part.data is not None:
            media_type = "image/jpeg" if part.media_type == "image/jpg" else part.media_type
            return {"type": "image", "source": {"type": "base64", "media_type": media_type, "data": part.data}}
        if part.url is not None:
            return {"type": "image", "source": {"type": "url", "url": part.url}}
        if self._request.dialect == NAME:
            return {"type": "image", "source": {"type": "file", "file_id": part.file_id}}
        raise Unfit(path, f"an image by file id cannot be expressed in {NAME}")

    def _document(self, part: Document, path: str) -> dict[str, Any]:
        wire: dict[str, Any] = {"type": "document", "source": self._document_source(part, path)}
        if part.title is not None:
            wire["title"] = part.title
        if part.context is not None:
            wire["context"] = part.context
        if part.citations:
            wire["citations"] = {"enabled": True}
        return wire

    def _document_source(self, part: Document, path: str) -> dict[str, Any]:
        if part.text is not None:
            return {"type": "text", "media_type": "text/plain", "data": part.text}
        if part.url is not None:
            return {"type": "url", "url": part.url}
        if part.data is None:
            if self._request.dialect == NAME:
                return {"type": "file", "file_id": part.file_id}
            raise Unfit(path, f"a file by id cannot be expressed in {NAME}")
        if part.media_type == "application/pdf":
            return {"type": "base64", "media_type": "application/pdf", "data": part.data}
        if (part.media_type or "").startswith("text/") or part.media_type == "application/json":
            try:
                text = base64.b64decode(part.data, validate=True).decode()
            except ValueError as error:  # of base64, of UTF-8, and of letters that are not ASCII
                raise Unfit(path, "the file is not text in UTF-8") from error
            return {"type": "text", "media_type": "text/plain", "data": text}
        raise Unfit(path, f"a file of type {part.media_type} cannot be expressed in {NAME}")


def _cached(wire: dict[str, Any], mark: CacheMark | None) -> dict[str, Any]:
    if mark is not None:
        wire["cache_control"] = cache_control(mark)
    return wire


def own_messages(request: Request, dropped: list[str]) -> object:
    """The client's own messages without reasoning that Anthropic would refuse: unsigned, or signed by another vendor."""
    assert request.raw is not None
    messages = request.raw["messages"]
    foreign = {m.path for m in request.messages if any(_is_foreign(part) for part in m.parts)}
    if not foreign or not isinstance(messages, list):
        return messages
    dropped.extend(f"{path}.thinking" for path in sorted(foreign))
    kept = [_without_foreign(m) if f"messages.{i}" in foreign else m for i, m in enumerate(messages)]
    return [m for m in kept if m["content"]]


def _is_foreign(part: Part) -> bool:
    return (isinstance(part, Thinking) and not (part.signature and part.origin == NAME)) or (
        isinstance(part, RedactedThinking) and part.origin != NAME
    )


def _without_foreign(message: Mapping[str, Any]) -> dict[str, Any]:
    def own(block: Mapping[str, Any]) -> bool:
        field = {"thinking": "signature", "redacted_thinking": "data"}.get(block["type"])
        return field is None or unseal_signature(block.get(field) or "", NAME)[1] == NAME

    return {**message, "content": [block for block in message["content"] if own(block)]}
