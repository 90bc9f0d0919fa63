"""What operators write: `Provider`, `ModelRoute`, `Preset` and `ModelCatalog` documents, version headgate.dev/v1alpha1.

The YAML names are camelCase, the Python names snake_case with the unit last. Models are strict (no "5" for 5) and refuse
unknown fields. Equality compares what a document says, not where it was written (`origin`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, get_args

from pydantic import AfterValidator, BeforeValidator, Field, PrivateAttr, StringConstraints, model_validator

from control_plane.dialects.policies import ForeignReasoning, UnsupportedParams
from control_plane.spec.base_url import MAX_URL
from control_plane.spec.credential import Credential
from control_plane.spec.dialect_names import DIALECT_NAMES, PROVIDER_ONLY_NAMES, DialectName, ProviderDialectName
from control_plane.spec.egress import Egress, Tls
from control_plane.spec.fallback import Fallback
from control_plane.spec.fields import (
    check_base_url,
    check_headers,
    check_model,
    check_upstream_model,
    check_weight,
    distinct,
)
from control_plane.spec.findings import Finding, severity_of
from control_plane.spec.model_catalog import ModelCatalogSpec
from control_plane.spec.money import Money
from control_plane.spec.origin import Origin
from control_plane.spec.presets import PresetSpec
from control_plane.spec.quantities import Duration, Quantity
from control_plane.spec.shape import Shape
from control_plane.spec.stickiness import Stickiness

API_VERSION: Final = "headgate.dev/v1alpha1"

MAX_GROUPS: Final = 10  # groups of a plan; each is at most one attempt, and nobody waits for eleven
MAX_TARGETS: Final = 32  # targets of a group
MAX_MODELS: Final = 256  # names that one route serves
MAX_CREDENTIALS: Final = 32  # keys of a pool
MAX_HEADERS: Final = 32  # static headers of a provider
MAX_WEIGHT: Final = 1_000_000  # Envoy sums weights in 32 bits
BACKOFF_MS: Final = 250  # the longest pause before a retry, counted into the idle timer's floor

RetryReason = Literal["transient", "rate_limited", "unreadable", "credential", "context_too_long", "content_policy"]
OnExhausted = Literal["leastBad", "reject"]
RETRY_REASONS: Final[tuple[RetryReason, ...]] = ("transient", "rate_limited", "unreadable", "credential")
"""Those that move a request on unless the spec says otherwise."""

DnsLabel = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$", min_length=1, max_length=63)]
ModelName = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(check_model)]
UpstreamModel = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(check_upstream_model)]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9]([A-Za-z0-9._/-]*[A-Za-z0-9])?$", max_length=317)]
LabelValue = Annotated[str, StringConstraints(pattern=r"^([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?$", max_length=63)]
AnnotationValue = Annotated[str, StringConstraints(max_length=262_144)]  # Kubernetes' own bound for all annotations together
HeaderName = Annotated[str, StringConstraints(min_length=1, max_length=64)]
HeaderValue = Annotated[str, StringConstraints(min_length=1, max_length=4096)]


class Metadata(Shape):
    """Name and annotations, as in Kubernetes."""

    name: DnsLabel = Field(description="Unique among documents of one kind: lower-case letters, digits and dashes")
    labels: dict[LabelKey, LabelValue] = Field(default_factory=dict, max_length=64, description="Free labels, for selection and reports")
    annotations: dict[LabelKey, AnnotationValue] = Field(default_factory=dict, max_length=64, description="Free notes; never interpreted")


class Limits(Shape):
    """What the vendor grants this account."""

    concurrency: Annotated[int, Quantity(1, 1_000_000)] | None = Field(
        default=None, description="Requests in flight at once; recorded, not enforced yet"
    )
    requests_per_minute: Annotated[int, Quantity(1, 10**12)] | None = Field(
        default=None, description="Requests a minute; recorded, not enforced yet"
    )
    tokens_per_minute: Annotated[int, Quantity(1, 10**15)] | None = Field(
        default=None, description="Tokens a minute; recorded, not enforced yet"
    )


class Breaker(Shape):
    """When traffic leaves a target of this provider by itself, and how it comes back."""

    enabled: bool = Field(default=True, description="false: nothing but retries and operators move traffic away from this provider")
    failure_ratio: float = Field(
        default=0.5, gt=0, le=1, description="Share of failed attempts in the last 10 s that diverts; several failures in a row do too"
    )
    min_attempts: int = Field(default=10, ge=1, le=100_000, description="Attempts in those 10 s, below which the share says nothing")
    open_for_ms: Annotated[int, Duration("100ms", "1h")] = Field(
        default=5_000,
        alias="openFor",
        description="Until one request is let through as a probe; twice as long after each further diversion",
    )
    max_open_ms: Annotated[int, Duration("100ms", "24h")] = Field(
        default=60_000, alias="maxOpen", description="The longest time between probes, unless the vendor itself asks for more"
    )
    step_ms: Annotated[int, Duration("100ms", "1h")] = Field(
        default=5_000, alias="step", description="How long each step of the return (5, 25 and 100 % of the traffic) takes at least"
    )


class RetryBudget(Shape):
    """How much of an outage's retries a provider may get."""

    percent: float = Field(
        default=20,
        ge=0,
        le=100,
        description="Of the requests that have failed elsewhere, when every target of their route is out and nothing sent to this one goes "
        "well: the share that is tried here too. The others get their error at once. 100: all",
    )


class ProviderSpec(Shape):
    """An account at a vendor, or a self-hosted server."""

    preset: Annotated[str, StringConstraints(min_length=1, max_length=63)] = Field(
        description="Kind of provider, shipped or a Preset document: sets dialects, paths, how the key is sent, and the base URL"
    )
    base_url: Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL), AfterValidator(check_base_url)] | None = Field(
        default=None, description="http(s) URL before the preset's paths, for example https://api.example.com/v1; overrides the preset's"
    )
    allow_insecure: bool = Field(default=False, description="Permit plain http and private addresses in baseUrl")
    dialects: Annotated[tuple[ProviderDialectName, ...], AfterValidator(distinct)] | None = Field(
        default=None,
        min_length=1,
        max_length=len(DIALECT_NAMES) + len(PROVIDER_ONLY_NAMES),
        description="Dialects that the provider speaks, of its preset's; the first serves clients of all others. Default: the usual ones",
    )
    credentials: tuple[Credential, ...] = Field(
        default=(),
        max_length=MAX_CREDENTIALS,
        description="Keys of the account, the first that works is used; or one sign-in to its cloud",
    )
    key_quarantine_ms: Annotated[int, Duration("1s", "24h")] = Field(
        default=1_800_000,
        alias="keyQuarantine",
        description="How long a key is out of use that the vendor has refused, or whose quota is spent",
    )
    headers: Annotated[dict[HeaderName, HeaderValue], AfterValidator(check_headers)] = Field(
        default_factory=dict,
        max_length=MAX_HEADERS,
        description="Fixed extra request headers, literal values; not for keys. They win over the preset's of the same name",
    )
    limits: Limits = Field(default_factory=Limits, description="What the vendor grants this account")
    tls: Tls = Field(default_factory=Tls, description="Verification of the provider's certificate, and the gateway's own")
    breaker: Breaker = Field(default_factory=Breaker, description="When traffic leaves a failing target by itself, and how it comes back")
    retry_budget: RetryBudget = Field(
        default_factory=RetryBudget, alias="retryBudget", description="Bounds retries when nothing is left that works"
    )
    egress: Egress = Field(default_factory=Egress, description="The way to the provider: proxy, protocol, addresses, connections, DNS")


class Target(Shape):
    """A provider and one of its models."""

    provider: DnsLabel = Field(description="Name of a Provider document")
    model: UpstreamModel = Field(description="The model's name at that provider")
    weight: Annotated[int, Field(ge=1, le=MAX_WEIGHT), BeforeValidator(check_weight)] = Field(
        default=100, description="Share of the group's requests, relative to the other weights of the group"
    )

    @property
    def key(self) -> str:
        """`provider/model`, the target's name everywhere."""
        return f"{self.provider}/{self.model}"


class Group(Shape):
    """Weighted targets of which one attempt picks one."""

    targets: tuple[Target, ...] = Field(min_length=1, max_length=MAX_TARGETS, description="Targets that share this attempt by weight")


class Timeouts(Shape):
    """The four timers of a request."""

    connect_ms: Annotated[int, Duration("10ms", "1m")] = Field(
        default=2_000, alias="connect", description="To reach a provider, per attempt"
    )
    first_token_ms: Annotated[int, Duration("10ms", "30m")] = Field(
        default=30_000,
        alias="firstToken",
        description="From the sent request to the first byte of the answer, per attempt; then the next group is tried",
    )
    idle_ms: Annotated[int, Duration("10ms", "1h")] = Field(
        default=60_000,
        alias="idle",
        description="Longest time without anything of a begun answer; heartbeats and empty deltas do not count. For silence without "
        "heartbeats on the passthrough lane it is raised to attempts x (connect + firstToken + 250ms), as Envoy runs it on across attempts",
    )
    total_ms: Annotated[int, Duration("10ms", "24h")] = Field(default=600_000, alias="total", description="The whole request, all attempts")


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class Retry(Shape):
    """When a request moves on to the next group."""

    attempts: int = Field(
        default=0,
        ge=1,
        le=MAX_GROUPS,
        description="Attempts in all; default: the number of groups. The last group serves the ones beyond it",
        json_schema_extra=_without_default,  # 0 stands for "not written" until the route fills it in
    )
    on: Annotated[tuple[RetryReason, ...], AfterValidator(distinct)] = Field(
        default=RETRY_REASONS,
        max_length=len(get_args(RetryReason)),
        json_schema_extra={"uniqueItems": True},
        description="transient: connect failures, timers, 5xx, a model that is not there; rate_limited: 429 and spent quotas; unreadable: "
        "an answer that is none; credential: refused keys and spent quotas; not by default: context_too_long, content_policy. Errors are "
        "told apart by status, code and text (errors of the preset)",
    )
    if_failed_within_ms: Annotated[int, Duration("10ms", "30m")] | None = Field(
        default=None,
        alias="retryIfFailedWithin",
        description="No further attempt begins when the request is older than this, and the client gets a 504; default: only total counts",
    )


class Resume(Shape):
    """Going on, at another target, with a streamed text that has broken off."""

    max_attempts: int = Field(
        default=2, ge=2, le=4, alias="maxAttempts", description="Targets that may write one answer, the first among them"
    )


class ModelRouteSpec(Shape):
    """What clients name as `model`, and what serves it."""

    models: Annotated[tuple[ModelName, ...], AfterValidator(distinct)] = Field(
        min_length=1,
        max_length=MAX_MODELS,
        json_schema_extra={"uniqueItems": True},
        description="Names that clients send; exact, case-sensitive, each in one route only",
    )
    plan: tuple[Group, ...] = Field(
        min_length=1, max_length=MAX_GROUPS, description="Attempt 1 uses the first group, attempt 2 the second, and so on"
    )
    timeouts: Timeouts = Field(default_factory=Timeouts, description="The four timers of a request")
    retry: Retry = Field(default_factory=Retry, description="When a request moves on to the next group")
    on_exhausted: OnExhausted = Field(
        default="leastBad",
        alias="onExhausted",
        description="When breakers have taken every target out. leastBad: the plan is tried all the same, retries within the providers' "
        "retryBudget; reject: a 503 at once, with the time of the soonest recovery, and only probes reach a target",
    )
    dialects: Annotated[tuple[DialectName, ...], AfterValidator(distinct)] = Field(
        default=DIALECT_NAMES,
        min_length=1,
        max_length=len(DIALECT_NAMES),
        json_schema_extra={"uniqueItems": True},
        description="Dialects in which clients may use the route",
    )
    resume: Resume | None = Field(
        default=None,
        description="A streamed text that breaks off is gone on with by another target that can, unseen by the client; each is billed. "
        "Chats of openai-chat and anthropic-messages clients. Default: the client gets an error event",
    )
    first_event_hold: bool = Field(
        default=False, description="Hold an answer until its first event, so that an error inside a 200 fails over without translation too"
    )
    stickiness: Stickiness | None = Field(
        default=None,
        description="Keep the requests of one session at one target, so that prompt caches stay warm. Default: by weight alone",
    )
    unsupported_params: UnsupportedParams = Field(
        default="drop",
        description="Tuning fields that a translated target would not get: drop, and name them in x-headgate-dropped, or reject: "
        "the target is skipped, and when none is left the answer is a 400 that names them",
    )
    foreign_reasoning: ForeignReasoning = Field(
        default="strip",
        description="Reasoning in a replayed conversation that a translated target did not write. strip: left out, but for readable "
        "reasoning where the target takes it unsigned; text: readable reasoning becomes text; refuse: the target is skipped, else 400",
    )
    fallback: Fallback = Field(default_factory=Fallback, description="Targets that a request passes by, as they cannot serve it")
    max_cost_per_request: Annotated[Decimal, Money()] | None = Field(
        default=None,
        description="Dollars. Targets at which a request would cost more, by estimate and the catalogue's price, are left out of its plan; "
        "when none is left the answer is a 400 that says so. Targets without a known price stay",
    )
    max_request_bytes: Annotated[int, Quantity(1024, 256 * 1024**2)] = Field(
        default=32 * 1024**2, description="Largest request body of this route, else 413; bodies are kept in memory for retries"
    )

    @model_validator(mode="after")
    def _fill_in_attempts(self) -> Self:
        if self.retry.attempts == 0:
            written = self.retry.model_fields_set
            filled = Retry.model_construct(
                written, attempts=len(self.plan), on=self.retry.on, if_failed_within_ms=self.retry.if_failed_within_ms
            )
            object.__setattr__(self, "retry", filled)
        return self

    @property
    def idle_floor_ms(self) -> int:
        """What the idle timer must at least be: Envoy runs it on across attempts until response headers arrive."""
        return self.retry.attempts * (self.timeouts.connect_ms + self.timeouts.first_token_ms + BACKOFF_MS)

    @property
    def effective_idle_ms(self) -> int:
        """The idle timer to configure: as written, raised to `idle_floor_ms`."""
        return max(self.timeouts.idle_ms, self.idle_floor_ms)


class Document(Shape):
    """What all kinds share."""

    api_version: Literal["headgate.dev/v1alpha1"] = Field(default=API_VERSION, description="Version of this format")
    metadata: Metadata = Field(description="Name, labels, annotations")

    _origin: Origin | None = PrivateAttr(default=None)

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def origin(self) -> Origin | None:
        """Where it was written; None for a document that was built in Python."""
        return self._origin

    def written_at(self, origin: Origin) -> Self:
        """Note where it was written."""
        self._origin = origin
        return self

    def resolve_path(self, path: str) -> Path:
        """A path out of this document: absolute as it is, relative to the spec file otherwise."""
        return self._origin.path.parent / path if self._origin else Path(path)

    def finding(self, code: str, path: Sequence[str | int], message: str, fix: str = "", *, key: bool = False) -> Finding:
        """A finding about the value (or with `key` the key) at `path`, such as ("spec", "plan", 0)."""
        line, col = self._origin.find(path, key=key) if self._origin else (1, 1)
        file = self._origin.name if self._origin else ""
        return Finding(code, severity_of(code), ".".join(map(str, path)), message, fix, file, line, col)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # holds dicts; equality ignores the origin


class Provider(Document):
    """An account at a vendor, or a self-hosted server."""

    kind: Literal["Provider"] = Field(default="Provider", description="Provider")
    spec: ProviderSpec = Field(description="How to reach it")


class ModelRoute(Document):
    """A model name that clients may send, and the plan behind it."""

    kind: Literal["ModelRoute"] = Field(default="ModelRoute", description="ModelRoute")
    spec: ModelRouteSpec = Field(description="Names, plan and timers")


class PresetDocument(Document):
    """A kind of provider beside those that ship with Headgate: a vendor on a known dialect, as data."""

    kind: Literal["Preset"] = Field(default="Preset", description="Preset")
    spec: PresetSpec = Field(description="What the vendor is")


class ModelCatalog(Document):
    """What models of a vendor can do and cost, over what ships with Headgate."""

    kind: Literal["ModelCatalog"] = Field(default="ModelCatalog", description="ModelCatalog")
    spec: ModelCatalogSpec = Field(description="Whose models, since when, and the models")


AnyDocument = Provider | ModelRoute | PresetDocument | ModelCatalog
KINDS: Final[dict[str, type[Provider] | type[ModelRoute] | type[PresetDocument] | type[ModelCatalog]]] = {
    "Provider": Provider,
    "ModelRoute": ModelRoute,
    "Preset": PresetDocument,
    "ModelCatalog": ModelCatalog,
}


@dataclass(frozen=True, slots=True)
class SpecSet:
    """All documents that are in force together, each kind sorted by name."""

    providers: tuple[Provider, ...] = ()
    routes: tuple[ModelRoute, ...] = ()
    presets: tuple[PresetDocument, ...] = ()
    catalogs: tuple[ModelCatalog, ...] = ()

    @classmethod
    def of(cls, documents: Sequence[AnyDocument]) -> SpecSet:
        """Sorted by kind and name. Names are expected to be unique within a kind (`check.check_set` reports the others)."""
        providers = tuple(sorted((doc for doc in documents if isinstance(doc, Provider)), key=lambda doc: doc.name))
        routes = tuple(sorted((doc for doc in documents if isinstance(doc, ModelRoute)), key=lambda doc: doc.name))
        presets = tuple(sorted((doc for doc in documents if isinstance(doc, PresetDocument)), key=lambda doc: doc.name))
        catalogs = tuple(sorted((doc for doc in documents if isinstance(doc, ModelCatalog)), key=lambda doc: doc.name))
        return cls(providers, routes, presets, catalogs)

    def documents(self) -> tuple[AnyDocument, ...]:
        """Every document: presets, then the providers that use them, then catalogues and routes."""
        return (*self.presets, *self.providers, *self.catalogs, *self.routes)

    def as_dicts(self) -> list[dict[str, Any]]:
        """Every document as it would be written, with defaults, in the order of this set."""
        return [doc.model_dump(mode="json", by_alias=True, exclude_none=True) for doc in self.documents()]
