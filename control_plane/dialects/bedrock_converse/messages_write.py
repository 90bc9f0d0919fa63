"""Writing `messages` and `system` from the canonical conversation.

A cache marker is no field here but a block of its own, behind the block that it marks. Files have a name, which must be
plain and unlike the others'; a URL is only taken where it leads to S3.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.dialects.bedrock_converse.vocabulary import AUDIO_FORMATS, DOCUMENT_TYPES, IMAGE_TYPES, NAME
from control_plane.dialects.call_ids import CallIds
from control_plane.dialects.canon import (
    Audio,
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
)

_TTLS: Final = frozenset(("5m", "1h"))
_NOT_IN_IDS: Final = re.compile(r"[^a-zA-Z0-9_.:-]")
_ID_CHARS: Final = 64
_NOT_IN_NAMES: Final = re.compile(r"[^a-zA-Z0-9 ()\[\]-]+")
_NAME_CHARS: Final = 180
_EMPTY: Final = msgspec.Raw(b"{}")


def cache_point(mark: CacheMark) -> dict[str, Any]:
    """The marker with a lifetime this vendor knows; its default of five minutes otherwise."""
    return {"cachePoint": {"type": "default", "ttl": mark.ttl} if mark.ttl in _TTLS else {"type": "default"}}


class MessageWriter:
    """One use: `write` gives (system, messages); what cannot be carried is added to `dropped`."""

    def __init__(self, request: Request, dropped: list[str]) -> None:
        self._request = request
        self._dropped = dropped
        self._ids = CallIds(_NOT_IN_IDS, _ID_CHARS)
        self._file_names: set[str] = set()
        self.has_calls = False  # the conversation holds calls or results, so that tools must be declared

    def write(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        system = [block for part in self._request.system for block in self._instruction(part, "system")]
        messages: list[dict[str, Any]] = []
        for message in self._request.messages:
            instructs = message.role in ("system", "developer")
            if instructs and self._request.dialect != NAME:  # most models have one place for instructions
                system.extend(block for part in message.parts for block in self._instruction(part, message.path))
                continue
            blocks = [block for part in message.parts for block in self._blocks(part, message)]
            if not blocks:
                continue  # an empty message is refused, and says nothing
            role = "system" if instructs else "assistant" if message.role == "assistant" else "user"
            if messages and messages[-1]["role"] == role:
                messages[-1]["content"].extend(blocks)  # roles must alternate
            else:
                messages.append({"role": role, "content": blocks})
        return system, messages

    def _instruction(self, part: Part, path: str) -> list[dict[str, Any]]:
        if isinstance(part, ForeignPart) and part.origin == NAME:
            return [dict(part.raw)]
        if not isinstance(part, Text):
            raise Unfit(path, f"instructions other than text cannot be expressed in {NAME}")
        return _marked([{"text": part.text}] if part.text.strip() else [], part.cache)

    def _blocks(self, part: Part, message: Message) -> list[dict[str, Any]]:
        """The blocks of a part: none for an empty text, two for one that ends a cached prefix."""
        match part:
            case Thinking() | RedactedThinking():
                return self._reasoning(part, message.path)
            case ToolCall():
                return _marked([self._call(part, message.path)], part.cache)
            case ToolResult():
                return _marked([self._result(part, message.path)], part.cache)
            case ForeignPart() if part.origin == NAME:
                return [dict(part.raw)]
            case ForeignPart():
                raise Unfit(part.path, f"cannot be expressed in {NAME}")
            case Text() | Image() | Document():
                return _marked(self._content(part, message.path), part.cache)
            case Refusal():
                return [{"text": part.text}] if part.text.strip() else []
            case Audio():
                return [self._audio(part, message.path)]

    def _content(self, part: Text | Image | Document, path: str) -> list[dict[str, Any]]:
        if isinstance(part, Text):
            return [{"text": part.text}] if part.text.strip() else []  # a blank text is refused, and says nothing
        return [self._image(part, path) if isinstance(part, Image) else self._document(part, path)]

    # ------------------------------------------------------------------------------------------------- files

    def _image(self, part: Image, path: str) -> dict[str, Any]:
        if part.detail not in (None, "auto"):
            self._dropped.append(f"{path}.image_url.detail")
        kind = IMAGE_TYPES.get(part.media_type or _guessed(part.url, IMAGE_TYPES))
        if kind is None and part.data is not None:
            raise Unfit(path, f"an image of type {part.media_type} cannot be expressed in {NAME}")
        return {"image": {"format": kind or "png", "source": _source(part.data, part.url, path)}}

    def _document(self, part: Document, path: str) -> dict[str, Any]:
        media_type = part.media_type or _guessed(part.url, DOCUMENT_TYPES)
        wire: dict[str, Any] = {"name": self._file_name(part.title or "document")}
        if part.text is not None:
            wire["format"], wire["source"] = "txt", {"text": part.text}
        elif media_type == "application/json" and part.data is not None:
            wire["format"], wire["source"] = "txt", {"text": _decoded(part.data, path)}  # text, but no type that the service takes
        else:
            kind = DOCUMENT_TYPES.get(media_type) or ("pdf" if part.url is not None else None)
            if kind is None:
                raise Unfit(path, f"a file of type {part.media_type} cannot be expressed in {NAME}")
            wire["format"], wire["source"] = kind, _source(part.data, part.url, path)
        if part.context is not None:
            wire["context"] = part.context
        if part.citations:
            wire["citations"] = {"enabled": True}
        return {"document": wire}

    def _file_name(self, title: str) -> str:
        """Letters, digits, single spaces, hyphens and brackets; the service refuses others, and the same name twice."""
        plain = " ".join(_NOT_IN_NAMES.sub(" ", title).split())[:_NAME_CHARS] or "document"
        name, count = plain, 1
        while name in self._file_names:
            count += 1
            name = f"{plain} {count}"
        self._file_names.add(name)
        return name

    def _audio(self, part: Audio, path: str) -> dict[str, Any]:
        if part.format not in AUDIO_FORMATS:
            raise Unfit(path, f"audio of format {part.format[:40]} cannot be expressed in {NAME}")
        return {"audio": {"format": part.format, "source": {"bytes": part.data}}}

    # ------------------------------------------------------------------------------------- reasoning and calls

    def _reasoning(self, part: Thinking | RedactedThinking, path: str) -> list[dict[str, Any]]:
        if part.origin == NAME and isinstance(part, RedactedThinking):
            return [{"reasoningContent": {"redactedContent": part.data}}]
        if part.origin == NAME and isinstance(part, Thinking) and part.signature:
            return [{"reasoningContent": {"reasoningText": {"text": part.text, "signature": part.signature}}}]
        self._dropped.append(f"{path}.reasoning")  # unsigned, or sealed by a vendor that is not this one
        return []

    def _call(self, part: ToolCall, path: str) -> dict[str, Any]:
        self.has_calls = True
        arguments = _object(part.arguments)
        if arguments is None:
            # A model wrote these arguments and the client must give them back, or its conversation ends here.
            arguments = msgspec.Raw(msgspec.json.encode({"arguments": part.arguments}))
            self._dropped.append(f"{path}.tool_calls.arguments")
        if part.signature is not None:
            self._dropped.append(f"{path}.tool_calls.signature")  # another vendor's: here thinking is signed, not calls
        return {"toolUse": {"toolUseId": self._ids.of_call(part.id), "name": part.name, "input": arguments}}

    def _result(self, part: ToolResult, path: str) -> dict[str, Any]:
        self.has_calls = True
        content = [block for inner in part.parts for block in self._content(inner, path)]
        wire: dict[str, Any] = {"toolUseId": self._ids.of_result(part.call_id), "content": content or [{"text": ""}]}
        if part.is_error:
            wire["status"] = "error"
        return {"toolResult": wire}


def _marked(blocks: list[dict[str, Any]], mark: CacheMark | None) -> list[dict[str, Any]]:
    return [*blocks, cache_point(mark)] if mark is not None and blocks else blocks


def _source(data: str | None, url: str | None, path: str) -> dict[str, Any]:
    if data is not None:
        return {"bytes": data}
    if url is None:
        raise Unfit(path, f"a file by another vendor's id cannot be expressed in {NAME}")
    if not url.startswith("s3://"):
        raise Unfit(path, f"{NAME} takes files as data or from S3, not by URL")
    return {"s3Location": {"uri": url}}


def _guessed(url: str | None, table: Mapping[str, str]) -> str:
    """The media type that the end of a URL tells, "" where it tells none."""
    ending = (url or "").rpartition(".")[2].lower()
    return next((kind for kind, name in table.items() if ending in (name, kind.rpartition("/")[2])), "")


def _decoded(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Unfit(path, "the file is not text in UTF-8") from error


def _object(text: str) -> msgspec.Raw | None:
    """Arguments as they were written, so that no number changes; None when they are no JSON object."""
    if not text.strip():
        return _EMPTY
    try:
        return msgspec.Raw(text.encode()) if isinstance(msgspec.json.decode(text), dict) else None
    except (ValueError, RecursionError):
        return None


def own_messages(request: Request, dropped: list[str]) -> object:
    """The client's own messages without reasoning that a model here would refuse: signed by another vendor."""
    assert request.raw is not None
    messages = request.raw["messages"]
    foreign = {m.path for m in request.messages if any(_is_foreign(part) for part in m.parts)}
    if not foreign or not isinstance(messages, list):
        return messages
    dropped.extend(f"{path}.reasoningContent" for path in sorted(foreign))
    kept = []
    for index, message in enumerate(messages):
        if f"messages.{index}" in foreign:
            parts = request.messages[index].parts
            blocks = [b for b, part in zip(_without_marks(message["content"]), parts, strict=True) if not _is_foreign(part)]
            message = {**message, "content": [block for group in blocks for block in group]}
        if message["content"]:
            kept.append(message)
    return kept


def _without_marks(content: list[Mapping[str, Any]]) -> list[list[Mapping[str, Any]]]:
    """The blocks in groups of one part each: a cache point belongs to the block in front of it."""
    groups: list[list[Mapping[str, Any]]] = []
    for block in content:
        if "cachePoint" in block and groups:
            groups[-1].append(block)
        else:
            groups.append([block])
    return groups


def _is_foreign(part: Part) -> bool:
    return isinstance(part, Thinking | RedactedThinking) and part.origin not in (NAME, None)
