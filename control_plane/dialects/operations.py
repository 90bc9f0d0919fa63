"""Operations beside chat that are translated: their dialects as clients speak them, and as providers do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from control_plane.dialects import anthropic_messages
from control_plane.dialects.api import ClientDialect, ProviderDialect
from control_plane.dialects.completions import registry as completions
from control_plane.dialects.counting import registry as counting
from control_plane.dialects.embeddings import registry as embeddings
from control_plane.dialects.rerank import registry as rerank


class Sides(NamedTuple):
    """By the name of the dialect."""

    clients: Mapping[str, ClientDialect]
    providers: Mapping[str, ProviderDialect]


_EMBEDDINGS: Final = Sides(embeddings.CLIENTS, embeddings.EMBEDDERS)

SIDES: Final[Mapping[str, Sides]] = {
    "embeddings": _EMBEDDINGS,
    "batch_embeddings": _EMBEDDINGS,
    "count_tokens": Sides(counting.CLIENTS, counting.COUNTERS),
    "completions": Sides(completions.CLIENTS["completions"], completions.COMPLETERS["completions"]),
    "fim": Sides(completions.CLIENTS["fim"], completions.COMPLETERS["fim"]),
    "raw_predict": Sides({anthropic_messages.AnthropicMessages.name: anthropic_messages.VertexClient()}, {}),
    "invoke": Sides({anthropic_messages.AnthropicMessages.name: anthropic_messages.BedrockClient()}, {}),
    "rerank": Sides(rerank.CLIENTS, rerank.RERANKERS),
}
