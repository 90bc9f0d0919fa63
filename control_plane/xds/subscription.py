"""What one ADS stream has asked for, holds and is owed: the rules that both protocol variants share. No I/O, no clock.

    on_request(message)  a subscription change, an ACK or a NACK; returns what the node said about an earlier push
    offer(snapshot)      the newest configuration; only the newest counts, so pending changes merge by themselves
    next_push(now)       the next response to write, or None: nothing owed, or one of that type is still unanswered

Rules, and why:
* Types go out in ORDER. Within a type one response is unanswered at a time (Envoy withholds the ACK of clusters until they
  are warm, so after `ack_patience_s` the next may follow).
* A resource that names a new cluster waits until the node has ACKed that cluster: Envoy answers 503 for a route to a
  cluster that is absent or still warming. Its changed clusters serve on with the old definition, so nothing waits for them.
* A cluster that goes out again takes its endpoints with it, and a listener its routes: Envoy may wait for them although
  it has them (envoyproxy/envoy#33607).
* A resource that the node still uses is never taken away, whatever the snapshot says.
* A NACKed version is never sent again on the stream. Envoy and gRPC keep their old version of it and apply the rest of the
  response (clusters, listeners, scopes); of the other types nothing is certain, so the innocent ones go out once more.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from control_plane.kit.errors import ProtocolError
from control_plane.xds import wire
from control_plane.xds.resource import CDS, ECDS, EDS, LDS, RDS, SDS, SRDS, Ref, Resource
from control_plane.xds.snapshot import Snapshot

ORDER: Final = (CDS, EDS, SDS, LDS, ECDS, SRDS, RDS)
FULL_STATE: Final = frozenset({CDS, LDS, SRDS})
"""Types of which a node may want everything, and of which a state-of-the-world response lists all (what is missing goes)."""
ROOTS: Final = frozenset({LDS, SRDS})
"""Types that nothing refers to: they may go at once."""
_RESENT_WITH: Final = {CDS: EDS, LDS: RDS}
_MAX_TYPES = 32  # type URLs per stream; Envoy knows about ten
_MAX_NAMES = 200_000  # names one stream may subscribe to, per type: bounds the memory that one peer can take
_MAX_UNANSWERED = 16  # responses per type without an answer, after which the stream waits however long it takes


class PeerError(ProtocolError):
    """The node's request makes no sense; its stream is ended."""


@dataclass(frozen=True, slots=True)
class Push:
    """One response: `payload` is the whole encoded message."""

    type_url: str
    nonce: str
    version: str
    payload: bytes = field(repr=False)
    names: tuple[str, ...]
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Ack:
    """The node runs what response `nonce` carried."""

    type_url: str
    nonce: str
    version: str


@dataclass(frozen=True, slots=True)
class Nack:
    """The node refused `rejected` ((name, version) pairs) of a response; `text` is its own error.

    `certain` is false when the text names none of them: then every new resource of the response is suspect.
    """

    type_url: str
    nonce: str
    version: str
    text: str
    rejected: tuple[tuple[str, str], ...]
    certain: bool


@dataclass(frozen=True, slots=True)
class InFlight:
    """A response without an answer yet."""

    at: float
    version: str
    sent: Mapping[str, Resource]
    removed: tuple[str, ...]


@dataclass(slots=True)
class TypeState:
    """One type on one stream."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    sent: dict[str, str] = field(default_factory=dict)
    """name → the version that the node has once it has read everything that was sent."""
    held: dict[str, Resource | None] = field(default_factory=dict)
    """name → what the node runs for certain; None: it has the resource, in a version that is not known here."""
    rejected: dict[str, str] = field(default_factory=dict)
    again: set[str] = field(default_factory=set)
    in_flight: dict[str, InFlight] = field(default_factory=dict)
    last_nonce: str = ""
    answered: bool = False
    resumed: bool = False
    clean: str | None = None
    """Version of the type for which nothing is owed; None when that is not known."""
    muted: str | None = None
    """State of the world only: version of the type that was NACKed; a different one lifts it."""

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def forget(self, name: str) -> None:
        """The node no longer has or wants `name`."""
        self.sent.pop(name, None)
        self.held.pop(name, None)
        self.rejected.pop(name, None)
        self.again.discard(name)


class AdsStream(ABC):
    """The shared part of both variants; see the module's docstring for the rules."""

    def __init__(self, *, ack_patience_s: float = 1.0, removal_delay_s: float = 5.0) -> None:
        self.types: dict[str, TypeState] = {}
        self.snapshot: Snapshot | None = None
        self.began: float | None = None
        self._ack_patience_s = ack_patience_s
        self._removal_delay_s = removal_delay_s
        self._nonces = 0
        self._followers: dict[str, set[str]] = {}
        """Child type → names that must go (again) because their parents went out, also if the node asks for them later."""

    # ------------------------------------------------------------------ what the server does
    def offer(self, snapshot: Snapshot) -> None:
        """Make `snapshot` what the node should have."""
        self.snapshot = snapshot

    def absolve(self, type_url: str, name: str) -> None:
        """`name` was suspected in a NACK and found innocent: it may be sent again."""
        state = self.types.get(type_url)
        if state is not None and state.rejected.pop(name, None) is not None:
            state.again.add(name)
            state.clean = state.muted = None

    def next_push(self, now: float) -> Push | None:
        """The next response to write, already counted as sent; call again until it returns None."""
        if self.snapshot is None:
            return None
        for type_url, state in self._ordered():
            if state.clean != self._target(type_url) and not self._busy(state, now) and (push := self._build(type_url, state, now)):
                return push
        return None

    def retry_in_s(self, now: float) -> float | None:
        """Seconds after which next_push may return something although nothing happened; None: not without an event."""
        waits = []
        for type_url, state in self.types.items():
            if state.clean == self._target(type_url):
                continue
            if state.in_flight and len(state.in_flight) < _MAX_UNANSWERED:
                waits.append(self._youngest(state) + self._ack_patience_s - now)
            elif state.resumed and self.began is not None:
                waits.append(self.began + self._removal_delay_s - now)
        positive = [wait for wait in waits if wait > 0]
        return min(positive) if positive else None

    def settled(self) -> bool:
        """Whether the node has answered for everything in the snapshot that it asked for."""
        return self.snapshot is not None and all(
            state.clean == self._target(type_url) and not state.in_flight for type_url, state in self.types.items()
        )

    def state_of(self, type_url: str) -> str:
        """SYNCED, STALE (something owed or unanswered) or NACK (the node refuses what the snapshot holds)."""
        state = self.types[type_url]
        current = self.snapshot.of_type(type_url) if self.snapshot is not None else {}
        if any(name in current and current[name].version == version for name, version in state.rejected.items()):
            return "NACK"
        return "SYNCED" if state.clean == self._target(type_url) and not state.in_flight else "STALE"

    def holdings(self) -> Iterator[tuple[Ref, Resource | None]]:
        """Everything that the node runs or may soon run; None where the content is not known."""
        for type_url, state in self.types.items():
            for name, resource in state.held.items():
                yield (type_url, name), resource
            for flight in state.in_flight.values():
                for name, resource in flight.sent.items():
                    yield (type_url, name), resource

    # ------------------------------------------------------------------ what the variants add
    @abstractmethod
    def _build(self, type_url: str, state: TypeState, now: float) -> Push | None:
        """The next response of that type, or None."""

    # ------------------------------------------------------------------ shared rules
    def _begin(self, type_url: str, now: float) -> tuple[TypeState, bool]:
        if self.began is None:
            self.began = now
        if state := self.types.get(type_url):
            return state, False
        if not type_url:
            raise PeerError("a request without a type URL")
        if len(self.types) >= _MAX_TYPES:
            raise PeerError(f"more than {_MAX_TYPES} resource types on one stream")
        state = self.types[type_url] = TypeState()
        return state, True

    def _bound(self, state: TypeState) -> None:
        if len(state.names) > _MAX_NAMES:
            raise PeerError(f"more than {_MAX_NAMES} resource names on one stream")

    def _ordered(self) -> Iterator[tuple[str, TypeState]]:
        for type_url in ORDER:
            if state := self.types.get(type_url):
                yield type_url, state
        for type_url, state in self.types.items():
            if type_url not in ORDER:
                yield type_url, state

    def _target(self, type_url: str) -> str:
        return self.snapshot.type_versions.get(type_url, "") if self.snapshot is not None else ""

    def _youngest(self, state: TypeState) -> float:
        return max(flight.at for flight in state.in_flight.values())

    def _busy(self, state: TypeState, now: float) -> bool:
        if not state.in_flight:
            return False
        return len(state.in_flight) >= _MAX_UNANSWERED or now - self._youngest(state) < self._ack_patience_s

    def _wanted(self, type_url: str, state: TypeState) -> Iterable[Resource]:
        current = self.snapshot.of_type(type_url) if self.snapshot is not None else {}
        return current.values() if state.wildcard else [current[name] for name in sorted(state.names) if name in current]

    def _blocked(self, resource: Resource) -> bool:
        """Whether `resource` names a cluster that the node does not have yet."""
        clusters = self.types.get(CDS)
        if clusters is None or not clusters.wildcard or resource.type_url in (CDS, EDS, SDS):
            return False
        return not all(self._usable(clusters, name, set()) for kind, name in resource.refs if kind == CDS)

    def _usable(self, clusters: TypeState, name: str, seen: set[str]) -> bool:
        if name in seen or (name not in clusters.held and self.snapshot is not None and (CDS, name) not in self.snapshot):
            return True  # a loop, or a cluster of the node's own bootstrap
        seen.add(name)
        if name not in clusters.held:
            return False
        resource = clusters.held[name]
        return resource is None or all(self._usable(clusters, ref, seen) for kind, ref in resource.refs if kind == CDS)

    def _owed(self, type_url: str, state: TypeState) -> tuple[list[Resource], bool]:
        """What must go out now, and whether something has to wait for its clusters."""
        owed, waiting = [], False
        for resource in self._wanted(type_url, state):
            name = resource.name
            if state.rejected.get(name) == resource.version or (state.sent.get(name) == resource.version and name not in state.again):
                continue
            if self._blocked(resource):
                waiting = True
            else:
                owed.append(resource)
        return owed, waiting

    def _in_use(self) -> set[Ref] | None:
        """What the node's resources name that are here to stay, directly or through one another; None: it cannot be known."""
        return in_use(self.holdings(), self.snapshot) if self.snapshot is not None else None

    def _record(self, state: TypeState, push: Push, sent: Mapping[str, Resource], now: float) -> Push:
        """Count `push` as sent."""
        state.in_flight[push.nonce] = InFlight(now, push.version, sent, push.removed)
        state.last_nonce = push.nonce
        state.answered = True
        state.clean = None
        for name, resource in sent.items():
            state.sent[name] = resource.version
            state.again.discard(name)
        for name in push.removed:
            state.sent.pop(name, None)
        if child := _RESENT_WITH.get(push.type_url):
            moved = [r for r in sent.values() if (old := state.held.get(r.name)) is None or old.version != r.version]
            self._followers.setdefault(child, set()).update(name for r in moved for kind, name in r.refs if kind == child)
            if child in self.types:
                self._follow(child)
        return push

    def _follow(self, type_url: str) -> None:
        """Send again what the node has of `type_url` and whose parents went out."""
        state = self.types[type_url]
        if again := self._followers.pop(type_url, set()) & state.sent.keys():
            state.again |= again
            state.clean = None

    def _nonce(self) -> str:
        self._nonces += 1
        return str(self._nonces)

    def _answer(self, type_url: str, state: TypeState, nonce: str, error: str | None) -> Ack | Nack | None:
        """Apply an ACK (`error` None) or NACK of response `nonce`; None when no such response is open."""
        flight = state.in_flight.pop(nonce, None)
        if flight is None:
            return None
        state.clean = None
        for name in flight.removed:  # also when refused: Envoy removes what a NACKed response removes
            if name not in state.sent:
                state.held.pop(name, None)
        if error is None:
            for name, resource in flight.sent.items():
                state.rejected.pop(name, None)
                if state.wants(name):
                    state.held[name] = resource
            return Ack(type_url, nonce, flight.version)
        fresh = {name: r for name, r in flight.sent.items() if (old := state.held.get(name)) is None or old.version != r.version}
        named = {name for name in fresh if names_resource(type_url, error, name)}
        culprits = named or set(fresh)
        for name, resource in flight.sent.items():
            if name in culprits:
                state.rejected[name] = resource.version
                if state.sent.get(name) == resource.version:
                    del state.sent[name]
            elif type_url in FULL_STATE:
                state.held[name] = resource
            elif name in fresh:
                state.again.add(name)
        state.muted = self._target(type_url)
        rejected = tuple((name, fresh[name].version) for name in sorted(culprits))
        return Nack(type_url, nonce, flight.version, error, rejected, bool(named) or len(fresh) == 1)


def in_use(holdings: Iterable[tuple[Ref, Resource | None]], snapshot: Snapshot) -> set[Ref] | None:
    """What the held resources that `snapshot` keeps name, directly or through one another; None: it cannot be known.

    A key may be held in two versions at once (the old one and the one under way).
    """
    held: dict[Ref, list[Resource | None]] = {}
    for key, resource in holdings:
        held.setdefault(key, []).append(resource)
    todo = [key for key in held if key in snapshot]
    used: set[Ref] = set()
    while todo:
        for resource in held.get(todo.pop(), ()):
            if resource is None:
                return None
            fresh = resource.refs - used
            used |= fresh
            todo.extend(fresh)
    return used


def encode_head(fields: Iterable[tuple[int, str]]) -> bytes:
    """The string fields that come before the resources of a response."""
    return b"".join(wire.field(number, value) for number, value in fields)


def names_resource(type_url: str, text: str, name: str) -> bool:
    """Whether a NACK's text accuses `name`.

    Clusters and listeners are listed as `Error adding/updating cluster(s) a: why, b: why`; other texts are searched for
    the name standing by itself.
    """
    if type_url in (CDS, LDS) and "Error adding/updating" in text:
        return re.search(rf"(?:\(s\) |, |\n){re.escape(name)}: ", text) is not None
    return re.search(rf"(?<![\w./:@-]){re.escape(name)}(?![\w/@-])", text) is not None
