"""What can go wrong at a vendor: one frozen value that a test, the control endpoint or `headgate demo break` sets."""

from __future__ import annotations

from typing import Final, Literal, get_args

import msgspec

Mode = Literal[
    "status",
    "latency",
    "slow_first_token",
    "late_first_event",
    "stall",
    "cut",
    "error_event",
    "garbage",
    "truncated",
    "html",
    "empty",
    "refuse",
    "reset",
    "black_hole",
    "unconnectable",
    "slow_reader",
]
Cut = Literal["rst", "fin", "clean", "closed"]
Heartbeat = Literal["vendor", "empty_delta"]
Only = Literal["stream", "whole"]

MODES: Final[tuple[str, ...]] = get_args(Mode)

# Modes that act on the listening socket or the connection, before any request exists: they take no count, probability or `only`.
SOCKET_MODES: Final = frozenset({"refuse", "reset", "unconnectable", "slow_reader"})

DESCRIPTIONS: Final[dict[str, str]] = {
    "status": "answers every request with an error status (status=503, retry_after_s, early=true answers before the body arrived)",
    "latency": "waits delay_ms before the answer's headers",
    "slow_first_token": "headers and the opening event at once, the first content event after delay_ms",
    "late_first_event": "headers at once, the first event of any kind after delay_ms",
    "stall": "stops for good after `after` content events (heartbeat_ms > 0 keeps sending comments or pings, or heartbeat=empty_delta)",
    "cut": "breaks a stream after `after` content events (how=rst|fin, clean: chunks end properly, closed: neither length nor chunks, "
    "as if that were all); a whole answer after half of its body",
    "error_event": "an error inside a 200: as the first event (after=0) or after content; a whole answer is an error body with status 200",
    "garbage": "status 200 and bytes that are neither JSON nor events",
    "truncated": "JSON that ends in the middle, in a body that ends properly",
    "html": "an HTML page instead of JSON or events (status is used, 200 unless set)",
    "empty": "status 200 without a body",
    "refuse": "closes the port: connections are refused; healing opens the same port again",
    "reset": "accepts and resets every connection",
    "black_hole": "accepts, reads and never answers",
    "unconnectable": "TCP connects hang (the accept queue is full)",
    "slow_reader": "reads requests at bytes_per_s",
}


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fault and its limits. Times in ms unless the name says otherwise; msgspec reads it from JSON and refuses unknown fields.

    `count` requests are hit, then the fault heals itself; `probability` hits that share of requests, evenly spread and the same in
    every run; `only` restricts it to streamed or whole calls, `model` to one model, `path` to paths that end with it.
    """

    mode: Mode
    status: int = 503
    message: str | None = None
    error_type: str | None = None
    retry_after_s: float | None = None
    early: bool = False
    delay_ms: float = 1000.0
    after: int = 0
    heartbeat_ms: float = 0.0
    heartbeat: Heartbeat = "vendor"
    how: Cut = "rst"
    bytes_per_s: int = 65_536
    count: int | None = None
    probability: float = 1.0
    only: Only | None = None
    model: str | None = None
    path: str | None = None

    def __post_init__(self) -> None:
        """Refuse values that would silently do nothing or something else; the message names the field."""
        problem = None
        if not 200 <= self.status <= 599:
            problem = "status must be 200 to 599"
        elif not 0 < self.probability <= 1:
            problem = "probability must be above 0 and at most 1"
        elif self.count is not None and self.count < 1:
            problem = "count must be at least 1"
        elif min(self.delay_ms, self.heartbeat_ms, self.after) < 0:
            problem = "delay_ms, heartbeat_ms and after must not be negative"
        elif self.bytes_per_s < 1:
            problem = "bytes_per_s must be at least 1"
        elif self.mode in SOCKET_MODES and (self.count or self.probability < 1 or self.only or self.model or self.path):
            problem = f"{self.mode} acts on connections and takes no count, probability, only, model or path"
        if problem:
            raise ValueError(problem)
