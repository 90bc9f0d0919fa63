"""The canonical embeddings request. Its answer is events of `dialects.canon`: `Embedded`, `UsageUpdate`, `Stop`, `End`."""

from __future__ import annotations

from typing import Literal

from control_plane.dialects.canon import Request

Purpose = Literal["document", "query", "classification", "clustering", "similarity", "question", "fact", "code_query"]
"""What the vectors are for; models that are told make others of the same text."""

Encoding = Literal["float", "base64"]


class EmbedRequest(Request, frozen=True):
    """A request without messages. One of `texts` and `tokens` (numbers of the vendor's own tokenizer) is not empty.

    `encodings`: in which forms the client wants each vector. `field`: where the client wrote its inputs. `batch`: whether the client's
    dialect, having two forms of the answer, wants the one for several texts.
    """

    texts: tuple[str, ...] = ()
    tokens: tuple[tuple[int, ...], ...] = ()
    dimensions: int | None = None
    encodings: tuple[Encoding, ...] = ("float",)
    purpose: Purpose | None = None
    truncate: bool | None = None
    field: str = "input"
    batch: bool = True

    @property
    def count(self) -> int:
        return len(self.texts) or len(self.tokens)
