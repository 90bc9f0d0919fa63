"""What one attempt's ending means, in the words of the failover rules. Pure: lines in, one word out.

Envoy tells an ending in three places: the status (0 when no answer began), the response flags of the attempt, and, where the client's side
of Envoy ended the exchange, only the flags of the *request*: then the attempt's own line, if it has one, says `-` and lacks `duration_us`,
and may be written after the request's line. What the body said (an error event inside a 200, no terminal event) is on the request's line
too.
Flag names: Envoy's access log documentation, "%RESPONSE_FLAGS%". Each row below was seen on Envoy 1.40.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from control_plane.dialects.failure_classes import FAILURE_CLASSES
from control_plane.signals.lines import AttemptLine, RequestLine


class AttemptClass(StrEnum):
    """How an attempt ended; values are used in metrics and in `headgate get targets`."""

    OK = "ok"
    TRANSIENT = "transient"
    """The provider failed or was overloaded (5xx, 408, 409, an error event that says so): another try elsewhere may work."""
    RATE_LIMITED = "rate_limited"
    QUOTA_SPENT = "quota_spent"
    CREDENTIAL_DEAD = "credential_dead"
    CLIENT_FAULT = "client_fault"
    """The provider refused the request itself: no provider would be better, no penalty."""
    CONTEXT_TOO_LONG = "context_too_long"
    """The same, because the prompt does not fit this model."""
    CONTENT_POLICY = "content_policy"
    """The same, because of what it says."""
    UNREADABLE = "unreadable"
    """An answer that breaks the protocol before it began."""
    TIMEOUT = "timeout"
    """A timer of ours fired: first token, idle or total."""
    CONNECT = "connect"
    """No connection: refused, unreachable, TLS, name resolution."""
    RESET = "reset"
    """The connection was lost before an answer began."""
    CUT = "cut"
    """The answer began and did not end as it should."""
    CANCELLED = "cancelled"
    """The client left. Says nothing about the provider."""
    LOCAL = "local"
    """Never reached the provider: Envoy or one of its filters answered (circuit breaker, translator away, no secret)."""


PROVIDER_FAULTS: Final = frozenset(
    {
        AttemptClass.TRANSIENT,
        AttemptClass.RATE_LIMITED,
        AttemptClass.QUOTA_SPENT,
        AttemptClass.CREDENTIAL_DEAD,
        AttemptClass.UNREADABLE,
        AttemptClass.TIMEOUT,
        AttemptClass.CONNECT,
        AttemptClass.RESET,
        AttemptClass.CUT,
    }
)
"""Classes that count against a target."""

_FAULTS: Final[dict[str, AttemptClass]] = {kind: AttemptClass(kind) for kind in FAILURE_CLASSES}

_STATUS: Final = {
    401: AttemptClass.CREDENTIAL_DEAD,
    402: AttemptClass.QUOTA_SPENT,
    403: AttemptClass.CREDENTIAL_DEAD,
    408: AttemptClass.TRANSIENT,
    409: AttemptClass.TRANSIENT,
    425: AttemptClass.TRANSIENT,
    429: AttemptClass.RATE_LIMITED,
    498: AttemptClass.RATE_LIMITED,  # Groq: flex tier at capacity
    499: AttemptClass.TRANSIENT,
}

# Words inside the error types and codes of vendors' streams: OpenAI `insufficient_quota`, `rate_limit_exceeded`, `server_error`; Anthropic
# `overloaded_error`, `rate_limit_error`, `api_error`, `authentication_error`, `permission_error`, `billing_error`, `invalid_request_error`.
_ERROR_WORDS: Final = (
    ("provider_answer_stalled", AttemptClass.TIMEOUT),  # ours: what the gateway told the client in the vendor's place
    ("provider_answer", AttemptClass.CUT),
    ("quota", AttemptClass.QUOTA_SPENT),
    ("billing", AttemptClass.QUOTA_SPENT),
    ("rate_limit", AttemptClass.RATE_LIMITED),
    ("authentication", AttemptClass.CREDENTIAL_DEAD),
    ("permission", AttemptClass.CREDENTIAL_DEAD),
    ("api_key", AttemptClass.CREDENTIAL_DEAD),
    ("invalid_request", AttemptClass.CLIENT_FAULT),
    ("content_policy", AttemptClass.CONTENT_POLICY),
    ("context_length", AttemptClass.CONTEXT_TOO_LONG),
)

# Envoy's flags of an attempt, most telling first.
_FLAGS: Final = (
    ("UO", AttemptClass.LOCAL),  # the provider's connection limits
    ("RL", AttemptClass.LOCAL),
    ("RLSE", AttemptClass.LOCAL),
    ("UAEX", AttemptClass.LOCAL),
    ("OM", AttemptClass.LOCAL),
    ("DO", AttemptClass.LOCAL),
    ("NC", AttemptClass.LOCAL),
    ("NFCF", AttemptClass.LOCAL),
    ("DI", AttemptClass.LOCAL),
    ("FI", AttemptClass.LOCAL),
    ("UH", AttemptClass.CONNECT),  # every host ejected or failing its health check
    ("UF", AttemptClass.CONNECT),
    ("DF", AttemptClass.CONNECT),
    ("UT", AttemptClass.TIMEOUT),
    ("SI", AttemptClass.TIMEOUT),
    ("DT", AttemptClass.TIMEOUT),
    ("UMSDR", AttemptClass.TIMEOUT),
    ("UPE", AttemptClass.UNREADABLE),
    ("UC", AttemptClass.RESET),
    ("UR", AttemptClass.RESET),
    ("LR", AttemptClass.RESET),
)
_BEGAN: Final = {AttemptClass.UNREADABLE: AttemptClass.CUT, AttemptClass.RESET: AttemptClass.CUT, AttemptClass.CONNECT: AttemptClass.CUT}


def needs_request(attempt: AttemptLine) -> bool:
    """Whether the request's line may change what this attempt's own line says: it looks well, or says nothing at all."""
    return not attempt.flag_set and (attempt.status or 0) < 400


def classify(attempt: AttemptLine, request: RequestLine | None = None) -> AttemptClass:
    """The class of `attempt`. `request` is the line of its request if this was the request's last attempt, else None."""
    status = attempt.status or 0
    found = by_flags(attempt.flag_set)
    if found is not None:
        # With status 4xx or 5xx the answer was an error already; how its body ended does not matter.
        return _BEGAN.get(found, found) if 0 < status < 400 else by_answer(attempt) if status else found
    if status >= 400:
        return by_answer(attempt)
    if status and request is not None and (error := request.meter().stream_error):
        # Whoever ended the exchange after that: most clients leave when they read it.
        return by_error(error)
    if attempt.duration_us is None:
        return _ended_by_us(status, request)
    if request is not None and request.meter().complete is False:
        return AttemptClass.CANCELLED if by_flags(request.flag_set) is AttemptClass.CANCELLED else AttemptClass.CUT
    return AttemptClass.OK


def by_answer(attempt: AttemptLine) -> AttemptClass:
    """The class of an answer that is an error: as its body was read, or by its status where nobody read it."""
    return _FAULTS.get(attempt.fault or "") or by_status(attempt.status or 0)


def by_status(status: int) -> AttemptClass:
    """The class of an answer with this status."""
    if status < 400:
        return AttemptClass.OK
    return _STATUS.get(status) or (AttemptClass.TRANSIENT if status >= 500 else AttemptClass.CLIENT_FAULT)


def by_error(error: str) -> AttemptClass:
    """The class of an error event inside a successful answer, by its type or code; unknown ones are transient."""
    lowered = error.lower()
    return next((found for word, found in _ERROR_WORDS if word in lowered), AttemptClass.TRANSIENT)


def by_flags(flags: frozenset[str]) -> AttemptClass | None:
    """The class that Envoy's flags tell; None when they tell nothing."""
    if not flags:
        return None
    if "DC" in flags or "DPE" in flags or "DR" in flags:
        return AttemptClass.CANCELLED
    return next((found for flag, found in _FLAGS if flag in flags), None)


def _ended_by_us(status: int, request: RequestLine | None) -> AttemptClass:
    """No flag and no end of the answer: our side ended the exchange, and the request says why."""
    if request is None:
        return AttemptClass.CANCELLED
    found = by_flags(request.flag_set)
    if found is None:
        # A filter of the target answered in the provider's place.
        return AttemptClass.LOCAL if status == 0 else AttemptClass.CUT
    if found is AttemptClass.CANCELLED and status and request.meter().complete:
        # Nothing was left to wait for: many clients leave at the terminal event.
        return AttemptClass.OK
    return (
        found
        if found in (AttemptClass.CANCELLED, AttemptClass.TIMEOUT, AttemptClass.LOCAL)
        else _BEGAN.get(found, found)
        if status
        else found
    )


class Outcome(StrEnum):
    """What the client experienced."""

    OK = "ok"
    CLIENT_ERROR = "client_error"
    RATE_LIMITED = "rate_limited"
    FAILED = "failed"
    """No target served it."""
    CUT = "cut"
    """It began well and did not end as it should."""
    CANCELLED = "cancelled"


def outcome(request: RequestLine) -> Outcome:
    """What the client of this request got."""
    flags, status = request.flag_set, request.status or 0
    if by_flags(flags) is AttemptClass.CANCELLED:
        # A client that leaves when it is told of an error has not left by itself.
        return Outcome.CUT if status == 200 and request.meter().stream_error else Outcome.CANCELLED
    if status == 429:
        return Outcome.RATE_LIMITED
    if 400 <= status < 500:
        return Outcome.CLIENT_ERROR
    if status >= 500 or status == 0:
        return Outcome.FAILED
    meter = request.meter()
    broken = by_flags(flags) is not None or meter.stream_error is not None or meter.complete is False
    return Outcome.CUT if broken else Outcome.OK
