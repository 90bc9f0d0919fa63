"""What a vendor's module hands to delivery, and the small things both modules need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

import msgspec

from control_plane.demo.simulators.compose import NO_DIRECTIVE, Directive
from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.http1 import HttpRequest

JSON: Final = "application/json"
DEPTH_LIMIT: Final = 500  # nesting of a request body; below what the decoder itself can take

Event = tuple[bytes, bool]  # bytes of one SSE event with its blank line; True if it carries content of the answer


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer: whole (`body`) or streamed (`events`). `headers` are complete lines with CRLF.

    `failing`: the event that reports an error in this stream, where it is not the vendor's usual one.
    """

    status: int
    headers: bytes
    body: bytes = b""
    content_type: str = JSON
    events: Sequence[Event] | None = None
    model: str | None = None
    pace: Directive = NO_DIRECTIVE
    failing: Callable[[Fault], bytes] | None = None


class VendorError(Exception):
    """A request that the vendor refuses; `body` is its complete error document."""

    def __init__(self, status: int, body: Mapping[str, Any], headers: bytes = b"") -> None:
        super().__init__(status)
        self.status = status
        self.body = body
        self.headers = headers


class Vendor(Protocol):
    """One vendor's wire."""

    @property
    def heartbeat(self) -> bytes:
        """What keeps a stream alive without content: an SSE comment or a ping event."""
        ...

    def answer(self, request: HttpRequest) -> Reply:
        """The answer to a complete request; never raises for bad input, which gets the vendor's error."""
        ...

    def failure(self, fault: Fault) -> Reply:
        """The vendor's error document and headers for a fault's status."""
        ...

    def error_event(self, fault: Fault) -> bytes:
        """The event with which the vendor reports an error inside a stream."""
        ...


@dataclass(slots=True)
class Keys:
    """The API keys that a vendor accepts, in order; None accepts any key, () none at all."""

    accepted: Sequence[str] | None = None
    _index: dict[str, int] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        self._index = {key: number for number, key in enumerate(self.accepted or ())}

    def accepts(self, key: str) -> bool:
        return self.accepted is None or key in self._index

    def index(self, key: str) -> int | None:
        return self._index.get(key)


def decode(body: bytes) -> Any:
    """JSON of a request body. Raises ValueError with a reason: not JSON, not UTF-8, too deep."""
    try:
        value = msgspec.json.decode(body)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if body.count(b"[") + body.count(b"{") > DEPTH_LIMIT and _too_deep(value):
        raise ValueError("nested too deeply")
    return value


def _too_deep(value: Any) -> bool:
    """Breadth first, since recursion is what deep nesting breaks."""
    level = [value]
    for _ in range(DEPTH_LIMIT):
        level = [
            inner for outer in level if isinstance(outer, (dict, list)) for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def header_lines(headers: Mapping[str, str]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode("latin-1") for name, value in headers.items())


encode: Final[Callable[[Any], bytes]] = msgspec.json.Encoder().encode
