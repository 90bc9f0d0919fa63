"""`headgate get proxies|routes|targets|overrides|...`: what a running gateway knows, over its admin API."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final

import typer
import yaml
from rich.console import Console
from rich.table import Table
from rich.text import Text

from control_plane.cli.admin_client import DEFAULT_ADMIN, Admin, AdminError, TokenFile, ask, token_from
from control_plane.cli.overrides_table import audit_table, overrides_table

WIDTH: Final = 10_000

TYPES: Final = ("CDS", "EDS", "LDS", "RDS")
"""Resource types that always have a column; others (SDS, SRDS, ECDS, ...) get one where a node subscribes to them."""

Row = Mapping[str, object]


class Resource(StrEnum):
    """What can be listed."""

    PROXIES = "proxies"
    ROUTES = "routes"
    PROVIDERS = "providers"
    CREDENTIALS = "credentials"
    TARGETS = "targets"
    OVERRIDES = "overrides"
    AUDIT = "audit"
    FINDINGS = "findings"


class Output(StrEnum):
    """How it is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(
        "get",
        help="List what a running gateway knows: proxies, routes, providers, credentials, targets, overrides, their audit, or findings.",
    )(get)


def get(
    resource: Annotated[Resource, typer.Argument(help="What to list.", show_default=False)],
    admin: Admin = DEFAULT_ADMIN,
    output: Annotated[Output, typer.Option("-o", "--output", help="table, json or yaml.")] = Output.TABLE,
    token_file: TokenFile = None,
    everything: Annotated[bool, typer.Option("--all", help="overrides: also those that are over.")] = False,
) -> None:
    """List `resource`. Exit codes: 0 ok, 1 the gateway cannot be asked, 2 wrong usage, or `findings` has errors in it."""
    try:
        asked = f"{resource}?all=true" if everything and resource is Resource.OVERRIDES else str(resource)
        answer = ask(admin, "GET", f"/api/v1/{asked}", token_from(token_file))
    except AdminError as error:
        print(f"headgate: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if output is Output.JSON:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    elif output is Output.YAML:
        print(yaml.safe_dump(answer, sort_keys=False, allow_unicode=True), end="")
    else:
        # Wide on purpose, as kubectl does it: a terminal may wrap a line, but no name is ever cut.
        show(resource, rows_of(answer), Console(highlight=False, width=WIDTH), time.time())
    if resource is Resource.FINDINGS and any(row.get("severity") == "error" for row in rows_of(answer)):
        raise typer.Exit(2)


def rows_of(answer: Mapping[str, object]) -> Sequence[Row]:
    """The items of a list answer; each knows which snapshot is the one to have."""
    items = answer.get("items")
    wanted = {"wanted_snapshot": answer.get("snapshot")}
    return [{**wanted, **item} for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def show(resource: Resource, rows: Sequence[Row], console: Console, now: float) -> None:
    """Print `rows` as a table; `now` is seconds since the epoch."""
    if not rows:
        console.print(_NOTHING[resource])
        return
    if resource is Resource.FINDINGS:
        for row in rows:
            console.print(Text(_finding(row)))
        return
    header, lines, below = _TABLES[resource](rows, now)
    table = Table(box=None, pad_edge=False, show_edge=False, header_style="bold" if console.is_terminal else "")
    for name in header:
        table.add_column(name, no_wrap=True)
    for line in lines:
        table.add_row(*(_styled(cell) for cell in line))
    console.print(table, crop=False, no_wrap=True)
    for text in below:
        console.print(Text(text))


_Shown = tuple[Sequence[str], list[list[str]], list[str]]


def _proxies(rows: Sequence[Row], now: float) -> _Shown:
    seen = {name for row in rows for name in _types(row)}
    columns = [*TYPES, *sorted(seen - set(TYPES))]
    lines, below = [], []
    for row in rows:
        types = _types(row)
        states = [_state(types.get(name), now) for name in columns]
        lines.append([_text(row, "node"), *states, _text(row, "version").removeprefix("envoy "), _last_ack(row)])
        for name in columns:
            error = (types.get(name) or {}).get("error")
            if error:
                below.append(f"\n{_text(row, 'node')} refused {name}: {_one_line(error)}")
    return ["NODE", *columns, "VERSION", "LAST ACK"], lines, below


def _types(row: Row) -> Mapping[str, Mapping[str, object]]:
    types = row.get("types")
    return {name: value for name, value in types.items() if isinstance(value, dict)} if isinstance(types, dict) else {}


def _state(entry: Mapping[str, object] | None, now: float) -> str:
    """`SYNCED`, `STALE 12s`, `NACK`, or `-` where the node does not ask for the type."""
    if entry is None:
        return "-"
    state, since = str(entry.get("state", "?")), entry.get("since")
    return f"{state} {_age(now - since)}" if state == "STALE" and isinstance(since, int | float) else state


def _last_ack(row: Row) -> str:
    acked, wanted = (str(row.get(key) or "").removeprefix("v") for key in ("snapshot", "wanted_snapshot"))
    want = f" (want v{wanted})" if wanted and wanted != acked else ""
    return (f"v{acked}" if acked else "none") + want


def _routes(rows: Sequence[Row], now: float) -> _Shown:
    lines = []
    for row in rows:
        groups = row.get("plan")
        plan = " -> ".join(_group(group) for group in groups) if isinstance(groups, list) else "-"
        lines.append([_text(row, "route"), _joined(row.get("models")), plan])
    return ["ROUTE", "MODELS", "PLAN"], lines, []


def _group(group: object) -> str:
    targets = [item for item in group if isinstance(item, dict)] if isinstance(group, list) else []
    if len(targets) == 1:
        return _text(targets[0], "target")
    return " + ".join(f"{_text(target, 'target')}:{target.get('weight', '?')}" for target in targets)


def _providers(rows: Sequence[Row], now: float) -> _Shown:
    columns = ("provider", "dialect", "base_url", "targets")
    lines = [[*(_text(row, column) for column in columns), _joined(row.get("egress"))] for row in rows]
    return ["PROVIDER", "DIALECT", "BASE URL", "TARGETS", "EGRESS"], lines, []


def _credentials(rows: Sequence[Row], now: float) -> _Shown:
    lines = [
        [
            _text(row, "provider"),
            _text(row, "source"),
            _text(row, "state"),
            _until(row.get("expires_at"), now),
            _since(row.get("refreshed_at"), now),
            _until(row.get("next_at"), now),
        ]
        for row in rows
    ]
    below = [f"\n{_text(row, 'provider')}: {_one_line(row['error'])}" for row in rows if row.get("error")]
    return ["PROVIDER", "SOURCE", "STATE", "EXPIRES", "REFRESHED", "NEXT TRY"], lines, below


def _until(at: object, now: float) -> str:
    if not isinstance(at, int | float):
        return "-"
    return f"in {_age(at - now)}" if at > now else f"{_age(now - at)} ago"


def _since(at: object, now: float) -> str:
    return f"{_age(now - at)} ago" if isinstance(at, int | float) else "-"


def _targets(rows: Sequence[Row], now: float) -> _Shown:
    lines, below = [], []
    for row in rows:
        windows = row.get("windows")
        minute = windows.get("60s") if isinstance(windows, dict) else None
        view: Mapping[str, object] = minute if isinstance(minute, dict) else {}
        attempts, faults = view.get("attempts"), view.get("faults")
        good = f"{100 * (1 - faults / attempts):.1f}%" if isinstance(attempts, int) and isinstance(faults, int) and attempts else "-"
        classes = view.get("classes")
        worst = {name: count for name, count in classes.items() if name != "ok"} if isinstance(classes, dict) else {}
        said = " ".join(f"{name}:{count}" for name, count in sorted(worst.items(), key=lambda item: -item[1])) or "-"
        times = _ms(view, "ttft_ms_p50"), _ms(view, "ttft_ms_p95"), _ms(view, "token_gap_ms")
        state, why = _breaker(row.get("breaker"), now)
        lines.append([_text(row, "target"), state, _text(row, "lane"), str(attempts or 0), good, *times, said, _left(row.get("ratelimit"))])
        if why:
            below.append(f"\n{_text(row, 'target')}: {why}")
    return ["TARGET", "STATE", "LANE", "ATTEMPTS 60s", "GOOD", "TTFT P50", "TTFT P95", "TOKEN GAP", "NOT OK", "LIMIT LEFT"], lines, below


def _breaker(breaker: object, now: float) -> tuple[str, str]:
    """State and reason: ("OPEN 12s", "breaker open since 14:02:11 (7/10 failed in 10 s, class=transient), probe in 3s")."""
    if not isinstance(breaker, dict):
        return "-", ""
    state, since, until = _text(breaker, "state"), breaker.get("since"), breaker.get("until")
    if state == "closed" or not isinstance(since, int | float):
        return state.upper(), ""
    percent = breaker.get("percent")
    share = f"{percent:g}%" if state == "returning" and isinstance(percent, int | float) else _age(now - since)
    at = datetime.fromtimestamp(since).astimezone().strftime("%H:%M:%S")
    probe = f", probe in {_age(until - now)}" if isinstance(until, int | float) and until > now else ""
    return f"{state.upper()} {share}", f"breaker {state} since {at} ({_text(breaker, 'reason')}){probe}"


def _left(ratelimit: object) -> str:
    """What the vendor said last is left of its rate limits: "119/250 requests"."""
    units = ratelimit.items() if isinstance(ratelimit, dict) else ()
    told = [(unit, left.get("remaining"), left.get("limit")) for unit, left in units if isinstance(left, dict)]
    return ", ".join(f"{remaining}{'' if limit is None else f'/{limit}'} {unit}" for unit, remaining, limit in told) or "-"


_TABLES: Final = {
    Resource.PROXIES: _proxies,
    Resource.ROUTES: _routes,
    Resource.PROVIDERS: _providers,
    Resource.CREDENTIALS: _credentials,
    Resource.TARGETS: _targets,
    Resource.OVERRIDES: overrides_table,
    Resource.AUDIT: audit_table,
}
_NOTHING: Final = {
    Resource.PROXIES: "no Envoy is connected",
    Resource.ROUTES: "no routes",
    Resource.PROVIDERS: "no providers",
    Resource.CREDENTIALS: "no credentials",
    Resource.TARGETS: "no targets",
    Resource.OVERRIDES: "no override is in force",
    Resource.AUDIT: "nothing was done",
    Resource.FINDINGS: "no findings",
}


def _finding(row: Row) -> str:
    """The same words as `spec.findings.Finding` prints."""
    place = f"{row['file']}:{row.get('line')}:{row.get('col')} " if row.get("file") else ""
    field = f" {row['path']}" if row.get("path") else ""
    fix = f"; {row['fix']}" if row.get("fix") else ""
    return f"{place}{row.get('code')} {row.get('severity')}{field}: {row.get('message')}{fix}"


def _text(row: Row, key: str) -> str:
    value = row.get(key)
    return "-" if value is None or value == "" else _one_line(value)


def _joined(value: object) -> str:
    return ", ".join(map(_one_line, value)) if isinstance(value, list) and value else "-"


def _one_line(value: object) -> str:
    """Printable: a name from a spec or an Envoy must not move the cursor."""
    return "".join(char if char.isprintable() else " " for char in str(value))


def _ms(view: Mapping[str, object], key: str) -> str:
    value = view.get(key)
    return f"{value} ms" if isinstance(value, int | float) else "-"


def _age(seconds: float) -> str:
    whole = max(0, int(seconds))
    if whole < 120:
        return f"{whole}s"
    return f"{whole // 60}m" if whole < 7200 else f"{whole // 3600}h"


_STYLES: Final = {
    **dict.fromkeys(("SYNCED", "READY", "active"), "green"),
    **dict.fromkeys(("STALE", "FAILING", "WAITING", "HALF-OPEN", "RETURNING", "returning"), "yellow"),
    **dict.fromkeys(("NACK", "FAILED", "EXPIRED", "MISSING", "OPEN", "held"), "red"),
}


def _styled(cell: str) -> Text:
    style = _STYLES.get(cell.split(" ", 1)[0], "")
    return Text(cell, style=style)
