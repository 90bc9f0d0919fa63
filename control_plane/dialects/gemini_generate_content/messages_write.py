"""Writing `contents` and `systemInstruction` from the canonical conversation.

Calls and results: older models give calls no id, so clients got one that we made. Ids go to the provider with the call and its result,
which it matches by id where it knows ids and by name and order where it does not; a result's name is its call's.

Signatures: a model of the third generation refuses a turn whose first call is unsigned. A signature comes back on the call itself, or as
signed thinking without a text (what clients that know no signed calls were given), which then belongs to the call that follows.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from control_plane.dialects import quirks
from control_plane.dialects.api import TargetFacts
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
from control_plane.dialects.gemini_generate_content import signatures
from control_plane.dialects.gemini_generate_content.vocabulary import NAME, UNCHECKED_SIGNATURE, generation

_EMPTY: Final = msgspec.Raw(b"{}")
_MEDIA_TYPES: Final = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "heic": "image/heic",
    "pdf": "application/pdf",
    "txt": "text/plain",
}


class MessageWriter:
    """One use: `write` gives (texts of the system prompt, contents); what cannot be carried is added to `dropped`."""

    def __init__(self, request: Request, target: TargetFacts, dropped: list[str]) -> None:
        self._request = request
        self._dropped = dropped
        self._with_ids = quirks.flag(target.options, "call_ids", True)
        self._urls = quirks.flag(target.options, "file_urls", True)
        self._fill_in = quirks.flag(target.options, "unsigned_calls", generation(target.model) >= (3, 0))
        self._name_of: dict[str, str] = {}  # call id to function name, of the calls written so far

    def write(self) -> tuple[list[str], list[dict[str, Any]]]:
        system = [self._instruction(part, "system") for part in self._request.system]
        contents: list[dict[str, Any]] = []
        for message in self._request.messages:
            if message.role in ("system", "developer"):  # there is one place for instructions
                system.extend(self._instruction(part, message.path) for part in message.parts)
                continue
            role, parts = ("model", self._model(message)) if message.role == "assistant" else ("user", self._user(message))
            if not parts:
                continue  # a content without parts is refused, and says nothing
            if contents and contents[-1]["role"] == role:
                _join(contents[-1]["parts"], parts)
            else:
                contents.append({"role": role, "parts": parts})
        return [text for text in system if text], contents

    def _instruction(self, part: Part, path: str) -> str:
        if not isinstance(part, Text):
            raise Unfit(path, f"instructions other than text cannot be expressed in {NAME}")
        self._uncached(part)
        return part.text

    def _uncached(self, part: Part) -> None:
        if getattr(part, "cache", None) is not None:
            self._dropped.append("cache_control")  # prompts are cached without being asked

    # ------------------------------------------------------------------------------------------------- user

    def _user(self, message: Message) -> list[dict[str, Any]]:
        """Results first, together, then what the user adds and what results held beside text."""
        results: list[dict[str, Any]] = []
        parts: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                results.append(self._result(part, message.path, parts))
            else:
                parts.extend(self._content(part, message.path))
        return results + parts

    def _result(self, result: ToolResult, path: str, later: list[dict[str, Any]]) -> dict[str, Any]:
        self._uncached(result)
        name = result.name or self._name_of.get(result.call_id)
        if name is None:
            raise Unfit(path, f"answers the tool call {result.call_id[:100]!r}, which is not in the conversation")
        texts = [part.text for part in result.parts if isinstance(part, Text)]
        moved = [wire for part in result.parts if not isinstance(part, Text) for wire in self._content(part, path)]
        if moved:
            later.append({"text": f"Result of the tool call {result.call_id}:"})
            later.extend(moved)
            if not texts:
                texts.append("The result is attached below.")
        output = _structured("\n".join(texts))
        wire: dict[str, Any] = {"name": name, "response": {"error" if result.is_error else "output": output}}
        if self._with_ids:
            wire["id"] = result.call_id
        return {"functionResponse": wire}

    def _content(self, part: Part, path: str) -> list[dict[str, Any]]:
        """The wire parts of what a user shows; none for an empty text."""
        self._uncached(part)
        match part:
            case Text() | Refusal():
                return [{"text": part.text}] if part.text else []
            case Image():
                if part.detail not in (None, "auto"):
                    self._dropped.append(f"{path}.image_url.detail")
                return [self._blob(part.media_type or "image/png", part.data, part.url, path)]
            case Document():
                return [self._document(part, path)]
            case Audio():
                return [self._blob(f"audio/{part.format}", part.data, None, path)]
            case ForeignPart():
                raise Unfit(part.path, f"cannot be expressed in {NAME}")
            case _:
                raise Unfit(path, f"holds a part that cannot be expressed in {NAME}")

    def _blob(self, media_type: str, data: str | None, url: str | None, path: str) -> dict[str, Any]:
        if data is not None:
            return {"inlineData": {"mimeType": "image/jpeg" if media_type == "image/jpg" else media_type, "data": data}}
        if url is None:
            raise Unfit(path, f"a file by another vendor's id cannot be expressed in {NAME}")
        if not self._urls:
            raise Unfit(path, "the target takes no files by URL")
        known = _MEDIA_TYPES.get(_path_of(url).rpartition(".")[2].lower())
        return {"fileData": {"fileUri": url} if known is None else {"mimeType": known, "fileUri": url}}

    def _document(self, part: Document, path: str) -> dict[str, Any]:
        if part.citations:
            self._dropped.append(f"{path}.citations")
        if part.text is not None:
            heading = "\n".join(line for line in (part.title, part.context) if line)
            return {"text": f"{heading}\n\n{part.text}" if heading else part.text}
        self._dropped.extend(f"{path}.{name}" for name in ("title", "context") if getattr(part, name) is not None)
        if part.media_type == "application/json" and part.data is not None:
            return {"text": _decoded(part.data, path)}
        return self._blob(part.media_type or "application/pdf", part.data, part.url, path)

    # ------------------------------------------------------------------------------------------------ model

    def _model(self, message: Message) -> list[dict[str, Any]]:
        parts: list[dict[str, Any]] = []
        waiting: str | None = None  # the signature of the next call
        for part in message.parts:
            match part:
                case Thinking() if part.signature and part.origin == NAME:
                    if part.text:
                        parts.append({"text": part.text, "thought": True, "thoughtSignature": part.signature})
                    else:
                        waiting = part.signature
                case Thinking() | RedactedThinking():
                    self._dropped.append(f"{message.path}.reasoning")  # unsigned, or sealed by a vendor that is not this one
                case ToolCall():
                    parts.append(self._call(part, message.path, waiting))
                    waiting = None
                case _:
                    parts.extend(self._content(part, message.path))
        if waiting is not None:
            self._dropped.append(f"{message.path}.reasoning")
        calls = [part for part in parts if "functionCall" in part]
        if self._fill_in and calls and "thoughtSignature" not in calls[0]:
            calls[0]["thoughtSignature"] = UNCHECKED_SIGNATURE
        return parts

    def _call(self, part: ToolCall, path: str, waiting: str | None) -> dict[str, Any]:
        self._uncached(part)
        self._name_of[part.id] = part.name
        arguments = _object(part.arguments)
        if arguments is None:
            # A model wrote these arguments and the client must give them back, or its conversation ends here.
            arguments = msgspec.Raw(msgspec.json.encode({"arguments": part.arguments}))
            self._dropped.append(f"{path}.tool_calls.arguments")
        function: dict[str, Any] = {"name": part.name, "args": arguments}
        if self._with_ids:
            function["id"] = part.id
        wire: dict[str, Any] = {"functionCall": function}
        signature = part.signature if part.origin == NAME else None
        if part.signature and signature is None:
            self._dropped.append(f"{path}.tool_calls.signature")
        if signature or waiting:
            wire["thoughtSignature"] = signature or waiting
        return wire


def own_contents(contents: object, dropped: list[str]) -> object:
    """The client's own contents without what another vendor sealed: the service refuses signatures that it did not make."""
    if not isinstance(contents, list):
        return contents
    kept = []
    for index, content in enumerate(contents):
        parts = content.get("parts") if isinstance(content, dict) else None
        if isinstance(parts, list):
            own = [part for part in parts if not _foreign(part)]
            if len(own) < len(parts):
                dropped.append(f"contents.{index}.parts")
                content = {**content, "parts": own}
        kept.append(content)
    return kept


def _foreign(part: object) -> bool:
    signature = part.get("thoughtSignature") or part.get("thought_signature") if isinstance(part, dict) else None
    return isinstance(signature, str) and not signatures.is_own(signature)


def _join(before: list[dict[str, Any]], parts: list[dict[str, Any]]) -> None:
    """All results of one turn's calls must stand together, in front of what the user adds."""
    results = [part for part in parts if "functionResponse" in part]
    place = next((i for i, part in enumerate(before) if "functionResponse" not in part), len(before)) if results else len(before)
    before[place:place] = results
    before.extend(part for part in parts if "functionResponse" not in part)


def _object(text: str) -> msgspec.Raw | None:
    """Arguments as they were written, so that no number changes; None when they are no JSON object."""
    if not text.strip():
        return _EMPTY
    try:
        return msgspec.Raw(text.encode()) if isinstance(msgspec.json.decode(text), dict) else None
    except (ValueError, RecursionError):
        return None


def _decoded(data: str, path: str) -> str:
    """The text of a file of a type that is text, but that the service does not take as a file."""
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise Unfit(path, "the file is not text in UTF-8") from error


def _structured(text: str) -> msgspec.Raw | str:
    """A result as the value that it is: an object or an array goes as JSON, so that the model does not read escapes."""
    if text[:1] in ("{", "["):
        try:
            msgspec.json.decode(text)
        except (ValueError, RecursionError):
            return text
        return msgspec.Raw(text.encode())
    return text


def _path_of(url: str) -> str:
    try:
        return urlsplit(url).path
    except ValueError:
        return ""
