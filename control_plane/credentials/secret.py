"""A text that shows itself to nobody by accident."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

SHOWN_AS: Final = "Secret(***)"

_PROCESS_KEY: Final = secrets.token_bytes(32)  # fingerprints of one process are worthless to anyone else


class Secret:
    """Holds a key. `reveal()` is the only way to the text, so that `grep reveal` finds every use of it.

    repr, str and format print a placeholder; copies are the object itself; pickle, json and msgspec refuse it with TypeError.
    """

    __slots__ = ("__text",)
    __text: str

    def __init__(self, text: str) -> None:
        object.__setattr__(self, "_Secret__text", text)

    def reveal(self) -> str:
        """The text itself: for the message to Envoy and nothing else."""
        return self.__text

    def fingerprint(self) -> bytes:
        """32 bytes that differ for different texts and only compare within this process: to notice a rotation."""
        return hmac.new(_PROCESS_KEY, self.__text.encode("utf-8", "surrogatepass"), hashlib.sha256).digest()

    def __repr__(self) -> str:
        return SHOWN_AS

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format(SHOWN_AS, spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.fingerprint(), other.fingerprint())

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError("a Secret does not change")

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Secret:
        return self

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Secret is not written anywhere")

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a Secret is not written anywhere")


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """An AWS access key. Its id is no secret to AWS, but nobody's business either: no log and no list shows it."""

    access_key_id: str = field(repr=False)
    secret_access_key: Secret
    session_token: Secret | None = None

    def fingerprint(self) -> bytes:
        """As `Secret.fingerprint`."""
        parts = (Secret(self.access_key_id), self.secret_access_key, self.session_token or Secret(""))
        return hashlib.sha256(b"".join(part.fingerprint() for part in parts)).digest()
