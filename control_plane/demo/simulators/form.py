"""Reads multipart/form-data (RFC 7578) as vendors' servers get it from the official SDKs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

PARTS_LIMIT: Final = 1000
_BOUNDARY: Final = re.compile(r'multipart/form-data\s*;\s*boundary=(?:"([^"]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_PARAMETER: Final = re.compile(r';\s*(name|filename)=(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')


@dataclass(frozen=True, slots=True)
class Part:
    """One field; `filename` is None where it is no file."""

    name: str
    filename: str | None
    value: bytes

    @property
    def text(self) -> str:
        return self.value.decode("utf-8", "replace")


class Form:
    """The parts in their order. `form["model"]` is the first value of that name as text; KeyError where there is none."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)

    def __contains__(self, name: str) -> bool:
        return any(part.name == name for part in self.parts)

    def __getitem__(self, name: str) -> str:
        for part in self.parts:
            if part.name == name:
                return part.text
        raise KeyError(name)

    def get(self, name: str, default: str = "") -> str:
        return next((part.text for part in self.parts if part.name == name), default)

    def files(self, *names: str) -> list[Part]:
        """The files under any of these names."""
        return [part for part in self.parts if part.name in names and part.filename is not None]


def read_form(content_type: str, body: bytes) -> Form:
    """Raises ValueError with a reason."""
    found = _BOUNDARY.match(content_type)
    if found is None:
        raise ValueError("no boundary")
    delimiter = b"--" + (found[1] or found[2]).encode("latin-1")
    pieces = (b"\r\n" + body).split(b"\r\n" + delimiter, PARTS_LIMIT)
    if len(pieces) < 2 or not pieces[-1].startswith(b"--"):
        raise ValueError("unterminated")
    return Form([_part(piece) for piece in pieces[1:-1]])


def _part(piece: bytes) -> Part:
    head, gap, value = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
    if not gap or not piece.startswith(b"\r\n"):
        raise ValueError("a part without headers")
    for line in head.decode("utf-8", "replace").split("\r\n"):
        name, _, text = line.partition(":")
        if name.lower() == "content-disposition":
            said = {key: quoted or plain for key, quoted, plain in _PARAMETER.findall(text)}
            if "name" in said:
                return Part(said["name"], said.get("filename"), value)
    raise ValueError("a part without a name")
