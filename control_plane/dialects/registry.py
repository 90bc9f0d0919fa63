"""The dialects by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects import anthropic_messages, openai_chat, openai_responses
from control_plane.dialects.api import Dialect

DIALECTS: Final[Mapping[str, Dialect]] = {
    dialect.name: dialect
    for dialect in (openai_chat.OpenAIChat(), openai_responses.OpenAIResponses(), anthropic_messages.AnthropicMessages())
}
