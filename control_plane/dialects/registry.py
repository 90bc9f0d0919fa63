"""The dialects by name: those spoken on both sides, and those that so far only providers speak."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects import (
    anthropic_messages,
    bedrock_converse,
    cohere_chat,
    gemini_generate_content,
    openai_chat,
    openai_responses,
)
from control_plane.dialects.api import Dialect, ProviderDialect

DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (
        openai_chat.OpenAIChat(),
        openai_responses.OpenAIResponses(),
        anthropic_messages.AnthropicMessages(),
        gemini_generate_content.GeminiGenerateContent(),
        bedrock_converse.BedrockConverse(),
        cohere_chat.CohereChat(),
    )
}
"""Spoken by clients and by providers."""

PROVIDERS: Final[Mapping[str, ProviderDialect]] = {
    **DIALECTS,
    **{dialect.name: dialect for dialect in (anthropic_messages.AnthropicVertex(), anthropic_messages.AnthropicBedrock())},
}
"""Spoken by providers: all that there are."""
