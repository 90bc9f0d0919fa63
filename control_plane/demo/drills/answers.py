"""How an answer ended for a client that reads its dialect: an answer counts as served only with its terminal event and its whole text."""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Final

import msgspec

EVENT_LIMIT_BYTES: Final = 4 * 1024 * 1024  # of one event; the simulators' are below 1 KB

MESSAGE_CHARS: Final = 120  # of an error's message that are kept


class Verdict(StrEnum):
    """What the client saw. All but `OK` are client-visible errors."""

    OK = "ok"
    STATUS = "error status"
    EVENT = "error event"
    CLEAN = "clean end without the terminal event"
    CUT = "cut"
    UNREADABLE = "unreadable"
    TIMEOUT = "timeout"
    REFUSED = "refused"


class Unreadable(Exception):
    """Bytes that are not in the dialect; the text says what."""


class Reading:
    """One answer as it comes in. `begun` says that content has come, `text` is all of it, `failed` the error event if there was one."""

    def __init__(self, status: int, content_type: str, stream: bool) -> None:
        self.status, self.begun, self.text = status, False, ""
        self.failed: str | None = None
        self.ended = False
        self._events = stream and status == 200
        self._kept = bytearray()
        self._problem = "" if status != 200 or ("event-stream" in content_type) == stream else f"content-type {content_type}"

    def feed(self, data: bytes) -> None:
        """The next bytes of the body."""
        self._kept += data
        if not self._events:
            self.begun = True
            return
        *blocks, rest = bytes(self._kept).split(b"\n\n")
        self._kept = bytearray(rest)
        if len(rest) > EVENT_LIMIT_BYTES:
            self._problem = self._problem or "an event without an end"
        for block in blocks:
            self._block(block)

    def end(self, *, complete: bool, expected: str) -> tuple[Verdict, str]:
        """The verdict and its detail. `complete`: the body ended as HTTP says it must."""
        if self.failed is not None:
            return Verdict.EVENT, self.failed
        if self.status != 200:
            return self._error(complete)
        if not complete:
            return Verdict.CUT, f"after {len(self.text)} characters"
        if not self._events:
            self._document()
        if self._problem:
            return Verdict.UNREADABLE, self._problem
        if not self.ended:
            return Verdict.CLEAN, f"after {len(self.text)} characters"
        if expected not in self.text:
            return Verdict.UNREADABLE, f"another text: {self.text[:80]!r}"
        return Verdict.OK, ""

    def _error(self, complete: bool) -> tuple[Verdict, str]:
        try:
            document = msgspec.json.decode(bytes(self._kept))
            return Verdict.STATUS, f"{self.status} {self.error_of(document)}"
        except (ValueError, KeyError, TypeError, AttributeError, Unreadable):
            end = "" if complete else ", cut"
            return Verdict.UNREADABLE, f"{self.status}, not an error of the dialect{end}: {bytes(self._kept[:80])!r}"

    def _document(self) -> None:
        try:
            self.document(msgspec.json.decode(bytes(self._kept)))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, Unreadable) as error:
            self._problem = self._problem or f"{error!r} in {bytes(self._kept[:80])!r}"

    def _block(self, block: bytes) -> None:
        data = b"\n".join(line[5:].strip() for line in block.split(b"\n") if line.startswith(b"data:"))
        if not data:
            return
        try:
            self.event(data)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, Unreadable) as error:
            self._problem = self._problem or f"{error!r} in {data[:80]!r}"

    def said(self, text: str) -> None:
        """Content has come."""
        if text:
            self.begun = True
            self.text += text

    # what a dialect knows

    def event(self, data: bytes) -> None:
        """One event of a stream."""
        raise NotImplementedError

    def document(self, document: Any) -> None:
        """A whole answer."""
        raise NotImplementedError

    def error_of(self, document: Any) -> str:
        """Type, code and message of an error in the dialect's shape. Raises Unreadable or KeyError when it is another."""
        raise NotImplementedError


class OpenAIReading(Reading):
    """Chat completions."""

    _finish: str | None = None

    def event(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.ended = self._finish is not None
            return
        event = msgspec.json.decode(data)
        if "error" in event:
            self.failed = self.error_of(event)
            return
        for choice in event["choices"]:
            self.said(choice["delta"].get("content") or "")
            self._finish = choice.get("finish_reason") or self._finish

    def document(self, document: Any) -> None:
        if document["object"] != "chat.completion":
            raise Unreadable("not a chat completion")
        (choice,) = document["choices"]
        self.said(choice["message"]["content"])
        self.ended = bool(choice["finish_reason"])

    def error_of(self, document: Any) -> str:
        error = document["error"]
        if not error["message"]:
            raise Unreadable("an error without a message")
        return f"{error['type']} {error.get('code')} {error['message'][:MESSAGE_CHARS]}"


class AnthropicReading(Reading):
    """Messages."""

    _stop: str | None = None

    def event(self, data: bytes) -> None:
        event = msgspec.json.decode(data)
        kind = event["type"]
        if kind == "error":
            self.failed = self.error_of(event)
        elif kind == "content_block_delta":
            self.said(event["delta"].get("text") or "")
        elif kind == "message_delta":
            self._stop = event["delta"]["stop_reason"] or self._stop
        elif kind == "message_stop":
            self.ended = self._stop is not None

    def document(self, document: Any) -> None:
        if document["type"] != "message":
            raise Unreadable("not a message")
        self.said("".join(block["text"] for block in document["content"] if block["type"] == "text"))
        self.ended = bool(document["stop_reason"])

    def error_of(self, document: Any) -> str:
        error = document["error"]
        if document["type"] != "error" or not error["message"]:
            raise Unreadable("not Anthropic's error shape")
        return f"{error['type']} {error['message'][:MESSAGE_CHARS]}"
