"""Overrides and their record as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

Row = Mapping[str, Any]
Shown = tuple[Sequence[str], list[list[str]], list[str]]

COLUMNS: Final = ("ID", "STATE", "WHAT", "ON", "AUTHOR", "SINCE", "UNTIL", "FORCED", "REASON")


def overrides_table(rows: Sequence[Row], now: float) -> Shown:
    """The rows of `headgate get overrides`."""
    lines = [
        [
            text(row.get("id")),
            state(row),
            what(row),
            on(row),
            text(row.get("author")),
            clock(row.get("at"), now),
            "never" if row.get("until") is None else clock(row["until"], now),
            "forced" if row.get("forced") else "-",
            text(row.get("reason")),
        ]
        for row in rows
    ]
    below = [f"\n{text(row.get('id'))} waits to return: {text(row['held'])}" for row in rows if row.get("held")]
    below += [
        f"\n{text(row.get('id'))} names what no plan has: {', '.join(map(text, row['dangling']))}" for row in rows if row.get("dangling")
    ]
    return COLUMNS, lines, below


def audit_table(rows: Sequence[Row], now: float) -> Shown:
    """The rows of `headgate get audit`."""
    lines = [
        [text(row.get("seq")), clock(row.get("at"), now), text(row.get("override")), text(row.get("who")), _event(row)] for row in rows
    ]
    return ("SEQ", "AT", "OVERRIDE", "WHO", "WHAT"), lines, []


def state(row: Row) -> str:
    """`active`, `returning 25 %`, `held 5 %`, `undone`."""
    found = text(row.get("state"))
    return f"{found} {row.get('percent')} %" if found in ("returning", "held") else found


def what(row: Row) -> str:
    """`drain`, or the weights."""
    weights = row.get("weights")
    return f"weight {' '.join(f'{text(t)}={w}' for t, w in weights.items())}" if weights else text(row.get("kind"))


def on(row: Row) -> str:
    """`provider/openai`, perhaps with the route."""
    return text(row.get("subject")) + (f" (route {text(row['route'])})" if row.get("route") else "")


def clock(at: object, now: float) -> str:
    """A time of day in UTC, with the day where it is another one than today's."""
    if not isinstance(at, int | float):
        return "-"
    then = datetime.fromtimestamp(at, UTC)
    return then.strftime("%H:%M UTC" if then.date() == datetime.fromtimestamp(now, UTC).date() else "%Y-%m-%d %H:%M UTC")


def acks(published: Row) -> str:
    """`acked by 6/6 Envoys in 0.4 s`."""
    if published.get("problems") and not published.get("accepted"):
        return f"not published: {'; '.join(map(text, published['problems']))}"
    acked, nodes = published.get("acked"), published.get("nodes")
    if not published.get("changed"):
        return "no plan changed by it"
    if not nodes:
        return "no Envoy is connected"
    seconds = published.get("seconds")
    return f"acked by {acked}/{nodes} Envoy{'' if nodes == 1 else 's'} in {seconds if isinstance(seconds, int | float) else 0:.1f} s"


def effect(before: Row | None, after: Row | None, subject: str) -> str:
    """`openai 42 % → 3 % of traffic   success 97.1 % → 99.8 %   p95 TTFT 2.9 s → 0.8 s`: of the routes concerned."""
    was, now = before or {}, after or {}
    if not now.get("requests"):
        return "no request on these routes is over yet"
    parts = [f"{name} {_share(was, name)} → {_share(now, name)} of traffic" for name in _named(subject, was, now)]
    parts.append(f"success {_percent(was.get('success'), 1)} → {_percent(now.get('success'), 1)}")
    parts.append(f"p95 TTFT {_seconds(was.get('ttft_ms_p95'))} → {_seconds(now.get('ttft_ms_p95'))}")
    return "   ".join(parts)


def plan(groups: object) -> str:
    """`openai/gpt-5:80 + azure/gpt-5:20 -> anthropic/claude-sonnet-5`."""
    if not isinstance(groups, list) or not groups:
        return "nothing (503)"
    return " -> ".join(
        " + ".join(f"{text(t['target'])}:{t['weight']}" if len(group) > 1 else text(t["target"]) for t in group) for group in groups
    )


def text(value: object) -> str:
    """Printable, on one line: a reason must not move the cursor."""
    return "-" if value is None or value == "" else "".join(char if char.isprintable() else " " for char in str(value))


def _event(row: Row) -> str:
    kind = row.get("what")
    if kind == "created":
        wish = row.get("wish")
        made = wish if isinstance(wish, dict) else {}
        return f"{what(made)} {on(made)}{' (forced)' if made.get('forced') else ''}: {text(made.get('reason'))}"
    if kind == "published":
        return acks(row)
    if kind == "effect":
        return effect(row.get("before"), row.get("after"), "")
    if kind in ("returning", "held"):
        return f"{kind} {row.get('percent')} %" + (f": {text(row['reason'])}" if row.get("reason") else "")
    return text(row.get("why")) + (f": {text(row['reason'])}" if row.get("reason") else "")


def _named(subject: str, was: Row, now: Row) -> list[str]:
    """What the shares are told of: the provider or target that was named, else every target."""
    scope, _, name = subject.partition("/")
    if scope in ("provider", "target"):
        return [name]
    return sorted({*was.get("shares", {}), *now.get("shares", {})} - {""})


def _share(view: Row, name: str) -> str:
    shares = view.get("shares") or {}
    found = sum(share for target, share in shares.items() if target == name or ("/" not in name and target.partition("/")[0] == name))
    return _percent(found if view.get("requests") else None, 0)


def _percent(share: object, digits: int) -> str:
    return f"{share * 100:.{digits}f} %" if isinstance(share, int | float) else "?"


def _seconds(value_ms: object) -> str:
    if not isinstance(value_ms, int | float):
        return "?"
    return f"{value_ms / 1000:.1f} s" if value_ms >= 1000 else f"{value_ms:.0f} ms"
