"""Who may ask: the checks in front of every admin request.

- Host: a page on the web can make a browser resolve its own name to 127.0.0.1 (DNS rebinding) and then read this API as its own origin. Its
  requests still carry its name, so only names that are ours are answered.
- Origin and Sec-Fetch-Site: a page may also post here without reading the answer (CSRF); unsafe methods must come from our own origin.
- Bearer token, when configured: compared in constant time; needed for everything but /healthz and the bare answer of /readyz.
- Size: no endpoint needs a large body, so little is accepted.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import logging
from dataclasses import dataclass
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from control_plane.admin.errors import error_response

log = logging.getLogger(__name__)

MAX_BODY_BYTES: Final = 64 * 1024
"""Far above what any endpoint reads; refused before it is buffered."""

MAX_HEADER_BYTES: Final = 16 * 1024

LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})
OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})
"""Answered without a token: probes of Kubernetes and load balancers have none."""

SECURITY_HEADERS: Final = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"no-store"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)

_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})


@dataclass(frozen=True, slots=True)
class Access:
    """Who may ask. `names` are host names besides the loopback ones; `check_host` is off on a Unix socket, which no browser can reach."""

    names: frozenset[str] = frozenset()
    token: bytes | None = None
    check_host: bool = True

    def __repr__(self) -> str:
        return f"Access(names={sorted(self.names)}, token={'set' if self.token else 'none'}, check_host={self.check_host})"

    def allows_host(self, host: str, own_address: str = "") -> bool:
        """`host` is the value of a Host header, or of an origin without its scheme; `own_address` is the one that was connected to."""
        name = host_name(host)
        return name is not None and (name in LOOPBACK_NAMES or name in self.names or name == own_address)

    def allows_token(self, authorization: str) -> bool:
        """`authorization` is the header's value, empty when there is none."""
        if self.token is None:
            return True
        scheme, _, given = authorization.partition(" ")
        # Digests have one length, so the time taken tells nothing about the token's.
        same = hmac.compare_digest(hashlib.sha256(given.strip().encode()).digest(), hashlib.sha256(self.token).digest())
        return same and scheme.lower() == "bearer"


def host_name(host: str) -> str | None:
    """The name in `name`, `name:port`, `[v6]` or `[v6]:port`, in lower case without a last dot; None when it is not one of these."""
    text = host.strip().lower()
    if text.startswith("["):
        name, closed, port = text[1:].partition("]")
        if not closed or (port and not (port.startswith(":") and port[1:].isdecimal())):
            return None
        try:
            return str(ipaddress.IPv6Address(name))
        except ValueError:
            return None
    name, colon, port = text.partition(":")
    if colon and not port.isdecimal():
        return None
    return name.removesuffix(".") or None


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            # Nothing here speaks WebSocket; closing before accepting is a 403.
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
            return

        started = False

        async def send_hardened(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": [*message.get("headers", ()), *SECURITY_HEADERS]}
            await send(message)

        headers, own_address = Headers(scope=scope), str((scope.get("server") or ("",))[0] or "")
        refusal = self._refusal(scope["method"], scope["path"], headers, own_address)
        if refusal is not None:
            await refusal(scope, receive, send_hardened)
            return
        scope["headgate.via"] = "token" if self._access.token else "local"
        scope["headgate.trusted"] = self._access.allows_token(headers.get("authorization", ""))
        try:
            await self._app(scope, _bounded(receive), send_hardened)
        except Exception:
            # The error itself goes to the log only: its text may name what the asker must not see.
            log.exception("the admin API failed")
            if not started:
                await error_response(500, "internal", "the control plane could not answer", "see its log on stderr")(
                    scope, receive, send_hardened
                )

    def _refusal(self, method: str, path: str, headers: Headers, own_address: str) -> ASGIApp | None:
        host = headers.getlist("host")
        if self._access.check_host and (len(host) != 1 or not self._access.allows_host(host[0], own_address)):
            return error_response(
                421,
                "host_not_allowed",
                "this server is not known by that host name",
                "use 127.0.0.1, or add the name with --admin-host NAME",
            )
        if method not in _SAFE_METHODS and not self._own_origin(headers, own_address):
            return error_response(
                403, "cross_origin", "a request that changes something must come from this server's own pages", "send no Origin header"
            )
        if path not in OPEN_PATHS and not self._access.allows_token(headers.get("authorization", "")):
            return error_response(
                401,
                "unauthorized",
                "a bearer token is needed",
                "send `Authorization: Bearer TOKEN`, or pass --token-file FILE to headgate get",
            )
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEADER_BYTES:
            return error_response(
                431, "headers_too_large", f"headers here have at most {MAX_HEADER_BYTES} bytes", "send fewer or shorter headers"
            )
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            return error_response(413, "too_large", f"a body here has at most {MAX_BODY_BYTES} bytes", "send no body")
        return None

    def _own_origin(self, headers: Headers, own_address: str) -> bool:
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return False
        origin = headers.get("origin")
        if origin is None:
            return True
        scheme, separator, host = origin.partition("://")
        return bool(separator) and scheme in ("http", "https") and self._access.allows_host(host, own_address)


def _bounded(receive: Receive) -> Receive:
    """Ends a chunked body that has no announced length at the limit: the application sees the client go."""
    seen = 0

    async def read() -> Message:
        nonlocal seen
        message = await receive()
        if message["type"] == "http.request":
            seen += len(message.get("body", b""))
            if seen > MAX_BODY_BYTES:
                return {"type": "http.disconnect"}
        return message

    return read
