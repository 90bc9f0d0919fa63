"""Names of dialects and operations, as specs and presets write them. Imports nothing, so that every other module here may import it."""

from __future__ import annotations

from typing import Final, Literal

DialectName = Literal["openai-chat", "anthropic-messages"]
OperationName = Literal["chat", "embeddings", "count_tokens", "models"]
DIALECT_NAMES: Final[tuple[DialectName, ...]] = ("openai-chat", "anthropic-messages")
