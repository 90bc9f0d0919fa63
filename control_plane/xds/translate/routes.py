"""A ModelRoute: one route configuration, and one scope for each model name that leads to it.

Scoped routes, because a weight flip then touches one small resource: at 1,000 routes 0.3 kB and 4 ms of Envoy's CPU
instead of 400 kB and 26 ms for one big table.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from google.protobuf.wrappers_pb2 import BoolValue, UInt32Value, UInt64Value

from control_plane.ir.model import Choice, Entry, Route
from control_plane.ir.operations import OPERATIONS
from control_plane.ir.stored import stored_by
from control_plane.pb.core_pb2 import HeaderValue, HeaderValueOption, Metadata, TypedExtensionConfig
from control_plane.pb.priority_group_pb2 import ClusterWeight, PriorityGroup, PriorityGroupClusterSpecifier
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
from control_plane.xds.resource import CDS, RDS, SRDS, Resource
from control_plane.xds.translate.errors import answer
from control_plane.xds.translate.facts import route_metadata
from control_plane.xds.translate.names import route_table, scope, target_cluster
from control_plane.xds.translate.packing import duration, pack
from control_plane.xds.translate.stored_match import of_collection, of_one

RETRY_CONDITIONS: Final = {
    "transient": ("5xx", "reset", "connect-failure", "refused-stream"),
    "unreadable": ("5xx",),
    "rate_limited": ("retriable-status-codes",),
    "credential": ("retriable-status-codes",),
}
"""What operators name in `retry.on`, in Envoy's words. An unreadable answer reaches the router as a 503 of the hold."""

UNFIT_HEADER: Final = "x-headgate-failure"
"""Set by the translator on an answer that another target may do better, whatever its status; never shown to clients."""

RETRY_STATUSES: Final = {"rate_limited": (429,), "credential": (401, 403)}
NOT_FOUND: Final = 404
CLOSED_RETRY_AFTER_S: Final = "30"
"""Seconds after which to come again when a whole route is out of traffic: nobody knows when it returns, and asking costs little."""
BACKOFF_MS: Final = (5, 50)
"""Base and maximum pause between attempts. Short, because the next attempt goes to another provider."""

# `x-headgate-target` is set by the target itself, as a constant: a formatted header costs 4 µs.
ABOUT: Final = (
    ("x-headgate-request-id", "%STREAM_ID%"),
    ("x-headgate-attempts", "%UPSTREAM_REQUEST_ATTEMPT_COUNT%"),
)
PRIVATE_RESPONSE_HEADERS: Final = (
    UNFIT_HEADER,
    "set-cookie",
    "alt-svc",
    "openai-organization",
    "openai-project",
    "anthropic-organization-id",
)
"""The provider account's business, not the caller's."""


@lru_cache(maxsize=16_384)
def route(node: Route) -> Resource:
    """The route configuration of one ModelRoute."""
    routes = [one for entry in node.entries for one in _routes(node, entry)]
    table = RouteConfiguration(
        name=route_table(node),
        virtual_hosts=[
            VirtualHost(
                name=node.name,
                domains=["*"],
                routes=routes,
                include_request_attempt_count=True,
                request_body_buffer_limit=UInt64Value(value=node.max_request_bytes),
                response_headers_to_add=[
                    HeaderValueOption(header=HeaderValue(key=k, value=v), append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD)
                    for k, v in ABOUT
                ],
                response_headers_to_remove=PRIVATE_RESPONSE_HEADERS,
            )
        ],
    )
    targets = frozenset((CDS, target_cluster(use)) for use in node.uses())
    return Resource(type_url=RDS, name=route_table(node), body=table.SerializeToString(deterministic=True), refs=targets)


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


def _routes(node: Route, entry: Entry) -> list[EnvoyRoute]:
    facts = _facts(node, entry)
    if not entry.groups:
        return [_closed(node, entry, facts, match) for match in _matches(entry)]
    *collection, match = _matches(entry)
    stored = stored_by(entry.dialect, entry.operation) is not None
    made = [EnvoyRoute(name=node.name, match=m, metadata=facts, route=_action(node, entry.groups[:1], None)) for m in collection]
    action = _action(node, entry.groups, _look_everywhere(node, entry) if stored else _retries(node))
    return [*made, EnvoyRoute(name=node.name, match=match, metadata=facts, route=action)]


def _matches(entry: Entry) -> list[RouteMatch]:
    """The requests that an entry is for."""
    if stored := stored_by(entry.dialect, entry.operation):
        return [*(of_collection(stored, method) for method in stored.collection), of_one(stored)]
    return [RouteMatch(path=next(o.call_path for o in OPERATIONS if (o.dialect, o.name) == (entry.dialect, entry.operation)))]


def _closed(node: Route, entry: Entry, facts: Metadata, match: RouteMatch) -> EnvoyRoute:
    """Every target is out: an operator's wish, and no fault of the client's, who may come again."""
    text = f'every target of route "{node.name}" is taken out of traffic by an operator'
    closed = answer(match, 503, entry.dialect, "no_target_in_traffic", text)
    closed.name = node.name
    closed.metadata.CopyFrom(facts)
    closed.response_headers_to_add.append(HeaderValueOption(header=HeaderValue(key="retry-after", value=CLOSED_RETRY_AFTER_S)))
    return closed


def _facts(node: Route, entry: Entry) -> Metadata:
    """What the edge filter must know about the route of a model, and what the journal says."""
    facts = {"route": node.name, "dialect": entry.dialect, "max_bytes": str(node.max_request_bytes)}
    if entry.operation != "chat":
        facts["operation"] = entry.operation
    if entry.rename is not None:
        facts["rename"] = entry.rename
    if any(c.use.rename for group in entry.groups for c in group):
        facts["mark"] = "1"
    if any(c.use.restore for group in entry.groups for c in group):
        facts["restore"] = "1"
    if stored_by(entry.dialect, entry.operation) is not None:
        facts["stored"] = "1"
    return route_metadata(facts, f"{entry.operation} {node.name}")


def _action(node: Route, groups: tuple[tuple[Choice, ...], ...], retries: RetryPolicy | None) -> RouteAction:
    plan = PriorityGroupClusterSpecifier(
        priority_groups=[
            PriorityGroup(
                name=f"g{number}",
                clusters=[ClusterWeight(cluster_name=target_cluster(c.use), weight=UInt32Value(value=c.weight)) for c in group],
            )
            for number, group in enumerate(groups)
        ]
    )
    plugin = TypedExtensionConfig(name="envoy.router.cluster_specifier_plugin.priority_group", typed_config=pack(plan))
    return RouteAction(
        inline_cluster_specifier_plugin=ClusterSpecifierPlugin(extension=plugin),
        auto_host_rewrite=BoolValue(value=True),
        timeout=duration(node.timers.total_ms),
        idle_timeout=duration(node.timers.idle_ms),
        retry_policy=retries,
    )


def _retries(node: Route) -> RetryPolicy:
    """`per_try_timeout` is the first-token timer: Envoy ignores it once headers have gone downstream."""
    conditions = {"retriable-headers", *(c for kind in node.retry_on for c in RETRY_CONDITIONS[kind])}
    base, most = BACKOFF_MS
    return RetryPolicy(
        retry_on=",".join(sorted(conditions)),
        retriable_status_codes=sorted(s for kind in node.retry_on for s in RETRY_STATUSES.get(kind, ())),
        retriable_headers=[HeaderMatcher(name=UNFIT_HEADER, present_match=True)],
        num_retries=UInt32Value(value=node.attempts - 1),
        per_try_timeout=duration(node.timers.first_token_ms),
        retry_back_off=RetryPolicy.RetryBackOff(base_interval=duration(base), max_interval=duration(most)),
        refresh_cluster_on_retry=True,
    )


def _look_everywhere(node: Route, entry: Entry) -> RetryPolicy:
    """For what one provider of the plan keeps: a 404 asks the next one, and every one is asked."""
    policy = RetryPolicy()
    policy.CopyFrom(_retries(node))
    policy.retry_on = ",".join(sorted({*policy.retry_on.split(","), "retriable-status-codes"}))
    policy.retriable_status_codes.append(NOT_FOUND)
    policy.num_retries.value = len(entry.groups) - 1
    return policy
