"""`headgate explain`: what a finding code or a field means."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Final, NoReturn

import typer

from control_plane.spec.findings import severity_of

if TYPE_CHECKING:
    from control_plane.spec.catalogue import Code
    from control_plane.spec.explain import FieldDoc

_CODE: Final = re.compile(r"(?i)hg[0-9]*")


def register(app: typer.Typer) -> None:
    """Add the verb."""
    app.command(name="explain")(explain)


def explain(subject: Annotated[str, typer.Argument(metavar="CODE|FIELD", help="HG1003, or a field such as modelroute.spec.plan")]) -> None:
    """Explain a finding code or a field of the specs."""
    from control_plane.spec.catalogue import CATALOGUE
    from control_plane.spec.explain import FieldDoc, explain_field
    from control_plane.spec.nearest import did_you_mean

    code = subject.upper()
    if code in CATALOGUE:
        print(about_code(CATALOGUE[code]))
        return
    if _CODE.fullmatch(subject):
        known = did_you_mean(code, CATALOGUE) or "codes go from HG1001 (shape), HG2001 (references) and HG3001 (warnings)"
        _unknown(subject, f"no such code; {known}")
    field = explain_field(subject)
    if isinstance(field, FieldDoc):
        print(about_field(field))
        return
    meant = (
        f'did you mean "{field.nearest}"?'
        if field.nearest
        else "try a code such as HG1003, or provider.spec, modelroute.spec or preset.spec"
    )
    _unknown(subject, f"no such code or field; {meant}")


def _unknown(subject: str, why: str) -> NoReturn:
    typer.echo(f'headgate explain: "{subject}": {why}', err=True)
    raise typer.Exit(2)


def about_code(entry: Code) -> str:
    """The page of a code."""
    example = "\n".join(f"  {line}" for line in entry.example.splitlines())
    return f"{entry.code} {severity_of(entry.code)}: {entry.title}\n\nCause\n  {entry.cause}\n\nExample\n{example}\n\nFix\n  {entry.fix}"


def about_field(field: FieldDoc) -> str:
    """The page of a field."""
    lines = [f"{field.path}  {field.type}{'' if field.required else ', optional'}", f"  {field.description}"]
    if field.default is not None:
        lines.append(f"  default: {field.default}")
    if field.bounds:
        lines.append(f"  bounds:  {'; '.join(field.bounds)}")
    if field.children:
        width = max(len(name) for name, _, _ in field.children)
        lines.append("\nFields (? is optional)")
        lines.extend(f"  {name:<{width}}  {kind}\n  {'':<{width}}  {text}" for name, kind, text in field.children)
    return "\n".join(lines)
