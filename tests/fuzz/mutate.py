"""Mutations that keep a body what it is: JSON stays JSON, a stream of events stays one, with one value changed."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, Final

from tests.unit.dialects.samples import JUNK, KEY_WORDS, VALUE_WORDS

_KEYS: Final = tuple(KEY_WORDS.split())
_VALUES: Final = tuple(VALUE_WORDS.split())
_NUMBERS: Final = (0, -1, 1, 2**31, 2**53, 2**63, 2**64, 1e308, -0.0, 0.1)
_DATA: Final = b"data: "


def mutated(body: bytes, rng: random.Random) -> bytes | None:
    """None: `body` is neither JSON nor a stream of it."""
    if body.startswith((_DATA, b"event: ")):
        return _stream(body, rng)
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return json.dumps(_changed(value, rng)).encode(errors="replace")


def _stream(body: bytes, rng: random.Random) -> bytes:
    """One event changed, or the order of events."""
    events = body.split(b"\n\n")
    at = rng.randrange(len(events))
    way = rng.randrange(8)
    if way == 0:
        del events[at]
    elif way == 1:
        events.insert(at, rng.choice(events))
    elif way == 2:
        other = rng.randrange(len(events))
        events[at], events[other] = events[other], events[at]
    else:
        head, mark, data = events[at].partition(_DATA)
        try:
            events[at] = head + mark + json.dumps(_changed(json.loads(data), rng)).encode(errors="replace")
        except (ValueError, RecursionError):
            events[at] = events[at][: rng.randrange(len(events[at]) + 1)]
    return b"\n\n".join(events)


def _changed(value: Any, rng: random.Random) -> Any:
    spots = list(_spots(value))
    if not spots:
        return rng.choice(JUNK)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        container, key = rng.choice(spots)
        _change(container, key, spots, rng)
    return value


def _change(container: Any, key: Any, spots: list[tuple[Any, Any]], rng: random.Random) -> None:
    present = key in container if isinstance(container, dict) else key < len(container)
    if not present:
        return  # an earlier change removed it
    way = rng.randrange(7)
    if way == 0:
        del container[key]
    elif way == 1:
        container[key] = rng.choice(JUNK)
    elif way == 2:
        container[key] = rng.choice((*_NUMBERS, rng.choice(_VALUES), "\ud800", "\u0000", "x" * rng.choice((1, 100, 5000))))
    elif way == 3:
        donor, other = rng.choice(spots)
        try:
            container[key] = json.loads(json.dumps(donor[other]))
        except (KeyError, IndexError):
            return
    elif way == 4 and isinstance(container, list):
        container.insert(key, json.loads(json.dumps(container[key])))
    elif way == 5 and isinstance(container, dict):
        container[rng.choice(_KEYS)] = container.pop(key)
    elif isinstance(container, dict):
        container[rng.choice(_KEYS)] = rng.choice((rng.choice(JUNK), rng.choice(_VALUES)))


def _spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every (container, key) inside."""
    todo = [value]
    while todo:
        container = todo.pop()
        if not isinstance(container, dict | list):
            continue
        for key, child in list(container.items() if isinstance(container, dict) else enumerate(container)):
            yield container, key
            todo.append(child)
