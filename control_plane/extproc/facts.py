"""What Envoy's configuration tells the translator of an attempt: the gRPC initial metadata of every stream.

All of it is the target's but `x-headgate-asked`, which Envoy takes from the route.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, TypeVar

import msgspec

from control_plane.dialects.api import ClientDialect, ProviderDialect, TargetFacts
from control_plane.dialects.capabilities import MEANINGS
from control_plane.dialects.error_rules import ErrorRule, read_rules
from control_plane.dialects.operations import SIDES, Sides
from control_plane.dialects.policies import ForeignReasoning
from control_plane.dialects.rate_limits import RateLimits, read_names
from control_plane.dialects.told import Asked, Speaks, serving
from control_plane.extproc import former
from control_plane.kit.errors import SpecError

ASKED: Final = "x-headgate-asked"  # JSON, what the route says of the call: see dialects/told.py
OFFERS: Final = "x-headgate-offers"  # a JSON list, the operations that the provider has: see dialects/told.py
TARGET: Final = "x-headgate-target"
MODEL: Final = "x-headgate-model"
OPTIONS: Final = "x-headgate-options"
ERRORS: Final = "x-headgate-errors"  # a JSON list, see dialects/error_rules.py
LACKS: Final = "x-headgate-lacks"  # names with commas between them, see dialects/capabilities.py
LIMITS: Final = "x-headgate-rate-limits"  # names of headers, see dialects/rate_limits.py
IDLE: Final = "x-headgate-idle-ms"  # longest silence of an answer once the client has some of it; none where it is not said

T = TypeVar("T")

_read_asked: Final = msgspec.json.Decoder(Asked).decode
_read_offers: Final = msgspec.json.Decoder(tuple[Speaks, ...]).decode
_read_options: Final = msgspec.json.Decoder(dict[str, object]).decode

_NOBODY: Final = Sides({}, {})

# Distinct calls of targets whose facts are kept decoded; each is a few KB at most.
_CACHED: Final = 4096


@dataclass(frozen=True, slots=True)
class Vendor:
    """What a preset says of a vendor's answers: rules for its errors, and the headers that speak of its rate limits."""

    errors: tuple[ErrorRule, ...] = ()
    limits: RateLimits | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything an attempt needs to know: `client` and `provider` dialects, and the target for the provider's writer."""

    client: ClientDialect
    provider: ProviderDialect
    name: str
    target: TargetFacts
    mute: bool = False
    reject: bool = False
    foreign_reasoning: ForeignReasoning = "strip"
    by_path: bool = False
    lacks: frozenset[str] = frozenset()
    vendor: Vendor = Vendor()
    withheld_until: int = 0


def idle_s(metadata: Mapping[str, str]) -> float | None:
    """The longest silence of a begun answer in seconds, None for any. Raises SpecError."""
    text = metadata.get(IDLE)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise SpecError(f"{IDLE} is {text!r}, not a number of milliseconds")
    return int(text) / 1000


class FactsReader:
    """Initial metadata to `Facts`, decoded once per call of a target: the text of the metadata is the key, so it can never be stale."""

    def __init__(self, clients: Mapping[str, ClientDialect], providers: Mapping[str, ProviderDialect]) -> None:
        self._clients = clients
        self._providers = providers
        self._decode = lru_cache(maxsize=_CACHED)(self._decoded)

    def read(self, metadata: Mapping[str, str]) -> Facts:
        """Raises SpecError when a field is missing or this worker does not know the dialect."""
        try:
            if former.CLIENT_DIALECT in metadata:
                metadata = former.renewed(metadata)
            return self._decode(
                metadata[TARGET],
                metadata[ASKED],
                metadata[OFFERS],
                metadata[MODEL],
                metadata.get(OPTIONS, "{}"),
                metadata.get(ERRORS, "[]"),
                metadata.get(LACKS, ""),
                metadata.get(LIMITS, ""),
            )
        except KeyError as error:
            raise SpecError(f"the target's configuration lacks the initial metadata {error}") from None

    def _decoded(self, name: str, asked: str, offers: str, model: str, options: str, errors: str, lacks: str, limits: str) -> Facts:
        call = _read(name, ASKED, _read_asked, asked)
        serves = serving(_read(name, OFFERS, _read_offers, offers), call.dialect, call.operation, call.served_by)
        if serves is None:
            raise SpecError(f"target {name}: {OFFERS} has nothing that answers {call.operation!r}")
        client, provider = self._sides(name, call, serves)
        lacking = frozenset(lacks.split(",")) - {""}
        if not lacking <= MEANINGS.keys():
            raise SpecError(f"target {name}: {LACKS} names {sorted(lacking - MEANINGS.keys())}, which this translator does not know")
        return Facts(
            client,
            provider,
            name,
            TargetFacts(model, serves.path, _read(name, OPTIONS, _read_options, options)),
            mute=bool(call.thinking_of) and serves.dialect not in call.thinking_of,
            reject=call.unsupported_params == "reject",
            foreign_reasoning=call.foreign_reasoning,
            by_path=call.by_path,
            lacks=lacking if serves.operation == "chat" else frozenset(),
            vendor=Vendor(_read(name, ERRORS, read_rules, errors), _read(name, LIMITS, read_names, limits) if limits else None),
            withheld_until=call.withheld_until,
        )

    def _sides(self, name: str, call: Asked, serves: Speaks) -> tuple[ClientDialect, ProviderDialect]:
        for dialect in (call.dialect, serves.dialect):
            if dialect not in self._providers and not any(dialect in sides.providers for sides in SIDES.values()):
                raise SpecError(f"target {name}: this translator does not know the dialect {dialect!r}")
        if call.dialect not in self._clients:
            raise SpecError(f"target {name}: clients cannot speak the dialect {call.dialect!r} yet, only providers")
        client = (self._clients if call.operation == "chat" else _sides(call.operation).clients).get(call.dialect)
        provider = (self._providers if serves.operation == "chat" else _sides(serves.operation).providers).get(serves.dialect)
        if client is None or provider is None:
            words = f"{call.operation!r} from {call.dialect} to {serves.operation!r} of {serves.dialect}"
            raise SpecError(f"target {name}: this translator cannot translate {words}")
        return client, provider


def _sides(operation: str) -> Sides:
    return SIDES.get(operation, _NOBODY)


def _read(target: str, field: str, reader: Callable[[str], T], text: str) -> T:
    try:
        return reader(text)
    except msgspec.DecodeError as error:
        raise SpecError(f"target {target}: {field} cannot be read: {error}") from None
