"""The whole translation: a Gateway in, every Envoy resource out. Each part is kept per IR node, so that a change of one
route renders one route configuration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from control_plane.credentials.secret import Secret
from control_plane.ir.model import Gateway, Provider
from control_plane.xds.resource import Resource
from control_plane.xds.translate.edge import default_table
from control_plane.xds.translate.listener import listener
from control_plane.xds.translate.names import DEFAULT_SCOPE, NO_MODEL
from control_plane.xds.translate.providers import provider_clusters
from control_plane.xds.translate.routes import route, scope_of, scopes
from control_plane.xds.translate.secrets import secret
from control_plane.xds.translate.settings import EdgeSettings
from control_plane.xds.translate.targets import target
from control_plane.xds.translate.translators import translator_cluster
from control_plane.xds.translate.tunnel import proxy

DEFAULT_MAX_REQUEST_BYTES = 32 << 20


def translate(gateway: Gateway, secrets: Mapping[str, Secret], settings: EdgeSettings) -> list[Resource]:
    """All resources of the gateway. `secrets` maps secret names (Provider.auth.secret) to their values.

    A provider without a value gets an empty secret: its vendor answers 401, which fails over, where a secret that never
    arrives would keep its targets warming and every plan that names them at 503.
    """
    providers = {p.name: _with(p, secrets) for p in gateway.providers}
    uses = gateway.uses()
    found = [translator_cluster(settings.translators)]
    found += [provider_clusters(providers[name], ms) for name, ms in sorted({(u.provider, u.connect_ms) for u in uses})]
    found += [target(use, providers[use.provider]) for use in uses]
    used = [providers[name] for name in sorted({u.provider for u in uses})]
    found += [proxy(p.name, p.egress) for p in used if p.egress.proxy]
    found += [secret(name, secrets.get(name, Secret(""))) for p in used for name in _secrets(p)]
    found.append(listener(settings))
    found.append(scope_of(NO_MODEL, DEFAULT_SCOPE, DEFAULT_SCOPE))
    largest = max((r.max_request_bytes for r in gateway.routes), default=DEFAULT_MAX_REQUEST_BYTES)
    found.append(default_table(gateway.models(), largest))
    for node in gateway.routes:
        found.append(route(node))
        found += scopes(node)
    return found


def _with(provider: Provider, secrets: Mapping[str, Secret]) -> Provider:
    """Without a client certificate that is not there: the vendor's refusal fails over, a secret that never comes does not."""
    egress = provider.egress
    if egress.client_certificate is None or egress.client_certificate in secrets:
        return provider
    return replace(provider, egress=replace(egress, client_certificate=None))


def _secrets(provider: Provider) -> Iterator[str]:
    proxy = provider.egress.proxy
    named = (provider.auth.secret if provider.auth else None, proxy.secret if proxy else None, provider.egress.client_certificate)
    return (name for name in named if name is not None)
