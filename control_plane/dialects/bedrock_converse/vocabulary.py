"""Words of the dialect: its name, stop reasons both ways, formats of files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects.canon import StopReason

NAME: Final = "bedrock-converse"

STREAMED: Final = ("/converse", "/converse-stream")
"""How a path ends that asks for a whole answer, and one that asks for a stream."""

STOP_TO_CANON: Final[Mapping[str, StopReason]] = {
    "end_turn": "end",
    "tool_use": "tool_use",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
    "model_context_window_exceeded": "context_window",
    "refusal": "refusal",
}
"""`refusal` is in no list of the vendor, but Claude's own word, which is given on."""

STOP_TO_WIRE: Final[Mapping[StopReason, str]] = {
    "end": "end_turn",
    "max_tokens": "max_tokens",
    "stop_sequence": "stop_sequence",
    "tool_use": "tool_use",
    "refusal": "content_filtered",
    "content_filter": "content_filtered",
    "pause": "end_turn",
    "context_window": "model_context_window_exceeded",
    "other": "end_turn",
}

FAILED_STOPS: Final = frozenset({"malformed_model_output", "malformed_tool_use"})
"""The model wrote something that the service could not read: there is no answer, and another try may well succeed."""

IMAGE_TYPES: Final[Mapping[str, str]] = {
    "image/png": "png",
    "image/jpeg": "jpeg",
    "image/jpg": "jpeg",
    "image/gif": "gif",
    "image/webp": "webp",
}

DOCUMENT_TYPES: Final[Mapping[str, str]] = {
    "application/pdf": "pdf",
    "text/csv": "csv",
    "application/csv": "csv",
    "application/msword": "doc",
    "application/vnd.openxmlformats-officedocument.wordprocessingml.document": "docx",
    "application/vnd.ms-excel": "xls",
    "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": "xlsx",
    "text/html": "html",
    "text/plain": "txt",
    "text/markdown": "md",
    "text/x-markdown": "md",
}

AUDIO_FORMATS: Final = frozenset(
    ("mp3", "opus", "wav", "aac", "flac", "mp4", "ogg", "mkv", "mka", "x-aac", "m4a", "mpeg", "mpga", "pcm", "webm")
)


def type_of(table: Mapping[str, str], wanted: str) -> str:
    """The media type of a format: the first that the table has for it."""
    return next((kind for kind, name in table.items() if name == wanted), "application/octet-stream")
