"""What an error of an AWS service means, before a stream and inside one.

Its class stands in the header `x-amzn-errortype`, or in the body as `__type` or `code`; the text in `message` or `Message`.
Source: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (Errors).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from control_plane.dialects import failures
from control_plane.dialects.canon import Failure
from control_plane.dialects.eventstream import EXCEPTION

ERROR_TYPE_HEADER: Final = "x-amzn-errortype"

STATUS_OF: Final[Mapping[str, int]] = {
    "ValidationException": 400,
    "ServiceQuotaExceededException": 400,
    "UnrecognizedClientException": 403,
    "AccessDeniedException": 403,
    "ResourceNotFoundException": 404,
    "ModelTimeoutException": 408,
    "ModelErrorException": 424,
    "ModelStreamErrorException": 424,
    "ThrottlingException": 429,
    "ModelNotReadyException": 429,
    "InternalServerException": 500,
    "ServiceUnavailableException": 503,
}


def read_error(status: int, headers: Mapping[str, str], body: bytes) -> Failure:
    """The failure that a non-2xx answer describes; header names in lower case."""
    document, text = failures.error_document(body)
    word = headers.get(ERROR_TYPE_HEADER) or failures.text_of(document.get("__type")) or failures.text_of(document.get("code"))
    return _failure(status, _bare(word or ""), document, text, headers)


def in_stream(name: bytes, payload: bytes) -> Failure:
    """The failure that an exception of an event stream describes; `name` as `eventstream.EventDecoder` gives it."""
    word = name.removeprefix(EXCEPTION).decode()
    word = word[:1].upper() + word[1:]
    document, text = failures.error_document(payload)
    return _failure(STATUS_OF.get(word, 500), word, document, text, {})


def _bare(word: str) -> str:
    """`com.amazon.coral.service#ThrottlingException` and `ThrottlingException:http://…` are the same."""
    return word.partition(":")[0].rpartition("#")[2].strip()[:100]


def _failure(status: int, word: str, document: Mapping[str, Any], text: str, headers: Mapping[str, str]) -> Failure:
    capital = document.get("Message")
    message = failures.message_of(document, text) or (capital if isinstance(capital, str) else "")
    return failures.failure(status, word or None, message, None, headers, "bedrock-converse")
