"""Cohere's error documents, word for word where clients look at words."""

from __future__ import annotations

from typing import Any, Final

from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.reply import VendorError

_BY_STATUS: Final[dict[int, str]] = {
    400: "invalid request: the request is invalid",
    401: "invalid api token",
    402: "Please add or update your payment method at https://dashboard.cohere.com/billing?tab=payment to continue.",
    403: "your api token does not have the required permissions",
    404: "not found",
    429: "You are using a Trial key, which is limited to 40 API calls / minute. You can continue to use the Trial key for free.",
    498: "the input was blocked",
    499: "request cancelled",
    500: "internal server error, this has been reported to our developers.",
    503: "service unavailable, please try again later",
    504: "request timed out, please try again later",
}


def document(message: str, number: int, error_type: str | None = None) -> dict[str, Any]:
    named = {} if error_type is None else {"error_type": error_type}
    return {**named, "id": identity(number), "message": message}


def identity(number: int) -> str:
    """An id in the vendor's form, from a count."""
    return f"00000000-0000-4000-8000-{number:012x}"


class Refused(VendorError):
    """A refusal; the id is put in when it is answered."""

    def __init__(self, status: int, message: str, error_type: str | None = None) -> None:
        super().__init__(status, {})
        self.message = message
        self.error_type = error_type


def bad_request(message: str) -> Refused:
    return Refused(400, f"invalid request: {message}")


def no_model(model: str) -> Refused:
    return Refused(404, f"model '{model}' not found, make sure the correct model ID was used and that you have access to the model.")


def message_of(fault: Fault) -> str:
    return fault.message or _BY_STATUS.get(fault.status) or _BY_STATUS[500 if fault.status >= 500 else 400]
