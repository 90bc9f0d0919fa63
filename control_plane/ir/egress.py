"""The way to a provider, as nodes of the intermediate representation: frozen and hashable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

PROXY_SECRET: Final = "proxy/"
CLIENT_CERTIFICATE: Final = "client-certificate/"
AUTHORITIES: Final = "authorities/"
PROXY_AUTHORITIES: Final = "proxy-authorities/"
"""What the names of such secrets begin with, before the provider's name."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP CONNECT proxy. `secret` names what it is signed in with, `authorities` whom an https one is trusted by (None: the
    system's); the values are never in the IR."""

    host: str
    port: int
    tls: bool
    secret: str | None
    authorities: str | None = None


@dataclass(frozen=True, slots=True)
class TcpKeepalive:
    """Seconds, and a count of probes."""

    idle_s: int
    interval_s: int
    probes: int


@dataclass(frozen=True, slots=True)
class Connection:
    """Life of connections; None is no limit."""

    idle_ms: int = 300_000
    max_age_ms: int | None = None
    max_requests: int | None = None
    preconnect: float = 1.0
    ping_ms: int | None = None
    tcp_keepalive: TcpKeepalive | None = None


@dataclass(frozen=True, slots=True)
class Dns:
    """Lookups; `servers` are (address, port), none for the system's."""

    refresh_ms: int = 5_000
    respect_ttl: bool = False
    failure_refresh_ms: int | None = None
    family: str = "both"
    servers: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Ejection:
    """An address is left out for `duration_ms` after so many failures in a row."""

    failures: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Egress:
    """All of it. `addresses` are (host, port) to connect to; none for the provider's own host."""

    proxy: Proxy | None = None
    protocol: str = "auto"
    addresses: tuple[tuple[str, int], ...] = ()
    connection: Connection = Connection()
    dns: Dns = Dns()
    client_certificate: str | None = None
    min_tls: str = "1.2"
    ejection: Ejection | None = None


DIRECT: Final = Egress()
"""The way of a provider that says nothing about it."""


def in_force(egress: Egress) -> list[str]:
    """What differs from `DIRECT`, in a few words each; no secrets."""
    found = []
    if egress.proxy is not None:
        found.append(f"proxy {'https' if egress.proxy.tls else 'http'}://{_joined(egress.proxy.host, egress.proxy.port)}")
    if egress.protocol != DIRECT.protocol:
        found.append(egress.protocol)
    if egress.addresses:
        found.append("at " + " ".join(_joined(host, port) for host, port in egress.addresses))
    if egress.client_certificate is not None:
        found.append("client certificate")
    if egress.min_tls != DIRECT.min_tls:
        found.append(f"tls>={egress.min_tls}")
    if egress.ejection is not None:
        found.append(f"ejects after {egress.ejection.failures}")
    kept, usual = egress.connection, DIRECT.connection
    for word, value, default in (
        ("idle", _seconds(kept.idle_ms), _seconds(usual.idle_ms)),
        ("max-age", _seconds(kept.max_age_ms), None),
        ("max-requests", kept.max_requests, None),
        ("preconnect", f"{kept.preconnect:g}", f"{usual.preconnect:g}"),
        ("ping", _seconds(kept.ping_ms), None),
    ):
        if value != default:
            found.append(f"{word}={value}")
    if kept.tcp_keepalive is not None:
        found.append(f"tcp-keepalive={kept.tcp_keepalive.idle_s}s")
    if egress.dns != DIRECT.dns:
        found.append(f"dns {_dns(egress.dns)}")
    return found


def _dns(dns: Dns) -> str:
    words = ["ttl" if dns.respect_ttl else f"every {_seconds(dns.refresh_ms)}"]
    if dns.family != DIRECT.dns.family:
        words.append(dns.family)
    if dns.servers:
        words.append("from " + " ".join(_joined(host, port) for host, port in dns.servers))
    return " ".join(words)


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _seconds(ms: int | None) -> str | None:
    return None if ms is None else f"{ms / 1000:g}s"
