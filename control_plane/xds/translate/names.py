"""Names of Envoy resources. They are derived from content, so that equal things share one resource."""

from __future__ import annotations

import hashlib
from typing import Final

from control_plane.ir.egress import Egress
from control_plane.ir.model import DEFAULT_CONNECT_MS, Route, Signing, TargetUse

DEFAULT_SCOPE: Final = "default"
"""Scope and route table for requests whose model is not known (yet)."""

NO_MODEL: Final = "*"
"""Value of the model header before the edge filter has read the body. Specs refuse it as a model name."""

"""What the path said, for the translator, where clients name the model there: how to answer, the query, the model."""

NAMESPACE: Final = "headgate"
"""Namespace of our metadata on clusters, and of what the edge filter learns about a request."""

TRANSLATION_NAMESPACE: Final = "headgate.translation"
"""Namespace of what the translator learns about an answer (usage, stop reason)."""

LUA_NAMESPACE: Final = "envoy.filters.http.lua"
TRANSLATOR_CLUSTER: Final = "headgate-translator"
XDS_CLUSTER: Final = "headgate-control-plane"
LISTENER: Final = "edge"
RESUMER_CLUSTER: Final = "headgate-resumer"
INNER_LISTENER: Final = "resume"
"""Where the resumer sends its attempts: a private socket with the edge's own filters and routes behind it."""

TUNNEL_LISTENER: Final = "egress-tunnel"
"""The internal listener of the bootstrap that asks proxies to CONNECT."""

TUNNEL_NAMESPACE: Final = "headgate.tunnel"
"""Namespace of what an endpoint tells that listener: `cluster`, the proxy, and `host`, where to CONNECT to."""

_PROXY: Final = "proxy:"


def provider_cluster(provider: str, connect_ms: int) -> str:
    """A provider has one connection pool, and a further one per connect timer that is not the usual one."""
    return f"provider:{provider}" if connect_ms == DEFAULT_CONNECT_MS else f"provider:{provider}~{connect_ms}ms"


def proxy_cluster(provider: str, egress: Egress) -> str:
    """The proxy that a provider is reached through. Another proxy has another name, so that the provider's connections go over to
    it and the old one stays for what still runs."""
    content = repr((egress.proxy, egress.dns, egress.connection.tcp_keepalive)).encode()
    return f"{_PROXY}{provider}~{hashlib.blake2b(content, digest_size=4).hexdigest()}"


def is_proxy(cluster: str) -> bool:
    """Whether a cluster is a proxy, which must be there before what goes through it."""
    return cluster.startswith(_PROXY)


def target_cluster(use: TargetUse) -> str:
    """One thin cluster for each distinct use of a target. What follows the last "@" says what sets it apart; a model may hold one, too."""
    name = f"target:{use.target}@{use.lane.value}"
    if use.connect_ms != DEFAULT_CONNECT_MS:
        name += f"~{use.connect_ms}ms"
    flags = {"resume": use.resume, "hold": use.hold, "rename": use.rename, "restore": use.restore, "spare": use.spare, "within": use.within}
    for flag, on in flags.items():
        if on:
            name += f"+{flag}"
    return name


def signer_config(signing: Signing) -> str:
    """The configuration of the filter that signs a provider's requests."""
    return f"signer:{signing.secret}"


def faults_config(dialect: str, errors: str) -> str:
    """The configuration of the filter that tells the errors of a vendor apart; the name says which rules it has."""
    return f"faults:{dialect or 'any'}" + (f"~{hashlib.blake2b(errors.encode(), digest_size=4).hexdigest()}" if errors else "")


def route_table(route: Route) -> str:
    """The route configuration of a ModelRoute."""
    return f"route:{route.name}"


def scope(model: str) -> str:
    """The scope that leads a model name to its route configuration."""
    return f"model:{model}"
