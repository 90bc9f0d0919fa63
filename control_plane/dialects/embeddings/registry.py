"""Which dialects have embeddings, on which side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects.api import ClientDialect, ProviderDialect
from control_plane.dialects.embeddings import cohere, gemini, openai
from control_plane.dialects.embeddings.sides import ClientSide, ProviderSide
from control_plane.dialects.registry import DIALECTS, PROVIDERS

CLIENTS: Final[Mapping[str, ClientDialect]] = {
    openai.NAME: ClientSide(DIALECTS[openai.NAME], openai.read_request, openai.AnswerWriter),
    cohere.NAME: ClientSide(DIALECTS[cohere.NAME], cohere.read_request, cohere.AnswerWriter),
}
"""Spoken by clients."""

EMBEDDERS: Final[Mapping[str, ProviderDialect]] = {
    openai.NAME: ProviderSide(PROVIDERS[openai.NAME], openai.write_request, openai.AnswerReader),
    cohere.NAME: ProviderSide(PROVIDERS[cohere.NAME], cohere.write_request, cohere.AnswerReader),
    gemini.NAME: ProviderSide(PROVIDERS[gemini.NAME], gemini.write_request, gemini.AnswerReader),
}
"""Spoken by providers."""
