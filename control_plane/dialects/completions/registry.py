"""Who speaks which form of completions: clients and providers of OpenAI's dialect, in either of two operations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.dialects.api import ClientDialect, ProviderDialect
from control_plane.dialects.completions import answer, read, write
from control_plane.dialects.completions.canon import CompletionRequest, Form
from control_plane.dialects.registry import DIALECTS
from control_plane.dialects.sides import ClientSide, ProviderSide

_CHAT: Final = DIALECTS[read.NAME]

CLIENTS: Final[Mapping[Form, Mapping[str, ClientDialect]]] = {
    "completions": {read.NAME: ClientSide(_CHAT, CompletionRequest, read.read_completions, answer.writer)},
    "fim": {read.NAME: ClientSide(_CHAT, CompletionRequest, read.read_fim, answer.writer)},
}
"""Spoken by clients, by operation."""

# Answers are read as chat's: Mistral's are such, and OpenAI's differ in where the text stands.
COMPLETERS: Final[Mapping[Form, Mapping[str, ProviderDialect]]] = {
    "completions": {read.NAME: ProviderSide(_CHAT, CompletionRequest, write.write_completions, _CHAT.reader)},
    "fim": {read.NAME: ProviderSide(_CHAT, CompletionRequest, write.write_fim, _CHAT.reader)},
}
"""Spoken by providers, by operation."""
