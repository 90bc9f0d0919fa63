"""What the verbs `weight`, `cordon`, `drain`, `uncordon` and `undo` share: their options, the request, and what is printed."""

from __future__ import annotations

import getpass
import json
import sys
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from control_plane.cli.admin_client import AdminError, ask, token_from
from control_plane.cli.overrides_table import acks, clock, effect, plan, text

Answer = dict[str, Any]

USAGE: Final = 422
CHECKED: Final = {True: "√", False: "×", None: "?"}
PAD: Final = 9
"""Width of the words in front of each line."""


class Output(StrEnum):
    """How it is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def _me() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return ""


Subject = Annotated[str, typer.Argument(metavar="SUBJECT", help="provider/NAME or target/PROVIDER/MODEL.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="Why, for the record: an incident, a ticket.")]
Author = Annotated[
    str, typer.Option("--author", envvar="HEADGATE_AUTHOR", default_factory=_me, help="Who asks for it.", show_default="$USER")
]
For = Annotated[str, typer.Option("--for", metavar="DURATION", help="How long: 30m, 2h, or never. One hour without.")]
Until = Annotated[str, typer.Option("--until", metavar="TIME", help="Until then: 14:30 (UTC) or 2026-11-28T14:30Z.")]
Force = Annotated[bool, typer.Option("--force", help="Although a safety rule refuses it; that is recorded.")]
Replace = Annotated[bool, typer.Option("--replace", help="In the place of an override of the same thing.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show checks and plans, change nothing. Exit code 2 where it would be refused.")]
Watch = Annotated[str, typer.Option("--watch", metavar="DURATION", help="Wait that long and show the effect on traffic: 10s.")]
OnRoute = Annotated[str, typer.Option("--route", metavar="ROUTE", help="On that route alone.")]
OutputAs = Annotated[Output, typer.Option("-o", "--output", help="table, json or yaml.")]


def usage(said: str) -> typer.Exit:
    """Print what is wrong with the command line."""
    print(f"headgate: {said}", file=sys.stderr)
    return typer.Exit(2)


def lasting(for_: str, until: str, now: float) -> dict[str, object]:
    """The fields of a request that say how long."""
    if for_ and until:
        raise usage("--for and --until exclude each other")
    if until:
        return {"until": moment(until, now)}
    if not for_:
        return {}
    return {"never": True} if for_ == "never" else {"for_s": seconds(for_, "--for", "30m, 2h, or never")}


def seconds(given: str, flag: str, example: str) -> float:
    """A duration."""
    from control_plane.spec.quantities import parse_duration

    try:
        return parse_duration(given) / 1000
    except ValueError:
        raise usage(f"{flag} {given}: not a duration; for example {example}") from None


def moment(given: str, now: float) -> float:
    """A time in seconds since the epoch: HH:MM is the next one in UTC; one without a zone is UTC."""
    today = datetime.fromtimestamp(now, UTC)
    try:
        if len(given) <= 5:
            hour, _, minute = given.partition(":")
            then = today.replace(hour=int(hour), minute=int(minute), second=0, microsecond=0)
            return (then if then > today else then + timedelta(days=1)).timestamp()
        then = datetime.fromisoformat(given)
        return (then if then.tzinfo else then.replace(tzinfo=UTC)).timestamp()
    except ValueError:
        raise usage(f"--until {given}: not a time; for example 14:30 (UTC) or 2026-11-28T14:30Z") from None


def make(wish: Mapping[str, object], for_: str, until: str, admin: str, token_file: Path | None, output: Output, watch: str) -> None:
    """Ask for an override that lasts as the options say, and show what came of it.

    Exit codes: 0 done, 1 refused or not everywhere, 2 usage, or a dry run that would be refused.
    """
    wait_s = seconds(watch, "--watch", "10s") if watch else 0.0
    asked = {**wish, **lasting(for_, until, time.time()), "key": uuid.uuid4().hex}
    answer = _asked(admin, "POST", "/api/v1/overrides", token_file, asked, output)
    if answer.get("dry_run"):
        shown(answer, output, _dry_lines(answer))
        raise typer.Exit(0 if answer.get("accepted") else 2)
    published, override = answer.get("published") or {}, answer.get("override") or {}
    lines = [*_check_lines(answer), *_warnings(answer), _made(override, published)]
    if output is Output.TABLE:
        shown(answer, output, lines)
        lines = []
    if wait_s:
        time.sleep(wait_s)
        answer["traffic"] = _asked(admin, "GET", f"/api/v1/overrides/{override.get('id')}", token_file, None, output)["traffic"]
        said = effect(answer["traffic"].get("before"), answer["traffic"].get("now"), str(override.get("subject")))
        lines.append(_line(f"t+{wait_s:g}s", said))
    lines.append(_line("ends", _end(override)))
    shown(answer, output, lines)
    raise typer.Exit(0 if _everywhere(published) else 1)


def take_back(path: str, back: Mapping[str, object], admin: str, token_file: Path | None, output: Output) -> None:
    """End overrides and show what came of it. Exit codes as `make`."""
    answer = _asked(admin, "DELETE", path, token_file, back, output)
    override, published, ended = answer.get("override") or {}, answer.get("published"), answer.get("ended") or []
    if not ended:
        who, at = text(override.get("ended_by")), clock(override.get("ended_at"), time.time())
        lines = [_line("over", f"{text(override.get('id'))} was {text(override.get('state'))} by {who} at {at} already")]
    else:
        lines = [_line("ended", f"{', '.join(map(text, ended))} → {acks(published or {})}")]
    shown(answer, output, lines)
    raise typer.Exit(0 if published is None or _everywhere(published) else 1)


def shown(answer: Answer, output: Output, lines: list[str]) -> None:
    """Print it."""
    if output is Output.JSON:
        print(json.dumps(answer, indent=2, ensure_ascii=False))
    elif output is Output.YAML:
        import yaml

        print(yaml.safe_dump(answer, sort_keys=False, allow_unicode=True), end="")
    else:
        print("\n".join(lines), flush=True)


def _asked(admin: str, method: str, path: str, token_file: Path | None, body: Mapping[str, object] | None, output: Output) -> Answer:
    try:
        return ask(admin, method, path, token_from(token_file), body)
    except AdminError as error:
        if error.error.get("checks") and output is Output.TABLE:
            print("\n".join([*_check_lines(error.error), *_warnings(error.error)]))
        said = f"refused: {error.error['message']}; {error.error.get('fix')}" if error.error.get("message") else str(error)
        print(f"headgate: {said}", file=sys.stderr)
        raise typer.Exit(2 if error.status == USAGE else 1) from None


def _line(word: str, said: str) -> str:
    return f"  {word:<{PAD}}{said}"


def _check_lines(answer: Mapping[str, Any]) -> list[str]:
    checks = [f"{CHECKED[check.get('ok')]} {text(check.get('text'))}" for check in answer.get("checks", ())]
    return [_line("safety" if number == 0 else "", said) for number, said in enumerate(checks)]


def _warnings(answer: Mapping[str, Any]) -> list[str]:
    """Operations beside the usual ones that would have no target: most routes never use them."""
    closed = answer.get("closed") or []
    if not closed:
        return []
    operations, routes = (sorted({text(one[key]) for one in closed}) for key in ("operation", "route"))
    return [_line("closes", f"{_some(operations)} on {_some(routes)}: 503 while it lasts")]


def _some(names: list[str], most: int = 5) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _dry_lines(answer: Mapping[str, Any]) -> list[str]:
    before, after = answer.get("before") or {}, answer.get("after") or {}
    plans = [_line("plan", f"{text(route)}: {plan(before.get(route))}  →  {plan(groups)}") for route, groups in after.items()]
    if not plans:
        plans = [_line("plan", "no plan changes by it")]
    traffic = answer.get("traffic") or {}
    shares = ", ".join(f"{text(target or 'none')} {share:.0%}" for target, share in (traffic.get("shares") or {}).items())
    told = f"last {traffic.get('seconds', 0):g} s: {shares}" if shares else "no request in the last minute"
    verdict = "would be applied" if answer.get("accepted") else "would be refused without --force"
    return [*_check_lines(answer), *_warnings(answer), *plans, _line("traffic", told), _line("dry run", f"{verdict}; nothing was changed")]


def _made(override: Mapping[str, Any], published: Mapping[str, Any]) -> str:
    version = f" v{published['version']}" if published.get("version") else ""
    return _line("applied", f"override {text(override.get('id'))}{version} → {acks(published)}")


def _end(override: Mapping[str, Any]) -> str:
    undo = f"Undo now: headgate undo {text(override.get('id'))}"
    until = override.get("until")
    if until is None:
        return f"never by itself. {undo}"
    steps = ", then returns in steps 5→25→100 % if healthy" if override.get("step_s") else ""
    return f"{clock(until, time.time())}{steps}. {undo}"


def _everywhere(published: Mapping[str, Any]) -> bool:
    return not published.get("changed") or bool(published.get("accepted") and published.get("acked") == published.get("nodes"))
