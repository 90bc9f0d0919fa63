"""What an anthropic-messages vendor says, hand-written after its API reference (streaming messages, errors)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable
from typing import Any

from tests.live.extproc.upstream import Answering, Script

PAUSE = 0.2  # long enough for what was sent to have reached the client


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind} | fields)}\n\n".encode()


def message_start() -> bytes:
    usage = {"input_tokens": 10, "cache_read_input_tokens": 4, "output_tokens": 1}
    message: dict[str, object] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "up",
        "content": [],
        "stop_reason": None,
        "usage": usage,
    }
    return event("message_start", message=message)


BLOCK = event("content_block_start", index=0, content_block={"type": "text", "text": ""})
ERROR = event("error", error={"type": "overloaded_error", "message": "Overloaded"})


def text(words: str) -> bytes:
    return event("content_block_delta", index=0, delta={"type": "text_delta", "text": words})


def closing(output: int = 7) -> bytes:
    return (
        event("content_block_stop", index=0)
        + event("message_delta", delta={"stop_reason": "end_turn", "stop_sequence": None}, usage={"output_tokens": output})
        + event("message_stop")
    )


def whole_message(words: str) -> bytes:
    return json.dumps(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "up",
            "content": [{"type": "text", "text": words}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 10, "output_tokens": 7},
        }
    ).encode()


def error_body(kind: str, message: str = "no") -> bytes:
    return json.dumps({"type": "error", "error": {"type": kind, "message": message}}).encode()


async def serves(answering: Answering) -> None:
    """A healthy vendor: whole or streamed as asked, and its answer is the model it was asked for."""
    asked = json.loads(answering.seen.body)
    if not asked.get("stream"):
        await answering.whole(200, whole_message(asked["model"]))
        return
    await answering.head()
    for piece in (message_start(), BLOCK, *(text(word) for word in asked["model"].split("-")), closing()):
        await answering.chunk(piece)
    await answering.end()


def says(*pieces: bytes, content_type: str = "text/event-stream", status: int = 200, pause: float = 0) -> Script:
    """Sends `pieces` as chunks, `pause` seconds apart, and ends the answer properly (on the level of HTTP)."""

    async def script(answering: Answering) -> None:
        await answering.head(status, content_type)
        for piece in pieces:
            await answering.chunk(piece)
            await asyncio.sleep(pause)
        await answering.end()

    return script


def resets_after(pieces: Iterable[bytes]) -> Script:
    """Sends `pieces`, waits until they must have gone through, and cuts the connection."""

    async def script(answering: Answering) -> None:
        await answering.head()
        for piece in pieces:
            await answering.chunk(piece)
        await asyncio.sleep(PAUSE)
        answering.reset()

    return script


def fails(status: int, kind: str = "api_error", **headers: str) -> Script:
    async def script(answering: Answering) -> None:
        await answering.whole(status, error_body(kind), headers={name.replace("_", "-"): value for name, value in headers.items()})

    return script
