"""Thinking that a client must not be given, because it would break its own conversation.

Some vendors refuse a replayed conversation that holds thinking which they did not sign. Where a plan leads to such a vendor without
translation, nobody can take foreign thinking out of the replay again, so a translated target of that plan gives none.
"""

from __future__ import annotations

import msgspec

from control_plane.dialects.api import ResponseReader
from control_plane.dialects.canon import Event, ReasoningDelta, ReasoningSignature, RedactedReasoning, Request, ToolCallStart

DROPPED_NAME = "thinking.display"


def expected(request: Request) -> bool:
    """Whether the client expects to see thinking: it has switched it on, or asked for a summary."""
    wanted = request.reasoning
    return wanted is not None and bool(wanted.enabled or wanted.visible)


def hidden(request: Request) -> Request:
    """The request with the wish that the model thinks unseen."""
    if request.reasoning is None:
        return request
    return msgspec.structs.replace(request, reasoning=msgspec.structs.replace(request.reasoning, visible=False))


class WithoutThinking:
    """A reader whose events hold no reasoning and no signatures. `took_out`: the last bytes held some, so the model is at work."""

    def __init__(self, reader: ResponseReader) -> None:
        self._reader = reader
        self.took_out = False

    def start(self, status: int, content_type: str) -> None:
        self._reader.start(status, content_type)

    def feed(self, data: bytes) -> list[Event]:
        events = self._reader.feed(data)
        kept = _kept(events)
        self.took_out = len(kept) < len(events)
        return kept

    def finish(self) -> list[Event]:
        return _kept(self._reader.finish())


def _kept(events: list[Event]) -> list[Event]:
    return [
        msgspec.structs.replace(event, signature=None, origin=None) if isinstance(event, ToolCallStart) and event.signature else event
        for event in events
        if not isinstance(event, ReasoningDelta | ReasoningSignature | RedactedReasoning)
    ]
