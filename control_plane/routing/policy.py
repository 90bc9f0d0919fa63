"""When a breaker opens, how long, and how it comes back. What operators may set comes from the provider's spec; the rest stands here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

WINDOW_S: Final = 10
"""Seconds of attempts that the failure ratio looks at, in slots of one second."""

IN_A_ROW: Final = 3
"""Failures without a success between them that open at any rate: at three requests a second a dead vendor is out within a second."""

IN_A_ROW_TOLD: Final = 2
"""... of a rate limit whose end the vendor told, where there is nothing left to guess, and during a return."""

IN_A_ROW_PER_RATE: Final = 0.1
"""Seconds of traffic that must have failed in a row on top of that. Bad luck makes three of a thousand a second fail together now and
then; it does not make a hundred."""

UNKNOWN_S: Final = 0.5
"""Seconds for which a target of which nothing good was seen lately must fail: failures are fast and good answers take their time, so the
first endings of a burst are always its failures."""

SLOW_FACTOR: Final = 5.0
"""A first token this many times later than the target's own usual is slow ..."""

SLOW_FLOOR_S: Final = 3.0
"""... if it took longer than this too: nobody moves for less."""

SLOW_RATIO: Final = 0.8
"""Share of slow answers in the window that opens: prompts differ, so some are always slow."""

USUAL_AFTER: Final = 50
"""First tokens that must have been seen before anything is called unusual."""

DIVERSIONS_A_MINUTE: Final = 3
"""A target that flaps is diverted this often in 60 s at most, whatever else is set."""

CALM_S: Final = 60.0
"""Closed for this long, a target's next opening is as short as its first."""

GROWTH: Final = 2.0
"""Each further diversion stays open this many times longer."""

PROBE_GROWTH: Final = 1.5
"""... and each failed probe: what was down for long is asked less often, and its return is still noticed soon."""

MAX_TOLD_S: Final = 3600.0
"""A vendor's own word for when it takes requests again is believed up to here."""

PROBE_WINDOW_S: Final = 2.0
"""In which one request is expected to come by a probe's share; it includes the way of the change to the Envoys."""

MAX_PROBE_WINDOW_S: Final = 60.0
"""... where requests are rare."""

PROBES: Final = 1.5
"""Requests after which, as far as can be expected, the share ends unheard; one, where they would all have to wait for a timer."""

VERDICT_S: Final = 5.0
"""How long to wait for the probe's ending before another one is sent, at least: long enough for the journal, and for short answers."""

MAX_VERDICT_S: Final = 120.0
"""... and at most."""

DEAD_AFTER: Final = 10
"""Attempts at a target that is out of which not one went well, before its retries are rationed."""

STEPS: Final = (5.0, 25.0, 100.0)
"""Percent of the planned share in a return."""

STEP_PATIENCE: Final = 3.0
"""A step without any finished attempt ends after this many times its length."""

LAG_S: Final = 1.0
"""Attempts that began within this after an opening began before the Envoys knew of it."""


@dataclass(frozen=True, slots=True)
class BreakerPolicy:
    """What operators may set. Times in seconds.

    `failure_ratio` of at least `min_attempts` in the window opens. Open for `open_s` at first, longer each time, up to `max_open_s`.
    `step_s`: the least time at each step of the return.
    """

    enabled: bool = True
    failure_ratio: float = 0.5
    min_attempts: int = 10
    open_s: float = 5.0
    max_open_s: float = 60.0
    step_s: float = 5.0


DEFAULT: Final = BreakerPolicy()
