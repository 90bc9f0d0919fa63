"""Reading the `messages` and `documents` of a chat request."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, cast

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects.canon import Document, Image, Message, Part, Role, Text, Thinking, ToolCall, ToolResult

_ROLES: Final = frozenset(("system", "user", "assistant", "tool"))
_KNOWN: Final = {
    "system": frozenset(("role", "content")),
    "user": frozenset(("role", "content")),
    "assistant": frozenset(("role", "content", "tool_calls", "tool_plan")),
    "tool": frozenset(("role", "content", "tool_call_id")),
}
_BLOCKS: Final = {
    "system": frozenset(("text",)),
    "user": frozenset(("text", "image_url")),
    "assistant": frozenset(("text", "thinking")),
    "tool": frozenset(("text", "document")),
}
_ENCODE: Final = msgspec.json.Encoder(decimal_format="number").encode


def read_messages(items: Sequence[object], lost: list[str]) -> tuple[tuple[Text, ...], tuple[Message, ...]]:
    """(system texts that lead the conversation, the rest). Instructions after the first turn stay where they are."""
    system: list[Text] = []
    messages: list[Message] = []
    for index, item in enumerate(items):
        path = f"messages.{index}"
        value = j.as_obj(item, path)
        role = j.required_string(value, "role", path)
        if role not in _ROLES:
            j.reject(f"{path}.role", "expected system, user, assistant or tool")
        lost.extend(j.unknown_fields(value, _KNOWN[role], path))
        parts = _parts(value, role, path, lost)
        if role == "system" and not messages:
            system.extend(cast("list[Text]", parts))
        else:
            messages.append(Message(cast("Role", role), tuple(parts), path))
    return tuple(system), tuple(messages)


def read_documents(items: Sequence[object], lost: list[str]) -> Message | None:
    """Documents that the answer shall cite, as a turn of the user; None when there are none."""
    parts = [_document(item, f"documents.{index}", lost) for index, item in enumerate(items)]
    return Message("user", tuple(parts), "documents") if parts else None


def _parts(value: j.Object, role: str, path: str, lost: list[str]) -> list[Part]:
    if role == "assistant":
        parts = _content(value, role, path, lost) if value.get("content") is not None else []
        if plan := j.string(value, "tool_plan", path):
            parts.append(Thinking(plan))
        calls = j.array(value, "tool_calls", path)
        parts.extend(_tool_call(call, f"{path}.tool_calls.{i}") for i, call in enumerate(calls))
        return [part for part in parts if not (isinstance(part, Text) and not part.text)] if calls else parts
    parts = _content(value, role, path, lost)
    if role == "tool":
        call_id = j.required_string(value, "tool_call_id", path)
        return [ToolResult(call_id, tuple(cast("list[Text | Image | Document]", parts)))]
    return parts


def _content(value: j.Object, role: str, path: str, lost: list[str]) -> list[Part]:
    """The parts of `content`: a string or an array of blocks."""
    content = value.get("content")
    path = f"{path}.content"
    if type(content) is str:
        return [Text(content)]
    if content is None and "content" not in value:
        j.reject(path, "is required", "missing_field")
    if type(content) is not list:
        j.wrong_type(path, "a string or an array of blocks", content)
    return [_block(item, role, f"{path}.{i}", lost) for i, item in enumerate(content)]


def _block(item: object, role: str, path: str, lost: list[str]) -> Part:
    value = j.as_obj(item, path)
    kind = j.required_string(value, "type", path)
    if kind not in _BLOCKS[role]:
        j.reject(f"{path}.type", f"expected {' or '.join(sorted(_BLOCKS[role]))} in a message of role {role}")
    lost.extend(j.unknown_fields(value, frozenset(("type", kind)), path))
    if kind == "text":
        return Text(j.required_string(value, "text", path))
    if kind == "thinking":
        return Thinking(j.required_string(value, "thinking", path))
    if kind == "image_url":
        return _image(j.required_obj(value, "image_url", path), f"{path}.image_url")
    return _result_document(j.required_obj(value, "document", path), f"{path}.document")


def _image(image: j.Object, path: str) -> Image:
    url, detail = j.required_string(image, "url", path), j.string(image, "detail", path)
    if url.startswith("data:"):
        media_type, data = j.data_url(url, f"{path}.url")
        return Image(media_type=media_type, data=data, detail=detail)
    return Image(url=url, detail=detail)


def _tool_call(item: object, path: str) -> ToolCall:
    value = j.as_obj(item, path)
    function = j.required_obj(value, "function", path)
    path_fn = f"{path}.function"
    arguments = j.string(function, "arguments", path_fn)
    return ToolCall(j.required_string(value, "id", path), j.required_string(function, "name", path_fn), arguments or "")


def _data(document: j.Object, path: str) -> j.Object:
    """The fields of a document; older clients send them as a text."""
    value = document.get("data")
    return {"text": value} if type(value) is str else j.required_obj(document, "data", path)


def _result_document(document: j.Object, path: str) -> Text:
    """What a tool found, as the JSON that other vendors' models read; the id stays, since an answer may cite it."""
    data = _data(document, path)
    identity = j.string(document, "id", path)
    if identity is None and data.keys() == {"text"} and type(data["text"]) is str:
        return Text(data["text"])
    return Text(_ENCODE(data if identity is None else {"id": identity, **data}).decode())


def _document(item: object, path: str, lost: list[str]) -> Document:
    if type(item) is str:
        return Document(text=item, citations=True)
    value = j.as_obj(item, path)
    data = _data(value, path)
    identity = j.string(value, "id", path)
    title: Any = data.get("title")
    title = title if type(title) is str else None
    if title is not None and identity is not None:
        lost.append(f"{path}.id")
    text: Any = data.get("text")
    if type(text) is not str or data.keys() - {"text", "title"}:
        text = _ENCODE(data).decode()
    return Document(text=text, title=title or identity, citations=True)
