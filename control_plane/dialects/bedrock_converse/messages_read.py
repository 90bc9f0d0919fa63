"""Reading the `messages` and the `system` prompt of a Converse request.

A cache point is a block of its own here; it becomes the marker of the part in front of it. Files in S3 are readable for AWS
alone, so they are foreign parts, like guard content and video.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Final, cast

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects.bedrock_converse.vocabulary import AUDIO_FORMATS, DOCUMENT_TYPES, IMAGE_TYPES, NAME, type_of
from control_plane.dialects.canon import (
    Audio,
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
_TOOL_USE_FIELDS: Final = frozenset(("toolUseId", "name", "input", "type"))
_RESULT_FIELDS: Final = frozenset(("toolUseId", "content", "status", "type"))
_DOCUMENT_FIELDS: Final = frozenset(("format", "name", "source", "context", "citations"))
_DOCUMENT_FORMATS: Final = frozenset(DOCUMENT_TYPES.values())
_IMAGE_FORMATS: Final = frozenset(IMAGE_TYPES.values())


def read_messages(items: Sequence[object], lost: list[str]) -> tuple[Message, ...]:
    messages: list[Message] = []
    for index, item in enumerate(items):
        path = f"messages.{index}"
        value = j.as_obj(item, path)
        role = j.required_string(value, "role", path)
        if role not in ("user", "assistant", "system"):
            j.reject(f"{path}.role", "expected user, assistant or system")
        lost.extend(j.unknown_fields(value, _MESSAGE_FIELDS, path))
        if "content" not in value:
            j.reject(f"{path}.content", "is required", "missing_field")
        parts = read_blocks(j.array(value, "content", path), f"{path}.content", lost)
        messages.append(Message(cast("Role", role), parts, path))
    return tuple(messages)


def read_system(items: Sequence[object], lost: list[str], features: list[str]) -> tuple[Text, ...]:
    texts: list[Text] = []
    for part in read_blocks(items, "system", lost):
        if isinstance(part, Text):
            texts.append(part)
        elif isinstance(part, ForeignPart) and "guardContent" in part.raw:
            features.append(part.path)
        else:
            j.reject("system", "a system prompt holds text, guard content and cache points only")
    return tuple(texts)


def cache_mark(point: object, path: str) -> CacheMark:
    return CacheMark(j.string(j.as_obj(point, path), "ttl", path))


def read_blocks(items: Sequence[object], path: str, lost: list[str]) -> tuple[Part, ...]:
    parts: list[Part] = []
    for index, item in enumerate(items):
        at = f"{path}.{index}"
        value = j.as_obj(item, at)
        if "cachePoint" in value:
            mark = cache_mark(value["cachePoint"], f"{at}.cachePoint")
            if parts and isinstance(parts[-1], Text | Image | Document | ToolCall | ToolResult):
                parts[-1] = msgspec.structs.replace(parts[-1], cache=mark)
            else:
                lost.append(f"{at}.cachePoint")  # behind nothing that can bear it
        else:
            parts.append(_block(value, at, lost))
    return tuple(parts)


def _block(value: j.Object, path: str, lost: list[str]) -> Part:
    """One content block; kinds that only this dialect has become a ForeignPart."""
    if len(value) != 1:
        j.reject(path, f"a content block has exactly one field, got {len(value)}")
    kind, inner = next(iter(value.items()))
    at = f"{path}.{kind}"
    if kind == "text":
        return Text(j.required_string(value, "text", path))
    if kind == "image":
        return _image(j.as_obj(inner, at), at) or ForeignPart(NAME, path, value)
    if kind == "document":
        return _document(j.as_obj(inner, at), at, lost) or ForeignPart(NAME, path, value)
    if kind == "audio":
        return _audio(j.as_obj(inner, at), at) or ForeignPart(NAME, path, value)
    if kind == "toolUse":
        return _tool_use(j.as_obj(inner, at), at, lost) or ForeignPart(NAME, path, value)
    if kind == "toolResult":
        return _tool_result(j.as_obj(inner, at), at, lost) or ForeignPart(NAME, path, value)
    if kind == "reasoningContent":
        return _reasoning(j.as_obj(inner, at), at)
    if kind == "citationsContent":
        return _cited(j.as_obj(inner, at), at, lost)
    return ForeignPart(NAME, path, value)


def _bytes(value: j.Object, path: str) -> str | None:
    """The base64 of a file in the request; None for one that lies elsewhere."""
    source = j.required_obj(value, "source", path)
    return j.string(source, "bytes", f"{path}.source")


def _image(value: j.Object, path: str) -> Part | None:
    kind = j.required_string(value, "format", path)
    if kind not in _IMAGE_FORMATS:
        j.reject(f"{path}.format", f"expected {', '.join(sorted(_IMAGE_FORMATS))}")
    data = _bytes(value, path)
    return None if data is None else Image(media_type=type_of(IMAGE_TYPES, kind), data=data)


def _audio(value: j.Object, path: str) -> Part | None:
    kind = j.required_string(value, "format", path)
    if kind not in AUDIO_FORMATS:
        j.reject(f"{path}.format", f"expected {', '.join(sorted(AUDIO_FORMATS))}")
    data = _bytes(value, path)
    return None if data is None else Audio(data, kind)


def _document(value: j.Object, path: str, lost: list[str]) -> Part | None:
    kind = j.string(value, "format", path) or "txt"
    if kind not in _DOCUMENT_FORMATS:
        j.reject(f"{path}.format", f"expected {', '.join(sorted(_DOCUMENT_FORMATS))}")
    source = j.required_obj(value, "source", path)
    data, text = j.string(source, "bytes", f"{path}.source"), j.string(source, "text", f"{path}.source")
    if data is None and text is None:
        return None  # in S3, or in pieces
    lost.extend(j.unknown_fields(value, _DOCUMENT_FIELDS, path))
    citations = j.obj(value, "citations", path) or {}
    return Document(
        media_type=type_of(DOCUMENT_TYPES, kind) if text is None else None,
        data=data if text is None else None,
        text=text,
        title=j.required_string(value, "name", path),
        context=j.string(value, "context", path),
        citations=j.boolean(citations, "enabled", f"{path}.citations") or False,
    )


def _tool_use(value: j.Object, path: str, lost: list[str]) -> Part | None:
    if j.string(value, "type", path) == "server_tool_use":
        return None
    lost.extend(j.unknown_fields(value, _TOOL_USE_FIELDS, path))
    call_id, name = j.required_string(value, "toolUseId", path), j.required_string(value, "name", path)
    return ToolCall(call_id, name, msgspec.json.encode(j.required_obj(value, "input", path)).decode())


def _tool_result(value: j.Object, path: str, lost: list[str]) -> Part | None:
    if j.string(value, "type", path) not in (None, "tool_result"):
        return None  # of a tool of the vendor's own
    lost.extend(j.unknown_fields(value, _RESULT_FIELDS, path))
    call_id = j.required_string(value, "toolUseId", path)
    if "content" not in value:
        j.reject(f"{path}.content", "is required", "missing_field")
    parts: list[Text | Image | Document] = []
    for index, item in enumerate(j.array(value, "content", path)):
        at = f"{path}.content.{index}"
        block = j.as_obj(item, at)
        if "json" in block:
            parts.append(Text(msgspec.json.encode(block["json"]).decode()))
            continue
        part = _block(block, at, lost)
        if isinstance(part, ForeignPart):
            return None
        if not isinstance(part, Text | Image | Document):
            j.reject(at, "a tool result holds JSON, text, images and documents only")
        parts.append(part)
    status = j.string(value, "status", path)
    if status not in (None, "success", "error"):
        j.reject(f"{path}.status", "expected success or error")
    return ToolResult(call_id, tuple(parts), status == "error")


def _reasoning(value: j.Object, path: str) -> Part:
    if value.get("redactedContent") is not None:
        data = j.required_string(value, "redactedContent", path)
        sealed = _sealed(data)
        if sealed is None:
            return RedactedThinking(data, NAME)
        if (redacted := unseal_redacted(sealed, NAME)) is not None:
            return redacted
        signature, origin = unseal_signature(sealed, NAME)
        return RedactedThinking(signature or "", origin or NAME)
    text = j.required_obj(value, "reasoningText", path)
    at = f"{path}.reasoningText"
    signature, origin = unseal_signature(j.string(text, "signature", at) or "", NAME)
    return Thinking(j.required_string(text, "text", at), signature, origin)


def _sealed(data: str) -> str | None:
    """The seal inside a field whose type is a blob, as `answer_write` put it there; None for the vendor's own data."""
    try:
        text = base64.b64decode(data, validate=True)
        return text.decode() if text.startswith(b"headgate.") else None
    except (binascii.Error, ValueError):
        return None


def _cited(value: j.Object, path: str, lost: list[str]) -> Part:
    """A cited answer given back: its text. Where it came from stays with the client."""
    if value.get("citations"):
        lost.append(f"{path}.citations")
    texts = [j.as_obj(item, path) for item in j.array(value, "content", path)]
    return Text("".join(j.required_string(item, "text", path) for item in texts))
