"""The nearest known word to a mistyped one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

LONGEST_WORD: Final = 64  # characters; edit distance is quadratic, and nobody mistypes a longer name by one letter


def _folded(word: str) -> str:
    return word.replace("_", "").replace("-", "").replace(".", "").lower()


def distance(left: str, right: str, limit: int) -> int:
    """Edits (insert, delete, replace, swap of neighbours) from `left` to `right`; `limit + 1` when there are more than `limit`."""
    if abs(len(left) - len(right)) > limit:
        return limit + 1
    before: list[int] = []
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        older, before, row = before, row, [i]
        for j, b in enumerate(right, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that `word` most likely meant, or None. Case, dots, dashes and underscores do not count as edits."""
    if not word or len(word) > LONGEST_WORD:
        return None
    known, wanted = tuple(known), _folded(word)
    best: tuple[int, str] | None = None
    for candidate in sorted(set(known)):
        folded = _folded(candidate)
        limit = max(1, min(len(wanted), len(folded)) // 3)
        edits = 0 if folded == wanted else distance(wanted, folded, limit)
        if edits <= limit and (best is None or edits < best[0]):
            best = (edits, candidate)
    if best is None and len(wanted) >= 3:  # "openai" for "openai-chat"
        longer = [candidate for candidate in set(known) if _folded(candidate).startswith(wanted)]
        return longer[0] if len(longer) == 1 else None
    return best[1] if best else None


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The question that ends a finding, or None when nothing is near."""
    found = nearest(word, known)
    return f'did you mean "{found}"?' if found else None


def listed(words: Iterable[str], most: int = 12) -> str:
    """Words for a message: sorted, and cut after `most` with the number that was left out."""
    ordered = sorted(set(words))
    rest = f" and {len(ordered) - most} more" if len(ordered) > most else ""
    return (", ".join(ordered[:most]) or "none") + rest
