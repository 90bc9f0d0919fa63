"""Anthropic's answers as Bedrock frames them: each event of a stream in base64, inside an event of AWS."""

from __future__ import annotations

import base64
from typing import Final

import msgspec

from control_plane.dialects import aws_errors
from control_plane.dialects.anthropic_messages.answer_read import AnswerReader
from control_plane.dialects.body_reader import StreamDecoder, unreadable
from control_plane.dialects.canon import Event, InStreamError
from control_plane.dialects.eventstream import CONTENT_TYPE, EXCEPTION, EventDecoder


class _Chunk(msgspec.Struct):
    bytes: str = ""


_decode_chunk: Final = msgspec.json.Decoder(_Chunk).decode


class FramedAnswerReader(AnswerReader):
    """See control_plane.dialects.api.ResponseReader. A whole answer is Anthropic's own document."""

    def _decoder(self, content_type: str) -> StreamDecoder | None:
        return EventDecoder() if content_type.startswith(CONTENT_TYPE) else super()._decoder(content_type)

    def _wire_event(self, name: bytes | None, payload: bytes, events: list[Event]) -> None:
        if name is not None and name.startswith(EXCEPTION):
            self._over = True
            events.append(InStreamError(aws_errors.in_stream(name, payload)))
        elif name == b"chunk":
            try:
                inner = base64.b64decode(_decode_chunk(payload).bytes, validate=True)
            except (ValueError, RecursionError) as error:  # binascii's and msgspec's errors are ValueErrors
                raise unreadable(error) from error
            if inner:
                super()._wire_event(None, inner, events)
        # Anything else is new, as an unknown event of Anthropic's would be.
