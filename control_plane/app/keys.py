"""Every secret that a set of specs refers to, by the name under which Envoy asks for it."""

from __future__ import annotations

from control_plane.credentials.connection import resolve_certificate, resolve_proxy
from control_plane.credentials.resolve import Missing, Resolved, resolve_provider
from control_plane.credentials.secret import Secret
from control_plane.ir.model import Gateway
from control_plane.spec.models import SpecSet


def unready(specs: SpecSet) -> dict[str, str]:
    """Providers without a usable key, for themselves or for their proxy, with the reason."""
    found: dict[str, str] = {}
    for provider in specs.providers:
        for key in (resolve_provider(provider), resolve_proxy(provider)):
            if isinstance(key, Missing):
                found.setdefault(provider.name, key.reason)
    return found


def secrets_of(specs: SpecSet, gateway: Gateway) -> dict[str, Secret]:
    """What is there now, of what the providers of `gateway`, which was built from `specs`, need."""
    documents = {provider.name: provider for provider in specs.providers}
    found: dict[str, Secret] = {}
    for provider in gateway.providers:
        document = documents[provider.name]
        named = (
            (provider.auth.secret if provider.auth else None, resolve_provider(document)),
            (provider.egress.proxy.secret if provider.egress.proxy else None, resolve_proxy(document)),
            (provider.egress.client_certificate, resolve_certificate(document)),
        )
        found |= {name: key.secret for name, key in named if name is not None and isinstance(key, Resolved)}
    return found
