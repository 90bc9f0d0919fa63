"""Where a document was written, for findings about it; no part of what the document says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from control_plane.spec.yaml_tree import Node, Place


@dataclass(frozen=True, slots=True)
class Origin:
    """`name` is the file as the operator gave it, `path` the file to resolve relative paths against."""

    name: str
    path: Path
    tree: Node

    @property
    def line(self) -> int:
        return self.tree.place[0]

    @property
    def col(self) -> int:
        return self.tree.place[1]

    def find(self, path: Sequence[str | int], *, key: bool = False) -> Place:
        """Line and column of the value (or with `key` the key) at a path such as ("spec", "plan", 0); else of its nearest ancestor."""
        return self.tree.find(path, key=key)
