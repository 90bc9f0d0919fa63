"""What a drill is: data. Who plays, what breaks and heals when, what clients ask meanwhile, and what must hold."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from control_plane.demo.drills.stage import Scene

Plan = Literal["pair", "trio", "alone"]
Link = Literal["direct", "dns", "tls"]
Breaks = Literal["event", "event where translated", "event or cut"]
"""How a stream may break: with an error event of its dialect; where it is passed through, with a cut instead; with either on both lanes.
Envoy resets the client's stream when one side of an answer that has begun is reset, and no filter can write anything any more."""

PLANS: Final[dict[Plan, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "pair": (("openai", "anthropic"), ("anthropic", "openai")),
    "trio": (("openai", "local", "anthropic"), ("anthropic", "local", "openai")),
    "alone": (("openai",), ("anthropic",)),
}
"""The vendors of a drill's two routes, in the order of their plans. Each route has its own: both are asked by clients of both dialects, so
that a plan's first attempt is a passthrough for one half of them and a translation for the other."""

FIRST_TOKEN_S: Final = 1.0
"""The first-token timer of the drills' routes."""


class Act(Protocol):
    """Something that is done to the scene."""

    def do(self, scene: Scene) -> Awaitable[None]:
        """Returns when it is in force."""
        ...


@dataclass(frozen=True, slots=True)
class Promise:
    """What must hold. None: nothing is promised.

    errors: client-visible errors at most. breaks: streams may break, and each has this end. recovery_s: they are allowed where a worker
    was taken away under a translated stream; what begins later has none, and needs no second attempt after that time. answer: every
    answer in the outage must be this error. seen_after_s: when the outage can be known at the earliest (silence: a first-token timer);
    the "first second" is the one that follows. amplification: attempts per request after it.
    first_p99_s: added time to first content at the 99th percentile until its end (a first-token timer and the time of the next vendor),
    later_p99_ms: after it. diversions_a_minute: how often traffic may move away. returns: the first vendor serves
    again when it is well. acked_s: every Envoy has every change of an operator after this.
    """

    errors: int | None = 0
    breaks: Breaks | None = None
    recovery_s: float | None = None
    answer: str = ""
    amplification: float | None = None
    first_p99_s: float | None = None
    later_p99_ms: float | None = None
    diversions_a_minute: float | None = None
    returns: bool = True
    seen_after_s: float = 0.0
    acked_s: float | None = None


QUICK: Final = Promise(amplification=1.02)
SLOW: Final = Promise(seen_after_s=FIRST_TOKEN_S, amplification=1.02, first_p99_s=FIRST_TOKEN_S, later_p99_ms=50)


@dataclass(frozen=True, slots=True)
class Drill:
    """One outage. `acts`: when each begins, in shares of the drill's time (0: at its beginning). `spread_s`: over how long 10,000 requests
    are spread where that is more than the rate would take; fewer requests take as much less time. `envoys`: that many serve side by side.
    """

    name: str
    outage: str
    acts: tuple[tuple[float, Act], ...]
    promise: Promise
    heals: tuple[Act, ...] = field(default_factory=tuple)
    plan: Plan = "pair"
    link: Link = "direct"
    keys: int = 1
    tokens: int = 0
    delay_ms: float = 0.0
    spread_s: float = 0.0
    envoys: int = 1
