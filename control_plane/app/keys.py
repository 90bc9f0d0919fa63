"""Every secret that a set of specs refers to, resolved once, by the name under which Envoy asks for it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from control_plane.credentials.connection import resolve_certificate, resolve_proxy
from control_plane.credentials.resolve import NO_TOKENS, Missing, Resolution, Resolved, resolve_provider
from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.ir.model import Gateway
from control_plane.spec.models import SpecSet

Secrets = dict[str, Secret | SigningKeys]

_NONE: Final[Mapping[str, Secret | SigningKeys]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Keys:
    """What was found, by provider; None where nothing is asked for."""

    own: Mapping[str, Resolution | None]
    proxies: Mapping[str, Resolution | None]
    certificates: Mapping[str, Resolution | None]

    @classmethod
    def of(cls, specs: SpecSet, tokens: Mapping[str, Resolution] = NO_TOKENS) -> Keys:
        """Read everything now; `tokens` are what sign-ins to clouds have brought so far, by provider."""
        return cls(
            own={p.name: resolve_provider(p, tokens=tokens) for p in specs.providers},
            proxies={p.name: resolve_proxy(p) for p in specs.providers},
            certificates={p.name: resolve_certificate(p) for p in specs.providers},
        )

    def unready(self) -> dict[str, str]:
        """Providers without a usable key, for themselves or for their proxy, with the reason."""
        found: dict[str, str] = {}
        for keys in (self.own, self.proxies):
            for name, key in keys.items():
                if isinstance(key, Missing):
                    found.setdefault(name, key.reason)
        return found

    def values(self, gateway: Gateway, kept: Mapping[str, Secret | SigningKeys] = _NONE) -> Secrets:
        """The values of the secrets that `gateway`, built from the same specs, names. `kept` are those in force: a certificate
        that is just being replaced stays what it was."""
        found: Secrets = {}
        for provider in gateway.providers:
            egress, key = provider.egress, provider.auth or provider.signing
            named = (
                (key.secret if key is not None else None, self.own[provider.name]),
                (egress.proxy.secret if egress.proxy is not None else None, self.proxies[provider.name]),
                (egress.client_certificate, self.certificates[provider.name]),
            )
            found |= {name: value.secret for name, value in named if name is not None and isinstance(value, Resolved)}
            certificate = egress.client_certificate
            if certificate is not None and certificate not in found and certificate in kept:
                found[certificate] = kept[certificate]
        return found
