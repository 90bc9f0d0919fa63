"""The canonical request for a completion. Its answer is events of `dialects.canon`: `TextDelta`, `Stop`, `UsageUpdate`, `End`."""

from __future__ import annotations

from typing import Literal

from control_plane.dialects.canon import Request

Form = Literal["completions", "fim"]


class CompletionRequest(Request, frozen=True):
    """A request without messages. `form`: the operation that the client calls.

    `prompt`: what stands before the text that is wanted, None where it is no single text (then it is a feature). `suffix`: what follows.
    `min_tokens`: the least length of the answer.
    """

    form: Form = "completions"
    prompt: str | None = None
    suffix: str | None = None
    min_tokens: int | None = None
