"""OpenAI's error documents, word for word where clients look at words."""

from __future__ import annotations

import math
from typing import Any, Final

from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.reply import VendorError, header_lines

_HINT: Final = (
    "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. "
    "The OpenAI API expects a JSON payload, but what was sent was not valid JSON. If you have trouble figuring out how to fix this, "
    "please contact us through our help center at help.openai.com.)"
)
_NO_KEY: Final = (
    "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth "
    "(i.e. Authorization: Bearer YOUR_KEY), or as the password field (with blank username) if you're accessing the API from your "
    "browser and are prompted for a username and password. You can obtain an API key from https://platform.openai.com/account/api-keys."
)

_RATE: Final = (
    "Rate limit reached for requests per min (RPM): Limit 10000, Used 10000, Requested 1. Please try again later. "
    "Visit https://platform.openai.com/account/rate-limits to learn more."
)

# status → (type, code, message) as the vendor answers it
_BY_STATUS: Final[dict[int, tuple[str, str | None, str]]] = {
    400: ("invalid_request_error", None, "Invalid request."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "Country, region, or territory not supported"),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    408: ("server_error", None, "Request timed out."),
    409: ("invalid_request_error", None, "The resource is being modified by another request."),
    413: ("invalid_request_error", None, "Request too large."),
    422: ("invalid_request_error", None, "Unprocessable request."),
    429: (
        "requests",
        "rate_limit_exceeded",
        _RATE,
    ),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("service_unavailable_error", None, "The engine is currently overloaded, please try again later."),
}


def document(message: str, kind: str = "invalid_request_error", param: str | None = None, code: str | None = None) -> dict[str, Any]:
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


def bad_request(message: str, param: str | None = None, code: str | None = None) -> VendorError:
    return VendorError(400, document(message, param=param, code=code))


def not_json() -> VendorError:
    return bad_request(_HINT)


def no_key() -> VendorError:
    return VendorError(401, document(_NO_KEY))


def wrong_key(key: str) -> VendorError:
    """The vendor shows the ends of the key; so does this, never more than eight characters of it."""
    shown = f"{key[:4]}{'*' * 8}{key[-4:]}" if len(key) > 16 else "********"
    return VendorError(
        401,
        document(
            f"Incorrect API key provided: {shown}. You can find your API key at https://platform.openai.com/account/api-keys.",
            code="invalid_api_key",
        ),
    )


def unknown_model(model: str) -> VendorError:
    return VendorError(404, document(f"The model `{model}` does not exist or you do not have access to it.", code="model_not_found"))


def unknown_response_model(model: str) -> VendorError:
    """What responses say, unlike chat completions."""
    return bad_request(f"The requested model '{model}' does not exist.", "model", "model_not_found")


def unknown_url(method: str, path: str) -> VendorError:
    return VendorError(404, document(f"Invalid URL ({method} {path})"))


def wrong_method(allowed: str) -> VendorError:
    message = f"Only {allowed} requests are accepted."
    return VendorError(405, document(message, code="method_not_supported"), header_lines({"allow": allowed}))


def missing(param: str) -> VendorError:
    return bad_request(f"Missing required parameter: '{param}'.", param, "missing_required_parameter")


def wrong_type(param: str, expected: str, value: object) -> VendorError:
    names = {
        dict: "an object",
        list: "an array",
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal",
        type(None): "null",
    }
    return bad_request(f"Invalid type for '{param}': expected {expected}, but got {names[type(value)]} instead.", param, "invalid_type")


def for_fault(fault: Fault) -> dict[str, Any]:
    kind, code, message = _BY_STATUS.get(fault.status, _BY_STATUS[500 if fault.status >= 500 else 400])
    if fault.status == 401:
        kind, code, message = "invalid_request_error", "invalid_api_key", "Incorrect API key provided: ********."
    if fault.error_type == "insufficient_quota":
        kind = code = "insufficient_quota"
        message = "You exceeded your current quota, please check your plan and billing details."
    elif fault.error_type:
        kind = fault.error_type
    return document(fault.message or message, kind, code=code)


def fault_headers(fault: Fault) -> dict[str, str]:
    """Reset headers of a 429, durations written as the vendor does ("1m12.5s", "250ms")."""
    if fault.retry_after_s is None:
        return {}
    headers = {"retry-after": str(math.ceil(fault.retry_after_s)), "retry-after-ms": str(int(fault.retry_after_s * 1000))}
    if fault.status == 429:
        headers |= {"x-ratelimit-remaining-requests": "0", "x-ratelimit-reset-requests": duration(fault.retry_after_s)}
    return headers


def duration(seconds: float) -> str:
    if seconds < 1:
        return f"{int(seconds * 1000)}ms"
    minutes, rest = divmod(seconds, 60)
    return (f"{int(minutes)}m" if minutes else "") + f"{rest:g}s"
