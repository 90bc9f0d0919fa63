"""Reading `contents` of a generateContent request.

Calls and results need no ids here: a result belongs to the call with its id, else to the first unanswered one of its name. Calls without
an id get one from their place, so that a replayed conversation reads the same. Thoughts may come in pieces, of which the last is signed.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Any, Final, cast

import msgspec

from control_plane.dialects import json_body as j
from control_plane.dialects.canon import (
    Audio,
    Document,
    ForeignPart,
    Image,
    Message,
    Part,
    RedactedThinking,
    Text,
    Thinking,
    ToolCall,
    ToolResult,
)
from control_plane.dialects.gemini_generate_content import signatures
from control_plane.dialects.gemini_generate_content.names import camel, inner, items
from control_plane.dialects.gemini_generate_content.vocabulary import NAME, UNCHECKED_SIGNATURE

_encode: Final = msgspec.json.Encoder().encode

_CONTENT_FIELDS: Final = frozenset(("role", "parts"))
_KINDS: Final = ("text", "inlineData", "fileData", "functionCall", "functionResponse")
_BESIDE: Final = frozenset(("thought", "thoughtSignature"))
_CALL_FIELDS: Final = frozenset(("id", "name", "args"))
_RESULT_FIELDS: Final = frozenset(("id", "name", "response", "parts"))
_OWN_FILES: Final = ("gs://", "https://generativelanguage.googleapis.com/", "https://www.youtube.com/", "https://youtu.be/")
"""Files that only Google can fetch: its storage, its Files API, its videos."""

_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_AUDIO: Final = {"mpeg": "mp3", "mp3": "mp3", "wav": "wav", "x-wav": "wav", "wave": "wav"}


class ContentReader:
    """One use: `read` the contents in order. Fields that no other dialect has are added to `lost`."""

    def __init__(self, lost: list[str]) -> None:
        self._lost = lost
        self._open: dict[str, str] = {}  # calls without a result yet: id to name, in order

    def read(self, values: list[object]) -> tuple[Message, ...]:
        """Raises ClientProtocolError naming the field at fault."""
        return tuple([self._content(value, index) for index, value in enumerate(values)])

    def _content(self, value: object, index: int) -> Message:
        path = f"contents.{index}"
        content = camel(value, path)
        role = j.string(content, "role", path) or "user"
        if role not in ("user", "model", "function"):
            j.reject(f"{path}.role", "expected user or model")
        self._lost.extend(j.unknown_fields(content, _CONTENT_FIELDS, path))
        parts: list[Part] = []
        for number, item in enumerate(items(content, "parts", path)):
            self._part(camel(item, f"{path}.parts.{number}"), f"{path}.parts.{number}", role == "model", parts)
        return Message("assistant" if role == "model" else "user", tuple(parts), path)

    def _part(self, part: j.Object, path: str, of_model: bool, parts: list[Part]) -> None:
        signature = j.string(part, "thoughtSignature", path) or ""
        kinds = [kind for kind in part if kind not in _BESIDE and part[kind] is not None]
        kind = next((kind for kind in _KINDS if kind in kinds), None)
        if kind is None:
            if kinds:
                parts.append(ForeignPart(NAME, j.at(path, kinds[0]), part))
            elif signature:
                _seal(signature, parts)
            return
        self._lost.extend(j.at(path, other) for other in kinds if other != kind)
        if kind == "text":
            _text(j.required_string(part, "text", path), j.boolean(part, "thought", path) or False, signature, of_model, parts)
        elif kind == "functionCall":
            parts.append(self._call(camel(part[kind], j.at(path, kind)), j.at(path, kind), signature))
        elif kind == "functionResponse":
            parts.append(self._result(camel(part[kind], j.at(path, kind)), j.at(path, kind)))
        else:
            parts.append(self._file(part, kind, path))

    # ------------------------------------------------------------------------------------------------ calls

    def _call(self, call: j.Object, path: str, signature: str) -> Part:
        name = j.required_string(call, "name", path)
        self._lost.extend(j.unknown_fields(call, _CALL_FIELDS, path))
        arguments = j.obj(call, "args", path)
        identity = j.string(call, "id", path) or _made_id(path)
        self._open[identity] = name
        found = signatures.read(signature) if signature != UNCHECKED_SIGNATURE else (None, None)
        signed = (None, None) if isinstance(found, RedactedThinking) else found
        return ToolCall(identity, name, "{}" if arguments is None else _encode(arguments).decode(), *signed)

    def _result(self, result: j.Object, path: str) -> Part:
        name = j.required_string(result, "name", path)
        self._lost.extend(j.unknown_fields(result, _RESULT_FIELDS, path))
        identity = j.string(result, "id", path)
        if identity is None or identity not in self._open:
            identity = next((call for call, of in self._open.items() if of == name), None)
        if identity is None:
            j.reject(path, f"answers no open call of {name[:100]!r}; every functionResponse needs a functionCall before it")
        del self._open[identity]
        text, failed = _said(j.obj(result, "response", path) or {})
        parts: list[Text | Image | Document] = [Text(text)]
        for number, item in enumerate(items(result, "parts", path)):
            at = f"{path}.parts.{number}"
            value = camel(item, at)
            kind = next((kind for kind in ("inlineData", "fileData") if value.get(kind) is not None), None)
            shown = None if kind is None else self._file(value, kind, at)
            if not isinstance(shown, Image | Document):
                return ForeignPart(NAME, path, result)
            parts.append(shown)
        return ToolResult(identity, tuple(parts), failed, name)

    # ------------------------------------------------------------------------------------------------ files

    def _file(self, part: j.Object, kind: str, path: str) -> Part:
        at = j.at(path, kind)
        value = inner(part, kind, path) or {}
        title = j.string(value, "displayName", at)
        if kind == "fileData":
            url, media_type = j.required_string(value, "fileUri", at), j.string(value, "mimeType", at) or ""
            if url.startswith(_OWN_FILES) or not url.startswith(("https://", "http://")):
                return ForeignPart(NAME, at, part)
            if media_type.startswith("image/"):
                return Image(media_type=media_type, url=url)
            if media_type.startswith(("audio/", "video/")):
                return ForeignPart(NAME, at, part)
            return Document(media_type=media_type or None, url=url, title=title)
        media_type = j.required_string(value, "mimeType", at)
        data = _standard(j.required_string(value, "data", at))
        main, _, sub = media_type.partition(";")[0].strip().lower().partition("/")
        if main == "image":
            return Image(media_type=media_type, data=data)
        if main == "audio":
            return Audio(data, _AUDIO.get(sub, sub))
        if main == "video":
            return ForeignPart(NAME, at, part)
        if main == "text":
            return Document(media_type=media_type, text=_decoded(data, j.at(at, "data")), title=title)
        return Document(media_type=media_type, data=data, title=title)


def _text(text: str, thought: bool, signature: str, of_model: bool, parts: list[Part]) -> None:
    if not (thought and of_model):
        parts.append(Text(text))
        if signature:
            _seal(signature, parts)
        return
    last = parts[-1] if parts else None
    if isinstance(last, Thinking) and last.signature is None:
        parts[-1] = Thinking(last.text + text)
    elif text:
        parts.append(Thinking(text))
    if signature:
        _seal(signature, parts)


def _seal(signature: str, parts: list[Part]) -> None:
    """A signature signs the thought before it. Gemini's signatures of plain text are left out, as it does not ask for them."""
    found = signatures.read(signature)
    last = parts[-1] if parts else None
    if isinstance(found, RedactedThinking):
        parts.append(found)
    elif isinstance(last, Thinking) and last.signature is None:
        parts[-1] = Thinking(last.text, *found)
    elif found[0] is not None and found[1] != NAME:
        parts.append(Thinking("", *found))


def _made_id(path: str) -> str:
    """ "contents.3.parts.1.functionCall" is "call_3_1"."""
    _, content, _, part, *_ = path.split(".")
    return f"call_{content}_{part}"


def _said(response: j.Object) -> tuple[str, bool]:
    """(text of a result, whether it is an error): `output` and `error` are the keys that Google names, `result` its SDK's."""
    if len(response) == 1:
        ((key, value),) = response.items()
        if key in ("output", "result", "error"):
            return value if type(value) is str else _encode(value).decode(), key == "error"
    return _encode(response).decode(), False


def _standard(data: str) -> str:
    """Base64 in its standard alphabet and with padding; both alphabets are taken here, and what is neither is the vendor's to refuse."""
    if not _BASE64.fullmatch(data):
        return data
    text = data.rstrip("=").replace("-", "+").replace("_", "/")
    return text + "=" * (-len(text) % 4)


def _decoded(data: str, path: str) -> str:
    try:
        return base64.b64decode(data, validate=True).decode()
    except (binascii.Error, ValueError):
        j.reject(path, "not text in UTF-8 as base64")


def read_contents(body: j.Object, lost: list[str]) -> tuple[Message, ...]:
    """The conversation. Raises ClientProtocolError."""
    values = items(body, "contents", "")
    if not values:
        j.reject("contents", "is required" if body.get("contents") is None else "must not be empty", "missing_field")
    return ContentReader(lost).read(values)


def read_instruction(body: j.Object, lost: list[str]) -> tuple[Text, ...]:
    """`systemInstruction`: text parts only."""
    content = inner(body, "systemInstruction", "")
    if content is None:
        return ()
    lost.extend(j.unknown_fields(content, _CONTENT_FIELDS, "systemInstruction"))
    texts: list[Any] = []
    for number, item in enumerate(items(content, "parts", "systemInstruction")):
        path = f"systemInstruction.parts.{number}"
        part = camel(item, path)
        if type(part.get("text")) is not str:
            j.reject(path, "instructions hold text parts only")
        texts.append(Text(part["text"]))
    return cast("tuple[Text, ...]", tuple(texts))
