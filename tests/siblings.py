"""Dialects that only providers speak and whose answers are another dialect's: how tests make such answers from that one's."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from control_plane.dialects.eventstream import CONTENT_TYPE, encode_event

SSE: Final = "text/event-stream"


@dataclass(frozen=True, slots=True)
class Sibling:
    """`of`: whose answers they are; `errors`: whose errors. `framed`: a stream of server-sent events as this dialect sends it."""

    of: str
    errors: str
    content_type: str
    framed: Callable[[bytes], bytes]


def chunked(stream: bytes) -> bytes:
    """Each event in base64 inside one of AWS's."""
    told = (event.partition(b"data: ")[2] for event in stream.split(b"\n\n") if event.strip())
    return b"".join(encode_event("chunk", json.dumps({"bytes": base64.b64encode(data).decode(), "p": "ab"}).encode()) for data in told)


SIBLINGS: Final[Mapping[str, Sibling]] = {
    "anthropic-vertex": Sibling("anthropic-messages", "anthropic-messages", SSE, lambda stream: stream),
    "anthropic-bedrock": Sibling("anthropic-messages", "bedrock-converse", CONTENT_TYPE, chunked),
}
STREAMED: Final[Mapping[str, str]] = {"bedrock-converse": CONTENT_TYPE, "anthropic-bedrock": CONTENT_TYPE}
"""Content types of streams that are not server-sent events."""
