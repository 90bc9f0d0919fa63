"""Rules of single fields. They raise PydanticCustomError whose type is the finding code; `shown` permits to quote the value."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Final, TypeVar

from pydantic_core import PydanticCustomError

from control_plane.spec.base_url import BadUrl, parse_base_url

_Item = TypeVar("_Item", bound=Hashable)
_TOKEN: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")  # RFC 9110 field name, lower case

# Set by the gateway itself, by HTTP, or secret. The first group must come from spec.credentials.
CREDENTIAL_HEADERS: Final = frozenset(
    {"authorization", "proxy-authorization", "x-api-key", "api-key", "x-goog-api-key", "x-amz-security-token", "cookie", "set-cookie"}
)
KEY_HEADERS: Final = ("api-key", "authorization", "x-api-key", "x-goog-api-key")  # those that carry a provider's key
HOP_BY_HOP_HEADERS: Final = frozenset(
    {"connection", "keep-alive", "proxy-connection", "proxy-authenticate", "te", "trailer", "transfer-encoding", "upgrade"}
)
MESSAGE_HEADERS: Final = frozenset({"host", "content-length", "content-type", "content-encoding", "expect", "accept-encoding"})
RESERVED_PREFIXES: Final = ("x-headgate-", "x-envoy-", ":")


def check_model(value: str) -> str:
    """A name that clients send. Raises HG1007."""
    if value == "*":
        raise PydanticCustomError("HG1007", "is a wildcard, which routes do not support", {"fix": "list the model names"})
    return check_upstream_model(value)


def check_upstream_model(value: str) -> str:
    """A model name: printable, and not changed by travelling in an HTTP header or a JSON string. Raises HG1007."""
    if not value.isprintable() or value != value.strip():
        fix = "write printable characters, without spaces at either end"
        raise PydanticCustomError("HG1007", "not a model name", {"fix": fix, "shown": True})
    if '"' in value or "\\" in value:
        fix = "model names with quotes or backslashes are not supported"
        raise PydanticCustomError("HG1007", "not a model name", {"fix": fix, "shown": True})
    return value


def check_path(value: str) -> str:
    """A file path. Raises HG1007."""
    if not value.isprintable():
        raise PydanticCustomError("HG1007", "not a file path", {"fix": "write a path without control characters"})
    return value


def check_title(value: str) -> str:
    """A name for people, which findings and tables show. Raises HG1007."""
    if not value.isprintable() or value != value.strip():
        fix = "write printable characters on one line, without spaces at either end"
        raise PydanticCustomError("HG1007", "not a title", {"fix": fix})
    return value


def check_weight(value: object) -> object:
    """Raises HG2004 for a weight of 0, which Envoy refuses and which says less than leaving the target out."""
    if value == 0 and isinstance(value, int) and not isinstance(value, bool):
        fix = "give it at least 1, or take the target out of the group"
        raise PydanticCustomError("HG2004", "a weight of 0 never serves", {"fix": fix})
    return value


def check_base_url(value: str) -> str:
    """Raises HG2006 or HG2007; what needs allowInsecure is judged with the whole document."""
    try:
        parse_base_url(value)
    except BadUrl as bad:
        raise PydanticCustomError(bad.code, "the URL {problem}", {"problem": _as_phrase(bad.message), "fix": bad.fix}) from None
    return value


def check_authority(value: str) -> str:
    """The https root of a token service. Raises HG2006 or HG2007."""
    try:
        url = parse_base_url(value)
    except BadUrl as bad:
        raise PydanticCustomError(bad.code, "the URL {problem}", {"problem": _as_phrase(bad.message), "fix": bad.fix}) from None
    if url.scheme != "https" or url.path:
        fix = "write for example https://login.microsoftonline.us"
        raise PydanticCustomError("HG2006", "the URL is not https, or has a path", {"fix": fix})
    return value.rstrip("/")


def _as_phrase(message: str) -> str:
    return "cannot be read" if message == "not a URL" else message


def check_headers(headers: dict[str, str]) -> dict[str, str]:
    """Static headers with lower-case names. Raises HG1017 for names that are not the operator's to set, HG1007 for bad ones."""
    checked: dict[str, str] = {}
    for written, value in headers.items():
        name = written.lower()
        if not name.isascii() or (not _TOKEN.fullmatch(name) and not name.startswith(":")):
            raise PydanticCustomError("HG1007", "not a header name", {"fix": "write letters, digits and dashes", "at": written})
        if name in CREDENTIAL_HEADERS:
            fix = "put the key into spec.credentials, as a reference"
            raise PydanticCustomError("HG1017", "carries a credential", {"fix": fix, "at": written})
        if name in HOP_BY_HOP_HEADERS or name in MESSAGE_HEADERS or name.startswith(RESERVED_PREFIXES):
            raise PydanticCustomError("HG1017", "is set by the gateway itself", {"fix": "remove it", "at": written})
        if name in checked:
            raise PydanticCustomError("HG1016", "is there twice, in other capitals", {"fix": "keep one of the two", "at": written})
        if not (value.isascii() and value.isprintable()) or value != value.strip():
            fix = "write printable ASCII on one line, without spaces at either end"
            raise PydanticCustomError("HG1007", "not a header value", {"fix": fix, "at": written})
        checked[name] = value
    return checked


def check_key_header(value: str) -> str:
    """The header of a preset that carries the key. Raises HG1015 for any that is not wiped before an attempt.

    Header changes of one attempt persist into the next, so a key in another header would reach the vendor of the next group.
    """
    name = value.lower()
    if name not in KEY_HEADERS:
        fix = f"write one of {', '.join(KEY_HEADERS)}; no other header may carry a key"
        raise PydanticCustomError("HG1015", "not a header for keys", {"fix": fix, "shown": True})
    return name


def check_error_status(value: int) -> int:
    """A status that an error can come with. Raises HG1006."""
    if value != 200 and value < 400:
        fix = "write 400 to 599, or 200 for an error inside a successful answer"
        raise PydanticCustomError("HG1006", "no status of an error", {"fix": fix, "shown": True})
    return value


def distinct(items: tuple[_Item, ...]) -> tuple[_Item, ...]:
    """Raises HG1016 when an item is there twice."""
    seen: set[_Item] = set()
    for position, item in enumerate(items):
        if item in seen:
            raise PydanticCustomError("HG1016", 'lists "{item}" twice', {"item": str(item), "fix": "keep one of the two", "at": position})
        seen.add(item)
    return items
