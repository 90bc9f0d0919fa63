"""Provider base URLs: parsed once, and classified so that a spec cannot point credentials at an internal address by accident.

Sources: RFC 3986 for the syntax; the WHATWG URL standard's "ends in a number" rule for the IPv4 forms that resolvers accept
(decimal, octal, hexadecimal, fewer than four parts); IANA's special-purpose registries as kept by `ipaddress`.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal
from urllib.parse import urlsplit

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

MAX_URL: Final = 2048  # characters
MAX_HOST: Final = 253  # characters, RFC 1035
DEFAULT_PORTS: Final = {"http": 80, "https": 443}

# Public addresses that are a cloud's own services: Azure's wire server. (169.254.169.254, fd00:ec2::254, 100.100.100.200 and
# 192.0.0.192 lie in ranges that are not global anyway.)
CLOUD_SERVICES: Final = frozenset({ipaddress.ip_address("168.63.129.16")})
NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052: the last 32 bits are an IPv4 address

# Names that never leave a machine or a network, and public wildcard names that resolve to whatever address they spell.
LOCAL_SUFFIXES: Final = (
    "localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "corp", "private", "test", "invalid", "home.arpa",
    "svc", "cluster.local", "localtest.me", "lvh.me", "vcap.me", "nip.io", "sslip.io", "xip.io",
)  # fmt: skip

_LABEL: Final = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_NUMBER: Final = re.compile(r"0[xX][0-9a-fA-F]*|[0-9]+")
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@-]+)*/?")


class BadUrl(ValueError):
    """Not usable as a base URL. `code` is HG2006 or HG2007; the text never contains the URL, which may hold a password."""

    def __init__(self, message: str, fix: str, code: str = "HG2006") -> None:
        super().__init__(message)
        self.message, self.fix, self.code = message, fix, code


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """Where a provider listens. `host` is lower case, without brackets for IPv6; `path` has no slash at its end ("" or "/v1")."""

    scheme: Literal["http", "https"]
    host: str
    port: int
    path: str

    @property
    def address(self) -> IPAddress | None:
        """The host as an IP address, in whatever notation it is written; None for a name."""
        return read_address(self.host)

    @property
    def is_canonical(self) -> bool:
        """False for an IPv4 address in a notation that Envoy would take for a DNS name (2130706433, 0x7f.1)."""
        address = self.address
        return address is None or address.version == 6 or str(address) == self.host

    @property
    def authority(self) -> str:
        """For the Host header: the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.path}"


def parse_base_url(text: str) -> BaseUrl:
    """Read a base URL. Raises BadUrl, with a code and a fix."""
    if not text or len(text) > MAX_URL or not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise BadUrl("not a URL", f"write printable ASCII without spaces, at most {MAX_URL} characters (international names as xn--…)")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadUrl("not a URL", "write for example https://api.example.com/v1") from None
    if parts.scheme not in ("http", "https"):
        raise BadUrl("must begin with https:// (or http:// with allowInsecure)", "write for example https://api.example.com/v1")
    if "@" in parts.netloc:
        raise BadUrl("holds a user name or password", "remove it from the URL and put the key into spec.credentials", "HG2007")
    if "?" in text or "#" in text:
        raise BadUrl("has a query or fragment", "end the URL after its path; put fixed headers into spec.headers")
    if port == 0 or parts.netloc.endswith(":"):
        raise BadUrl("has no valid port", "write a port from 1 to 65535, or none")
    host = (parts.hostname or "").rstrip(".") if not parts.netloc.startswith("[") else (parts.hostname or "")
    _check_host(host, bracketed=parts.netloc.startswith("["))
    if not _PATH.fullmatch(parts.path) or any(step in (".", "..") for step in parts.path.split("/")):
        raise BadUrl("has a path that is not plain", "write a path such as /v1, without // or dots or %-escapes")
    scheme: Literal["http", "https"] = "https" if parts.scheme == "https" else "http"
    return BaseUrl(scheme, host, port or DEFAULT_PORTS[scheme], parts.path.rstrip("/"))


def _check_host(host: str, *, bracketed: bool) -> None:
    if bracketed:
        try:
            ipaddress.IPv6Address(host)
        except ValueError:
            raise BadUrl("has a bad IPv6 address", "write for example https://[2001:db8::1]/v1") from None
        if "%" in host:
            raise BadUrl("has an IPv6 zone", "use an address without a zone")
        return
    if not host or len(host) > MAX_HOST or not all(_LABEL.fullmatch(label) for label in host.split(".")):
        raise BadUrl("has no valid host name", "write for example https://api.example.com/v1")
    if _NUMBER.fullmatch(host.rsplit(".", 1)[-1]) and read_address(host) is None:
        raise BadUrl("has a bad IPv4 address", "write four numbers from 0 to 255, for example 192.0.2.10")


def read_address(host: str) -> IPAddress | None:
    """The address that `host` spells, also in the forms of inet_aton ("2130706433", "0x7f.1", "0177.0.0.1"); None for a name."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        pass
    parts = host.split(".")
    if len(parts) > 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    try:
        numbers = [_number(part) for part in parts]
    except ValueError:
        return None
    last_bits = 8 * (5 - len(numbers))
    if any(number > 255 for number in numbers[:-1]) or numbers[-1] >= 1 << last_bits:
        return None
    value = numbers[-1]
    for position, number in enumerate(numbers[:-1]):
        value += number << (24 - 8 * position)
    return ipaddress.IPv4Address(value)


def _number(text: str) -> int:
    if len(text) > 16:
        raise ValueError("too long")
    if text[:2] in ("0x", "0X"):
        return int(text[2:] or "0", 16)
    return int(text, 8) if len(text) > 1 and text.startswith("0") else int(text)


def why_internal(url: BaseUrl) -> str | None:
    """Why this host may be inside the operator's own network ("is a loopback address"), or None for a public one."""
    address = url.address
    if address is None:
        return _why_local_name(url.host)
    for seen in _addresses_within(address):
        kind = _why_special(seen)
        if kind:
            return kind if url.is_canonical and seen == address else f"is {seen}, {kind.removeprefix('is ')}"
    return None


def _addresses_within(address: IPAddress) -> tuple[IPAddress, ...]:
    """The address and the IPv4 addresses that an IPv6 one carries (mapped, 6to4, Teredo, NAT64, deprecated compatible)."""
    if isinstance(address, ipaddress.IPv4Address):
        return (address,)
    inner: list[IPAddress] = [found for found in (address.ipv4_mapped, address.sixtofour) if found is not None]
    if address.teredo:
        inner.extend(address.teredo)
    if address in NAT64 or (int(address) >> 32 == 0 and int(address) > 1):
        inner.append(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    return (*inner, address)


def _why_special(address: IPAddress) -> str | None:
    if address.is_loopback:
        return "is a loopback address"
    if address.is_unspecified:
        return "is the unspecified address"
    if address.is_link_local:
        return "is a link-local address (cloud metadata lives there)"
    if address in CLOUD_SERVICES:
        return "is a cloud's own service address"
    if address.is_multicast:
        return "is a multicast address"
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped or address in NAT64):
        return None  # judged by the IPv4 address inside
    return None if address.is_global else "is a private or reserved address"


def _why_local_name(host: str) -> str | None:
    if "." not in host:
        return "is a local name" if host == "localhost" else "is a name without a domain, so a local one"
    for suffix in LOCAL_SUFFIXES:
        if host.endswith("." + suffix):
            return f"is a local name (.{suffix})"
    return None
