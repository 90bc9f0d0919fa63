"""Writing the `instructions` and the `input` of a Responses request from the canonical conversation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from control_plane.dialects import freeform
from control_plane.dialects.api import TargetFacts
from control_plane.dialects.canon import (
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
    unseal_redacted,
    unseal_signature,
)
from control_plane.dialects.openai_responses.vocabulary import NAME


class MessageWriter:
    """One use: `write` gives (instructions, items); what cannot be carried is added to `dropped`."""

    def __init__(self, request: Request, target: TargetFacts, dropped: list[str]) -> None:
        self._request = request
        self._dropped = dropped
        self._native = freeform.native(target, True)
        self._custom: set[str] = set()  # ids of calls with free text, whose results are of another type

    def write(self) -> tuple[str, list[dict[str, Any]]]:
        for part in self._request.system:
            self._cached(part)
        instructions = "\n\n".join(part.text for part in self._request.system if part.text)
        items: list[dict[str, Any]] = []
        for message in self._request.messages:
            items.extend(self._assistant(message) if message.role == "assistant" else self._turn(message))
        return instructions, items

    def _turn(self, message: Message) -> list[dict[str, Any]]:
        """A user, system or tool message. Tool results become items of their own, before what the user adds to them."""
        items: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                items.append(self._tool_result(part, message.path))
            elif isinstance(part, ForeignPart) and part.origin == NAME and message.role == "tool":
                items.append(dict(part.raw))
            else:
                content.append(self._content_part(part, message.path))
        if content or not items:
            role = "user" if message.role == "tool" else message.role
            items.append({"role": role, "content": _plain(content)})
        return items

    def _tool_result(self, result: ToolResult, path: str) -> dict[str, Any]:
        self._cached(result)
        if result.is_error:
            self._dropped.append(f"{path}.is_error")
        output = _plain([self._content_part(part, path) for part in result.parts])
        kind = "custom_tool_call_output" if result.call_id in self._custom else "function_call_output"
        return {"type": kind, "call_id": result.call_id, "output": output}

    def _content_part(self, part: Part, path: str) -> dict[str, Any]:
        self._cached(part)
        if isinstance(part, Text | Refusal):
            return {"type": "input_text", "text": part.text}
        if isinstance(part, Image):
            return self._image(part, path)
        if isinstance(part, Document):
            return self._document(part, path)
        if isinstance(part, ForeignPart) and part.origin == NAME:
            return dict(part.raw)
        raise Unfit(part.path if isinstance(part, ForeignPart) else path, f"holds a part that cannot be expressed in {NAME}")

    def _image(self, part: Image, path: str) -> dict[str, Any]:
        detail = part.detail or "auto"
        if part.file_id is not None:
            if self._request.dialect != NAME:
                raise Unfit(path, f"an image by file id cannot be expressed in {NAME}")
            return {"type": "input_image", "file_id": part.file_id, "detail": detail}
        url = part.url if part.url is not None else f"data:{part.media_type or 'image/png'};base64,{part.data}"
        return {"type": "input_image", "image_url": url, "detail": detail}

    def _document(self, part: Document, path: str) -> dict[str, Any]:
        if part.citations:
            self._dropped.append(f"{path}.citations")
        if part.text is not None:
            heading = "\n".join(line for line in (part.title, part.context) if line)
            return {"type": "input_text", "text": f"{heading}\n\n{part.text}" if heading else part.text}
        if part.context is not None:
            self._dropped.append(f"{path}.context")
        if part.data is not None:
            data = f"data:{part.media_type or 'application/pdf'};base64,{part.data}"
            return {"type": "input_file", "filename": part.title or "document.pdf", "file_data": data}
        if part.file_id is not None and self._request.dialect != NAME:
            raise Unfit(path, f"a file by id cannot be expressed in {NAME}")
        place = {"file_url": part.url} if part.url is not None else {"file_id": part.file_id}
        return {"type": "input_file", **place}

    def _assistant(self, message: Message) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = []
        thoughts: list[str] = []  # visible reasoning in front of the sealed one that it belongs to
        for part in message.parts:
            if isinstance(part, Thinking) and not part.signature:
                thoughts.append(part.text)
                continue
            if isinstance(part, Thinking) and part.origin == NAME:
                items.append(_reasoning(part.text, part.signature or "", None))
                continue
            if isinstance(part, RedactedThinking) and part.origin == NAME:
                items.append(_reasoning("".join(thoughts), part.data, part.id))
                thoughts.clear()
                continue
            if thoughts or isinstance(part, Thinking | RedactedThinking):  # unsigned, or sealed by a vendor whose seal OpenAI refuses
                self._dropped.append(f"{message.path}.reasoning")
                thoughts.clear()
            if not isinstance(part, Thinking | RedactedThinking):
                items.extend(self._assistant_item(part, message.path))
        if thoughts:
            self._dropped.append(f"{message.path}.reasoning")
        return items

    def _assistant_item(self, part: Part, path: str) -> list[dict[str, Any]]:
        """Texts one by one in the plain form, the only one that needs no id of the vendor."""
        self._cached(part)
        if isinstance(part, ToolCall):
            if part.signature is not None:
                self._dropped.append(f"{path}.tool_calls.extra_content")  # another vendor's: here reasoning is sealed, not calls
            if part.freeform and self._native:
                self._custom.add(part.id)
                return [{"type": "custom_tool_call", "call_id": part.id, "name": part.name, "input": freeform.text_of(part.arguments)}]
            return [{"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments or "{}"}]
        if isinstance(part, Text | Refusal):
            return [{"role": "assistant", "content": part.text}] if part.text else []
        if isinstance(part, ForeignPart) and part.origin == NAME:
            return [dict(part.raw)]
        raise Unfit(part.path if isinstance(part, ForeignPart) else path, f"holds a part that cannot be expressed in {NAME}")

    def _cached(self, part: Part) -> None:
        if getattr(part, "cache", None) is not None:
            self._dropped.append("cache_control")


def _plain(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text alone as a string, the form every server takes; none at all as an empty string."""
    if not content:
        return ""
    if len(content) == 1 and content[0].get("type") == "input_text":
        text = content[0]["text"]
        return text if isinstance(text, str) else content
    return content


def _reasoning(text: str, data: str, identity: str | None) -> dict[str, Any]:
    item: dict[str, Any] = {"type": "reasoning", "summary": [{"type": "summary_text", "text": text}] if text else []}
    if identity is not None:
        item["id"] = identity
    item["encrypted_content"] = data
    return item


def own_input(items: object, dropped: list[str]) -> object:
    """The client's own input without reasoning that the provider would refuse: sealed by another vendor, or by nobody. What a
    gateway has sealed together with the vendor's id is opened again."""
    if not isinstance(items, list):
        return items
    kept: list[object] = []
    for index, item in enumerate(items):
        value = item.get("encrypted_content") if isinstance(item, Mapping) and item.get("type") == "reasoning" else None
        if not isinstance(value, str) or not value:
            kept.append(item)
        elif unseal_signature(value, NAME)[1] != NAME:
            dropped.append(f"input.{index}")
        else:
            redacted = unseal_redacted(value, NAME)
            opened = redacted is not None and redacted.id is not None
            kept.append({**item, "id": redacted.id, "encrypted_content": redacted.data} if opened and redacted else item)
    return kept
