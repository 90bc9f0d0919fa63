"""Gemini's error documents (google.rpc.Status as JSON), word for word where clients look at words."""

from __future__ import annotations

from typing import Any, Final

from control_plane.demo.simulators.fault import Fault
from control_plane.demo.simulators.reply import VendorError

# HTTP status → (status word, message)
_BY_STATUS: Final[dict[int, tuple[str, str]]] = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: ("UNAUTHENTICATED", "Request had invalid authentication credentials."),
    403: ("PERMISSION_DENIED", "The caller does not have permission"),
    404: ("NOT_FOUND", "Requested entity was not found."),
    429: ("RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."),
    499: ("CANCELLED", "The operation was cancelled."),
    500: (
        "INTERNAL",
        "An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting",
    ),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "The request timed out. Please try again."),
}
_TYPE: Final = "type.googleapis.com/google.rpc."


def document(code: int, status: str, message: str, *details: dict[str, Any]) -> dict[str, Any]:
    error: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        error["details"] = list(details)
    return {"error": error}


def invalid(message: str, field: str | None = None) -> VendorError:
    violation = {"description": message} if field is None else {"field": field, "description": message}
    detail = {"@type": f"{_TYPE}BadRequest", "fieldViolations": [violation]}
    return VendorError(400, document(400, "INVALID_ARGUMENT", message, detail))


def unknown_name(name: str, where: str) -> VendorError:
    at = f" at '{where}'" if where else ""
    return invalid(f'Invalid JSON payload received. Unknown name "{name}"{at}: Cannot find field.', where or None)


def bad_key() -> VendorError:
    detail = {"@type": f"{_TYPE}ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
    return VendorError(400, document(400, "INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", detail))


def bad_token() -> VendorError:
    message = (
        "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication "
        "credential. See https://developers.google.com/identity/sign-in/web/devconsole-project."
    )
    detail = {"@type": f"{_TYPE}ErrorInfo", "reason": "ACCESS_TOKEN_TYPE_UNSUPPORTED", "domain": "googleapis.com"}
    return VendorError(401, document(401, "UNAUTHENTICATED", message, detail))


def no_key() -> VendorError:
    message = (
        "Method doesn't allow unregistered callers (callers without established identity). Please use API Key or other form of API "
        "consumer identity to call this API."
    )
    return VendorError(403, document(403, "PERMISSION_DENIED", message))


def not_found(message: str) -> VendorError:
    return VendorError(404, document(404, "NOT_FOUND", message))


def no_model(model: str) -> VendorError:
    return not_found(
        f"models/{model} is not found for API version v1beta, or is not supported for generateContent. "
        "Call ListModels to see the list of available models and their supported methods."
    )


def for_fault(fault: Fault) -> dict[str, Any]:
    status, message = _BY_STATUS.get(fault.status, _BY_STATUS[500 if fault.status >= 500 else 400])
    details: list[dict[str, Any]] = []
    if fault.retry_after_s is not None:  # this vendor says it in the document, not in a header
        if fault.status == 429:
            violation = {"quotaMetric": "generate_content_requests", "quotaId": "GenerateRequestsPerMinutePerProjectPerModel"}
            details.append({"@type": f"{_TYPE}QuotaFailure", "violations": [violation]})
        details.append({"@type": f"{_TYPE}RetryInfo", "retryDelay": f"{fault.retry_after_s:g}s"})
    return document(fault.status, fault.error_type or status, fault.message or message, *details)
