"""The operations clients can call: which path means which dialect and operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from control_plane.dialects.model_path import streaming


@dataclass(frozen=True, slots=True)
class Operation:
    """A kind of call. `translated` says whether a target of another dialect can serve it through the translator.

    `path`: the exact path of clients, where the body names the model; None where only the path does.
    `templates`: paths that name the model (`path_template`). With a `path` beside them the model is written into the body, and
    the request goes on as one to `path`; without one the path of each provider names the model too.
    `streamed`: how a path ends that asks for a whole answer and one that asks for a stream, where the path decides.
    """

    dialect: str
    name: str
    path: str | None
    translated: bool
    templates: tuple[str, ...] = ()
    streamed: tuple[str, str] | None = None

    @property
    def by_path(self) -> bool:
        """Whether the model stands in the path, of clients and of providers, and not in the body."""
        return self.path is None

    @property
    def call_path(self) -> str:
        """The path of the request once the edge filter knows the model: what the routes of a model match."""
        return self.path or f"/headgate/{self.dialect}/{self.name}"

    @property
    def addresses(self) -> tuple[tuple[str, bool], ...]:
        """Every template with whether it asks for a stream."""
        found = [(template, False) for template in self.templates]
        if self.streamed is not None:
            found += [(streaming(template, self.streamed), True) for template in self.templates]
        return tuple(found)


OPERATIONS: Final = (
    Operation("openai-chat", "chat", "/v1/chat/completions", translated=True, templates=("/openai/deployments/{model}/chat/completions",)),
    Operation("openai-chat", "embeddings", "/v1/embeddings", translated=False, templates=("/openai/deployments/{model}/embeddings",)),
    Operation("openai-responses", "chat", "/v1/responses", translated=True),
    Operation("anthropic-messages", "chat", "/v1/messages", translated=True),
    Operation("anthropic-messages", "count_tokens", "/v1/messages/count_tokens", translated=False),
)
"""In the order in which paths are matched, exact ones first. All are POST; `GET /v1/models` is answered from the configuration itself.
Dialects that so far only providers speak have no operation here, and routes cannot name them (HG1018)."""

OWN_THINKING_ONLY: Final = frozenset({"anthropic-messages", "openai-responses"})
"""Dialects whose vendor refuses a replayed conversation with thinking that it did not sign itself."""


def operations_of(dialect: str) -> tuple[Operation, ...]:
    """The operations a client of that dialect can call."""
    return tuple(o for o in OPERATIONS if o.dialect == dialect)
