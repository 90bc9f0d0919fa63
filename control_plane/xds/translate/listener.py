"""The edge listener. It is constant: any difference in a listener cuts every stream that is open when its drain ends,
so whatever must change at run time lives in routes, clusters and secrets."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import AccessLog, AccessLogFilter
from envoy_data_plane.envoy.config.common.mutation_rules.v3 import HeaderMutation, HeaderMutationRemoveOnMatch
from envoy_data_plane.envoy.config.core.v3 import (
    Address,
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    DataSource,
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    Http2ProtocolOptions,
    HttpProtocolOptions,
    HttpProtocolOptionsHeadersWithUnderscoresAction,
    Pipe,
    SocketAddress,
    TypedExtensionConfig,
)
from envoy_data_plane.envoy.config.listener.v3 import Filter, FilterChain, Listener
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (
    HttpConnectionManager,
    HttpConnectionManagerPathWithEscapedSlashesAction,
    HttpFilter,
    ScopedRds,
    ScopedRoutes,
    ScopedRoutesScopeKeyBuilder,
    ScopedRoutesScopeKeyBuilderFragmentBuilder,
    ScopedRoutesScopeKeyBuilderFragmentBuilderHeaderValueExtractor,
)
from envoy_data_plane.envoy.extensions.http.early_header_mutation.header_mutation.v3 import HeaderMutation as EarlyHeaderMutation
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.google.protobuf import Any

from control_plane.kit.headers import MODEL_HEADER
from control_plane.signals.formats import ATTEMPT_FORMAT, REQUEST_FORMAT
from control_plane.xds.resource import LDS, SRDS, Resource
from control_plane.xds.translate.access_log import file_journal, grpc_journal, worth_a_line
from control_plane.xds.translate.filters.body_limit import body_limit
from control_plane.xds.translate.local_replies import local_replies
from control_plane.xds.translate.names import DEFAULT_SCOPE, INNER_LISTENER, LISTENER, NO_MODEL
from control_plane.xds.translate.settings import EdgeSettings
from control_plane.xds.translate.sources import lua_source

REQUEST_HEADERS_TIMEOUT: Final = timedelta(seconds=10)
REQUEST_TIMEOUT: Final = timedelta(minutes=5)
"""For the whole request body to arrive: 32 MB take 4 minutes at 1 Mbit/s."""

STREAM_IDLE: Final = timedelta(minutes=5)
"""Before a route is known; a route's own idle timer replaces it."""

SEND_BUFFER_BYTES: Final = 1 << 28
CONNECTION_BUFFER_BYTES: Final = 2**32 - 1
"""What a client may leave unread, of a stream and of a connection, before Envoy stops reading from its vendors; answers of
models are a thousandth of it, so the connection's limit is never met.

Not smaller, because Envoy 1.40 crashes when a client's buffer crosses its limit between the end of a vendor's answer and
the end of its translation: the router then pauses an upstream stream that is gone (upstream_request.cc,
DownstreamWatermarkManager). HTTP/2 takes the limit of a stream from its initial window."""

DELAYED_CLOSE: Final = timedelta(milliseconds=100)
"""How late a client of HTTP/1.1 learns of a cut; Envoy's default is a second."""


@lru_cache(maxsize=16)
def listener(settings: EdgeSettings) -> Resource:
    """The one listener of the gateway."""
    host, port = settings.listen
    chain = FilterChain(filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(_manager(settings)))])
    built = Listener(
        name=LISTENER,
        address=Address(socket_address=SocketAddress(address=host, port_value=port)),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER_BYTES,
        stat_prefix=LISTENER,
    )
    return Resource(type_url=LDS, name=LISTENER, body=bytes(built), refs=frozenset({(SRDS, DEFAULT_SCOPE)}))


@lru_cache(maxsize=16)
def inner_listener(settings: EdgeSettings) -> Resource:
    """Where resumers send their attempts: a socket of this user's alone, the same filters and routes. It takes their marks and their
    request ids, from which the journal knows whose attempts they are."""
    manager = replace(
        _manager(settings),
        stat_prefix=INNER_LISTENER,
        early_header_mutation_extensions=[_no_model_yet()],
        preserve_external_request_id=True,
    )
    chain = FilterChain(filters=[Filter(name="envoy.filters.network.http_connection_manager", typed_config=Any.pack(manager))])
    built = Listener(
        name=INNER_LISTENER,
        address=Address(pipe=Pipe(path=settings.inner, mode=0o600)),
        filter_chains=[chain],
        per_connection_buffer_limit_bytes=CONNECTION_BUFFER_BYTES,
        stat_prefix=INNER_LISTENER,
    )
    return Resource(type_url=LDS, name=INNER_LISTENER, body=bytes(built), refs=frozenset({(SRDS, DEFAULT_SCOPE)}))


def _manager(settings: EdgeSettings) -> HttpConnectionManager:
    return HttpConnectionManager(
        stat_prefix=LISTENER,
        server_name="headgate",
        scoped_routes=_scoped_routes(),
        http_filters=[body_limit(), _edge_filter(), _router(settings)],
        access_log=_journal(settings, REQUEST_FORMAT),
        local_reply_config=local_replies(),
        early_header_mutation_extensions=[_forget_internal_headers()],
        common_http_protocol_options=HttpProtocolOptions(
            headers_with_underscores_action=HttpProtocolOptionsHeadersWithUnderscoresAction.REJECT_REQUEST,
            idle_timeout=timedelta(hours=1),
        ),
        http2_protocol_options=Http2ProtocolOptions(
            max_concurrent_streams=100, initial_stream_window_size=SEND_BUFFER_BYTES, initial_connection_window_size=1 << 20
        ),
        use_remote_address=True,
        skip_xff_append=True,
        normalize_path=True,
        merge_slashes=True,
        # A model in a path may hold one; everywhere else such a path leads nowhere.
        path_with_escaped_slashes_action=HttpConnectionManagerPathWithEscapedSlashesAction.KEEP_UNCHANGED,
        request_headers_timeout=REQUEST_HEADERS_TIMEOUT,
        request_timeout=REQUEST_TIMEOUT,
        stream_idle_timeout=STREAM_IDLE,
        delayed_close_timeout=DELAYED_CLOSE,
    )


def _scoped_routes() -> ScopedRoutes:
    ads = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3)
    key = ScopedRoutesScopeKeyBuilderFragmentBuilder(
        header_value_extractor=ScopedRoutesScopeKeyBuilderFragmentBuilderHeaderValueExtractor(name=MODEL_HEADER, index=0)
    )
    return ScopedRoutes(
        name="models",
        scope_key_builder=ScopedRoutesScopeKeyBuilder(fragments=[key]),
        rds_config_source=ads,
        scoped_rds=ScopedRds(scoped_rds_config_source=ads),
    )


def _forget_internal_headers() -> TypedExtensionConfig:
    """Runs before any route is looked up: what clients send under our names is gone, and the scope is the default one."""
    ours = HeaderMutationRemoveOnMatch(key_matcher=StringMatcher(prefix="x-headgate-", ignore_case=True))
    return _early([HeaderMutation(remove_on_match=ours), _default_scope()])


def _no_model_yet() -> TypedExtensionConfig:
    return _early([_default_scope()])


def _default_scope() -> HeaderMutation:
    header = HeaderValueOption(
        header=HeaderValue(key=MODEL_HEADER, value=NO_MODEL),
        append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD,
    )
    return HeaderMutation(append=header)


def _early(mutations: list[HeaderMutation]) -> TypedExtensionConfig:
    return TypedExtensionConfig(
        name="envoy.http.early_header_mutation.header_mutation", typed_config=Any.pack(EarlyHeaderMutation(mutations=mutations))
    )


def _edge_filter() -> HttpFilter:
    code = Lua(default_source_code=DataSource(inline_string=lua_source("edge")), stat_prefix="edge", clear_route_cache=False)
    return HttpFilter(name="envoy.filters.http.lua", typed_config=Any.pack(code))


def _router(settings: EdgeSettings) -> HttpFilter:
    router = Router(upstream_log=_journal(settings, ATTEMPT_FORMAT, worth_a_line()), suppress_envoy_headers=True)
    return HttpFilter(name="envoy.filters.http.router", typed_config=Any.pack(router))


def _journal(settings: EdgeSettings, fields: dict[str, str], only: AccessLogFilter | None = None) -> list[AccessLog]:
    if settings.remote:
        return [grpc_journal(fields, only)]
    return [file_journal(settings.journal, fields, only)] if settings.journal else []
