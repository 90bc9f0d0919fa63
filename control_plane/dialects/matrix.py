"""What each pair of client and provider dialect carries, as the tests found it: `matrix.json`, written by `make golden`.

tests/golden/matrix runs every feature through every pair and compares the file with what it finds, so nobody writes a cell by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Final, Literal

import msgspec

FILE: Final = "matrix.json"

Word = Literal["yes", "partly", "no", "none", "untested"]
WORDS: Final[Mapping[str, str]] = {
    "yes": "carried",
    "partly": "the request is served without it, and x-headgate-dropped names it; of an answer, a part arrives",
    "no": "of a request, the target is unfit: the next target serves, else 400 naming the field; of an answer, it does not arrive",
    "none": "the client's dialect has no such thing, or, of an answer, one of the two has not",
    "untested": "the tests cannot ask yet",
}


class Feature(msgspec.Struct, frozen=True, omit_defaults=True):
    """`streamed`: where a stream differs. `named`: the fields that are named, in the client's words."""

    outcome: Word
    streamed: Word | None = None
    named: tuple[str, ...] = ()

    @property
    def shown(self) -> str:
        word = SHOWN[self.outcome]
        return word if self.streamed is None else f"{word}, streamed {SHOWN[self.streamed]}"


class Cell(msgspec.Struct, frozen=True):
    """`sdk` proven: the vendor's official SDK has run through the real Envoy in the tests, streamed and whole."""

    client: str
    provider: str
    lane: Literal["passthrough", "translation"]
    sdk: Literal["proven", "unproven"]
    features: Mapping[str, Feature]


class Matrix(msgspec.Struct, frozen=True):
    """`requests`, `answers`, `operations`: the names of the features in the order of the tables."""

    clients: tuple[str, ...]
    providers: tuple[str, ...]
    requests: tuple[str, ...]
    answers: tuple[str, ...]
    operations: tuple[str, ...]
    cells: tuple[Cell, ...]

    def cell(self, client: str, provider: str) -> Cell:
        return next(cell for cell in self.cells if (cell.client, cell.provider) == (client, provider))


SHOWN: Final[Mapping[str, str]] = {"yes": "yes", "partly": "partly", "no": "no", "none": "-", "untested": "?"}


@cache
def load_matrix() -> Matrix:
    return msgspec.json.decode(files(__package__).joinpath(FILE).read_bytes(), type=Matrix)


def rows(matrix: Matrix, client: str) -> list[tuple[str, ...]]:
    """A table for clients of one dialect: a line for each feature, a column for each provider dialect. The first line is the head."""
    cells = [matrix.cell(client, provider) for provider in matrix.providers]
    table = [(client, *matrix.providers), ("lane", *(cell.lane for cell in cells)), ("official SDK", *(cell.sdk for cell in cells))]
    for name in (*matrix.requests, *matrix.answers, *matrix.operations):
        shown = [cell.features[name].shown for cell in cells]
        if set(shown) != {"-"}:
            table.append((name, *shown))
    return table


def summary(matrix: Matrix) -> list[tuple[str, ...]]:
    """One line for each client dialect: how many of the features that a pair has are carried whole."""
    lines = [(client, *(_share(matrix.cell(client, provider)) for provider in matrix.providers)) for client in matrix.clients]
    return [("client \\ provider", *matrix.providers), *lines]


def _share(cell: Cell) -> str:
    if cell.lane == "passthrough":
        return "passthrough"
    words = [word for feature in cell.features.values() for word in {feature.outcome, feature.streamed or feature.outcome}]
    asked = [word for word in words if word not in ("none", "untested")]
    return f"{asked.count('yes')} of {len(asked)}"


def exceptions(matrix: Matrix) -> list[tuple[str, ...]]:
    """What translated pairs do not carry whole: client, provider, partly, no."""
    table: list[tuple[str, ...]] = [("client", "provider", "partly", "no")]
    for cell in matrix.cells:
        if cell.lane == "translation":
            partly, no = (", ".join(_with(cell, word)) or "-" for word in ("partly", "no"))
            table.append((cell.client, cell.provider, partly, no))
    return table


def _with(cell: Cell, word: str) -> list[str]:
    return [name for name, feature in cell.features.items() if word in (feature.outcome, feature.streamed)]


def markdown(table: Sequence[Sequence[str]]) -> str:
    """The table as Markdown; its first line is the head."""
    head, *body = ["| " + " | ".join(row) + " |" for row in table]
    return "\n".join([head, "|" + "---|" * len(table[0]), *body]) + "\n"
