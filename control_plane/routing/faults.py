"""What an ending says about a target, and about its provider as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from control_plane.signals.classify import PROVIDER_FAULTS, AttemptClass

_ACCOUNT_WIDE: Final = (AttemptClass.CONNECT, AttemptClass.CREDENTIAL_DEAD, AttemptClass.QUOTA_SPENT)

_ANSWERED: Final = (
    AttemptClass.OK,
    AttemptClass.TRANSIENT,
    AttemptClass.RATE_LIMITED,
    AttemptClass.CLIENT_FAULT,
    AttemptClass.UNREADABLE,
    AttemptClass.CUT,
)

OF_TARGET: Final[Mapping[AttemptClass, bool]] = {**dict.fromkeys(PROVIDER_FAULTS, True), AttemptClass.OK: False}
"""True: counts against the target; False: speaks for it. What is missing says nothing: the client's fault, the client left, our own."""

OF_PROVIDER: Final[Mapping[AttemptClass, bool]] = {**dict.fromkeys(_ANSWERED, False), **dict.fromkeys(_ACCOUNT_WIDE, True)}
"""The same about the provider: none of its models would have done better; or it was there and knew the key, whatever it answered."""
