"""`Provider.spec.egress` and `.tls`: the way from the gateway to a provider, as operators write it."""

from __future__ import annotations

import ipaddress
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from control_plane.spec.base_url import MAX_URL, BadUrl, parse_base_url
from control_plane.spec.credential import FilePath, SecretRef
from control_plane.spec.endpoint import parse_endpoint
from control_plane.spec.fields import distinct
from control_plane.spec.quantities import Duration, Quantity
from control_plane.spec.shape import Shape

MAX_ADDRESSES: Final = 64  # of one provider; a private endpoint has one for each zone
MAX_DNS_SERVERS: Final = 8
DNS_PORT: Final = 53

Protocol = Literal["auto", "http1", "http2", "http3"]
AddressFamily = Literal["both", "ipv4", "ipv6", "prefer-ipv4", "prefer-ipv6"]
TlsVersion = Literal["1.2", "1.3"]


def check_endpoint(value: str) -> str:
    """Raises HG1007 for what is neither a host nor a host with a port."""
    try:
        parse_endpoint(value)
    except BadUrl as bad:
        # What has an @ may hold a password.
        raise PydanticCustomError("HG1007", "not an address", {"fix": bad.fix, "shown": "@" not in value}) from None
    return value


def check_dns_server(value: str) -> str:
    """Raises HG1007 for what is no IP address: a name would need another DNS server first."""
    host = parse_endpoint(check_endpoint(value)).host
    try:
        ipaddress.ip_address(host)
    except ValueError:
        fix = "write its IP address, for example 10.0.0.2 or 10.0.0.2:53"
        raise PydanticCustomError("HG1007", "not an IP address", {"fix": fix, "shown": True}) from None
    return value


def check_proxy_url(value: str) -> str:
    """Raises HG2006 or HG2007. A proxy needs its port written: there is no usual one."""
    try:
        url = parse_base_url(value)
    except BadUrl as bad:
        fix = "put user:password into spec.egress.proxy.credentials" if bad.code == "HG2007" else "write http://proxy.example.com:3128"
        raise PydanticCustomError(bad.code, "the URL {problem}", {"problem": bad.message, "fix": fix}) from None
    if url.path or urlsplit(value).port is None:
        raise PydanticCustomError("HG2006", "the URL is not host and port alone", {"fix": "write http://proxy.example.com:3128"})
    return value


EndpointText = Annotated[str, StringConstraints(min_length=1, max_length=261), AfterValidator(check_endpoint)]
DnsServer = Annotated[str, StringConstraints(min_length=1, max_length=64), AfterValidator(check_dns_server)]
ServerName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_])?$", max_length=253)]


class ProxyCredential(Shape):
    """How the gateway signs in at the proxy (Basic)."""

    secret_ref: SecretRef = Field(description="Reference to the text user:password; it never stands in a spec")


class Proxy(Shape):
    """An HTTP forward proxy that is asked to CONNECT to the provider by name; TLS to the provider goes through it unopened."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=MAX_URL), AfterValidator(check_proxy_url)] = Field(
        description="http://host:port, or https://host:port for a proxy that itself speaks TLS"
    )
    ca_file: FilePath | None = Field(
        default=None, description="PEM bundle of the authorities to trust for an https proxy instead of the system's, relative to the spec"
    )
    credentials: ProxyCredential | None = Field(default=None, description="For a proxy that asks for user and password")


class TcpKeepalive(Shape):
    """Probes of the operating system on a quiet connection, for firewalls that forget quiet connections."""

    idle_ms: Annotated[int, Duration("1s", "2h")] = Field(default=60_000, alias="idle", description="Quiet time before the first probe")
    interval_ms: Annotated[int, Duration("1s", "10m")] = Field(default=10_000, alias="interval", description="Time between probes")
    probes: Annotated[int, Field(ge=1, le=20)] = Field(default=3, description="Unanswered probes after which the connection is dead")


class Connection(Shape):
    """How long connections are kept, and how many are opened."""

    idle_ms: Annotated[int, Duration("1s", "24h")] = Field(
        default=300_000, alias="idle", description="A connection without requests is closed after this; longer saves handshakes"
    )
    max_age_ms: Annotated[int, Duration("1s", "168h")] | None = Field(
        default=None, alias="maxAge", description="A connection takes no new request after this; what runs on it ends. Default: no limit"
    )
    max_requests: Annotated[int, Quantity(1, 1_000_000_000)] | None = Field(
        default=None, description="Requests on one connection, after which a new one is opened. Default: no limit"
    )
    preconnect: Annotated[float, Field(ge=1, le=3)] = Field(
        default=1.0, description="Connections held ready for each one that requests need: with 2 the next request finds one open"
    )
    ping_ms: Annotated[int, Duration("1s", "1h")] | None = Field(
        default=None, alias="ping", description="HTTP/2 and HTTP/3: ask a quiet connection this often whether it lives. Default: never"
    )
    tcp_keepalive: TcpKeepalive | None = Field(default=None, description="Probes of the operating system. Default: none")


class Dns(Shape):
    """How host names are looked up. When a lookup fails, the last addresses stay."""

    refresh_ms: Annotated[int, Duration("1s", "24h")] = Field(default=5_000, alias="refresh", description="Time between lookups")
    respect_ttl: bool = Field(default=False, description="Look up again when the answer's time to live ends, instead of `refresh`")
    failure_refresh_ms: Annotated[int, Duration("1s", "1h")] | None = Field(
        default=None, alias="failureRefresh", description="Time to the next lookup after one that failed. Default: as `refresh`"
    )
    family: AddressFamily = Field(
        default="both", description="both: try IPv6 and IPv4 side by side; prefer-…: the other only where there is none of this"
    )
    servers: Annotated[tuple[DnsServer, ...], AfterValidator(distinct)] = Field(
        default=(), max_length=MAX_DNS_SERVERS, description="Addresses of DNS servers to ask, host or host:port. Default: the system's"
    )


class Ejection(Shape):
    """When one address of a provider is left out while the others serve. Never more than half of them are."""

    failures: Annotated[int, Field(ge=1, le=1000)] = Field(
        default=5, description="Failures in a row of one address (5xx, refused, reset, timed out) after which it is left out"
    )
    duration_ms: Annotated[int, Duration("1s", "1h")] = Field(
        default=30_000, alias="for", description="How long, the first time; longer each time that it fails again, up to ten times as long"
    )


class Egress(Shape):
    """The way to the provider: proxy, protocol, addresses, connections, DNS."""

    proxy: Proxy | None = Field(default=None, description="HTTP CONNECT proxy to go through; it resolves the provider's name")
    protocol: Protocol = Field(
        default="auto", description="auto: HTTP/2 where TLS offers it, else HTTP/1.1; http3: over QUIC, TCP where that fails"
    )
    addresses: Annotated[tuple[EndpointText, ...], AfterValidator(distinct)] = Field(
        default=(),
        max_length=MAX_ADDRESSES,
        description="Connect to these hosts or IPs, with or without port, and not to the base URL's; Host and certificate stay its own",
    )
    ejection: Ejection | None = Field(
        default=None, description="Leave out single failing addresses of a provider that has several, in `addresses` or behind its name"
    )
    connection: Connection = Field(default_factory=Connection, description="Life of connections")
    dns: Dns = Field(default_factory=Dns, description="Lookup of names")


class Tls(Shape):
    """How the provider's certificate is verified, and how the gateway shows its own. Verification cannot be switched off."""

    ca_file: FilePath | None = Field(
        default=None, description="PEM bundle of the authorities to trust instead of the system's, relative to the spec file"
    )
    server_name: ServerName | None = Field(
        default=None, description="Name to send (SNI) and to verify, where it differs from the base URL's host"
    )
    cert_file: FilePath | None = Field(
        default=None, description="PEM chain that the gateway shows as a client, own certificate first; watched for changes. Needs keyFile"
    )
    key_file: FilePath | None = Field(default=None, description="PEM private key of certFile, unencrypted; watched for changes")
    min_version: TlsVersion = Field(default="1.2", description="Lowest TLS version to accept")

    @model_validator(mode="after")
    def _both_or_none(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            missing = "keyFile" if self.key_file is None else "certFile"
            fix = "give both, or neither"
            raise PydanticCustomError("HG1005", "a client certificate needs {missing} too", {"missing": missing, "fix": fix})
        return self
