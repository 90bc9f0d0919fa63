"""What a request for an override must say, and what is wrong with one that does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Literal

import msgspec

from control_plane.kit.errors import GatewayError
from control_plane.overrides.model import Book, Kind, Override, Scope, Subject, Wish
from control_plane.overrides.steers import Plans, places
from control_plane.spec.nearest import did_you_mean

DEFAULT_S: Final = 3600.0
"""One hour: what is forgotten ends by itself."""

LONGEST_S: Final = 30 * 86400.0
"""What is to last longer belongs into the specs, or is asked for as `never`."""

STEP_S: Final = 60.0
"""Of each step of a return: long enough for the breaker to see a failing target, at 5 % of its share."""

LONGEST_STEP_S: Final = 3600.0
MAX_WEIGHT: Final = 1_000_000
MAX_TEXT: Final = 500
"""Characters of a reason, a name or a key."""


@dataclass(eq=False)
class Refusal(GatewayError):
    """The asker's fault, or a rule that protects traffic. `code` is a stable word, `detail` goes into the answer."""

    code: Literal["invalid", "unknown_name", "conflict", "unsafe", "unknown_override", "not_ready", "not_recorded"]
    message: str
    fix: str
    detail: dict[str, Any] | None = None

    def __str__(self) -> str:
        return f"{self.message}; {self.fix}"


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of POST /api/v1/overrides. One of `for_s`, `until` (seconds since the epoch) and `never`; an hour without."""

    kind: Kind
    subject: str
    reason: str
    author: str
    route: str | None = None
    weights: dict[str, int] = {}
    for_s: float | None = None
    until: float | None = None
    never: bool = False
    step_s: float = STEP_S
    force: bool = False
    replace: bool = False
    dry_run: bool = False
    key: str = ""


class Back(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of a DELETE: who takes it back and why."""

    author: str
    reason: str = ""


def read(body: bytes, shape: type[Asked] | type[Back]) -> Any:
    """The body as that shape. Raises Refusal."""
    try:
        return msgspec.json.decode(body, type=shape)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Refusal(
            "invalid", f"the body is not what is expected: {error}", f"send JSON with {', '.join(shape.__struct_fields__)}"
        ) from None


def wish_of(asked: Asked, now: float, plans: Plans, via: str) -> Wish:
    """A wish that can be served. Raises Refusal."""
    for name, text in (("reason", asked.reason), ("author", asked.author)):
        require_text(name, text)
    if len(asked.key) > MAX_TEXT or len(asked.subject) > MAX_TEXT:
        raise Refusal("invalid", "a text is too long", f"at most {MAX_TEXT} characters")
    try:
        subject = Subject.parse(asked.subject)
    except ValueError as error:
        raise Refusal("invalid", str(error), "for example provider/openai or target/openai/gpt-5") from None
    _require_names(asked, subject, plans)
    if not 0 <= asked.step_s <= LONGEST_STEP_S:
        raise Refusal("invalid", f"step_s {asked.step_s:g} is no length of a step", f"0 (return at once) to {LONGEST_STEP_S:g} seconds")
    return Wish(
        kind=asked.kind,
        subject=subject,
        reason=asked.reason.strip(),
        author=asked.author.strip(),
        until=_until(asked, now),
        route=asked.route,
        weights=tuple(sorted(asked.weights.items())),
        step_s=asked.step_s if asked.kind is Kind.DRAIN else 0.0,
        forced=asked.force,
        via=via,
        key=asked.key,
    )


def require_text(name: str, text: str) -> None:
    """A text that says something. Raises Refusal."""
    if not text.strip() or len(text) > MAX_TEXT or not text.isprintable():
        raise Refusal("invalid", f"{name} must say something, in one line of at most {MAX_TEXT} characters", f"pass --{name} TEXT")


def rivals(wish: Wish, book: Book) -> list[Override]:
    """Open overrides that say something about the very same thing: both together would make no sense."""
    open_ones = [one for one in book.values() if one.open]
    if wish.kind is Kind.WEIGHT:
        named = {target for target, _ in wish.weights}
        return [
            o for o in open_ones if o.wish.kind is Kind.WEIGHT and o.wish.subject == wish.subject and named & {t for t, _ in o.wish.weights}
        ]
    return [o for o in open_ones if o.wish.kind is not Kind.WEIGHT and (o.wish.subject, o.wish.route) == (wish.subject, wish.route)]


def _until(asked: Asked, now: float) -> float | None:
    if sum((asked.for_s is not None, asked.until is not None, asked.never)) > 1:
        raise Refusal("invalid", "for, until and never exclude each other", "pass one of them")
    if asked.never:
        return None
    lasts = asked.until - now if asked.until is not None else DEFAULT_S if asked.for_s is None else asked.for_s
    if not 0 < lasts <= LONGEST_S:  # NaN fails as well
        why = "is over already" if lasts <= 0 else "is too far away"
        fix = f"at most {LONGEST_S / 86400:g} days; what shall stay belongs into the specs, or ask for `--for never`"
        raise Refusal("invalid", f"the end {why}", fix)
    return now + lasts


def _require_names(asked: Asked, subject: Subject, plans: Plans) -> None:
    if (asked.kind is Kind.WEIGHT) != (subject.scope is Scope.ROUTE):
        fix = "weight takes route/NAME, drain and cordon provider/NAME or target/PROVIDER/MODEL (with --route NAME for one route)"
        raise Refusal("invalid", f"{asked.kind} does not go with {subject}", fix)
    found = places(plans)
    routes, targets = set(plans), {target for _, target in found}
    if asked.route is not None:
        if asked.kind is Kind.WEIGHT:
            raise Refusal("invalid", "a weight names its route already", "leave out --route")
        _known("route", asked.route, routes)
        targets = {target for route, target in found if route == asked.route}
    where = f" on route {asked.route}" if asked.route is not None else ""
    if subject.scope is Scope.PROVIDER:
        _known("provider", subject.name, {target.partition("/")[0] for target in targets}, where)
    elif subject.scope is Scope.TARGET:
        _known("target", subject.name, targets, where)
    else:
        _known("route", subject.name, routes)
        _require_weights(asked.weights, subject.name, {target for route, target in found if route == subject.name})


def _require_weights(weights: dict[str, int], route: str, targets: set[str]) -> None:
    if not weights:
        raise Refusal("invalid", "no weight is given", "for example headgate weight route/chat openai/gpt-5=80 azure/gpt-5=20")
    for target, weight in weights.items():
        _known("target", target, targets, f" on route {route}")
        if not 0 <= weight <= MAX_WEIGHT:
            raise Refusal("invalid", f"{target}={weight} is no weight", f"0 (last resort) to {MAX_WEIGHT}")


def _known(word: str, name: str, known: set[str], where: str = "") -> None:
    if name not in known:
        fix = did_you_mean(name, known) or (f"there are {', '.join(sorted(known)[:8])}" if known else "there is none")
        raise Refusal("unknown_name", f'no {word} "{name}" in a plan{where}', fix)
