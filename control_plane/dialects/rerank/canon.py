"""The canonical rerank request. Its answer is events of `dialects.canon`: `Ranked`, `UsageUpdate`, `Stop`, `End`."""

from __future__ import annotations

from control_plane.dialects.canon import Request


class RerankRequest(Request, frozen=True):
    """A request without messages. `top_n`: how many of the best are wanted, None: all.

    `document_tokens`: where a longer document is cut. `with_documents`: whether the answer repeats the texts.
    """

    query: str = ""
    documents: tuple[str, ...] = ()
    top_n: int | None = None
    document_tokens: int | None = None
    with_documents: bool = False
