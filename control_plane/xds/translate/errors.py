"""Errors that Envoy answers by itself, in the client's dialect."""

from __future__ import annotations

from typing import Final

import msgspec

from control_plane.pb.core_pb2 import DataSource, HeaderValue, HeaderValueOption
from control_plane.pb.route_pb2 import DirectResponseAction, Route, RouteMatch

PREFIXES: Final = {
    "/v1/messages": "anthropic-messages",
    "/v1beta": "gemini-generate-content",
    "/v1/projects/": "gemini-generate-content",
    "/headgate/gemini-generate-content/": "gemini-generate-content",
    "/model/": "bedrock-converse",
    "/headgate/bedrock-converse/": "bedrock-converse",
    "/v2/": "cohere-chat",
}
"""Beginnings of paths that tell a client's dialect where nothing else does; any other is OpenAI's."""

ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    415: "invalid_request_error",
    429: "rate_limit_error",
    500: "api_error",
    502: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}
"""Anthropic's error type for a status, as its API documentation lists them."""


GOOGLE_WORDS: Final = {
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""google.rpc's word for a status; INVALID_ARGUMENT for any other."""
AWS_TYPES: Final = {
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    429: "ThrottlingException",
    500: "InternalServerException",
    502: "InternalServerException",
    503: "ServiceUnavailableException",
    504: "ModelTimeoutException",
}
"""Bedrock's class of an error for a status; all others are ValidationException."""


def error_object(dialect: str, status: int, code: str, message: str) -> dict[str, object]:
    """The error body of that dialect as plain data. Both of OpenAI's dialects have the same shape."""
    if dialect == "anthropic-messages":
        return {"type": "error", "error": {"type": ANTHROPIC_TYPES[status], "message": message}}
    if dialect == "gemini-generate-content":
        return {"error": {"code": status, "message": message, "status": GOOGLE_WORDS.get(status, "INVALID_ARGUMENT")}}
    if dialect == "bedrock-converse":
        return {"__type": AWS_TYPES.get(status, "ValidationException"), "message": message}
    if dialect == "cohere-chat":
        return {"message": message}
    kind = "invalid_request_error" if status < 500 else "server_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


def json_answer(match: RouteMatch, status: int, body: object) -> Route:
    """A route that answers `body` as JSON by itself."""
    content_type = HeaderValueOption(
        header=HeaderValue(key="content-type", value="application/json"), append_action=HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD
    )
    action = DirectResponseAction(status=status, body=DataSource(inline_bytes=msgspec.json.encode(body)))
    return Route(match=match, direct_response=action, response_headers_to_add=[content_type])


def answer(match: RouteMatch, status: int, dialect: str, code: str, message: str) -> Route:
    """A route that answers an error by itself."""
    return json_answer(match, status, error_object(dialect, status, code, message))
