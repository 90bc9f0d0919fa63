"""Reading the `input` and `instructions` of a Responses request.

Items that a model wrote in one turn (reasoning, messages, calls) become one canonical assistant message.
"""

from __future__ import annotations

from typing import Final, cast

from control_plane.dialects import freeform
from control_plane.dialects import json_body as j
from control_plane.dialects.canon import (
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
    unseal_redacted,
    unseal_signature,
)
from control_plane.dialects.openai_responses.vocabulary import NAME

_ROLES: Final = frozenset(("system", "developer", "user", "assistant"))
_ITEM_FIELDS: Final = {
    "message": frozenset(("type", "role", "content", "id", "status")),
    "function_call": frozenset(("type", "call_id", "name", "arguments", "id", "status")),
    "function_call_output": frozenset(("type", "call_id", "output", "id", "status")),
    "custom_tool_call": frozenset(("type", "call_id", "name", "input", "id", "status")),
    "custom_tool_call_output": frozenset(("type", "call_id", "output", "id", "status")),
    "reasoning": frozenset(("type", "id", "summary", "content", "encrypted_content", "status")),
}
_PART_FIELDS: Final = {
    "input_text": frozenset(("type", "text")),
    "output_text": frozenset(("type", "text", "annotations", "logprobs")),
    "refusal": frozenset(("type", "refusal")),
    "input_image": frozenset(("type", "image_url", "file_id", "detail")),
    "input_file": frozenset(("type", "file_data", "file_id", "file_url", "filename")),
}


def read_input(raw: j.Object, lost: list[str], required: bool) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """(system texts: `instructions`, and what leads the input; the rest). Instructions after the first turn stay where they are."""
    system: list[Text] = []
    if instructions := j.string(raw, "instructions", ""):
        system.append(Text(instructions))
    value = raw.get("input")
    if type(value) is str:
        return tuple(system), (Message("user", (Text(value),), "input"),)
    if value is None and "input" not in raw and required:
        j.reject("input", "is required", "missing_field")
    if type(value) is not list and (value is not None or required):
        j.wrong_type("input", "a string or an array of items", value)
    if required and not value:
        j.reject("input", "must not be empty")
    messages: list[Message] = []
    for index, item in enumerate(value or []):
        role, parts = _item(j.as_obj(item, f"input.{index}"), f"input.{index}", lost)
        if role in ("system", "developer") and not messages and all(type(part) is Text for part in parts):
            system.extend(cast("list[Text]", parts))
        elif role == "assistant" and messages and messages[-1].role == "assistant":
            last = messages.pop()
            messages.append(Message("assistant", (*last.parts, *parts), last.path))
        else:
            messages.append(Message(role, tuple(parts), f"input.{index}"))
    return tuple(system), tuple(messages)


def _item(value: j.Object, path: str, lost: list[str]) -> tuple[Role, list[Part]]:
    """(whose it is, what it says). Items that only this dialect has become a ForeignPart."""
    kind = j.string(value, "type", path)
    if kind is None:
        if "role" not in value and "id" not in value:
            j.reject(f"{path}.type", "is required", "missing_field")
        kind = "message" if "role" in value else "item_reference"
    known = _ITEM_FIELDS.get(kind)
    if known is None:
        return "assistant", [ForeignPart(NAME, path, value)]
    lost.extend(j.unknown_fields(value, known, path))
    if kind == "function_call":
        return "assistant", [_function_call(value, path)]
    if kind == "custom_tool_call":
        return "assistant", [_custom_call(value, path)]
    if kind == "reasoning":
        return "assistant", _reasoning(value, path)
    if kind in ("function_call_output", "custom_tool_call_output"):
        return "tool", [_function_call_output(value, path, lost)]
    role = j.required_string(value, "role", path)
    if role not in _ROLES:
        j.reject(f"{path}.role", "expected system, developer, user or assistant")
    return cast("Role", role), _content(value, "content", path, lost)


def _content(value: j.Object, key: str, path: str, lost: list[str]) -> list[Part]:
    """The parts of `content` or `output`: a string or an array of parts."""
    content = value.get(key)
    path = f"{path}.{key}"
    if type(content) is str:
        return [Text(content)]
    if content is None and key not in value:
        j.reject(path, "is required", "missing_field")
    if type(content) is not list:
        j.wrong_type(path, "a string or an array of parts", content)
    return [_part(item, f"{path}.{i}", lost) for i, item in enumerate(content)]


def _part(item: object, path: str, lost: list[str]) -> Part:
    value = j.as_obj(item, path)
    kind = j.required_string(value, "type", path)
    known = _PART_FIELDS.get(kind)
    if known is None:
        return ForeignPart(NAME, path, value)
    lost.extend(j.unknown_fields(value, known, path))
    if kind in ("input_text", "output_text"):
        return Text(j.required_string(value, "text", path))
    if kind == "refusal":
        return Refusal(j.required_string(value, "refusal", path))
    return _image(value, path) if kind == "input_image" else _file(value, path)


def _image(value: j.Object, path: str) -> Part:
    detail = j.string(value, "detail", path)
    if (file_id := j.string(value, "file_id", path)) is not None:
        return Image(file_id=file_id, detail=detail)
    url = j.required_string(value, "image_url", path)
    if url.startswith("data:"):
        media_type, data = j.data_url(url, f"{path}.image_url")
        return Image(media_type=media_type, data=data, detail=detail)
    return Image(url=url, detail=detail)


def _file(value: j.Object, path: str) -> Part:
    name = j.string(value, "filename", path)
    if (file_id := j.string(value, "file_id", path)) is not None:
        return Document(file_id=file_id, title=name)
    if (url := j.string(value, "file_url", path)) is not None:
        return Document(url=url, title=name)
    data = j.required_string(value, "file_data", path)
    media_type = ""
    if data.startswith("data:"):
        media_type, data = j.data_url(data, f"{path}.file_data")
    return Document(media_type=media_type or "application/pdf", data=data, title=name)


def _custom_call(value: j.Object, path: str) -> ToolCall:
    call_id, name = j.required_string(value, "call_id", path), j.required_string(value, "name", path)
    return ToolCall(call_id, name, freeform.arguments(j.required_string(value, "input", path)), freeform=True)


def _function_call(value: j.Object, path: str) -> ToolCall:
    call_id, name = j.required_string(value, "call_id", path), j.required_string(value, "name", path)
    return ToolCall(call_id, name, j.string(value, "arguments", path) or "")


def _function_call_output(value: j.Object, path: str, lost: list[str]) -> Part:
    parts = _content(value, "output", path, lost)
    call_id = j.required_string(value, "call_id", path)
    for part in parts:
        if isinstance(part, ForeignPart):
            return ForeignPart(NAME, part.path, value)
        if not isinstance(part, Text | Image | Document):
            j.reject(f"{path}.output", "a function's output holds text, images and files only")
    return ToolResult(call_id, tuple(cast("list[Text | Image | Document]", parts)))


def _reasoning(value: j.Object, path: str) -> list[Part]:
    """The visible text and what seals it. A seal that another dialect made signs the text; this dialect's own is encrypted and
    stands behind the text, with the id that its vendor wants back."""
    texts = [
        _reasoning_text(item, f"{path}.{key}.{i}") for key in ("summary", "content") for i, item in enumerate(j.array(value, key, path))
    ]
    text = "".join(texts)
    sealed = j.string(value, "encrypted_content", path) or ""
    redacted = unseal_redacted(sealed, NAME)
    if redacted is None:
        signature, origin = unseal_signature(sealed, NAME)
        return [Thinking(text, signature, origin)] if text or signature else []
    if redacted.origin == NAME and redacted.id is None:
        redacted = RedactedThinking(redacted.data, NAME, j.string(value, "id", path))
    return [Thinking(text), redacted] if text else [redacted]


def _reasoning_text(item: object, path: str) -> str:
    return j.required_string(j.as_obj(item, path), "text", path)
