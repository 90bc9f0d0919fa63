"""What a connection can suffer on its way: frozen values that a drill or a test sets while traffic runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Ending = Literal["reset", "close", "half_close", "stall"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """What happens to one direction of a connection.

    latency_ms: every byte arrives that much later (the rate stays). bytes_per_s: the proxy reads no faster, so that the sender meets
    a slow reader; 0 is as fast as it goes. ends: what happens at byte `at` of a message: `reset` (RST to both sides), `close` (FIN to
    both; inside an HTTP chunk that is a truncated chunk), `half_close` (FIN in this direction, the other goes on), `stall` (nothing
    more comes and nothing ends, until the trouble is over). A message begins when the other direction has carried something, so that
    byte 100 is that of every answer on a connection that is used again.
    """

    latency_ms: float = 0.0
    bytes_per_s: int = 0
    ends: Ending | None = None
    at: int = 0

    def __post_init__(self) -> None:
        if min(self.latency_ms, self.bytes_per_s, self.at) < 0:
            raise ValueError("latency_ms, bytes_per_s and at must not be negative")


NO_TROUBLE: Final = Trouble()


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """What the proxy does to connections. `up` is client to server, `down` the answer's way.

    listens: `no` refuses connections on the same port, `full` lets connects hang, `reset` accepts and resets.
    """

    up: Trouble = NO_TROUBLE
    down: Trouble = NO_TROUBLE
    listens: Literal["yes", "no", "full", "reset"] = "yes"


CLEAR: Final = Way()
