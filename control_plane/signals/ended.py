"""One attempt that ended, in the few words that decisions need."""

from __future__ import annotations

from typing import NamedTuple

from control_plane.signals.classify import AttemptClass


class Ended(NamedTuple):
    """Times are seconds since the epoch; `first_token_s` is how long the first byte of a good answer took.

    `first`: the request's first attempt. `recovers_at`: when the vendor says that it takes requests again.
    `status`: None where no answer came. `spare`: made with the next key of the provider's pool.
    """

    provider: str
    target: str
    route: str | None
    found: AttemptClass
    began_at: float
    ended_at: float
    first_token_s: float | None = None
    first: bool = True
    recovers_at: float | None = None
    status: int | None = None
    spare: bool = False
