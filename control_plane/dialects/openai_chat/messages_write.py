"""Writing the `messages` of a chat completions request from the canonical conversation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Final

from control_plane.dialects import freeform, quirks
from control_plane.dialects.api import ReasoningReplay, TargetFacts
from control_plane.dialects.canon import (
    Audio,
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
from control_plane.dialects.openai_chat.vocabulary import DETAILS_FORMAT, NAME

DETAILS: Final = "reasoning_details"


class MessageWriter:
    """One use: `write` gives the wire messages; what cannot be carried is added to `dropped`."""

    def __init__(self, request: Request, target: TargetFacts, dropped: list[str]) -> None:
        self._request = request
        self._dropped = dropped
        self._system_role = "developer" if quirks.flag(target.options, "developer_role", False) else "system"
        self._custom = freeform.native(target, request.dialect == NAME)
        self._images_in_results = quirks.flag(target.options, "tool_result_images", False)
        replay = target.options.get("replay_reasoning")
        self._replay = replay if isinstance(replay, str) else None

    def write(self) -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = []
        if self._request.system:
            content = [self._content_part(part, "system") for part in self._request.system]
            messages.append({"role": self._system_role, "content": _plain(content)})
        for message in self._request.messages:
            if message.role == "assistant":
                messages.append(self._assistant(message))
            else:
                messages.extend(self._turn(message))
        return messages

    def _turn(self, message: Message) -> Iterable[dict[str, Any]]:
        """A user, system or tool message. Tool results become messages of their own, before what the user adds to them."""
        results: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                results.append(self._tool_result(part, message.path, content))
            else:
                content.append(self._content_part(part, message.path))
        if content or not results:
            role = {"tool": "user", "developer": self._system_role, "system": self._system_role}.get(message.role, message.role)
            results.append({"role": role, "content": _plain(content)})
        return results

    def _tool_result(self, result: ToolResult, path: str, later: list[dict[str, Any]]) -> dict[str, Any]:
        """Tool messages hold text only, so images and files go to `later`, the user message that follows, with a word on whose they are."""
        if result.cache is not None:
            self._dropped.append("cache_control")
        if result.is_error:
            self._dropped.append(f"{path}.is_error")
        content: list[dict[str, Any]] = []
        moved: list[dict[str, Any]] = []
        for part in result.parts:
            (content if isinstance(part, Text) or self._images_in_results else moved).append(self._content_part(part, path))
        if moved:
            if not content:
                content.append({"type": "text", "text": "The result is attached below."})
            later.append({"type": "text", "text": f"Result of the tool call {result.call_id}:"})
            later.extend(moved)
        return {"role": "tool", "tool_call_id": result.call_id, "content": _plain(content)}

    def _content_part(self, part: Part, path: str) -> dict[str, Any]:
        if getattr(part, "cache", None) is not None:
            self._dropped.append("cache_control")
        if isinstance(part, Text):
            return {"type": "text", "text": part.text}
        if isinstance(part, Image):
            return _image(part, path)
        if isinstance(part, Document):
            return self._document(part, path)
        if isinstance(part, Audio):
            return {"type": "input_audio", "input_audio": {"data": part.data, "format": part.format}}
        if isinstance(part, Refusal):
            return {"type": "text", "text": part.text}
        if isinstance(part, ForeignPart) and part.origin == NAME:
            return dict(part.raw)
        raise Unfit(part.path if isinstance(part, ForeignPart) else path, f"holds a part that cannot be expressed in {NAME}")

    def _document(self, part: Document, path: str) -> dict[str, Any]:
        if part.citations:
            self._dropped.append(f"{path}.citations")
        if part.text is not None:
            heading = "\n".join(line for line in (part.title, part.context) if line)
            return {"type": "text", "text": f"{heading}\n\n{part.text}" if heading else part.text}
        if part.context is not None:
            self._dropped.append(f"{path}.context")
        if part.data is not None:
            media_type = part.media_type or "application/pdf"
            file = {"filename": part.title or "document.pdf", "file_data": f"data:{media_type};base64,{part.data}"}
            return {"type": "file", "file": file}
        if part.file_id is not None and self._request.dialect == NAME:
            return {"type": "file", "file": {"file_id": part.file_id}}
        raise Unfit(path, f"a document by {'URL' if part.url else 'file id'} cannot be expressed in {NAME}")

    def _assistant(self, message: Message) -> dict[str, Any]:
        wire: dict[str, Any] = {"role": "assistant"}
        content: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        reasoning: list[str] = []
        details: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                calls.append(_call(part, part.freeform and self._custom))
                if part.cache is not None:
                    self._dropped.append("cache_control")
                if part.signature is not None:
                    self._dropped.append(f"{message.path}.tool_calls.extra_content")
            elif isinstance(part, Thinking):
                reasoning.append(part.text)
                details.extend(_detail(part))
            elif isinstance(part, RedactedThinking):
                details.extend(_detail(part))
            elif isinstance(part, Refusal):
                wire["refusal"] = part.text
            elif isinstance(part, ForeignPart) and part.origin == NAME:
                wire.update({key: part.raw[key] for key in ("function_call", "audio") if key in part.raw})
            else:
                content.append(self._content_part(part, message.path))
        wire["content"] = _plain(content) if content else None
        if calls:
            wire["tool_calls"] = calls
        elif not content and "refusal" not in wire:
            wire["content"] = ""
        self._replay_reasoning(wire, reasoning, details, message.path)
        return wire

    def _replay_reasoning(self, wire: dict[str, Any], texts: Sequence[str], details: list[dict[str, Any]], path: str) -> None:
        if self._replay == DETAILS and details:
            wire[DETAILS] = details
        elif self._replay not in (None, DETAILS) and any(texts):
            wire[self._replay] = "".join(texts)
        elif texts or details:
            self._dropped.append(f"{path}.thinking")


def replay(target: TargetFacts) -> ReasoningReplay:
    """The option `replay_reasoning` names the field: `reasoning_details` holds what is signed, every other plain text."""
    field = target.options.get("replay_reasoning")
    if field == DETAILS:
        return ReasoningReplay(sealed_by=frozenset(DETAILS_FORMAT))
    return ReasoningReplay(plain=isinstance(field, str))


def _call(part: ToolCall, custom: bool) -> dict[str, Any]:
    if custom:
        return {"id": part.id, "type": "custom", "custom": {"name": part.name, "input": freeform.text_of(part.arguments)}}
    return {"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments or "{}"}}


def _plain(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text alone as a string, the form every vendor takes; none at all as an empty string."""
    if not content:
        return ""
    if len(content) == 1 and content[0].get("type") == "text":
        text = content[0].get("text")
        return text if isinstance(text, str) else content
    return content


def _image(part: Image, path: str) -> dict[str, Any]:
    if part.file_id is not None:
        raise Unfit(path, f"an image by file id cannot be expressed in {NAME}")
    url = part.url if part.url is not None else f"data:{part.media_type or 'image/png'};base64,{part.data}"
    image = {"url": url} if part.detail is None else {"url": url, "detail": part.detail}
    return {"type": "image_url", "image_url": image}


def _detail(part: Thinking | RedactedThinking) -> list[dict[str, Any]]:
    """`reasoning_details`, for gateways behind this dialect that hand signed reasoning back to the vendor that signed it."""
    wire_format = DETAILS_FORMAT.get(part.origin or "")
    if wire_format is None:
        return []
    if isinstance(part, Thinking):
        return [{"type": "reasoning.text", "text": part.text, "signature": part.signature, "format": wire_format}]
    return [{"type": "reasoning.encrypted", "data": part.data, "id": part.id, "format": wire_format}]
