"""Cohere's Chat API, version 2 (https://docs.cohere.com/reference/chat)."""

from control_plane.dialects.cohere_chat.dialect import CohereChat

__all__ = ["CohereChat"]
