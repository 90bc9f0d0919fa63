"""Writing `messages` and `documents` from the canonical conversation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
)
from control_plane.dialects.cohere_chat.vocabulary import NAME


class MessageWriter:
    """One use: `write` gives (messages, documents); what cannot be carried is added to `dropped`. `thinks`: whether the model does."""

    def __init__(self, request: Request, thinks: bool, dropped: list[str]) -> None:
        self._request = request
        self._thinks = thinks
        self._dropped = dropped
        self._documents: list[dict[str, Any]] = []

    def write(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        messages: list[dict[str, Any]] = []
        if self._request.system:
            content = [self._block(part, "system") for part in self._request.system]
            messages.append({"role": "system", "content": _plain(content)})
        for message in self._request.messages:
            if message.role == "assistant":
                messages.append(self._assistant(message))
            else:
                messages.extend(self._turn(message))
        return messages, self._documents

    def _turn(self, message: Message) -> Iterable[dict[str, Any]]:
        """A user, system or tool message. Tool results become messages of their own, before what the user adds to them."""
        results: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                results.append(self._result(part, message.path, content))
            elif isinstance(part, Document) and part.citations and part.text is not None:
                self._uncached(part)
                self._cited(part, message.path)
            else:
                content.append(self._block(part, message.path))
        cited = any(isinstance(part, Document) for part in message.parts)
        if content or not (results or cited):
            role = "system" if message.role in ("system", "developer") else "user"
            if role == "system" and any(block["type"] != "text" for block in content):
                raise Unfit(message.path, f"instructions other than text cannot be expressed in {NAME}")
            results.append({"role": role, "content": _plain(content)})
        return results

    def _cited(self, part: Document, path: str) -> None:
        """A text that the answer shall cite stands beside the conversation."""
        fields = {"title": part.title, "text": part.text, "context": part.context}
        self._documents.append(
            {"id": f"doc:{len(self._documents)}", "data": {key: value for key, value in fields.items() if value is not None}}
        )

    def _result(self, result: ToolResult, path: str, later: list[dict[str, Any]]) -> dict[str, Any]:
        """Tool messages hold text only, so images go to `later`, the user message that follows, with a word on whose they are."""
        self._uncached(result)
        if result.is_error:
            self._dropped.append(f"{path}.is_error")
        content: list[dict[str, Any]] = []
        moved: list[dict[str, Any]] = []
        for part in result.parts:
            block = self._block(part, path)
            (content if block["type"] == "text" else moved).append(block)
        if moved:
            if not content:
                content.append({"type": "text", "text": "The result is attached below."})
            later.append({"type": "text", "text": f"Result of the tool call {result.call_id}:"})
            later.extend(moved)
        return {"role": "tool", "tool_call_id": result.call_id, "content": _plain(content)}

    def _uncached(self, part: Part) -> None:
        if getattr(part, "cache", None) is not None:
            self._dropped.append("cache_control")  # prompts are cached without being asked

    def _block(self, part: Part, path: str) -> dict[str, Any]:
        self._uncached(part)
        match part:
            case Text() | Refusal():
                return {"type": "text", "text": part.text}
            case Image():
                return _image(part, path)
            case Document() if part.text is not None:
                if part.citations:
                    self._dropped.append(f"{path}.citations")  # inside a result
                heading = "\n".join(line for line in (part.title, part.context) if line)
                return {"type": "text", "text": f"{heading}\n\n{part.text}" if heading else part.text}
            case Document():
                raise Unfit(path, f"a file cannot be expressed in {NAME}, which takes texts and images")
            case _:
                raise Unfit(part.path if isinstance(part, ForeignPart) else path, f"holds a part that cannot be expressed in {NAME}")

    def _assistant(self, message: Message) -> dict[str, Any]:
        content: list[dict[str, Any]] = []
        thoughts: list[str] = []
        calls: list[dict[str, Any]] = []
        sealed = False
        for part in message.parts:
            if isinstance(part, ToolCall):
                self._uncached(part)
                calls.append({"id": part.id, "type": "function", "function": {"name": part.name, "arguments": part.arguments or "{}"}})
                if part.signature is not None:
                    self._dropped.append(f"{message.path}.tool_calls.signature")
            elif isinstance(part, Thinking) and part.text:
                thoughts.append(part.text)
            elif isinstance(part, Thinking | RedactedThinking):
                sealed = True
            elif not (isinstance(part, Text) and not part.text):  # many clients write an empty text beside calls
                content.append(self._block(part, message.path))
        wire: dict[str, Any] = {"role": "assistant"}
        if thoughts and self._thinks:
            content.insert(0, {"type": "thinking", "thinking": "".join(thoughts)})
        elif thoughts and calls:
            wire["tool_plan"] = "".join(thoughts)
        elif thoughts:
            sealed = True  # a model that does not think has a place for it in front of calls only
        if sealed:
            self._dropped.append(f"{message.path}.reasoning")
        if content or not calls:
            wire["content"] = _plain(content)
        if calls:
            wire["tool_calls"] = calls
        return wire


def _plain(content: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One text alone as a string; none at all as an empty one."""
    if not content:
        return ""
    if len(content) == 1 and content[0]["type"] == "text":
        return str(content[0]["text"])
    return content


def _image(part: Image, path: str) -> dict[str, Any]:
    if part.file_id is not None:
        raise Unfit(path, f"an image by file id cannot be expressed in {NAME}")
    url = part.url if part.url is not None else f"data:{part.media_type or 'image/png'};base64,{part.data}"
    return {"type": "image_url", "image_url": {"url": url} if part.detail is None else {"url": url, "detail": part.detail}}
