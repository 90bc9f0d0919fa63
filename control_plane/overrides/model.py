"""Overrides as values, and how they follow from the events of the record.

An override is never changed in place: it is what its events say. `drain` and `cordon` take what they name out of traffic, `weight` replaces
weights inside the groups of a route. A drain returns in steps when its time is over, the others at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final


class Kind(StrEnum):
    """What an override does."""

    DRAIN = "drain"
    """Out of traffic; back in steps."""
    CORDON = "cordon"
    """Out of traffic; back at once."""
    WEIGHT = "weight"
    """Other weights inside the groups of a route."""


class Scope(StrEnum):
    """What an override names."""

    PROVIDER = "provider"
    TARGET = "target"
    ROUTE = "route"


@dataclass(frozen=True, slots=True)
class Subject:
    """`provider/openai`, `target/openai/gpt-5` or `route/chat`."""

    scope: Scope
    name: str

    def __str__(self) -> str:
        return f"{self.scope}/{self.name}"

    @classmethod
    def parse(cls, text: str) -> Subject:
        """From its text; `openai/gpt-5` without a word in front is a target. Raises ValueError."""
        word, _, name = text.partition("/")
        if word and name and word not in set(Scope):
            return cls(Scope.TARGET, text)
        if not name or word not in set(Scope) or (word == Scope.TARGET and not all(name.partition("/")[::2])):
            raise ValueError(f"{text!r} is not provider/NAME, target/PROVIDER/MODEL or route/NAME")
        return cls(Scope(word), name)


@dataclass(frozen=True, slots=True)
class Wish:
    """What an operator asked for. `until` and times elsewhere: seconds since the epoch; `until` None: until it is taken back.

    `route` limits it to one route. `weights` by target, for the kind `weight` alone. `step_s`: how long each step of the return lasts,
    0 to return at once. `via`: how the asker was known ("token" or "local"), `key` makes a repeated request the same one.
    """

    kind: Kind
    subject: Subject
    reason: str
    author: str
    until: float | None
    route: str | None = None
    weights: tuple[tuple[str, int], ...] = ()
    step_s: float = 0.0
    forced: bool = False
    via: str = ""
    key: str = ""

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {
            "kind": str(self.kind),
            "subject": str(self.subject),
            "route": self.route,
            "weights": dict(self.weights),
            "reason": self.reason,
            "author": self.author,
            "until": self.until,
            "step_s": self.step_s,
            "forced": self.forced,
            "via": self.via,
            "key": self.key,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Wish:
        """What `to_dict` wrote."""
        given = {**data, "kind": Kind(data["kind"]), "subject": Subject.parse(data["subject"])}
        return cls(**{**given, "weights": tuple(data["weights"].items())})


class What(StrEnum):
    """Kinds of events."""

    CREATED = "created"
    PUBLISHED = "published"
    EFFECT = "effect"
    RETURNING = "returning"
    HELD = "held"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the record: at that time, `who` (an operator, or `headgate` by itself) did this to the override."""

    at: float
    override: str
    what: What
    who: str
    data: Mapping[str, Any]
    seq: int = 0

    def to_dict(self) -> dict[str, Any]:
        """JSON types."""
        return {"seq": self.seq, "at": self.at, "override": self.override, "what": str(self.what), "who": self.who, **self.data}


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: `why` is expired, undone, uncordoned or replaced."""

    at: float
    why: str
    who: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Override:
    """A wish with its state. `percent` of its share is back since `since`; `held` says why the next step of the return waits."""

    id: str
    wish: Wish
    at: float
    percent: int
    since: float
    held: str = ""
    ended: Ended | None = None
    measured: bool = False

    @property
    def open(self) -> bool:
        """Whether it is in force."""
        return self.ended is None


Book = Mapping[str, Override]
"""All overrides by id, in the order in which they were made."""

EMPTY_BOOK: Final[Book] = {}


def folded(events: Iterable[Event], book: Book = EMPTY_BOOK) -> dict[str, Override]:
    """`book` after `events`. An event of an override that is not known is left out: another version wrote it."""
    after = dict(book)
    for event in events:
        if event.what is What.CREATED:
            after[event.override] = Override(event.override, Wish.from_dict(event.data["wish"]), event.at, 0, event.at)
        elif (known := after.get(event.override)) is not None:
            after[event.override] = _after(known, event)
    return after


def _after(override: Override, event: Event) -> Override:
    if event.what is What.RETURNING:
        return replace(override, percent=int(event.data["percent"]), since=event.at, held="")
    if event.what is What.HELD:
        return replace(override, held=str(event.data["reason"]))
    if event.what is What.EFFECT:
        return replace(override, measured=True)
    if event.what is What.ENDED and override.open:
        return replace(override, ended=Ended(event.at, str(event.data["why"]), event.who, str(event.data.get("reason", ""))), held="")
    return override
