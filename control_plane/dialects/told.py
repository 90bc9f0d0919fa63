"""What Envoy tells the translator of an attempt, beside the bytes: of the call by its route, of the provider by the target.

Neither says anything of the other, so that a target is one cluster whoever calls it, and however. Imports no dialect.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from control_plane.dialects.policies import ForeignReasoning, UnsupportedParams


@dataclass(frozen=True, slots=True)
class Speaks:
    """One operation a provider offers: in which dialect, and under which path of its host."""

    dialect: str
    operation: str
    path: str


class Asked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A call of a route, as the client makes it.

    `served_by`: the operation that answers it at providers without it, "" where that has the same name. `by_path`: the client's path names
    the model. `thinking_of`: dialects whose thinking the client may be given, () for all; that of others would be refused by a vendor of
    the same plan in a replay. `unsupported_params` and `foreign_reasoning` are the route's policies. `withheld_until`: an answer that a
    content filter withheld whole moves on in attempts before this one; 0: it is the client's in every one.
    """

    dialect: str
    operation: str
    served_by: str = ""
    by_path: bool = False
    thinking_of: tuple[str, ...] = ()
    unsupported_params: UnsupportedParams = "drop"
    foreign_reasoning: ForeignReasoning = "strip"
    withheld_until: int = 0


def serving(offers: Sequence[Speaks], dialect: str, operation: str, served_by: str) -> Speaks | None:
    """What of a provider's offers a translated call becomes: the operation, or what answers it, in the client's own dialect, else the
    first that answers it."""
    answers = served_by or operation
    own = [s for name in (operation, answers) for s in offers if s.dialect == dialect and s.operation == name]
    return next(iter(own), None) or next((s for s in offers if s.operation == answers), None)
