"""Rules about the way to a provider that need more than one field: what excludes what, and what has no effect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from control_plane.spec.base_url import BaseUrl, read_address
from control_plane.spec.endpoint import parse_endpoint
from control_plane.spec.findings import Finding
from control_plane.spec.models import Provider

AT: Final = ("spec", "egress")


def check_egress(provider: Provider, url: BaseUrl) -> Iterator[Finding]:
    """Findings about `spec.egress` of a provider whose base URL, its own or its preset's, is `url`."""
    egress = provider.spec.egress
    at_protocol = (*AT, "protocol")
    if egress.protocol == "http3":
        if egress.proxy is not None:
            message = "HTTP/3 cannot go through an HTTP CONNECT proxy"
            yield provider.finding("HG2016", at_protocol, message, "write protocol: auto, or remove the proxy")
        if url.scheme == "http":
            yield provider.finding("HG2016", at_protocol, "HTTP/3 needs an https baseUrl", "write protocol: auto, or use https")
        elif url.address is not None and provider.spec.tls.server_name is None:
            message = "HTTP/3 needs a host name to verify, and the baseUrl has an address"
            yield provider.finding("HG2016", at_protocol, message, "set tls.serverName, or write protocol: auto")
    plain = egress.protocol == "http1" or (egress.protocol == "auto" and url.scheme == "http")
    if plain and egress.connection.ping_ms is not None:
        message = "HTTP/1.1 has no ping"
        fix = "remove it and set tcpKeepalive, or choose protocol: http2"
        yield provider.finding("HG3017", (*AT, "connection", "ping"), message, fix)
    if egress.proxy is None and "dns" in egress.model_fields_set and not _names(provider, url):
        yield provider.finding("HG3017", (*AT, "dns"), "there is no host name to look up", "remove it", key=True)
    if egress.ejection is not None and not _several(provider, url):
        message = "the provider has one address, and to leave that out would help nobody"
        fix = "list its addresses, or let retries and another group serve"
        yield provider.finding("HG3017", (*AT, "ejection"), message, fix, key=True)


def _several(provider: Provider, url: BaseUrl) -> bool:
    """A name that the gateway looks up may have any number of addresses."""
    egress = provider.spec.egress
    return len(egress.addresses) > 1 or (egress.proxy is None and _names(provider, url))


def _names(provider: Provider, url: BaseUrl) -> bool:
    hosts = [parse_endpoint(text).host for text in provider.spec.egress.addresses] or [url.host]
    return any(read_address(host) is None for host in hosts)
