"""Dialects of vendors and servers that have no chat: only operations beside it are written in them, and only providers speak them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from control_plane.dialects import openai_errors
from control_plane.dialects.canon import Failure


class ErrorReader(Protocol):
    """What an operation takes from a dialect as it is: its name, and what its errors mean."""

    @property
    def name(self) -> str: ...

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        """See control_plane.dialects.api.ProviderDialect."""
        ...


class BesideChat:
    """Their errors differ in form only (`{"error": …}`, `{"detail": …}`, `{"message": …}`), and are read as OpenAI's."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read_error(self, status: int, headers: Mapping[str, str], body: bytes) -> Failure:
        return openai_errors.read_error(status, headers, body)


BESIDE_CHAT: Final[Mapping[str, BesideChat]] = {name: BesideChat(name) for name in ("voyage", "tei", "sglang-rerank", "nvidia-rerank")}
