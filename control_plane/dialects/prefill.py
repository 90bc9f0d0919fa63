"""Which targets go on with an answer whose beginning is the conversation's last message. Imports no dialect, so that plans can ask."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects import claude

NO_PREFILL_FROM: Final = (4, 6)
"""Claude models refuse an assistant message at the end from this version on."""

WAYS: Final = ("prefix", "continue_final_message", "none")
"""How an OpenAI-compatible vendor is told: a mark on the message (Mistral), or two fields of the request (vLLM)."""

RESUMABLE: Final = frozenset({"openai-chat", "anthropic-messages"})
"""Dialects of clients whose streamed answers can be gone on with."""

CLAUDE_DIALECTS: Final = frozenset({"anthropic-messages", "anthropic-vertex", "anthropic-bedrock"})


def continues(dialect: str, model: str, options: Mapping[str, object]) -> bool:
    """Whether a target goes on with an assistant message that ends the conversation: as its preset says, or the name of a Claude model."""
    told = options.get("prefill")
    if dialect in CLAUDE_DIALECTS:
        if told is not None:
            return told == "assistant"
        version = claude.version(model)
        return version is not None and version < NO_PREFILL_FROM
    return dialect == "openai-chat" and told in WAYS and told != "none"
