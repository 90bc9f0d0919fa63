"""A vendor's rate-limit headers under the names that the journal reads, for vendors that call them otherwise.

The journal belongs to the listener, which never changes, so its formats name OpenAI's headers and Anthropic's. What a preset calls
otherwise is repeated under OpenAI's names at the target, where it is there; clients get both.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from control_plane.dialects.rate_limits import RateLimits, Unit, read_names
from control_plane.pb.core_pb2 import HeaderValue, HeaderValueOption
from control_plane.pb.mutation_rules_pb2 import HeaderMutation

WHAT: Final = ("remaining", "limit", "reset")


@lru_cache(maxsize=4096)
def repeated(rate_limits: str) -> tuple[HeaderMutation, ...]:
    """Mutations of an answer's headers. `rate_limits` is `Provider.rate_limits`."""
    if not rate_limits:
        return ()
    names = read_names(rate_limits)
    return tuple(_again(name, journal) for name, journal in _pairs(names))


def _pairs(names: RateLimits) -> list[tuple[str, str]]:
    units: tuple[tuple[str, Unit | None], ...] = (("requests", names.requests), ("tokens", names.tokens))
    found = []
    for unit, said in units:
        for what in WHAT if said is not None else ():
            name = getattr(said, what)
            if name is not None and name not in (f"x-ratelimit-{what}-{unit}", f"anthropic-ratelimit-{unit}-{what}"):
                found.append((name, f"x-ratelimit-{what}-{unit}"))
    return found


def _again(name: str, journal: str) -> HeaderMutation:
    value = HeaderValue(key=journal, value=f"%RESP({name})%")
    return HeaderMutation(append=HeaderValueOption(header=value, append_action=HeaderValueOption.ADD_IF_ABSENT))
