"""Names of dialects and operations, as specs and presets write them. Imports nothing, so that every other module here may import it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

DialectName = Literal["openai-chat", "openai-responses", "anthropic-messages", "gemini-generate-content", "bedrock-converse", "cohere-chat"]
ProviderDialectName = Literal[
    DialectName, "anthropic-vertex", "anthropic-bedrock", "voyage", "tei", "sglang-rerank", "nvidia-rerank"
]  # fmt: skip
OperationName = Literal[
    "chat", "embeddings", "batch_embeddings", "rerank", "count_tokens", "models", "completions", "fim", "raw_predict", "invoke",
    "image_generation", "image_edits", "image_variations", "speech", "transcriptions", "translations", "moderations", "files", "batches",
]  # fmt: skip
"""`operations` of ir.operations, and `models`, which the gateway answers itself."""
DIALECT_NAMES: Final[tuple[DialectName, ...]] = (
    "openai-chat",
    "openai-responses",
    "anthropic-messages",
    "gemini-generate-content",
    "bedrock-converse",
    "cohere-chat",
)
"""Dialects that clients speak."""

WITHOUT_CHAT: Final[Mapping[ProviderDialectName, tuple[OperationName, ...]]] = {
    "voyage": ("embeddings", "rerank"),
    "tei": ("rerank",),
    "sglang-rerank": ("rerank",),
    "nvidia-rerank": ("rerank",),
}
"""Dialects that have operations beside chat alone, and which. Only providers speak them."""

BESIDE_CHAT: Final[Mapping[DialectName, tuple[OperationName, ...]]] = {
    "openai-chat": (
        "embeddings", "rerank", "completions", "fim", "image_generation", "image_edits", "image_variations", "speech", "transcriptions",
        "translations", "moderations",
    ),
    "openai-responses": ("count_tokens",),
    "anthropic-messages": ("count_tokens", "raw_predict", "invoke"),
    "gemini-generate-content": ("count_tokens", "embeddings", "batch_embeddings"),
    "bedrock-converse": ("count_tokens",),
    "cohere-chat": ("embeddings", "rerank"),
}  # fmt: skip
"""What clients of a dialect can call with a model's name, besides chat."""

PROVIDER_ONLY_NAMES: Final[tuple[ProviderDialectName, ...]] = ("anthropic-vertex", "anthropic-bedrock", *WITHOUT_CHAT)
"""Dialects that so far only providers speak."""
