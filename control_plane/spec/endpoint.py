"""`host`, `host:port`, `192.0.2.1:443` and `[2001:db8::1]:443`: where to connect, read once."""

from __future__ import annotations

from dataclasses import dataclass

from control_plane.spec.base_url import BadUrl, parse_base_url


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`host` is lower case and without brackets; `port` is None where none was written."""

    host: str
    port: int | None


def parse_endpoint(text: str) -> Endpoint:
    """Read one. Raises BadUrl, with a fix; an IPv4 address must be in the usual notation."""
    if not text or "/" in text or "@" in text or "?" in text or "#" in text:
        raise BadUrl("not a host", "write for example 10.0.0.5:443 or endpoint.example.com")
    url = parse_base_url("https://" + text)
    if not url.is_canonical:
        raise BadUrl("is an IPv4 address in another notation", f"write {url.address}")
    written = text.rpartition("]")[2].rpartition(":")[1] == ":"
    return Endpoint(url.host, url.port if written else None)
