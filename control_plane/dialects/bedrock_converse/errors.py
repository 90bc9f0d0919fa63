"""Error documents of the dialect, and exceptions of its streams.

An SDK takes the class of an error from the header `x-amzn-errortype`, and where there is none from `__type` in the body.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import msgspec

from control_plane.dialects.canon import Failure
from control_plane.dialects.eventstream import encode_exception

_BY_STATUS: Final[Mapping[int, str]] = {
    401: "AccessDeniedException",
    402: "ServiceQuotaExceededException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    500: "InternalServerException",
}
_IN_STREAM: Final[Mapping[str, str]] = {
    "ValidationException": "validationException",
    "ThrottlingException": "throttlingException",
    "ServiceQuotaExceededException": "throttlingException",
    "InternalServerException": "internalServerException",
    "ServiceUnavailableException": "serviceUnavailableException",
}
"""The exceptions that a stream knows; all others are errors of the model's stream."""


def error_type(failure: Failure) -> str:
    found = _BY_STATUS.get(failure.status)
    return found or ("ValidationException" if failure.status < 500 else "ServiceUnavailableException")


def write_error(failure: Failure) -> bytes:
    return msgspec.json.encode({"__type": error_type(failure), "message": _message(failure)})


def write_exception(failure: Failure) -> bytes:
    """The exception that ends a stream, framed."""
    name = _IN_STREAM.get(error_type(failure), "modelStreamErrorException")
    return encode_exception(name, msgspec.json.encode({"message": _message(failure)}))


def _message(failure: Failure) -> str:
    return f"{failure.param}: {failure.message}" if failure.param and failure.param not in failure.message else failure.message
