"""Scores of a simulated reranking model: the share of the query's words that a document has, the same for every vendor."""

from __future__ import annotations

from collections.abc import Sequence


def ranked(query: str, documents: Sequence[str]) -> list[tuple[int, float]]:
    """Places of the documents with their scores, best first."""
    words = set(query.lower().split())
    scores = [len(words & set(document.lower().split())) / (len(words) + 1) for document in documents]
    return [(place, scores[place]) for place in sorted(range(len(documents)), key=lambda place: (-scores[place], place))]
