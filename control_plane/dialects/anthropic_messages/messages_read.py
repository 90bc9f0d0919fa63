"""Reading the `messages` of a messages request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, cast

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects.anthropic_messages.vocabulary import NAME
from control_plane.dialects.canon import (
    CacheMark,
    Document,
    ForeignPart,
    Image,
    Message,
    Part,
    RedactedThinking,
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
    unseal_redacted,
    unseal_signature,
)

_MESSAGE_FIELDS: Final = frozenset(("role", "content"))
_BLOCK_FIELDS: Final = {
    "text": frozenset(("type", "text", "cache_control")),
    "image": frozenset(("type", "source", "cache_control")),
    "document": frozenset(("type", "source", "cache_control", "title", "context", "citations")),
    "tool_use": frozenset(("type", "id", "name", "input", "cache_control", "caller")),
    "tool_result": frozenset(("type", "tool_use_id", "content", "is_error", "cache_control")),
    "thinking": frozenset(("type", "thinking", "signature")),
    "redacted_thinking": frozenset(("type", "data")),
}


def read_messages(items: Sequence[object], lost: list[str]) -> tuple[Message, ...]:
    messages: list[Message] = []
    for index, item in enumerate(items):
        path = f"messages.{index}"
        value = j.as_obj(item, path)
        role = j.required_string(value, "role", path)
        if role not in ("user", "assistant", "system"):
            j.reject(f"{path}.role", "expected user, assistant or system")
        lost.extend(j.unknown_fields(value, _MESSAGE_FIELDS, path))
        messages.append(Message(cast("Role", role), _blocks(value, path, lost), path))
    return tuple(messages)


def _blocks(value: j.Object, path: str, lost: list[str]) -> tuple[Part, ...]:
    content = value.get("content")
    path = f"{path}.content"
    if type(content) is str:
        return (Text(content),)
    if content is None and "content" not in value:
        j.reject(path, "is required", "missing_field")
    if type(content) is not list:
        j.wrong_type(path, "a string or an array of blocks", content)
    return tuple([read_block(item, f"{path}.{i}", lost) for i, item in enumerate(content)])


def cache_mark(item: j.Object, path: str) -> CacheMark | None:
    if item.get("cache_control") is None:
        return None
    mark = j.required_obj(item, "cache_control", path)
    return CacheMark(j.string(mark, "ttl", j.at(path, "cache_control")))


def read_block(item: object, path: str, lost: list[str]) -> Part:
    """One content block; kinds that only this dialect has become a ForeignPart."""
    value = j.as_obj(item, path)
    kind = j.required_string(value, "type", path)
    known = _BLOCK_FIELDS.get(kind)
    if known is None:
        return ForeignPart(NAME, path, value)
    if len(value) > 2:
        lost.extend(j.unknown_fields(value, known, path))
    if kind == "text":
        return Text(j.required_string(value, "text", path), cache_mark(value, path))
    if kind == "tool_use":
        arguments = msgspec.json.encode(j.required_obj(value, "input", path)).decode()
        call_id, name = j.required_string(value, "id", path), j.required_string(value, "name", path)
        return ToolCall(call_id, name, arguments, cache=cache_mark(value, path))
    if kind == "tool_result":
        return _tool_result(value, path, lost)
    if kind == "thinking":
        signature, origin = unseal_signature(j.string(value, "signature", path) or "", NAME)
        return Thinking(j.required_string(value, "thinking", path), signature, origin)
    if kind == "redacted_thinking":
        data = j.required_string(value, "data", path)
        if (redacted := unseal_redacted(data, NAME)) is not None:
            return redacted
        signature, origin = unseal_signature(data, NAME)
        return RedactedThinking(signature or "", origin or NAME)
    if kind == "image":
        return _image(value, path)
    return _document(value, path)


def _tool_result(value: j.Object, path: str, lost: list[str]) -> Part:
    parts: tuple[Part, ...] = ()
    if value.get("content") is not None:
        parts = _blocks(value, path, lost)
        for part in parts:
            if isinstance(part, ForeignPart):
                return ForeignPart(NAME, path, value)
            if not isinstance(part, Text | Image | Document):
                j.reject(f"{path}.content", "a tool result holds text, images and documents only")
    return ToolResult(
        call_id=j.required_string(value, "tool_use_id", path),
        parts=cast("tuple[Text | Image | Document, ...]", parts),
        is_error=j.boolean(value, "is_error", path) or False,
        cache=cache_mark(value, path),
    )


def _image(value: j.Object, path: str) -> Part:
    source = j.required_obj(value, "source", path)
    kind = j.required_string(source, "type", f"{path}.source")
    mark = cache_mark(value, path)
    at = f"{path}.source"
    if kind == "base64":
        return Image(media_type=j.required_string(source, "media_type", at), data=j.required_string(source, "data", at), cache=mark)
    if kind == "url":
        return Image(url=j.required_string(source, "url", at), cache=mark)
    if kind != "file":
        j.reject(f"{at}.type", "expected base64, url or file")
    return Image(file_id=j.required_string(source, "file_id", at), cache=mark)


def _document(value: j.Object, path: str) -> Part:
    source = j.required_obj(value, "source", path)
    at = f"{path}.source"
    kind = j.required_string(source, "type", at)
    if kind == "content":
        return ForeignPart(NAME, path, value)
    citations = j.obj(value, "citations", path) or {}
    document = Document(
        title=j.string(value, "title", path),
        context=j.string(value, "context", path),
        citations=j.boolean(citations, "enabled", f"{path}.citations") or False,
        cache=cache_mark(value, path),
    )
    if kind == "base64":
        media_type, data = j.required_string(source, "media_type", at), j.required_string(source, "data", at)
        return msgspec.structs.replace(document, media_type=media_type, data=data)
    if kind == "text":
        return msgspec.structs.replace(document, text=j.required_string(source, "data", at))
    if kind == "url":
        return msgspec.structs.replace(document, url=j.required_string(source, "url", at))
    if kind != "file":
        j.reject(f"{at}.type", "expected base64, text, url, file or content")
    return msgspec.structs.replace(document, file_id=j.required_string(source, "file_id", at))
