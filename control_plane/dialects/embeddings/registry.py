"""Which dialects have embeddings, on which side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects.api import ClientDialect, ProviderDialect
from control_plane.dialects.beside_chat import BESIDE_CHAT
from control_plane.dialects.embeddings import bedrock, cohere, gemini, openai, voyage
from control_plane.dialects.embeddings.canon import EmbedRequest
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.dialects.sides import ClientSide, ProviderSide

CLIENTS: Final[Mapping[str, ClientDialect]] = {
    module.NAME: ClientSide(DIALECTS[module.NAME], EmbedRequest, module.read_request, module.AnswerWriter)
    for module in (openai, cohere, gemini)
}
"""Spoken by clients."""

EMBEDDERS: Final[Mapping[str, ProviderDialect]] = {
    module.NAME: ProviderSide(PROVIDERS[module.NAME], EmbedRequest, module.write_request, module.AnswerReader)
    for module in (openai, cohere, gemini, bedrock)
} | {voyage.NAME: ProviderSide(BESIDE_CHAT[voyage.NAME], EmbedRequest, voyage.write_request, voyage.AnswerReader)}
"""Spoken by providers."""
