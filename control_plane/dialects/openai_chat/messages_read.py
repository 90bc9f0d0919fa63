"""Reading the `messages` of a chat completions request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from control_plane.dialects import freeform
from control_plane.dialects import json_body as j
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
    Role,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from control_plane.dialects.openai_chat.vocabulary import CALL_SIGNATURES, DETAILS_ORIGIN, NAME

_ROLES: Final = frozenset(("system", "developer", "user", "assistant", "tool", "function"))
_KNOWN: Final = frozenset(
    (
        *("role", "content", "tool_calls", "tool_call_id", "refusal", "reasoning_content", "reasoning", "reasoning_details"),
        *("cache_control", "prompt_cache_breakpoint"),
    )
)
_PART_FIELDS: Final = frozenset(
    (
        *("type", "text", "image_url", "file", "input_audio", "refusal", "thinking", "closed"),
        *("cache_control", "prompt_cache_breakpoint"),
    )
)


def read_messages(items: Sequence[object], lost: list[str]) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """(system texts that lead the conversation, the rest). Instructions after the first turn stay where they are."""
    system: list[Text] = []
    messages: list[Message] = []
    for index, item in enumerate(items):
        path = f"messages.{index}"
        value = j.as_obj(item, path)
        role = j.required_string(value, "role", path)
        if role not in _ROLES:
            j.reject(f"{path}.role", "expected system, developer, user, assistant or tool")
        lost.extend(j.unknown_fields(value, _KNOWN, path))
        parts = _message_parts(value, role, path, lost)
        if role in ("system", "developer") and not messages and all(type(part) is Text for part in parts):
            system.extend(cast("list[Text]", parts))
        else:
            messages.append(Message(cast("Role", "tool" if role == "function" else role), tuple(parts), path))
    return tuple(system), tuple(messages)


def _message_parts(value: j.Object, role: str, path: str, lost: list[str]) -> list[Part]:
    if role == "assistant":
        parts = _reasoning(value, path)
        if value.get("content") is not None:
            parts.extend(content_parts(value, path, lost))
        if refusal := j.string(value, "refusal", path):
            parts.append(Refusal(refusal))
        parts.extend(_tool_call(call, f"{path}.tool_calls.{i}") for i, call in enumerate(j.array(value, "tool_calls", path)))
        for key in ("function_call", "audio"):
            if isinstance(value.get(key), dict):
                parts.append(ForeignPart(NAME, f"{path}.{key}", value))
    elif role == "tool":
        inner = content_parts(value, path, lost)
        for part in inner:
            if not isinstance(part, Text | Image | Document):
                j.reject(f"{path}.content", "a tool message holds text, images and files only")
        parts = [ToolResult(j.required_string(value, "tool_call_id", path), tuple(cast("list[Text | Image | Document]", inner)))]
    elif role == "function":
        parts = [ForeignPart(NAME, path, value)]
    else:
        parts = content_parts(value, path, lost)
    mark = cache_mark(value, path)
    if mark is not None and parts and hasattr(parts[-1], "cache"):
        parts[-1] = msgspec.structs.replace(parts[-1], cache=mark)
    return parts


def content_parts(value: j.Object, path: str, lost: list[str]) -> list[Part]:
    """The parts of `content`: a string or an array of parts."""
    content = value.get("content")
    path = f"{path}.content"
    if type(content) is str:
        return [Text(content)]
    if content is None and "content" not in value:
        j.reject(path, "is required", "missing_field")
    if type(content) is not list:
        j.wrong_type(path, "a string or an array of parts", content)
    return [_part(item, f"{path}.{i}", lost) for i, item in enumerate(content)]


def _part(item: object, path: str, lost: list[str]) -> Part:
    if type(item) is str:  # some clients send bare strings, and vendors take them
        return Text(item)
    value = j.as_obj(item, path)
    kind = j.required_string(value, "type", path)
    lost.extend(j.unknown_fields(value, _PART_FIELDS, path))
    mark = cache_mark(value, path)
    if kind == "text":
        return Text(j.required_string(value, "text", path), mark)
    if kind == "image_url":
        return _image(value, path, mark)
    if kind == "file":
        return _file(j.required_obj(value, "file", path), f"{path}.file", mark)
    if kind == "input_audio":
        audio = j.required_obj(value, "input_audio", path)
        return Audio(j.required_string(audio, "data", f"{path}.input_audio"), j.required_string(audio, "format", f"{path}.input_audio"))
    if kind == "refusal":
        return Refusal(j.required_string(value, "refusal", path))
    if kind == "thinking" and (text := thinking_text(value.get("thinking"))) is not None:  # Mistral
        return Thinking(text)
    return ForeignPart(NAME, path, value)


def thinking_text(value: object) -> str | None:
    """The text of Mistral's `thinking`: a string or a list of text parts; None when it is neither."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return None
    return "".join(part["text"] for part in value if isinstance(part, dict) and isinstance(part.get("text"), str))


def cache_mark(item: j.Object, path: str) -> CacheMark | None:
    """A cache breakpoint: `cache_control` (OpenRouter and others, Anthropic's shape) or OpenAI's `prompt_cache_breakpoint`."""
    mark = j.obj(item, "cache_control", path) or j.obj(item, "prompt_cache_breakpoint", path)
    return None if mark is None else CacheMark(j.string(mark, "ttl", path))


def _image(value: j.Object, path: str, mark: CacheMark | None) -> Image:
    image = value.get("image_url")
    detail = None
    if type(image) is dict:
        detail = j.string(image, "detail", f"{path}.image_url")
        image = j.required_string(image, "url", f"{path}.image_url")
    if type(image) is not str:
        j.wrong_type(f"{path}.image_url", "an object with a url", image)
    if image.startswith("data:"):
        media_type, data = j.data_url(image, f"{path}.image_url.url")
        return Image(media_type=media_type, data=data, detail=detail, cache=mark)
    return Image(url=image, detail=detail, cache=mark)


def _file(file: j.Object, path: str, mark: CacheMark | None) -> Document:
    name = j.string(file, "filename", path)
    if (file_id := j.string(file, "file_id", path)) is not None:
        return Document(file_id=file_id, title=name, cache=mark)
    data = j.required_string(file, "file_data", path)
    if data.startswith("data:"):
        media_type, data = j.data_url(data, f"{path}.file_data")
        return Document(media_type=media_type or "application/pdf", data=data, title=name, cache=mark)
    if data.startswith(("https://", "http://")):  # OpenRouter
        return Document(url=data, title=name, cache=mark)
    return Document(media_type="application/pdf", data=data, title=name, cache=mark)


def _tool_call(item: object, path: str) -> Part:
    value = j.as_obj(item, path)
    if type(custom := value.get("custom")) is dict:
        at = f"{path}.custom"
        text = freeform.arguments(j.required_string(custom, "input", at))
        return ToolCall(j.required_string(value, "id", path), j.required_string(custom, "name", at), text, freeform=True)
    if "function" not in value and j.string(value, "type", path) not in (None, "function"):
        return ForeignPart(NAME, path, value)
    function = j.required_obj(value, "function", path)
    path_fn = f"{path}.function"
    arguments = function.get("arguments")
    if type(arguments) is dict:  # what some clients and local servers write
        arguments = msgspec.json.encode(arguments).decode()
    elif arguments is not None and type(arguments) is not str:
        j.wrong_type(f"{path_fn}.arguments", "a string of JSON", arguments)
    signature, origin = _call_signature(value, path)
    call_id, name = j.required_string(value, "id", path), j.required_string(function, "name", path_fn)
    return ToolCall(call_id, name, arguments or "", signature, origin)


def _call_signature(value: j.Object, path: str) -> tuple[str | None, str | None]:
    """(signature, origin) from `extra_content`, as this dialect's answers carry them."""
    if (extra := j.obj(value, "extra_content", path)) is not None:
        for origin, vendor in [(origin, name) for origin, names in CALL_SIGNATURES.items() for name in names]:
            signed = j.obj(extra, vendor, f"{path}.extra_content") or {}
            if signature := j.string(signed, "thought_signature", f"{path}.extra_content.{vendor}"):
                return signature, origin
    return None, None


def _reasoning(value: j.Object, path: str) -> list[Part]:
    """Replayed reasoning: signed where `reasoning_details` say so, plain text otherwise."""
    plain = j.string(value, "reasoning_content", path) or j.string(value, "reasoning", path)
    parts: list[Part] = []
    for index, item in enumerate(j.array(value, "reasoning_details", path)):
        detail = j.as_obj(item, f"{path}.reasoning_details.{index}")
        parts.extend(_detail_parts(detail, plain))
    if plain and not any(type(part) is Thinking for part in parts):
        parts.insert(0, Thinking(plain))
    return parts


def _detail_parts(detail: dict[str, Any], plain: str | None) -> list[Part]:
    origin = DETAILS_ORIGIN.get(str(detail.get("format")), NAME)
    signature, text, data = detail.get("signature"), detail.get("text") or detail.get("summary"), detail.get("data")
    if isinstance(data, str) and data:
        identity = detail.get("id")
        return [RedactedThinking(data, origin, identity if isinstance(identity, str) else None)]
    if isinstance(signature, str) and signature:
        return [Thinking(text if isinstance(text, str) else plain or "", signature, origin)]
    return [Thinking(text)] if isinstance(text, str) and text else []
