"""A ModelRoute: one route configuration, and one scope for each model name that leads to it.

Scoped routes, because a weight flip then touches one small resource: at 1,000 routes 0.3 kB and 4 ms of Envoy's CPU
instead of 400 kB and 26 ms for one big table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value, UInt64Value

from control_plane.dialects.told import Asked
from control_plane.ir.model import Choice, Entry, Lane, Route, TargetUse, Variant, Weighing
from control_plane.ir.operations import OPERATIONS
from control_plane.ir.steering import WHOLE, Planned, reduced
from control_plane.ir.stored import stored_by
from control_plane.ir.target_paths import call
from control_plane.kit.headers import COST_HEADER, FAILURE_HEADER, FAULT_HEADER, LONG_HEADER, NEEDS_HEADER, SESSION_HEADER
from control_plane.pb.core_pb2 import HeaderValue, HeaderValueOption, Metadata, TypedExtensionConfig
from control_plane.pb.matcher_pb2 import StringMatcher
from control_plane.pb.priority_group_pb2 import PriorityGroupClusterSpecifier
from control_plane.pb.route_pb2 import (
    ClusterSpecifierPlugin,
    HeaderMatcher,
    RetryPolicy,
    RouteAction,
    RouteConfiguration,
    RouteMatch,
    ScopedRouteConfiguration,
    VirtualHost,
)
from control_plane.pb.route_pb2 import Route as EnvoyRoute
from control_plane.pb.type_pb2 import Int64Range
from control_plane.xds import wire
from control_plane.xds.resource import CDS, RDS, SRDS, Resource
from control_plane.xds.translate.errors import answer
from control_plane.xds.translate.facts import route_metadata
from control_plane.xds.translate.names import RESUMER_CLUSTER, route_table, scope, target_cluster
from control_plane.xds.translate.packing import duration, pack
from control_plane.xds.translate.resumer import attempt_match, silence_ms, to_resumer
from control_plane.xds.translate.sessions import Sessions
from control_plane.xds.translate.stored_match import of_collection, of_one

RETRY_CONDITIONS: Final = {
    "transient": ("5xx", "reset", "connect-failure", "refused-stream"),
    "unreadable": ("5xx",),
    "rate_limited": ("retriable-status-codes",),
    "credential": ("retriable-status-codes",),
    "context_too_long": (),
    "content_policy": (),
}
"""What operators name in `retry.on`, in Envoy's words. An unreadable answer reaches the router as a 503 of the hold."""

RETRY_FAULTS: Final = {
    "transient": ("transient",),
    "unreadable": ("unreadable",),
    "rate_limited": ("rate_limited", "quota_spent"),
    "credential": ("credential_dead", "quota_spent"),
    "context_too_long": ("context_too_long",),
    "content_policy": ("content_policy",),
}
"""What operators name in `retry.on`, as classes of errors: for those that the status does not tell."""

RETRY_STATUSES: Final = {"rate_limited": (429,), "credential": (401, 402, 403)}
NOT_FOUND: Final = 404
REFUSED: Final = "refused"
"""A cluster that never exists."""
CLOSED_RETRY_AFTER_S: Final = "30"
"""Seconds after which to come again when a whole route is out of traffic: nobody knows when it returns, and asking costs little."""
BACKOFF_MS: Final = (5, 50)
"""Base and maximum pause between attempts. Short, because the next attempt goes to another provider."""

# `x-headgate-target` is set by the target itself, as a constant: a formatted header costs 4 µs.
ABOUT: Final = (
    ("x-headgate-request-id", "%STREAM_ID%"),
    ("x-headgate-attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
)
_ABOUT: Final = [
    HeaderValueOption(header=HeaderValue(key=k, value=v), append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD) for k, v in ABOUT
]
PRIVATE_RESPONSE_HEADERS: Final = (
    FAILURE_HEADER,
    "set-cookie",
    "alt-svc",
    "openai-organization",
    "openai-project",
    "anthropic-organization-id",
)
"""The provider account's business, not the caller's."""


MOST: Final = 2**62
"""The end of a range that has none."""

_OPERATIONS: Final = {(o.dialect, o.name): o for o in OPERATIONS}


@lru_cache(maxsize=16_384)
def route(node: Route) -> Resource:
    """The route configuration of one ModelRoute."""
    actions = _Actions(node)
    host = VirtualHost(
        name=node.name,
        domains=["*"],
        include_request_attempt_count=True,
        retry_policy=_retries(node),
        request_body_buffer_limit=UInt64Value(value=node.max_request_bytes),
        response_headers_to_add=_ABOUT,
        response_headers_to_remove=PRIVATE_RESPONSE_HEADERS,
        request_headers_to_remove=[SESSION_HEADER] if node.sessions_by else [],
    ).SerializeToString(deterministic=True)
    routes = [wire.field(VirtualHost.ROUTES_FIELD_NUMBER, one) for entry in node.entries for one in _routes(node, entry, actions)]
    table = RouteConfiguration(name=route_table(node)).SerializeToString(deterministic=True)
    body = table + wire.field(RouteConfiguration.VIRTUAL_HOSTS_FIELD_NUMBER, b"".join((host, *routes)))
    targets = frozenset((CDS, target_cluster(use)) for use in node.uses())
    if node.resumes:
        targets |= {(CDS, RESUMER_CLUSTER)}
    return Resource(type_url=RDS, name=route_table(node), body=body, refs=targets)


def scopes(node: Route) -> list[Resource]:
    """One scope for each name of the route."""
    return [scope_of(model, route_table(node)) for model in node.models]


@lru_cache(maxsize=65_536)
def scope_of(model: str, table: str, name: str | None = None) -> Resource:
    """The scope in which the model header says `model`."""
    key = ScopedRouteConfiguration.Key(fragments=[ScopedRouteConfiguration.Key.Fragment(string_key=model)])
    name = name or scope(model)
    body = ScopedRouteConfiguration(name=name, route_configuration_name=table, key=key)
    return Resource(type_url=SRDS, name=name, body=body.SerializeToString(deterministic=True), refs=frozenset({(RDS, table)}))


def _routes(node: Route, entry: Entry, actions: _Actions) -> list[bytes]:
    """The routes of an entry, serialised: their actions are, so that those that share one do not each encode it."""
    facts = _facts(node, entry)
    if not entry.groups:
        return [_closed(node, entry, facts, match) for match in _matches(entry)]
    if entry.continuations:
        return _resumable(node, entry, facts, actions)
    *collection, match = _matches(entry)
    stored = stored_by(entry.dialect, entry.operation) is not None
    once = actions.once(entry.groups[:1]) if collection else b""
    made = [_route(node, one, facts, once) for one in collection]
    if stored:
        return [*made, _route(node, match, facts, actions.everywhere(entry.groups))]
    usual = actions.tried(entry.groups, node.attempts, too_long_moves_on=entry.too_long_moves_on)
    variants = [_variant(node, entry, one, match, actions) for one in entry.variants]
    return [*variants, _route(node, match, facts, usual, _measures(entry))]


def _resumable(node: Route, entry: Entry, facts: Metadata, actions: _Actions) -> list[bytes]:
    """Clients go to the resumer, whose attempts come back marked: the first has the plan, later ones what can go on with its answer."""
    (match,) = _matches(entry)
    made = [_route(node, attempt_match(match, "first"), facts, actions.plan(entry.groups))]
    for broken, groups in entry.continuations:
        told = _facts(node, replace(entry, groups=groups, rename=None))
        made.append(_route(node, attempt_match(match, f"after:{broken}"), told, actions.plan(groups)))
    outside = {
        "route": node.name,
        "dialect": entry.dialect,
        "max_bytes": str(node.max_request_bytes),
        "silence": str(silence_ms(node)),  # the attempts have the timers
    }
    return [*made, to_resumer(node, match, route_metadata(outside, f"{entry.operation} {node.name}"))]


def _route(node: Route, match: RouteMatch, facts: Metadata, action: bytes, removed: Sequence[str] = ()) -> bytes:
    one = EnvoyRoute(name=node.name, match=match, metadata=facts, request_headers_to_remove=removed).SerializeToString(deterministic=True)
    return one + wire.field(EnvoyRoute.ROUTE_FIELD_NUMBER, action)


def _variant(node: Route, entry: Entry, variant: Variant, match: RouteMatch, actions: _Actions) -> bytes:
    """The route of requests that the edge has measured."""
    when, chosen = variant.when, RouteMatch()
    chosen.CopyFrom(match)
    for name, least in ((LONG_HEADER, when.long), (COST_HEADER, when.cost)):
        if least:
            chosen.headers.add(name=name).range_match.CopyFrom(Int64Range(start=least, end=MOST))
    if when.needs:
        chosen.headers.add(name=NEEDS_HEADER).string_match.exact = ",".join(when.needs)
    facts = _facts(node, replace(entry, groups=variant.groups), variant.attempts)
    if not variant.groups:
        return _too_dear(node, entry, facts, chosen)
    action = actions.tried(variant.groups, variant.attempts, too_long_moves_on=variant.too_long_moves_on)
    return _route(node, chosen, facts, action, _measures(entry))


def _measures(entry: Entry) -> list[str]:
    """Headers with what the edge has measured: for choosing the route only, and not for vendors."""
    if (weighing := entry.weighing) is None:
        return []
    found = ((LONG_HEADER, weighing.long is not None), (COST_HEADER, weighing.output_weight), (NEEDS_HEADER, weighing.needs))
    return [name for name, measured in found if measured]


def _too_dear(node: Route, entry: Entry, facts: Metadata, match: RouteMatch) -> bytes:
    text = (
        f'by estimate this request would cost more than {node.max_cost} US dollars, the maxCostPerRequest of route "{node.name}", '
        "at every target; send less, or ask for fewer tokens of output"
    )
    refusal = answer(match, 400, entry.dialect, "cost_ceiling_exceeded", text)
    refusal.name = node.name
    refusal.metadata.CopyFrom(facts)
    return refusal.SerializeToString(deterministic=True)


def _matches(entry: Entry) -> list[RouteMatch]:
    """The requests that an entry is for."""
    if stored := stored_by(entry.dialect, entry.operation):
        return [*(of_collection(stored, method) for method in stored.collection), of_one(stored)]
    return [RouteMatch(path=_OPERATIONS[entry.dialect, entry.operation].call_path)]


def _closed(node: Route, entry: Entry, facts: Metadata, match: RouteMatch) -> bytes:
    """Every target is out, by an operator's wish or because all have failed: no fault of the client's, who may come again."""
    if node.back_at is None:
        code, text = "no_target_in_traffic", f'every target of route "{node.name}" is taken out of traffic by an operator'
    else:  # the edge filter says how long it will take from then on
        code, text = "no_provider_available", f'every target of route "{node.name}" is failing; try again later'
    closed = answer(match, 503, entry.dialect, code, text)
    closed.name = node.name
    closed.metadata.CopyFrom(facts)
    closed.response_headers_to_add.append(HeaderValueOption(header=HeaderValue(key="retry-after", value=CLOSED_RETRY_AFTER_S)))
    return closed.SerializeToString(deterministic=True)


def _facts(node: Route, entry: Entry, attempts: int = 0) -> Metadata:
    """What the edge filter, the targets and the translator must know about the route of a model, and what the journal says."""
    facts = {"route": node.name, "dialect": entry.dialect, "max_bytes": str(node.max_request_bytes)}
    if entry.operation != "chat":
        facts["operation"] = entry.operation
    if entry.rename is not None:
        facts["rename"] = entry.rename
    mark = restore = translated = False
    for use in [choice.use for group in entry.groups for choice in group]:
        mark |= use.rename
        restore |= use.restore
        translated |= use.lane is Lane.TRANSLATION
    if mark:
        facts["mark"] = "1"
    if restore:
        facts["restore"] = "1"
    if stored_by(entry.dialect, entry.operation) is not None:
        facts["stored"] = "1"
    elif node.sessions_by:
        facts |= Sessions.among(entry.groups).facts(node.sessions_by)
    if node.retry_within_ms is not None:
        facts["within"] = str(node.retry_within_ms)
    facts["silence"] = str(node.timers.silence_ms)
    if entry.weighing is not None:
        facts.update(_weighed(entry.weighing))
    at_targets = call(entry.dialect, entry.operation) if restore else ""
    asked, silence_ms = (_asked(node, entry, attempts or node.attempts), node.timers.silence_ms) if translated else (None, None)
    call_name = f"{entry.operation} {node.name}"
    return route_metadata(facts, call_name, at_targets=at_targets, asked=asked, silence_ms=silence_ms, back_at=node.back_at)


def _weighed(weighing: Weighing) -> dict[str, str]:
    """What the edge is to measure; the first line says that it is to."""
    facts = {"weigh": "1"}
    if weighing.long is not None:
        facts["long"] = str(weighing.long)
    if weighing.output_weight:
        facts["output_weight"] = str(weighing.output_weight)
    if weighing.needs:
        facts["needs"] = ",".join(weighing.needs)
    return facts


def _asked(node: Route, entry: Entry, attempts: int) -> Asked:
    operation = _OPERATIONS[entry.dialect, entry.operation]
    return Asked(
        dialect=entry.dialect,
        operation=entry.operation,
        served_by=operation.served_by,
        by_path=operation.by_path,
        thinking_of=entry.thinking_of,
        unsupported_params=node.unsupported_params,
        foreign_reasoning=node.foreign_reasoning,
        withheld_until=attempts if "content_policy" in node.retry_on else 0,
    )


_Groups = tuple[tuple[Choice, ...], ...]


class _Actions:
    """What becomes of the requests of one ModelRoute, serialised: most of its entries have one of few plans."""

    def __init__(self, node: Route) -> None:
        self._node = node
        self._known: dict[tuple[tuple[tuple[TargetUse, int, int], ...], ...], bytes] = {}

    def plan(self, groups: _Groups) -> bytes:
        """A group for each attempt, as the route's retries say (they are the virtual host's)."""
        key = tuple([tuple([(choice.use, choice.weight, choice.admitted) for choice in group]) for group in groups])
        action = self._known.get(key)
        if action is None:
            action = self._known[key] = self._rendered(groups).SerializeToString(deterministic=True)
        return action

    def once(self, groups: _Groups) -> bytes:
        """One attempt only."""
        return self.plan(groups) + _with(RetryPolicy(num_retries=UInt32Value(value=0)))

    def tried(self, groups: _Groups, attempts: int, *, too_long_moves_on: bool) -> bytes:
        """The same with retries of its own, where the route's do not fit."""
        retry_on = tuple(kind for kind in self._node.retry_on if too_long_moves_on or kind != "context_too_long")
        if attempts == self._node.attempts and retry_on == self._node.retry_on:
            return self.plan(groups)
        return self.plan(groups) + _with(_retries(replace(self._node, attempts=attempts, retry_on=retry_on)))

    def everywhere(self, groups: _Groups) -> bytes:
        """For what one provider of the plan keeps: a 404 asks the next one, and every one is asked."""
        policy = _retries(self._node)
        policy.retry_on = ",".join(sorted({*policy.retry_on.split(","), "retriable-status-codes"}))
        policy.retriable_status_codes.append(NOT_FOUND)
        policy.num_retries.value = len(groups) - 1
        return self.plan(groups) + _with(policy)

    def _rendered(self, groups: _Groups) -> RouteAction:
        # Where part of the traffic is refused, every target has failed: no session has a place to keep.
        sticky = self._node.sessions_by and all(choice.admitted == WHOLE for group in groups for choice in group)
        plan = PriorityGroupClusterSpecifier(header_name=SESSION_HEADER if sticky else "")
        weights = Sessions.among(groups).weights if sticky else ()
        for number, group in enumerate(groups):
            into = plan.priority_groups.add(name=f"g{number}")
            for name, weight in _sessions(group, weights[number]) if sticky else _weights(group):
                into.clusters.add(cluster_name=name).weight.value = weight
        plugin = TypedExtensionConfig(name="envoy.router.cluster_specifier_plugin.priority_group", typed_config=pack(plan))
        return RouteAction(
            inline_cluster_specifier_plugin=ClusterSpecifierPlugin(extension=plugin),
            auto_host_rewrite=BoolValue(value=True),
            timeout=duration(self._node.timers.total_ms),
            idle_timeout=duration(self._node.timers.idle_ms),
        )


def _sessions(group: tuple[Choice, ...], weights: Sequence[int]) -> list[tuple[str, int]]:
    return [(target_cluster(choice.use), weight) for choice, weight in zip(group, weights, strict=True)]


def _weights(group: tuple[Choice, ...]) -> list[tuple[str, int]]:
    """The clusters of a group. What is not admitted goes to one that does not exist, which is a 503 at once and never retried."""
    refused = sum(choice.weight * (WHOLE - choice.admitted) for choice in group)
    if not refused:
        return [(target_cluster(choice.use), choice.weight) for choice in group]
    admitted = [Planned(target_cluster(choice.use), choice.weight * choice.admitted) for choice in group if choice.admitted]
    return [(one.target, one.weight) for one in reduced([*admitted, Planned(REFUSED, refused)])]


def _with(policy: RetryPolicy) -> bytes:
    """A policy instead of the virtual host's, as the rest of an action."""
    return RouteAction(retry_policy=policy).SerializeToString(deterministic=True)


def _retries(node: Route) -> RetryPolicy:
    """`per_try_timeout` is the first-token timer: Envoy ignores it once headers have gone downstream."""
    conditions = {"retriable-headers", *(c for kind in node.retry_on for c in RETRY_CONDITIONS[kind])}
    base, most = BACKOFF_MS
    return RetryPolicy(
        retry_on=",".join(sorted(conditions)),
        retriable_status_codes=sorted(s for kind in node.retry_on for s in RETRY_STATUSES.get(kind, ())),
        retriable_headers=[HeaderMatcher(name=FAILURE_HEADER, present_match=True), *_faults(node.retry_on)],
        num_retries=UInt32Value(value=node.attempts - 1),
        per_try_timeout=duration(node.timers.first_token_ms),
        retry_back_off=RetryPolicy.RetryBackOff(base_interval=duration(base), max_interval=duration(most)),
        refresh_cluster_on_retry=True,
    )


def _faults(retry_on: tuple[str, ...]) -> list[HeaderMatcher]:
    classes = sorted({kind for reason in retry_on for kind in RETRY_FAULTS[reason]})
    return [HeaderMatcher(name=FAULT_HEADER, string_match=StringMatcher(exact=kind)) for kind in classes]
