"""Every metric, label, attribute and log field that Headgate emits, declared once with its unit and meaning.

Metric names follow Prometheus (base units, `_total`, prefix `headgate_`); what they measure and the attribute each label stands for
follow OpenTelemetry's semantic conventions for generative AI (`gen_ai.*`), so that either can be mapped to the other without a guess.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

OTHER: Final = "other"
"""The label value that stands for everything above a cap, and for a model or route nobody configured."""

NONE: Final = "none"
"""The label value of something that does not apply: the target of a request that was refused before one was chosen."""


class Kind(StrEnum):
    """The Prometheus type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Label:
    """One dimension. `cap` is the number of distinct values kept; later ones become `other`."""

    name: str
    attribute: str
    cap: int
    help: str


ROUTE: Final = Label("route", "headgate.route", 2000, "name of the ModelRoute; `other` for an unknown model or path")
PROVIDER: Final = Label("provider", "gen_ai.provider.name", 200, "name of the Provider")
TARGET: Final = Label("target", "headgate.target", 3000, "provider/upstream model")
LANE: Final = Label("lane", "headgate.lane", 4, "passthrough or translation")
DIALECT: Final = Label("dialect", "headgate.client.dialect", 16, "wire API that the client speaks")
OPERATION: Final = Label("operation", "gen_ai.operation.name", 32, "chat, embeddings, completions, speech, ...: what the path means")
STATUS_CLASS: Final = Label("status_class", "http.response.status_class", 8, "2xx, 4xx, 5xx; `none` when the client left first")
OUTCOME: Final = Label(
    "outcome", "headgate.outcome", 16, "what the client experienced: ok, client_error, rate_limited, failed, cut, cancelled"
)
ERROR_CLASS: Final = Label("class", "error.type", 16, "how one attempt ended, in the words of the failover rules; ok is one of them")
TOKEN_TYPE: Final = Label(
    "type", "gen_ai.token.type", 8, "input (all of it), cached and cache_write (parts of input), output, reasoning (part of output)"
)
UNIT: Final = Label("unit", "headgate.ratelimit.unit", 4, "requests or tokens")
LOG: Final = Label("log", "headgate.journal.log", 4, "request or attempt")
REASON: Final = Label("reason", "headgate.reason", 32, "a short fixed word")
STATE: Final = Label("state", "headgate.key.state", 2, "usable or out")
RESOURCE: Final = Label("resource", "headgate.xds.resource", 16, "CDS, EDS, LDS, RDS, SDS, ...")
BREAKER: Final = Label("state", "headgate.breaker.state", 8, "closed, open, half-open or returning")
PART: Final = Label("part", "headgate.part", 64, "one part of the running gateway: envoy, translator-0, journal, ...")
SEVERITY: Final = Label("severity", "headgate.finding.severity", 4, "error or warning")


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric: its full name, type, unit, labels in order, and buckets (upper bounds in the unit) for a histogram."""

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[Label, ...] = ()
    buckets: tuple[float, ...] = ()


# A first token comes after 50 ms from a cache and after a minute from a reasoning model: steps of about 1.8.
_FIRST_TOKEN: Final = (0.02, 0.05, 0.1, 0.2, 0.35, 0.6, 1.0, 1.8, 3.0, 5.5, 10.0, 18.0, 30.0, 60.0)
# Whole answers last up to the total timer (10 min by default).
_DURATION: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0)
_CONVERGENCE: Final = (0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0)  # Istio's, so that dashboards can be compared

REQUESTS: Final = Metric(
    "headgate_requests_total",
    Kind.COUNTER,
    "requests",
    "Requests that ended, as the client saw them.",
    (ROUTE, PROVIDER, TARGET, LANE, DIALECT, OPERATION, STATUS_CLASS, OUTCOME),
)
ATTEMPTS: Final = Metric(
    "headgate_attempts_total",
    Kind.COUNTER,
    "attempts",
    "Attempts at a target that ended, by class.",
    (ROUTE, PROVIDER, TARGET, LANE, ERROR_CLASS),
)
RATELIMIT_REMAINING: Final = Metric(
    "headgate_target_ratelimit_remaining",
    Kind.GAUGE,
    "units",
    "What the vendor's last translated answer said is left of a rate limit, where the preset names the headers.",
    (PROVIDER, TARGET, UNIT),
)
RATELIMIT_LIMIT: Final = Metric(
    "headgate_target_ratelimit_limit", Kind.GAUGE, "units", "The rate limit itself, as that answer said it.", (PROVIDER, TARGET, UNIT)
)
REQUEST_ATTEMPTS: Final = Metric(
    "headgate_request_attempts",
    Kind.HISTOGRAM,
    "attempts",
    "Attempts that one request needed.",
    (ROUTE,),
    (0.0, 1.0, 2.0, 3.0, 4.0, 6.0, 8.0),
)
TOKENS: Final = Metric(
    "headgate_tokens_total",
    Kind.COUNTER,
    "tokens",
    "Tokens that providers reported, by type (gen_ai.client.token.usage).",
    (ROUTE, PROVIDER, TARGET, LANE, DIALECT, TOKEN_TYPE),
)
REQUEST_DURATION: Final = Metric(
    "headgate_request_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From the request's first byte to the response's last (gen_ai.server.request.duration).",
    (ROUTE, DIALECT, LANE),
    _DURATION,
)
REQUEST_FIRST_TOKEN: Final = Metric(
    "headgate_request_time_to_first_token_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From the request's first byte to the first byte of the answer's body, failed attempts included (gen_ai.server.time_to_first_token).",
    (ROUTE, DIALECT, LANE),
    _FIRST_TOKEN,
)
ATTEMPT_DURATION: Final = Metric(
    "headgate_attempt_duration_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "One attempt, from the request sent to its end.",
    (PROVIDER, TARGET, LANE),
    _DURATION,
)
ATTEMPT_FIRST_TOKEN: Final = Metric(
    "headgate_attempt_time_to_first_token_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "One attempt, from the request sent to the first byte of the body.",
    (PROVIDER, TARGET, LANE),
    _FIRST_TOKEN,
)
STREAMS_INCOMPLETE: Final = Metric(
    "headgate_incomplete_responses_total",
    Kind.COUNTER,
    "responses",
    "Answers that began with success and ended without their terminal event; a client that left is not counted.",
    (ROUTE, PROVIDER, TARGET, LANE),
)
UNMETERED: Final = Metric(
    "headgate_unmetered_responses_total",
    Kind.COUNTER,
    "responses",
    "Complete answers of a metered operation that carried no usage.",
    (ROUTE, PROVIDER, TARGET, LANE),
)

JOURNAL_LINES: Final = Metric("headgate_journal_lines_total", Kind.COUNTER, "lines", "Access journal lines read.", (LOG,))
JOURNAL_SKIPPED: Final = Metric(
    "headgate_journal_skipped_lines_total",
    Kind.COUNTER,
    "lines",
    "Journal lines that could not be used (malformed, oversized) or were read before (duplicate).",
    (REASON,),
)
JOURNAL_EVENTS: Final = Metric(
    "headgate_journal_events_total", Kind.COUNTER, "events", "Rotations, truncations and gaps seen while following the journal.", (REASON,)
)
JOURNAL_LAG_BYTES: Final = Metric(
    "headgate_journal_lag_bytes", Kind.GAUGE, "bytes", "Bytes that Envoy has written and the control plane has not read."
)
JOURNAL_LAG_SECONDS: Final = Metric(
    "headgate_journal_lag_seconds", Kind.GAUGE, "seconds", "Age of the newest line when it was last read; how old the signals are."
)

XDS_PUSHES: Final = Metric(
    "headgate_xds_pushes_total", Kind.COUNTER, "pushes", "Configurations published to the Envoys, by reason.", (REASON,)
)
XDS_REJECTS: Final = Metric(
    "headgate_xds_rejects_total", Kind.COUNTER, "pushes", "Discovery responses that an Envoy refused (NACK).", (RESOURCE,)
)
XDS_STREAMS: Final = Metric("headgate_xds_streams", Kind.GAUGE, "streams", "Discovery streams that are open.")
XDS_CONVERGENCE: Final = Metric(
    "headgate_xds_convergence_seconds",
    Kind.HISTOGRAM,
    "seconds",
    "From a published configuration to an Envoy that runs all of it.",
    (),
    _CONVERGENCE,
)
KEY_ROTATIONS: Final = Metric(
    "headgate_key_rotations_total", Kind.COUNTER, "keys", "Keys that were taken out of use, by reason.", (PROVIDER, REASON)
)
KEYS: Final = Metric("headgate_keys", Kind.GAUGE, "keys", "Keys of a provider, by state (usable, out).", (PROVIDER, STATE))
BREAKER_SHARE: Final = Metric(
    "headgate_breaker_share_ratio",
    Kind.GAUGE,
    "ratio",
    "Share of its planned first attempts that a breaker leaves a target (target none: all of a provider); 1 is closed, 0 open.",
    (PROVIDER, TARGET),
)
BREAKER_TRANSITIONS: Final = Metric(
    "headgate_breaker_transitions_total",
    Kind.COUNTER,
    "transitions",
    "Changes of a breaker's state, by the state it came to.",
    (PROVIDER, TARGET, BREAKER),
)
SIGN_INS: Final = Metric(
    "headgate_sign_ins_total", Kind.COUNTER, "sign-ins", "Sign-ins to clouds for new tokens, by result (ok, failed).", (PROVIDER, REASON)
)
TOKEN_EXPIRY: Final = Metric(
    "headgate_token_expiry_timestamp_seconds", Kind.GAUGE, "seconds", "When the token of a provider ends, since the epoch.", (PROVIDER,)
)
SPEC_LOADS: Final = Metric(
    "headgate_spec_loads_total", Kind.COUNTER, "loads", "Spec sets read, by result (served, unchanged, refused).", (REASON,)
)
FINDINGS: Final = Metric(
    "headgate_findings", Kind.GAUGE, "findings", "Findings about the specs that are being served or were refused last.", (SEVERITY,)
)
PART_UP: Final = Metric("headgate_part_up", Kind.GAUGE, "boolean", "1 while the part runs.", (PART,))
PART_RESTARTS: Final = Metric(
    "headgate_part_restarts_total", Kind.COUNTER, "restarts", "Times the part was started again after it ended.", (PART,)
)

METRICS: Final = tuple(value for value in list(globals().values()) if isinstance(value, Metric))
"""All of them, in the order above."""


class Field(StrEnum):
    """Names of the fields of a log line. A field is added here before it is logged, so that logs can be searched."""

    TIME = "time"
    LEVEL = "level"
    LOGGER = "logger"
    EVENT = "event"
    ERROR = "error"
    TRACE = "trace"
    NODE = "node"
    RESOURCE = "resource"
    SOURCE = "source"
    VERSION = "version"
    ROUTE = "route"
    PROVIDER = "provider"
    TARGET = "target"
    PATH = "path"
    ADDRESS = "address"
    REASON = "reason"
    KIND = "kind"
    COUNT = "count"
    BYTES = "bytes"
    LINE = "line"
    PART = "part"
    PID = "pid"
    EXIT_CODE = "exit_code"
    DELAY_S = "delay_s"
    TOOK_MS = "took_ms"
    REQUEST_ID = "request_id"
    CODE = "code"
    FIX = "fix"
