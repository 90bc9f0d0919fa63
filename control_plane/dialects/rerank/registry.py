"""Which dialects have reranking, on which side."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects.api import ClientDialect, ProviderDialect
from control_plane.dialects.beside_chat import BESIDE_CHAT
from control_plane.dialects.registry import DIALECTS, PROVIDERS
from control_plane.dialects.rerank import cohere, nvidia, openai, scored, voyage
from control_plane.dialects.rerank.canon import RerankRequest
from control_plane.dialects.sides import ClientSide, ProviderSide

CLIENTS: Final[Mapping[str, ClientDialect]] = {
    module.NAME: ClientSide(DIALECTS[module.NAME], RerankRequest, module.read_request, module.AnswerWriter) for module in (openai, cohere)
}
"""Spoken by clients."""

RERANKERS: Final[Mapping[str, ProviderDialect]] = {
    module.NAME: ProviderSide(PROVIDERS[module.NAME], RerankRequest, module.write_request, module.AnswerReader)
    for module in (openai, cohere)
} | {
    name: ProviderSide(BESIDE_CHAT[name], RerankRequest, write, reader)
    for name, write, reader in (
        (voyage.NAME, voyage.write_request, voyage.AnswerReader),
        (nvidia.NAME, nvidia.write_request, nvidia.AnswerReader),
        (scored.TEI, scored.write_tei, scored.AnswerReader),
        (scored.SGLANG, scored.write_sglang, scored.AnswerReader),
    )
}
"""Spoken by providers."""
