"""What a sign-in gives: a token, or the keys for signatures, and how long it is good."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.kit.errors import GatewayError
from control_plane.telemetry.redaction import MASK, redact

CONNECT_S: Final = 5.0
READ_S: Final = 10.0
"""Of every call to a token service. They answer in well under a second; behind a dead one a refresh must fail while the old token lives."""

MAX_REASON_CHARS: Final = 300
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f-\x9f\u2028\u2029]+")


@dataclass(frozen=True, slots=True)
class Token:
    """`expires_at` is in seconds since the epoch; None for what does not say when it ends."""

    value: Secret | SigningKeys
    expires_at: float | None


class SignInError(GatewayError):
    """No token. The text says why in one line, without a secret."""


Fetch = Callable[[], Token]
"""Signs in anew. Blocks, for at most a few connect and read timeouts; raises SignInError."""


def failed(error: BaseException, hidden: Iterable[Secret] = ()) -> SignInError:
    """A library's error as ours. Services may quote what they were sent, so `hidden` and all that looks like a secret is taken out."""
    several = len(error.args) > 1 and isinstance(error.args[0], str)  # google-auth: the text, then the whole answer
    text = str(error.args[0] if several else error) or type(error).__name__
    for secret in hidden:
        if secret.reveal():
            text = text.replace(secret.reveal(), MASK)
    text = _CONTROL.sub(" ", redact(text)).strip()
    return SignInError(text if len(text) <= MAX_REASON_CHARS else text[:MAX_REASON_CHARS] + "...")


def header_value(text: object) -> Secret:
    """A token as a header's value. Raises SignInError for what Envoy could not send."""
    if not isinstance(text, str) or not text or not text.isascii() or not text.isprintable() or " " in text:
        raise SignInError("the token service answered with something that is no token")
    return Secret(text)
