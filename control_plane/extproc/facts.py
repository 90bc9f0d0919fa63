"""What a target's Envoy configuration tells the translator: the gRPC initial metadata of every stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import msgspec

from control_plane.dialects.api import ClientDialect, ProviderDialect, TargetFacts
from control_plane.dialects.capabilities import MEANINGS
from control_plane.dialects.error_rules import ErrorRule, read_rules
from control_plane.dialects.operations import SIDES
from control_plane.dialects.policies import FOREIGN_REASONING, ForeignReasoning
from control_plane.dialects.rate_limits import RateLimits, read_names
from control_plane.kit.errors import SpecError

CLIENT_DIALECT: Final = "x-headgate-client-dialect"
PROVIDER_DIALECT: Final = "x-headgate-provider-dialect"
TARGET: Final = "x-headgate-target"
MODEL: Final = "x-headgate-model"
PATH: Final = "x-headgate-path"
OPTIONS: Final = "x-headgate-options"
OPERATION: Final = "x-headgate-operation"  # chat where it is not said
NAMED_BY: Final = "x-headgate-named-by"  # "path": the request's header x-headgate-call says what the client's path said
THINKING: Final = "x-headgate-thinking"  # "none": answers are given without it, see thinking.py
UNSUPPORTED: Final = "x-headgate-unsupported-params"  # "reject": a knob that would be dropped makes the target unfit
FOREIGN: Final = "x-headgate-foreign-reasoning"  # see dialects/foreign_reasoning.py
ERRORS: Final = "x-headgate-errors"  # a JSON list, see dialects/error_rules.py
LACKS: Final = "x-headgate-lacks"  # names with commas between them, see dialects/capabilities.py
LIMITS: Final = "x-headgate-rate-limits"  # names of headers, see dialects/rate_limits.py
IDLE: Final = "x-headgate-idle-ms"  # longest silence of an answer once the client has some of it; none where it is not said

# Distinct targets whose facts are kept decoded; each is a few KB at most.
_CACHED_TARGETS: Final = 4096


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


def idle_s(metadata: Mapping[str, str]) -> float | None:
    """The longest silence of a begun answer in seconds, None for any. Raises SpecError."""
    text = metadata.get(IDLE)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise SpecError(f"{IDLE} is {text!r}, not a number of milliseconds")
    return int(text) / 1000


class FactsReader:
    """Initial metadata to `Facts`, decoded once per distinct target: the text of the metadata is the key, so it can never be stale."""

    def __init__(self, clients: Mapping[str, ClientDialect], providers: Mapping[str, ProviderDialect]) -> None:
        self._clients = clients
        self._providers = providers
        self._decode = lru_cache(maxsize=_CACHED_TARGETS)(self._decoded)

    def read(self, metadata: Mapping[str, str]) -> Facts:
        """Raises SpecError when a field is missing or this worker does not know the dialect."""
        try:
            return self._decode(
                metadata[CLIENT_DIALECT],
                metadata[PROVIDER_DIALECT],
                metadata[TARGET],
                metadata[MODEL],
                metadata[PATH],
                metadata.get(OPTIONS, "{}"),
                metadata.get(THINKING) == "none",
                metadata.get(UNSUPPORTED) == "reject",
                metadata.get(FOREIGN, "strip"),
                metadata.get(NAMED_BY) == "path",
                metadata.get(OPERATION, "chat"),
                metadata.get(ERRORS, "[]"),
                metadata.get(LACKS, ""),
                metadata.get(LIMITS, ""),
            )
        except KeyError as error:
            raise SpecError(f"the target's configuration lacks the initial metadata {error}") from None

    def _decoded(
        self,
        client: str,
        provider: str,
        name: str,
        model: str,
        path: str,
        options: str,
        mute: bool,
        reject: bool,
        foreign: str,
        by_path: bool,
        operation: str,
        errors: str,
        lacks: str,
        limits: str,
    ) -> Facts:
        for dialect in (client, provider):
            if dialect not in self._providers:
                raise SpecError(f"target {name}: this translator does not know the dialect {dialect!r}")
        if client not in self._clients:
            raise SpecError(f"target {name}: clients cannot speak the dialect {client!r} yet, only providers")
        try:
            decoded = msgspec.json.decode(options, type=dict[str, object])
        except msgspec.DecodeError as error:
            raise SpecError(f"target {name}: {OPTIONS} is not a JSON object: {error}") from None
        try:
            rules = read_rules(errors)
        except msgspec.DecodeError as error:
            raise SpecError(f"target {name}: {ERRORS} is not a list of rules: {error}") from None
        try:
            told = read_names(limits) if limits else None
        except msgspec.DecodeError as error:
            raise SpecError(f"target {name}: {LIMITS} does not name headers: {error}") from None
        lacking = frozenset(lacks.split(",")) - {""}
        if not lacking <= MEANINGS.keys():
            raise SpecError(f"target {name}: {LACKS} names {sorted(lacking - MEANINGS.keys())}, which this translator does not know")
        policy = next((known for known in FOREIGN_REASONING if known == foreign), None)
        if policy is None:
            raise SpecError(f"target {name}: {FOREIGN} is {foreign!r}, not one of {', '.join(FOREIGN_REASONING)}")
        target_facts, vendor = TargetFacts(model, path, decoded), Vendor(rules, told)
        if operation == "chat":
            clients, providers = self._clients[client], self._providers[provider]
            return Facts(clients, providers, name, target_facts, mute, reject, policy, by_path, lacking, vendor)
        sides = SIDES.get(operation)
        if sides is None or client not in sides.clients or provider not in sides.providers:
            raise SpecError(f"target {name}: this translator cannot translate {operation!r} from {client} to {provider}")
        return Facts(sides.clients[client], sides.providers[provider], name, target_facts, mute, reject, policy, by_path, vendor=vendor)
