"""Who is connected, what each node runs, what it refused, and how long changes take to arrive everywhere."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

from control_plane.kit.clock import Clock
from control_plane.pb.core_pb2 import Node
from control_plane.xds.resource import SDS, Resource, label, short
from control_plane.xds.snapshot import Snapshot
from control_plane.xds.subscription import Ack, AdsStream, Nack, Push

BUCKETS_S: Final = (0.1, 0.5, 1.0, 3.0, 5.0, 10.0, 20.0, 30.0)
"""Upper bounds of the convergence histogram, in seconds (the same as Istio's)."""
_OPEN_PUBLICATIONS = 64  # publications that may wait for the slowest node; older ones are no longer measured


@dataclass(slots=True)
class TypeRow:
    """One resource type on one node. Times are seconds since the epoch."""

    sent_version: str = ""
    acked_version: str = ""
    acked_at: float | None = None
    stale_since: float | None = None
    nack_text: str = ""
    nack_at: float | None = None
    pushes: int = 0


@dataclass(slots=True)
class NodeRow:
    """One stream of one node."""

    stream_id: int
    mode: str
    node_id: str
    cluster: str
    version: str
    connected_at: float
    since: float
    """`connected_at` on the monotonic clock: how long something took must not depend on a clock that is set."""
    stream: AdsStream
    types: dict[str, TypeRow] = field(default_factory=dict)
    converged_number: int = 0

    def to_dict(self) -> dict[str, Any]:
        """The row of `headgate get proxies`: JSON types only."""
        return {
            "node": self.node_id,
            "cluster": self.cluster,
            "version": self.version,
            "mode": self.mode,
            "connected_at": self.connected_at,
            "snapshot": self.converged_number,
            "types": {short(type_url): self._type(type_url, row) for type_url, row in self.types.items()},
        }

    def _type(self, type_url: str, row: TypeRow) -> dict[str, Any]:
        state = self.stream.state_of(type_url)
        return {
            "state": state,
            "since": row.stale_since,
            "sent": row.sent_version,
            "acked": row.acked_version,
            "error": row.nack_text if state == "NACK" else None,
            "last_error": row.nack_text or None,
            "last_error_at": row.nack_at,
        }


@dataclass(slots=True)
class Histogram:
    """Cumulative counts per bucket of BUCKETS_S and +Inf, as Prometheus has them."""

    counts: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS_S) + 1))
    sum_s: float = 0.0

    def observe(self, seconds: float) -> None:
        """Count one value."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.sum_s += seconds

    def cumulative(self) -> tuple[int, ...]:
        """Counts of values up to each bound; the last one is the number of all values."""
        return tuple(accumulate(self.counts))


class NodeRegistry:
    """All connected streams. `on_change` is called after every answer and disconnect."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[int, NodeRow] = {}
        self._next_id = 0
        self._published: dict[int, float] = {}
        self._listeners: list[Callable[[], None]] = []
        self.convergence = Histogram()
        self.push_reasons: Counter[str] = Counter()
        self.nacks: Counter[str] = Counter()
        self.pending_nacks: list[tuple[NodeRow, Nack]] = []
        """NACKs that the publisher has not looked at yet."""

    # ------------------------------------------------------------------ written by the ADS server and the publisher
    def connect(self, stream: AdsStream, mode: str, node: Node) -> NodeRow:
        """A stream whose first request came from `node`; mode is "delta" or "sotw"."""
        self._next_id += 1
        row = NodeRow(self._next_id, mode, node.id, node.cluster, _version(node), self._clock.now(), self._clock.monotonic(), stream)
        self._rows[row.stream_id] = row
        self._changed()
        return row

    def disconnect(self, row: NodeRow) -> None:
        """The stream is over."""
        self._rows.pop(row.stream_id, None)
        self._changed()

    def sent(self, row: NodeRow, push: Push) -> None:
        """`push` was handed to the transport."""
        entry = row.types.setdefault(push.type_url, TypeRow())
        entry.sent_version = push.version
        entry.pushes += 1
        if entry.stale_since is None:
            entry.stale_since = self._clock.now()

    def answered(self, row: NodeRow, answer: Ack | Nack) -> None:
        """The node answered a push."""
        entry, now = row.types.setdefault(answer.type_url, TypeRow()), self._clock.now()
        if isinstance(answer, Nack):
            entry.nack_text, entry.nack_at = answer.text, now
            self.nacks[short(answer.type_url)] += 1
            self.pending_nacks.append((row, answer))
        else:
            entry.acked_version, entry.acked_at = answer.version, now

    def looked(self, row: NodeRow) -> None:
        """The stream's state may have changed: note what became synced or stale, and how long it took."""
        now = self._clock.now()
        for type_url in row.stream.types:
            entry = row.types.setdefault(type_url, TypeRow())
            state = row.stream.state_of(type_url)
            if state == "SYNCED":
                entry.stale_since = None
            elif entry.stale_since is None:
                entry.stale_since = now
        snapshot = row.stream.snapshot
        if snapshot is not None and snapshot.number > row.converged_number and row.stream.settled():
            for number, at in self._published.items():
                if row.converged_number < number <= snapshot.number and row.since <= at:
                    self.convergence.observe(self._clock.monotonic() - at)
            row.converged_number = snapshot.number
            self._forget_published()
        self._changed()

    def published(self, snapshot: Snapshot, reasons: Iterable[str]) -> None:
        """`snapshot` is served from now on."""
        self.push_reasons.update(tuple(reasons))  # a mapping would be taken for counts
        self._published[snapshot.number] = self._clock.monotonic()
        while len(self._published) > _OPEN_PUBLICATIONS:
            del self._published[min(self._published)]

    # ------------------------------------------------------------------ read by the publisher and the admin API
    def __iter__(self) -> Iterator[NodeRow]:
        return iter(tuple(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def acked(self, number: int) -> tuple[int, int]:
        """How many connected nodes run snapshot `number` or a later one, of how many."""
        rows = tuple(self)
        return sum(row.converged_number >= number for row in rows), len(rows)

    def on_change(self, listener: Callable[[], None]) -> None:
        """Call `listener` whenever a node connects, answers or leaves."""
        self._listeners.append(listener)

    def to_dict(self) -> list[dict[str, Any]]:
        """All rows, by node id."""
        return [row.to_dict() for row in sorted(self, key=lambda row: (row.node_id, row.stream_id))]

    def dump(self, render: Callable[[Resource], Any] | None = None) -> list[dict[str, Any]]:
        """Per node every resource with its client status, like Envoy's CSDS; `render` turns a body into JSON types.

        A secret is never rendered, and its version is left out as well.
        """
        return [{"node": row.node_id, "mode": row.mode, "resources": list(_resources(row.stream, render))} for row in self]

    def _changed(self) -> None:
        for listener in self._listeners:
            listener()

    def _forget_published(self) -> None:
        slowest = min((row.converged_number for row in self), default=0)
        for number in [n for n in self._published if n <= slowest]:
            del self._published[number]


def _resources(stream: AdsStream, render: Callable[[Resource], Any] | None) -> Iterator[dict[str, Any]]:
    for type_url, state in stream.types.items():
        current = stream.snapshot.of_type(type_url) if stream.snapshot is not None else {}
        for name in sorted(n for n in {*current, *state.sent, *state.rejected} if state.wants(n)):
            wanted = current.get(name)
            entry: dict[str, Any] = {"type": short(type_url), "name": name, "status": _status(stream, type_url, name)}
            if type_url == SDS or (wanted is not None and wanted.secret):
                entry["body"] = "[redacted]"
            else:
                held = state.held.get(name)
                entry["wanted"] = wanted.version if wanted else None
                entry["acked"] = held.version if held else None
                if render is not None and wanted is not None:
                    entry["body"] = render(wanted)
            yield entry


def _status(stream: AdsStream, type_url: str, name: str) -> str:
    state = stream.types[type_url]
    wanted = stream.snapshot.get((type_url, name)) if stream.snapshot is not None else None
    held = state.held.get(name)
    if wanted is None:
        return "DOES_NOT_EXIST"
    if state.rejected.get(name) == wanted.version:
        return "NACKED"
    if held is not None and held.version == wanted.version:
        return "ACKED"
    return "REQUESTED"


def _version(node: Node) -> str:
    """`envoy 1.40.0`, `gRPC C-core 1.85.1`, or what there is of it."""
    if node.HasField("user_agent_build_version"):
        number = node.user_agent_build_version.version
        return f"{node.user_agent_name} {number.major_number}.{number.minor_number}.{number.patch}".strip()
    return f"{node.user_agent_name} {node.user_agent_version}".strip()


def describe(nack: Nack, rows: Sequence[NodeRow]) -> str:
    """One line about a refusal: which resources, by whom, in Envoy's words."""
    names = ", ".join(label((nack.type_url, name)) for name, _ in nack.rejected[:3])
    nodes = ", ".join(sorted({row.node_id or "?" for row in rows})[:3])
    return f"{names} refused by {nodes}: {nack.text}"
