"""YAML (or JSON) text to plain values with the place of every key and value.

Built from parser events and not from `yaml.load`, for five reasons: every node keeps its line and column; a repeated key is
an error instead of a silent win of the last one; scalars follow YAML 1.2 (with 1.1 rules the key `on:` of `retry.on` would be
the boolean true); nesting, size and alias expansion are bounded before memory is spent; nothing recurses on hostile input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import yaml

MAX_DEPTH: Final = 40  # levels; the deepest spec field is at 8
MAX_NODES: Final = 500_000  # nodes of a file as written; 1,000 routes are about 50,000
MAX_EXPANDED: Final = 200_000  # nodes of one document after aliases are followed: a "billion laughs" file stops here

_TAG: Final = "tag:yaml.org,2002:"
_INT: Final = re.compile(r"[-+]?[0-9]{1,25}|0o[0-7]{1,25}|0x[0-9a-fA-F]{1,25}")
_FLOAT: Final = re.compile(r"[-+]?(\.[0-9]{1,25}|[0-9]{1,25}(\.[0-9]{0,25})?)([eE][-+]?[0-9]{1,3})?")
_WORDS: Final[dict[str, object]] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip

Place = tuple[int, int]  # line, column; both from 1
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml is about eight times as fast


class TreeError(Exception):
    """The text cannot be read. `code` is a finding code; line and col count from 1."""

    def __init__(self, code: str, message: str, fix: str, place: Place) -> None:
        super().__init__(message)
        self.code, self.message, self.fix, self.place = code, message, fix, place


class Node:
    """A value and where it starts. `value`: scalar, list of nodes, or dict of key -> (place of the key, node)."""

    __slots__ = ("place", "value")

    def __init__(self, value: Any, place: Place) -> None:
        self.value = value
        self.place = place

    def find(self, path: Sequence[str | int], *, key: bool = False) -> Place:
        """The place of the value at `path`, or of its key with `key`; what does not exist is placed at its nearest ancestor."""
        node, place = self, self.place
        for step in path:
            if isinstance(node.value, dict) and step in node.value:
                key_place, node = node.value[step]
                place = key_place if key else node.place
            elif isinstance(node.value, list) and isinstance(step, int) and 0 <= step < len(node.value):
                node = node.value[step]
                place = node.place
            else:
                break
        return place

    def plain(self) -> Any:
        """dict, tuple, str, int, float, bool or None. Raises TreeError when aliases expand beyond MAX_EXPANDED nodes."""
        left = MAX_EXPANDED

        def expand(node: Node, depth: int) -> Any:
            nonlocal left
            left -= 1
            if left < 0 or depth > MAX_DEPTH:
                fix = "write the parts out, or use fewer aliases"
                raise TreeError("HG1009", "too large once its aliases are followed", fix, node.place)
            if isinstance(node.value, dict):
                return {key: expand(child, depth + 1) for key, (_, child) in node.value.items()}
            if isinstance(node.value, list):
                return tuple(expand(child, depth + 1) for child in node.value)
            return node.value

        return expand(self, 0)


class _Open:
    """A mapping or list whose end has not been read yet."""

    __slots__ = ("anchor", "key", "key_place", "merges", "node")

    def __init__(self, node: Node, anchor: str | None) -> None:
        self.node, self.anchor = node, anchor
        self.key: str | None = None
        self.key_place: Place = node.place
        self.merges: list[Node] = []


def read_documents(text: str) -> Iterator[Node]:
    """The documents of a YAML or JSON text, in order; an empty document is a node with value None. Raises TreeError."""
    parser = None
    try:
        parser = _LOADER(text)
        yield from _Builder(parser).documents()
    except yaml.reader.ReaderError as error:
        at = text[: error.position] if isinstance(error.position, int) else ""
        place = (at.count("\n") + 1, len(at) - at.rfind("\n"))
        raise TreeError("HG1002", f"not valid YAML: {error.reason}", "remove the character", place) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        problem = (error.problem or "unreadable").strip()
        context = f" {error.context}" if error.context else ""
        fix = "correct the text here; a file that is saved half-way is read again at its next change"
        raise TreeError("HG1002", f"not valid YAML: {problem}{context}", fix, place) from None
    except (ValueError, OverflowError):  # the pure Python parser lets chr() of "\\UFFFFFFFF" through
        raise TreeError("HG1002", "not valid YAML: an escape that is no character", "remove the escape", (1, 1)) from None
    finally:
        if parser is not None:
            parser.dispose()


class _Builder:
    """Turns parser events into nodes, one document at a time, with a stack of its own instead of recursion."""

    def __init__(self, parser: Any) -> None:
        self._next: Callable[[], Any] = parser.get_event
        self._stack: list[_Open] = []
        self._anchors: dict[str, Node] = {}
        self._nodes = 0
        self._root = Node(None, (1, 1))

    def documents(self) -> Iterator[Node]:
        while True:
            event = self._next()
            if event is None or isinstance(event, yaml.StreamEndEvent):
                return
            place = (event.start_mark.line + 1, event.start_mark.column + 1)
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event, place)
            elif isinstance(event, yaml.CollectionStartEvent):
                self._open(event, place)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close()
            elif isinstance(event, yaml.AliasEvent):
                target = self._anchors.get(str(event.anchor))
                if target is None:
                    raise TreeError("HG1002", f"alias *{event.anchor:.60} has no anchor before it", "define the anchor first", place)
                self._add(target, None, place)
            elif isinstance(event, yaml.DocumentStartEvent):
                self._anchors = {}
                self._root = Node(None, place)
            elif isinstance(event, yaml.DocumentEndEvent):
                yield self._root

    def _scalar(self, event: Any, place: Place) -> None:
        if not event.value.isascii() and any("\ud800" <= char <= "\udfff" for char in event.value):
            raise TreeError("HG1002", "not valid YAML: half of a surrogate pair", "write the character itself", place)
        top = self._stack[-1] if self._stack else None
        if top is not None and top.key is None and isinstance(top.node.value, dict):
            self._key(top, event, place)
            return
        self._add(Node(_resolve(event, place), place), event.anchor, place)

    def _key(self, top: _Open, event: Any, place: Place) -> None:
        key = event.value  # the text as written: JSON and Kubernetes know string keys only
        if key in top.node.value:
            first = top.node.value[key][0]
            message = f'duplicate key "{key:.60}": it is also in line {first[0]}'
            raise TreeError("HG1008", message, "keep one of the two", place)
        top.key, top.key_place = key, place

    def _open(self, event: Any, place: Place) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise TreeError("HG1009", f"nested deeper than {MAX_DEPTH} levels", "flatten it", place)
        if self._stack and self._stack[-1].key is None and isinstance(self._stack[-1].node.value, dict):
            raise TreeError("HG1002", "not valid here: a list or mapping as a key", "use a text as the key", place)
        expected = "map" if isinstance(event, yaml.MappingStartEvent) else "seq"
        if event.tag not in (None, "!", _TAG + expected):
            raise TreeError("HG1002", f'the tag "{_short(event.tag)}" is not supported', "remove the tag", place)
        self._stack.append(_Open(Node({} if expected == "map" else [], place), event.anchor))

    def _close(self) -> None:
        done = self._stack.pop()
        for merged in done.merges:  # `<<: *base`: keys that the mapping has itself win, earlier merges win over later ones
            self._count(len(merged.value), done.node.place)
            for key, entry in merged.value.items():
                done.node.value.setdefault(key, entry)
        self._add(done.node, done.anchor, done.node.place)

    def _add(self, node: Node, anchor: str | None, place: Place) -> None:
        self._count(1, place)
        if anchor is not None:
            self._anchors[anchor] = node  # after its end, so that a node cannot contain itself
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        if isinstance(top.node.value, list):
            top.node.value.append(node)
        elif top.key is None:
            raise TreeError("HG1002", "not valid here: an alias as a key", "use a text as the key", place)
        else:
            if top.key == "<<":
                self._merge(top, node, place)
            else:
                top.node.value[top.key] = (top.key_place, node)
            top.key = None

    def _count(self, more: int, place: Place) -> None:
        self._nodes += more
        if self._nodes > MAX_NODES:
            raise TreeError("HG1009", f"more than {MAX_NODES} values in one file", "split the file", place)

    def _merge(self, top: _Open, node: Node, place: Place) -> None:
        sources = node.value if isinstance(node.value, list) else [node]
        if not all(isinstance(source.value, dict) for source in sources):
            raise TreeError("HG1002", '"<<" merges a mapping or a list of mappings', "give it an alias of a mapping", place)
        top.merges.extend(sources)


def _short(tag: str) -> str:
    return tag.replace(_TAG, "!!")[:60]


def _resolve(event: Any, place: Place) -> object:
    """A scalar by the YAML 1.2 core schema; quoted text stays text."""
    tag, text = event.tag, event.value
    if tag is None and not event.implicit[0]:
        return text
    if tag is not None:
        if tag in ("!", _TAG + "str"):
            return text
        if tag not in (_TAG + "int", _TAG + "float", _TAG + "bool", _TAG + "null"):
            raise TreeError("HG1002", f'the tag "{_short(tag)}" is not supported', "remove the tag", place)
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "-+.0123456789":
        if _INT.fullmatch(text):
            return int(text, 0) if text[:2] in ("0o", "0x") else int(text)
        if _FLOAT.fullmatch(text):
            return float(text)
    return text
