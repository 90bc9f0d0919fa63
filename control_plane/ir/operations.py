"""The operations clients can call: which path means which dialect and operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind of call. `translated` says whether a target of another dialect can serve it through the translator."""

    dialect: str
    name: str
    path: str
    translated: bool


OPERATIONS: Final = (
    Operation("openai-chat", "chat", "/v1/chat/completions", translated=True),
    Operation("openai-chat", "embeddings", "/v1/embeddings", translated=False),
    Operation("openai-responses", "chat", "/v1/responses", translated=True),
    Operation("anthropic-messages", "chat", "/v1/messages", translated=True),
    Operation("cohere-chat", "chat", "/v2/chat", translated=True),
    Operation("anthropic-messages", "count_tokens", "/v1/messages/count_tokens", translated=False),
)
"""In the order in which paths are matched. All are POST; `GET /v1/models` is answered from the configuration itself.
Dialects that so far only providers speak have no operation here, and routes cannot name them (HG1018)."""

OWN_THINKING_ONLY: Final = frozenset({"anthropic-messages", "openai-responses"})
"""Dialects whose vendor refuses a replayed conversation with thinking that it did not sign itself."""


def operations_of(dialect: str) -> tuple[Operation, ...]:
    """The operations a client of that dialect can call."""
    return tuple(o for o in OPERATIONS if o.dialect == dialect)
