"""README.md as data: its fenced blocks and its links."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
README: Final = ROOT / "README.md"

_FENCE: Final = re.compile(r"^```(\S+)[ \t]*(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK: Final = re.compile(r"\[([^\]]*)\]\((?!https?:)([^)#\s]*)(?:#([^)\s]*))?\)")
_COMMAND: Final = re.compile(r"\bheadgate((?: +(?!#)[^\s`|;&<>()]+)+)")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, the word behind it ("run", "output", ...), its text."""

    language: str
    word: str
    text: str


def blocks(text: str) -> list[Block]:
    """Every fenced block, in order."""
    return [Block(*found.groups()) for found in _FENCE.finditer(text)]


def with_output(text: str, word: str) -> Iterator[tuple[Block, str | None]]:
    """The bash and python blocks marked with `word`, each with the output block that follows it, if one does."""
    every = blocks(text)
    for block, following in zip(every, [*every[1:], Block("", "", "")], strict=True):
        if block.word == word:
            yield block, following.text if following.word == "output" else None


def links(text: str) -> list[tuple[str, str, str]]:
    """Links inside the repository: (label, path or "", anchor or "")."""
    return [(label, path, anchor or "") for label, path, anchor in _LINK.findall(text)]


def commands(text: str) -> set[tuple[str, ...]]:
    """Words behind every `headgate` in code: in blocks (continued lines joined) and in code spans."""
    fenced = [b.text.replace("\\\n", " ") for b in blocks(text) if b.language == "bash"]
    spans = re.findall(r"`([^`\n]+)`", _FENCE.sub("", text))
    return {tuple(found.split()) for code in (*fenced, *spans) for found in _COMMAND.findall(code)}


def anchors(text: str) -> set[str]:
    """The anchors that GitHub gives to the headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def expected(printed: str) -> re.Pattern[str]:
    """An output block as a pattern: … stands for anything, white space at line ends does not count."""
    lines = [".*".join(map(re.escape, line.rstrip().split("…"))) for line in printed.strip().splitlines()]
    return re.compile(r"\s*" + r"\s*\n".join(lines) + r"\s*")
