"""A whole configuration, frozen: every resource of every type, as one consistent set."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from control_plane.kit.errors import GatewayError
from control_plane.xds.resource import RDS, Ref, Resource, label

_NONE: Final[Mapping[str, Resource]] = MappingProxyType({})
_NAMED_AT_MOST = 10  # missing names in one error text; the rest is counted


class DuplicateResource(GatewayError):
    """Two resources of one type share a name."""


class DanglingReferences(GatewayError):
    """A snapshot names resources that it does not hold. `missing` maps each of them to the resources that name it."""

    def __init__(self, missing: Mapping[Ref, tuple[Ref, ...]]) -> None:
        self.missing = missing
        lines = [f"{label(ref)} (named by {', '.join(label(by) for by in users[:3])})" for ref, users in sorted(missing.items())]
        more = f" and {len(lines) - _NAMED_AT_MOST} more" if len(lines) > _NAMED_AT_MOST else ""
        super().__init__(f"the snapshot names what it does not hold: {'; '.join(lines[:_NAMED_AT_MOST])}{more}")


@dataclass(frozen=True, slots=True)
class Diff:
    """What changed between two snapshots, by (type, name)."""

    added: frozenset[Ref]
    changed: frozenset[Ref]
    removed: frozenset[Ref]

    def __bool__(self) -> bool:
        return bool(self.added or self.changed or self.removed)

    def __str__(self) -> str:
        return f"+{len(self.added)} ~{len(self.changed)} -{len(self.removed)}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Resources by type URL and name.

    `number` grows with every snapshot that is served (0: not served yet); `content` is the hash of everything in it.
    `routes` are the names of what operators would call routes; the mass-delete guard counts them. `absent` are secrets that
    nobody has the values of at the moment: a node keeps the last ones that it was given.
    """

    resources: Mapping[str, Mapping[str, Resource]]
    number: int = 0
    routes: frozenset[str] = frozenset()
    absent: frozenset[Ref] = frozenset()
    type_versions: Mapping[str, str] = field(default_factory=dict)
    content: str = ""

    @classmethod
    def of(
        cls, resources: Iterable[Resource], *, number: int = 0, routes: Collection[str] | None = None, absent: Collection[Ref] = ()
    ) -> Snapshot:
        """Build one; `routes` defaults to the names of the route configurations. Raises DuplicateResource."""
        types: dict[str, dict[str, Resource]] = {}
        for resource in resources:
            names = types.setdefault(resource.type_url, {})
            if resource.name in names:
                raise DuplicateResource(f"two resources are called {label(resource.key)}")
            names[resource.name] = resource
        versions = {type_url: _hash(r.version for _, r in sorted(names.items())) for type_url, names in types.items()}
        frozen = MappingProxyType({type_url: MappingProxyType(names) for type_url, names in types.items()})
        known = frozenset(types.get(RDS, ())) if routes is None else frozenset(routes)
        content = _hash(part for item in sorted(versions.items()) for part in item)
        return cls(frozen, number, known, frozenset(absent), MappingProxyType(versions), content)

    @property
    def version(self) -> str:
        """`number-hash`, as operators see it."""
        return f"{self.number}-{self.content}"

    def of_type(self, type_url: str) -> Mapping[str, Resource]:
        """The resources of one type by name; empty when there are none."""
        return self.resources.get(type_url, _NONE)

    def get(self, ref: Ref) -> Resource | None:
        """The resource of that type and name, if it is here."""
        return self.of_type(ref[0]).get(ref[1])

    def __iter__(self) -> Iterator[Resource]:
        for names in self.resources.values():
            yield from names.values()

    def __len__(self) -> int:
        return sum(map(len, self.resources.values()))

    def __contains__(self, ref: object) -> bool:
        return isinstance(ref, tuple) and len(ref) == 2 and ref[1] in self.of_type(ref[0])

    def numbered(self, number: int) -> Snapshot:
        """The same content under another number."""
        return replace(self, number=number)

    def check_closed(self, provided: Collection[Ref] = ()) -> None:
        """Raise DanglingReferences unless every reference is here, in `provided` (what the bootstrap brings) or in `absent`."""
        missing: dict[Ref, list[Ref]] = {}
        for resource in self:
            for ref in resource.refs:
                if ref not in self and ref not in provided and ref not in self.absent:
                    missing.setdefault(ref, []).append(resource.key)
        if missing:
            raise DanglingReferences({ref: tuple(sorted(users)) for ref, users in missing.items()})

    def diff(self, newer: Snapshot) -> Diff:
        """What must change to get from here to `newer`."""
        mine = {r.key: r.version for r in self}
        theirs = {r.key: r.version for r in newer}
        return Diff(
            added=frozenset(theirs.keys() - mine.keys()),
            changed=frozenset(key for key in theirs.keys() & mine.keys() if theirs[key] != mine[key]),
            removed=frozenset(mine.keys() - theirs.keys()),
        )


def _hash(parts: Iterable[str]) -> str:
    digest = hashlib.blake2b(digest_size=8)
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()


EMPTY: Final = Snapshot.of(())
