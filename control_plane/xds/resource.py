"""One xDS resource: a name, the bytes of its message, and what it refers to."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass, field
from typing import Final

from control_plane.xds import wire

_PREFIX: Final = "type.googleapis.com/"
CDS: Final = _PREFIX + "envoy.config.cluster.v3.Cluster"
EDS: Final = _PREFIX + "envoy.config.endpoint.v3.ClusterLoadAssignment"
SDS: Final = _PREFIX + "envoy.extensions.transport_sockets.tls.v3.Secret"
LDS: Final = _PREFIX + "envoy.config.listener.v3.Listener"
ECDS: Final = _PREFIX + "envoy.config.core.v3.TypedExtensionConfig"
SRDS: Final = _PREFIX + "envoy.config.route.v3.ScopedRouteConfiguration"
RDS: Final = _PREFIX + "envoy.config.route.v3.RouteConfiguration"

SHORT: Final = {CDS: "CDS", EDS: "EDS", SDS: "SDS", LDS: "LDS", ECDS: "ECDS", SRDS: "SRDS", RDS: "RDS"}
"""The names that operators know, in the order in which types are pushed (see subscription.ORDER)."""

Ref = tuple[str, str]
"""(type URL, name): how a resource is named inside a snapshot."""

# Versions travel to nodes and show up in config dumps. A plain hash of a secret could be tested against guesses there,
# so secrets are hashed with a key of this process; the price is that a restart sends every secret once more.
_SECRET_SALT: Final = secrets.token_bytes(16)


def short(type_url: str) -> str:
    """CDS, RDS, ... or the message name of a type that has no such word."""
    return SHORT.get(type_url, type_url.rsplit(".", 1)[-1])


def label(ref: Ref) -> str:
    """`CDS target:openai/gpt-5`, for messages."""
    return f"{short(ref[0])} {ref[1]}"


@dataclass(frozen=True, slots=True)
class Resource:
    """An immutable resource, encoded once and shared by all streams.

    `body` is the serialised message (never printed: it may be a secret), `refs` are the resources it names directly, and
    `version` is a hash of type, name and body: equal content has an equal version in every process (secrets excepted).
    `checked_as` is what pre-flight is given instead of a body that `--mode validate` cannot take.
    """

    type_url: str
    name: str
    body: bytes = field(repr=False)
    refs: frozenset[Ref] = frozenset()
    secret: bool = field(default=False, compare=False)
    """Whether the body holds a secret; that of SDS always does."""
    checked_as: bytes | None = field(default=None, repr=False, compare=False)
    version: str = field(init=False, default="", compare=False)
    sotw_head: bytes = field(init=False, default=b"", repr=False, compare=False)
    delta_head: bytes = field(init=False, default=b"", repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self.name:
            raise ValueError(f"a {short(self.type_url)} resource needs a name")
        if self.type_url == SDS:
            object.__setattr__(self, "secret", True)
        digest = hashlib.blake2b(digest_size=8, key=_SECRET_SALT if self.secret else b"")
        for part in (self.type_url.encode(), self.name.encode(), self.body):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
        version = digest.hexdigest()
        opening = wire.any_opening(self.type_url, len(self.body))
        size = len(opening) + len(self.body)
        named = wire.field(3, self.name) + wire.field(1, version) + wire.opening(2, size) + opening
        object.__setattr__(self, "version", version)
        object.__setattr__(self, "sotw_head", wire.opening(2, size) + opening)
        object.__setattr__(self, "delta_head", wire.opening(2, len(named) + len(self.body)) + named)

    @property
    def key(self) -> Ref:
        """What other resources call this one."""
        return self.type_url, self.name
