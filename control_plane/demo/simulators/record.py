"""What a simulator saw: counters for drills, and the last requests for tests."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

SECRET_HEADERS: Final = frozenset({"authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie", "proxy-authorization"})


def fingerprint(secret: str | bytes) -> str:
    """A short name for a secret or a body that does not give it away."""
    data = secret.encode(errors="replace") if isinstance(secret, str) else secret
    return "sha256:" + hashlib.sha256(data).hexdigest()[:16]


@dataclass(slots=True)
class Recorded:
    """One request as it arrived. `body` is kept up to the simulator's limit, else None; size and hash are always of the whole body.

    `key` is "key-N" for the Nth key that the simulator knows, else the key's fingerprint, "-" without one. `outcome` ends as
    "answered", "fault", "cancelled" (the client went away first) or "broken" (the fault ended the connection); "open" until then.
    """

    number: int
    time_s: float
    method: str
    path: str
    query: str
    key: str
    size: int
    body: bytes | None = field(repr=False)
    _headers: dict[str, str] = field(repr=False)
    _hash: str | None = field(default=None, repr=False)
    model: str | None = None
    stream: bool = False
    status: int = 0
    fault: str | None = None
    outcome: str = "open"

    @property
    def headers(self) -> dict[str, str]:
        """Lower-case names; credentials replaced by their fingerprint."""
        return {name: fingerprint(value) if name in SECRET_HEADERS else value for name, value in self._headers.items()}

    @property
    def body_hash(self) -> str:
        return self._hash if self._hash is not None else fingerprint(self.body or b"")

    def json(self) -> Any:
        """The body decoded. Raises ValueError when it was too large to keep or is not JSON."""
        if self.body is None:
            raise ValueError(f"a body of {self.size} bytes was not kept")
        return msgspec.json.decode(self.body)


@dataclass(slots=True)
class Stats:
    """Counters since the start or the last `clear`. `requests` = answered + faulted + cancelled + in_flight."""

    connections: int = 0
    requests: int = 0
    answered: int = 0
    faulted: int = 0
    cancelled: int = 0
    in_flight: int = 0
    streams: int = 0
    by_key: Counter[str] = field(default_factory=Counter)
    by_model: Counter[str] = field(default_factory=Counter)
    by_status: Counter[int] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        names = ("connections", "requests", "answered", "faulted", "cancelled", "in_flight", "streams")
        return {name: getattr(self, name) for name in names} | {
            "by_key": dict(self.by_key),
            "by_model": dict(self.by_model),
            "by_status": {str(status): count for status, count in self.by_status.items()},
        }
