"""The default scope: what every request meets before its model is known, and all that needs no model.

Its routes never lead to a provider, so a request that the edge filter could not handle (a Lua error lets a request
through unchanged) ends here with an error and not at a wrong provider.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from google.protobuf.wrappers_pb2 import UInt32Value, UInt64Value

from control_plane.ir.operations import OPERATIONS, Operation
from control_plane.ir.path_template import envoy_regex, lua_pattern
from control_plane.ir.stored import STORED, Stored
from control_plane.pb.matcher_pb2 import RegexMatcher
from control_plane.pb.route_pb2 import Route, RouteAction, RouteConfiguration, RouteMatch, VirtualHost
from control_plane.xds.resource import RDS, Resource
from control_plane.xds.translate.errors import PREFIXES, answer
from control_plane.xds.translate.facts import route_metadata
from control_plane.xds.translate.filters.body_limit import body_limit_of
from control_plane.xds.translate.model_lists import model_lists
from control_plane.xds.translate.names import DEFAULT_SCOPE
from control_plane.xds.translate.stored_match import method_is, of_collection, version

NO_CLUSTER: Final = "no-such-model"
"""A cluster that never exists. A route action and not a direct response, because only the former brings its body limit
along while the edge filter reads the body. The edge filter writes the text of the 404."""


@lru_cache(maxsize=8)
def default_table(models: tuple[str, ...], max_request_bytes: int, *listed: tuple[str, ...]) -> Resource:
    """The route configuration of the default scope. `listed`: what clients of each of LISTED see."""
    routes = [r for operation in OPERATIONS for r in _operation(operation, models, max_request_bytes)]
    routes += [r for operation in OPERATIONS for r in _addresses(operation, models, max_request_bytes)]
    routes += [r for stored in STORED for r in _stored(stored, models, max_request_bytes)]
    routes += model_lists(*listed)
    routes += [_unknown_path(prefix, dialect) for prefix, dialect in {**PREFIXES, "/": "openai-chat"}.items()]
    body_limit = max((len(r.direct_response.body.inline_bytes) for r in routes), default=0)
    table = RouteConfiguration(
        name=DEFAULT_SCOPE,
        virtual_hosts=[
            VirtualHost(name=DEFAULT_SCOPE, domains=["*"], routes=routes, request_body_buffer_limit=UInt64Value(value=max_request_bytes))
        ],
        max_direct_response_body_size_bytes=UInt32Value(value=max(body_limit, 4096)),
    )
    return Resource(type_url=RDS, name=DEFAULT_SCOPE, body=table.SerializeToString(deterministic=True))


def _operation(operation: Operation, models: tuple[str, ...], max_request_bytes: int) -> list[Route]:
    """The exact path of an operation."""
    if operation.path is None:
        return []
    call = RouteMatch(path=operation.path, headers=[method_is("POST")])
    return [
        _call(operation, call, {}, models, max_request_bytes),
        answer(RouteMatch(path=operation.path), 405, operation.dialect, "method_not_allowed", f"{operation.path} takes POST only"),
    ]


def _addresses(operation: Operation, models: tuple[str, ...], max_request_bytes: int) -> list[Route]:
    """The paths of an operation that name the model."""
    routes = []
    for template, stream in operation.addresses:
        regex = RegexMatcher(regex=envoy_regex(template))
        facts = {"address": lua_pattern(template), "to": operation.call_path}
        if stream:
            facts["stream"] = "1"
        if not operation.by_path:
            facts["into"] = "body"
        call = RouteMatch(safe_regex=regex, headers=[method_is("POST")])
        routes += [
            _call(operation, call, facts, models, max_request_bytes),
            answer(RouteMatch(safe_regex=regex), 405, operation.dialect, "method_not_allowed", f"{template} takes POST only"),
        ]
    return routes


def _stored(stored: Stored, models: tuple[str, ...], max_request_bytes: int) -> list[Route]:
    """Calls whose query names the model."""
    matches = [of_collection(stored, method) for method in stored.collection]
    for method, suffix in stored.calls:
        regex = RegexMatcher(regex=stored.regex(suffix))
        matches.append(RouteMatch(safe_regex=regex, headers=[method_is(method), *version(stored)]))
    routes = [_call(stored, match, {"stored": stored.path}, models, max_request_bytes) for match in matches]
    if stored.collection:
        taken = " and ".join(stored.collection)
        other = RouteMatch(path=stored.path, headers=version(stored))
        routes.append(answer(other, 405, stored.dialect, "method_not_allowed", f"{stored.path} takes {taken} only"))
    return routes


def _call(operation: Operation | Stored, match: RouteMatch, more: dict[str, str], models: tuple[str, ...], max_request_bytes: int) -> Route:
    facts = {"dialect": operation.dialect, "operation": operation.name, **more}
    if isinstance(operation, Operation) and operation.form:
        facts["form"] = "1"
    return Route(
        match=match,
        metadata=route_metadata(facts, operation.name, models),
        route=RouteAction(cluster=NO_CLUSTER, cluster_not_found_response_code=RouteAction.NOT_FOUND),
        typed_per_filter_config=body_limit_of(max_request_bytes),
    )


def _unknown_path(prefix: str, dialect: str) -> Route:
    known = ", ".join(f"POST {path}" for o in OPERATIONS for path in ([o.path] if o.path else o.templates[:1]))
    return answer(RouteMatch(prefix=prefix), 404, dialect, "unknown_path", f"unknown path; this gateway serves {known}, GET /v1/models")
