"""Anthropic's error documents (docs.anthropic.com, Errors), word for word where clients look at words."""

from __future__ import annotations

import math
import time
from typing import Any, Final

from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.reply import VendorError, header_lines

# status → (type, message)
_BY_STATUS: Final[dict[int, tuple[str, str]]] = {
    400: ("invalid_request_error", "Invalid request"),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low to access the Anthropic API."),
    403: ("permission_error", "Your API key does not have permission to use the specified resource."),
    404: ("not_found_error", "Not Found"),
    408: ("timeout_error", "Request timed out"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: (
        "rate_limit_error",
        "This request would exceed your organization's rate limit. For details, refer to: https://docs.claude.com/en/api/rate-limits.",
    ),
    500: ("api_error", "Internal server error"),
    503: ("api_error", "Service unavailable"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}


def document(kind: str, message: str) -> dict[str, Any]:
    """The error without `request_id`, which the vendor's answer adds."""
    return {"type": "error", "error": {"type": kind, "message": message}}


def invalid(message: str) -> VendorError:
    return VendorError(400, document("invalid_request_error", message))


def unauthorized(message: str) -> VendorError:
    return VendorError(401, document("authentication_error", message))


def not_found(message: str) -> VendorError:
    return VendorError(404, document("not_found_error", message))


def wrong_method(allowed: str) -> VendorError:
    return VendorError(405, document("invalid_request_error", "Method Not Allowed"), header_lines({"allow": allowed}))


def for_fault(fault: Fault) -> dict[str, Any]:
    kind, message = _BY_STATUS.get(fault.status, _BY_STATUS[500 if fault.status >= 500 else 400])
    return document(fault.error_type or kind, fault.message or message)


def fault_headers(fault: Fault) -> dict[str, str]:
    """Reset headers of a 429: retry-after in seconds, resets as RFC 3339 times."""
    headers = {"x-should-retry": "true" if fault.status in (408, 409, 429) or fault.status >= 500 else "false"}
    if fault.retry_after_s is None:
        return headers
    headers["retry-after"] = str(math.ceil(fault.retry_after_s))
    if fault.status == 429:
        reset = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + fault.retry_after_s))
        for kind in ("requests", "input-tokens"):
            headers |= {f"anthropic-ratelimit-{kind}-remaining": "0", f"anthropic-ratelimit-{kind}-reset": reset}
    return headers
