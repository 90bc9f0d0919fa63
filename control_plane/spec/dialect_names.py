"""Names of dialects and operations, as specs and presets write them. Imports nothing, so that every other module here may import it."""

from __future__ import annotations

from typing import Final, Literal

DialectName = Literal["openai-chat", "openai-responses", "anthropic-messages", "gemini-generate-content", "bedrock-converse", "cohere-chat"]
ProviderDialectName = Literal[DialectName, "anthropic-vertex", "anthropic-bedrock"]
OperationName = Literal[
    "chat", "embeddings", "batch_embeddings", "rerank", "count_tokens", "models", "completions", "fim", "image_generation",
    "image_edits", "image_variations", "speech", "transcriptions", "translations", "moderations", "files", "batches",
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

PROVIDER_ONLY_NAMES: Final[tuple[ProviderDialectName, ...]] = ("anthropic-vertex", "anthropic-bedrock")
"""Dialects that so far only providers speak."""
