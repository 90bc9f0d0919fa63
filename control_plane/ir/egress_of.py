"""`spec.egress` and `spec.tls` of a provider → the nodes that say the same."""

from __future__ import annotations

from control_plane.ir.egress import (
    CLIENT_CERTIFICATE,
    PROXY_AUTHORITIES,
    PROXY_SECRET,
    Connection,
    Dns,
    Egress,
    Ejection,
    Proxy,
    TcpKeepalive,
)
from control_plane.spec import egress as spec
from control_plane.spec.base_url import parse_base_url
from control_plane.spec.endpoint import parse_endpoint
from control_plane.spec.models import Provider


def egress_of(document: Provider, port: int) -> Egress:
    """The way to a provider whose base URL has `port`."""
    body, tls = document.spec.egress, document.spec.tls
    return Egress(
        proxy=_proxy(body.proxy, document) if body.proxy else None,
        protocol=body.protocol,
        addresses=_hosts(body.addresses, port),
        connection=_connection(body.connection),
        dns=_dns(body.dns),
        client_certificate=CLIENT_CERTIFICATE + document.name if tls.cert_file else None,
        min_tls=tls.min_version,
        ejection=Ejection(body.ejection.failures, body.ejection.duration_ms) if body.ejection else None,
    )


def _hosts(written: tuple[str, ...], port: int) -> tuple[tuple[str, int], ...]:
    return tuple((at.host, at.port or port) for at in map(parse_endpoint, written))


def _proxy(proxy: spec.Proxy, document: Provider) -> Proxy:
    url = parse_base_url(proxy.url)
    return Proxy(
        host=url.host,
        port=url.port,
        tls=url.scheme == "https",
        secret=PROXY_SECRET + document.name if proxy.credentials else None,
        authorities=PROXY_AUTHORITIES + document.name if proxy.ca_file and url.scheme == "https" else None,
    )


def _connection(kept: spec.Connection) -> Connection:
    probes = kept.tcp_keepalive
    return Connection(
        idle_ms=kept.idle_ms,
        max_age_ms=kept.max_age_ms,
        max_requests=kept.max_requests,
        preconnect=kept.preconnect,
        ping_ms=kept.ping_ms,
        tcp_keepalive=TcpKeepalive(probes.idle_ms // 1000, probes.interval_ms // 1000, probes.probes) if probes else None,
    )


def _dns(dns: spec.Dns) -> Dns:
    return Dns(dns.refresh_ms, dns.respect_ttl, dns.failure_refresh_ms, dns.family, _hosts(dns.servers, spec.DNS_PORT))
