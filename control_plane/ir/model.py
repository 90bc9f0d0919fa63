"""The nodes of the intermediate representation: frozen and hashable, so that a translation can be kept per node."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from enum import Enum
from fnmatch import fnmatchcase
from typing import Final

from control_plane.dialects.policies import ForeignReasoning, UnsupportedParams
from control_plane.dialects.told import Speaks
from control_plane.ir.egress import DIRECT, Egress
from control_plane.ir.steering import WHOLE

DEFAULT_CONNECT_MS: Final = 2_000
"""The connect timer most routes use; a provider gets a connection pool of its own only for other values."""

ANY_MODEL: Final = "*"
"""The model of a target that is used for what names none."""


SPARSE: Final = {"sparse": True}
"""Of fields that are shown only where they say something."""


class Lane(Enum):
    """How a request reaches a target: by Envoy alone, or through the translator."""

    PASSTHROUGH = "passthrough"
    TRANSLATION = "translation"

    __hash__ = object.__hash__  # there is one object of each; Enum's own is Python, and a build asks a hundred thousand times


@dataclass(frozen=True, slots=True)
class Auth:
    """How a provider wants its key: `header: <prefix><key>`. `secret` names the key; its value is never in the IR.

    `signed_in` says that it is a token, which comes and goes, and no fixed key. `spare` names the next key of the pool, if it
    has more than one.
    """

    header: str
    prefix: str
    secret: str
    signed_in: bool = False
    spare: str | None = None


@dataclass(frozen=True, slots=True)
class Signing:
    """A provider whose requests are signed with AWS's signature version 4. `secret` names the keys; their values are never in the IR.

    `host` is the authority that is signed, as the provider's connections send it.
    """

    service: str
    region: str
    host: str
    secret: str


@dataclass(frozen=True, slots=True)
class Provider:
    """An account at a vendor, or a pool of our own, as the connection to it is made.

    `options` is a JSON object of quirks for the translator, `errors` a JSON list of rules for its errors ("" for none),
    `rate_limits` a JSON object with names of headers. `lacks`: patterns of model names, each with what these models lack of their dialect.
    `authorities` names the certificates to trust, None for the system's.
    """

    name: str
    host: str
    port: int
    tls: bool
    auth: Auth | None
    headers: tuple[tuple[str, str], ...]
    speaks: tuple[Speaks, ...]
    options: str
    authorities: str | None
    server_name: str | None
    signing: Signing | None = None
    errors: str = ""
    lacks: tuple[tuple[str, tuple[str, ...]], ...] = ()
    rate_limits: str = ""
    egress: Egress = DIRECT

    def lacks_of(self, model: str) -> tuple[str, ...]:
        """Everything that a model lacks, sorted."""
        return tuple(sorted({name for pattern, names in self.lacks if fnmatchcase(model, pattern) for name in names}))

    @property
    def authority(self) -> str:
        """Value of the host header: the port only where it is not the scheme's own."""
        return self.host if self.port == (443 if self.tls else 80) else f"{self.host}:{self.port}"

    @property
    def certificates(self) -> tuple[str, ...]:
        """Names of the secrets that hold certificates: the gateway's own, the authorities to trust, and the proxy's authorities."""
        named = (self.egress.client_certificate, self.authorities, self.egress.proxy.authorities if self.egress.proxy else None)
        return tuple(name for name in named if name is not None)

    def path(self, dialect: str, operation: str) -> str | None:
        """The upstream path of that operation in that dialect, or None when the provider does not offer it."""
        return next((s.path for s in self.speaks if s.dialect == dialect and s.operation == operation), None)


@dataclass(frozen=True, slots=True)
class TargetUse:
    """A target as attempts use it, whatever the client's dialect and operation are: one Envoy cluster.

    `hold` is the first-event hold. Of passthrough uses: `rename` asks for the model name to be set at the target, because the plan's
    targets disagree on it. `restore` asks for path and length of the client's request to be set again, because the target's path is
    another one or an earlier attempt may have changed them. `spare` takes the next key of the provider's pool instead of the one in use.
    `within`: further attempts are refused once the request is older than its route allows. `resume`: it goes on with what another began.
    """

    provider: str
    model: str
    lane: Lane
    connect_ms: int
    hold: bool = False
    rename: bool = False
    restore: bool = False
    spare: bool = False
    within: bool = False
    resume: bool = field(default=False, metadata=SPARSE)

    @property
    def target(self) -> str:
        """The target's name, as operators and metrics know it."""
        return f"{self.provider}/{self.model}"


@dataclass(frozen=True, slots=True)
class Choice:
    """A target inside a group, with its share of the group's requests. `serves`: what of the provider's operations answers the call.

    `admitted` of `steering.WHOLE` parts of that share reach it, the rest is refused: it has failed, and so have all others.
    """

    use: TargetUse
    weight: int
    serves: Speaks
    admitted: int = WHOLE


@dataclass(frozen=True, slots=True)
class When:
    """Which requests a variant is for, as the edge weighs them: `long` and `cost` are what their measures must at least be (0: any),
    `needs` what they must need, all of it and no more of what is asked for (() for any)."""

    long: int = 0
    cost: int = 0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Weighing:
    """What the edge has to find out about requests before it chooses a variant.

    `long`: bodies of more bytes are measured against context windows (None: none is). `output_weight`: what a token of output
    costs, in tokens of input (0: costs are not looked at). `needs`: abilities to look for.
    """

    long: int | None = None
    output_weight: int = 0
    needs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """The plan of some of an entry's requests, and how often it is tried. No groups: they are refused, as every target costs too much."""

    when: When
    groups: tuple[tuple[Choice, ...], ...]
    attempts: int
    too_long_moves_on: bool = True


@dataclass(frozen=True, slots=True)
class Entry:
    """What a route does with one operation in one client dialect: the plan, a group per attempt; none when every target is out.

    `rename` is the model name to write into the body at the edge, when all passthrough targets of the plan share it.
    `thinking_of`: dialects whose thinking translated answers may hold, because the plan also leads to a vendor that refuses that of
    others in a replay; () for all.
    `too_long_moves_on`: whether a vendor's word that a request is too long may lead on, as far as the route asks for it: not where every
    later window is known to be no larger.
    `variants` are for requests that not every target can take or may cost: the first that fits; `groups` are for the others.
    `continuations`: the plan that goes on with an answer when the target of that name has broken it off.
    """

    dialect: str
    operation: str
    groups: tuple[tuple[Choice, ...], ...]
    rename: str | None
    thinking_of: tuple[str, ...] = ()
    too_long_moves_on: bool = True
    variants: tuple[Variant, ...] = ()
    weighing: Weighing | None = None
    continuations: tuple[tuple[str, tuple[tuple[Choice, ...], ...]], ...] = field(default=(), metadata=SPARSE)

    def plans(self) -> tuple[tuple[tuple[Choice, ...], ...], ...]:
        """The plan, those of its variants, and those that go on with answers."""
        return (self.groups, *(variant.groups for variant in self.variants), *(groups for _, groups in self.continuations))


@dataclass(frozen=True, slots=True)
class Timers:
    """Milliseconds. `idle_ms` is Envoy's: already long enough to span all attempts, and to let `silence_ms` go first, the longest time
    without anything of a begun answer, which the translator and the edge filter watch.
    """

    first_token_ms: int
    idle_ms: int
    silence_ms: int
    total_ms: int


@dataclass(frozen=True, slots=True)
class Route:
    """What clients name as `model`, and what happens then.

    `max_cost`: dollars that a request may cost by estimate.
    `standby`: uses that the plan has when nothing steers it. They stay ready, so that the way back is a change of the plan alone.
    `sessions_by`: what tells the sessions apart whose requests stay at one target ("header NAME", "conversation", "consumer"); () for none.
    `back_at`: only while breakers have every target taken out: when the first of them is expected back, in seconds since the epoch.
    `resume_attempts`: targets that may write one answer, one after the other.
    """

    name: str
    models: tuple[str, ...]
    entries: tuple[Entry, ...]
    timers: Timers
    attempts: int
    retry_on: tuple[str, ...]
    max_request_bytes: int
    retry_within_ms: int | None = None
    unsupported_params: UnsupportedParams = "drop"
    foreign_reasoning: ForeignReasoning = "strip"
    max_cost: Decimal | None = None
    standby: tuple[TargetUse, ...] = ()
    sessions_by: tuple[str, ...] = ()
    back_at: int | None = None
    resume_attempts: int = field(default=1, metadata=SPARSE)

    def uses(self) -> set[TargetUse]:
        """Every use of a target by its plans, those in standby among them."""
        plans = (plan for entry in self.entries for plan in entry.plans())
        return {*self.standby, *(choice.use for plan in plans for group in plan for choice in group)}

    @property
    def resumes(self) -> bool:
        """Whether some answer of the route can be gone on with."""
        return any(entry.continuations for entry in self.entries)


@dataclass(frozen=True, slots=True)
class Gateway:
    """The whole: providers and routes, each sorted by name."""

    providers: tuple[Provider, ...]
    routes: tuple[Route, ...]

    def uses(self) -> tuple[TargetUse, ...]:
        """Every distinct use of a target by any route, sorted."""
        return ordered({use for route in self.routes for use in route.uses()})

    def models(self) -> tuple[str, ...]:
        """Every model name a client may send, sorted."""
        return tuple(sorted(model for route in self.routes for model in route.models))

    def models_of(self, *dialects: str) -> tuple[str, ...]:
        """Every model name with which a client of one of these dialects can call something, sorted."""
        return tuple(sorted(m for route in self.routes for m in route.models if any(e.dialect in dialects for e in route.entries)))


def ordered(uses: Iterable[TargetUse]) -> tuple[TargetUse, ...]:
    """Sorted by everything that tells uses apart."""
    return tuple(
        sorted(
            uses, key=lambda u: (u.provider, u.model, u.lane.value, u.connect_ms, u.hold, u.rename, u.restore, u.spare, u.within, u.resume)
        )
    )
