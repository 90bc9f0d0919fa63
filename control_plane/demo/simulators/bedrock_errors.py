"""Bedrock's errors: a class in a header, a text in the body, word for word where clients look at words."""

from __future__ import annotations

import math
from typing import Any, Final

from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.reply import VendorError, encode, header_lines
from control_plane.dialects.eventstream import encode_exception

# HTTP status → (class, message)
_BY_STATUS: Final[dict[int, tuple[str, str]]] = {
    400: ("ValidationException", "The request is not valid. Check its fields and try again."),
    401: ("AccessDeniedException", "Authentication failed: Please make sure your API Key is valid."),
    403: ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
    404: ("ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier."),
    408: ("ModelTimeoutException", "The model took too long to answer. Try again."),
    424: ("ModelErrorException", "The system encountered an unexpected error during processing. Try your request again."),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    500: ("InternalServerException", "The system encountered an unexpected error during processing. Try your request again."),
    503: ("ServiceUnavailableException", "Bedrock is unable to process your request."),
}
_IN_STREAM: Final = {
    400: "validationException",
    429: "throttlingException",
    424: "modelStreamErrorException",
    503: "serviceUnavailableException",
}


def _headers(kind: str, more: dict[str, str] | None = None) -> bytes:
    return header_lines({"x-amzn-ErrorType": f"{kind}:http://internal.amazon.com/coral/com.amazon.bedrock/", **(more or {})})


def refused(status: int, kind: str, message: str) -> VendorError:
    return VendorError(status, {"message": message}, _headers(kind))


def invalid(message: str) -> VendorError:
    return refused(400, "ValidationException", message)


def by_model(message: str) -> VendorError:
    """What the model's own server refuses."""
    return invalid(f"The model returned the following errors: {message}")


def malformed(message: str) -> VendorError:
    return refused(400, "SerializationException", message)


def no_key() -> VendorError:
    return refused(403, "MissingAuthenticationTokenException", "Missing Authentication Token")


def bad_key() -> VendorError:
    return refused(403, "AccessDeniedException", _BY_STATUS[401][1])


def bad_signature() -> VendorError:
    return refused(403, "UnrecognizedClientException", "The security token included in the request is invalid.")


def not_found() -> VendorError:
    return refused(404, "UnknownOperationException", "The requested operation is not recognized by the service.")


def no_model() -> VendorError:
    return invalid("The provided model identifier is invalid.")


def for_fault(fault: Fault) -> tuple[bytes, dict[str, Any]]:
    """(headers, body) of an error before any stream."""
    kind, message = _BY_STATUS.get(fault.status, _BY_STATUS[500 if fault.status >= 500 else 400])
    more = {} if fault.retry_after_s is None else {"Retry-After": str(math.ceil(fault.retry_after_s))}
    return _headers(fault.error_type or kind, more), {"message": fault.message or message}


def exception(fault: Fault) -> bytes:
    """The frame with which an error ends a stream."""
    name = fault.error_type or _IN_STREAM.get(fault.status, "internalServerException")
    return encode_exception(name, encode(for_fault(fault)[1]))
