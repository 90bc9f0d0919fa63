"""What Envoy answers by itself (nobody reachable, timed out, too large), put into the client's dialect.

Answers of our own filters are JSON already and carry no response flag, so only flagged replies and the statuses
that no filter of ours gives a text (413, 500, 503) are rewritten. The dialect comes from what the edge filter noted, since the path
may be an upstream path by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from envoy_data_plane.envoy.config.accesslog.v3 import (
    AccessLogFilter,
    AndFilter,
    ComparisonFilter,
    ComparisonFilterOp,
    HeaderFilter,
    MetadataFilter,
    ResponseFlagFilter,
    StatusCodeFilter,
)
from envoy_data_plane.envoy.config.core.v3 import (
    HeaderValue,
    HeaderValueOption,
    HeaderValueOptionHeaderAppendAction,
    RuntimeUInt32,
    SubstitutionFormatString,
)
from envoy_data_plane.envoy.config.route.v3 import HeaderMatcher
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import LocalReplyConfig, ResponseMapper
from envoy_data_plane.envoy.type.matcher.v3 import MetadataMatcher, MetadataMatcherPathSegment, StringMatcher, ValueMatcher
from envoy_data_plane.google.protobuf import Struct

from control_plane.xds.translate.errors import PREFIXES, error_object
from control_plane.xds.translate.names import NAMESPACE


@dataclass(frozen=True, slots=True)
class Reply:
    """A kind of local reply: which ones it is for (by response flags, by status, or both), and what the client is told.

    `early`: only those made before the edge filter saw the request.
    """

    flags: tuple[str, ...]
    from_status: int
    status: int
    code: str
    message: str
    retry_after_s: int | None = None
    early: bool = False


REPLIES: Final = (
    Reply(
        (),
        413,
        413,
        "request_too_large",
        "the request body is larger than this route accepts; send less, or raise maxRequestBytes of the route",
    ),
    Reply((), 500, 503, "gateway_unavailable", "a part of the gateway is not available at the moment; try again", retry_after_s=1),
    Reply(("NC", "NR"), 404, 404, "model_not_found", "no model of this gateway fits the request; see GET /v1/models"),
    Reply(("UT", "SI", "DT", "UMSDR"), 0, 504, "timeout", "no provider of this model answered in time; try again", retry_after_s=1),
    Reply(
        ("UF", "UH", "UC", "UR", "LR", "URX", "UPE", "UO", "NC"),
        0,
        503,
        "no_provider_available",
        "no provider of this model could be reached; try again",
        retry_after_s=1,
    ),
    Reply((), 504, 504, "retry_time_spent", "no provider of this model answered in the time for trying; try again", retry_after_s=1),
    # What is left of 503: the overload manager's, which has no flag this early. A route's own 503 comes after the edge filter.
    Reply((), 503, 503, "gateway_overloaded", "the gateway is overloaded at the moment; try again", retry_after_s=1, early=True),
    Reply(("DPE",), 0, 400, "bad_request", "malformed HTTP request"),
)


def local_replies() -> LocalReplyConfig:
    """One mapper for each kind of reply and way to know the dialect."""
    mappers = []
    for reply in REPLIES:
        for dialect, filters in _by_path() if reply.early else _dialects():
            mappers.append(
                ResponseMapper(
                    filter=_all([*_kind(reply), *filters]),
                    status_code=reply.status,
                    body_format_override=SubstitutionFormatString(
                        json_format=Struct.from_dict(error_object(dialect, reply.status, reply.code, reply.message)),
                        content_type="application/json",
                    ),
                    headers_to_add=_retry_after(reply),
                )
            )
    return LocalReplyConfig(mappers=mappers)


def _dialects() -> list[tuple[str, list[AccessLogFilter]]]:
    noted = [(d, [_noted(d)]) for d in ("anthropic-messages", "gemini-generate-content", "openai-chat", "bedrock-converse", "cohere-chat")]
    return [*noted, *_by_path()]


def _by_path() -> list[tuple[str, list[AccessLogFilter]]]:
    return [*((dialect, [_path(prefix)]) for prefix, dialect in PREFIXES.items()), ("openai-chat", [])]


def _path(prefix: str) -> AccessLogFilter:
    return AccessLogFilter(header_filter=HeaderFilter(header=HeaderMatcher(name=":path", string_match=StringMatcher(prefix=prefix))))


def _noted(dialect: str) -> AccessLogFilter:
    matcher = _asked(StringMatcher(prefix=f"{dialect} "))
    return AccessLogFilter(metadata_filter=MetadataFilter(matcher=matcher, match_if_key_not_found=False))


def _unnoted() -> AccessLogFilter:
    """Nothing is noted: what is noted begins with a dialect, so that it is never this."""
    return AccessLogFilter(metadata_filter=MetadataFilter(matcher=_asked(StringMatcher(exact=" ")), match_if_key_not_found=True))


def _asked(match: StringMatcher) -> MetadataMatcher:
    path = [MetadataMatcherPathSegment(key="asked")]
    return MetadataMatcher(filter=NAMESPACE, path=path, value=ValueMatcher(string_match=match))


def _kind(reply: Reply) -> list[AccessLogFilter]:
    filters = [AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=list(reply.flags)))] if reply.flags else []
    if reply.early:
        filters.append(_unnoted())
    if not reply.from_status:
        return filters
    value = RuntimeUInt32(default_value=reply.from_status, runtime_key=f"headgate.local_reply.{reply.from_status}")
    return [
        *filters,
        AccessLogFilter(status_code_filter=StatusCodeFilter(comparison=ComparisonFilter(op=ComparisonFilterOp.EQ, value=value))),
    ]


def _all(filters: list[AccessLogFilter]) -> AccessLogFilter:
    return filters[0] if len(filters) == 1 else AccessLogFilter(and_filter=AndFilter(filters=filters))


def _retry_after(reply: Reply) -> list[HeaderValueOption]:
    if reply.retry_after_s is None:
        return []
    header = HeaderValue(key="retry-after", value=str(reply.retry_after_s))
    return [HeaderValueOption(header=header, append_action=HeaderValueOptionHeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD)]
