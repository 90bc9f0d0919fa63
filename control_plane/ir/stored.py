"""Calls about what providers keep for an account: responses, files, batches. They name no model, and nothing of them is translated."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

VERSION_HEADER: Final = "anthropic-version"
"""Sent by every client of Anthropic, and by no other: it tells whose files are meant."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What clients call under `path` and `path`/<id>, saying the model in the query (`?model=`).

    `operation`: whose provider paths the calls go on from. `calls`: (method, what follows the id). `collection`: methods of `path`
    itself, which make and list: they are the first provider's alone, since what is made belongs to one account.
    `versioned`: whether the request must have VERSION_HEADER, must not, or (None) may.
    """

    dialect: str
    name: str
    operation: str
    path: str
    calls: tuple[tuple[str, str], ...]
    collection: tuple[str, ...] = ()
    versioned: bool | None = None

    def regex(self, suffix: str) -> str:
        """The paths of the calls with this ending. Ids hold nothing that a provider could read as another path."""
        return f"{self.path}/[A-Za-z0-9_-]+{suffix}"


_FILE_CALLS: Final = (("GET", ""), ("DELETE", ""), ("GET", "/content"))

STORED: Final = (
    Stored(
        "openai-responses",
        "stored",
        "chat",
        "/v1/responses",
        (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")),
    ),
    Stored("openai-chat", "files", "files", "/v1/files", _FILE_CALLS, ("GET", "POST"), versioned=False),
    Stored("openai-chat", "batches", "batches", "/v1/batches", (("GET", ""), ("POST", "/cancel")), ("GET", "POST")),
    Stored("anthropic-messages", "files", "files", "/v1/files", _FILE_CALLS, ("GET", "POST"), versioned=True),
    Stored(
        "anthropic-messages",
        "batches",
        "batches",
        "/v1/messages/batches",
        (("GET", ""), ("DELETE", ""), ("GET", "/results"), ("POST", "/cancel")),
        ("GET", "POST"),
    ),
)


_BY_NAME: Final = {(stored.dialect, stored.name): stored for stored in STORED}


def stored_by(dialect: str, name: str) -> Stored | None:
    """What is called so in that dialect; None where it is an operation of models."""
    return _BY_NAME.get((dialect, name))
