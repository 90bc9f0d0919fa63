"""Every secret that a set of specs refers to, resolved once, by the name under which Envoy asks for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from control_plane.credentials.connection import authority_files, resolve_authorities, resolve_certificate, resolve_proxy
from control_plane.credentials.resolve import NO_TOKENS, Missing, Resolution, Resolved, resolve_all
from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.ir.egress import AUTHORITIES, CLIENT_CERTIFICATE, PROXY_AUTHORITIES
from control_plane.ir.model import Gateway
from control_plane.spec.models import Provider, SpecSet

Secrets = dict[str, Secret | SigningKeys]
Chosen = Mapping[str, tuple[Resolution, Resolution]]
NONE_CHOSEN: Final[Chosen] = MappingProxyType({})

_NONE: Final[Mapping[str, Secret | SigningKeys]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Keys:
    """What was found: a provider's key, the spare of its pool and its proxy's, by provider (None where nothing is asked
    for), and certificates by secret name."""

    own: Mapping[str, Resolution | None]
    spares: Mapping[str, Resolution | None]
    proxies: Mapping[str, Resolution | None]
    certificates: Mapping[str, Resolution]

    @classmethod
    def of(cls, specs: SpecSet, tokens: Mapping[str, Resolution] = NO_TOKENS, chosen: Chosen = NONE_CHOSEN) -> Keys:
        """Read everything now; `tokens` are what sign-ins to clouds have brought so far, `chosen` the keys of pools (the one in use and the
        spare), both by provider."""
        first = resolve_all(specs, tokens=tokens)
        return cls(
            own={name: chosen[name][0] if name in chosen else key for name, key in first.items()},
            spares={name: chosen[name][1] if name in chosen else key for name, key in first.items()},
            proxies={p.name: resolve_proxy(p) for p in specs.providers},
            certificates=dict(found for p in specs.providers for found in _certificates(p)),
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
        """The values of the secrets that `gateway`, built from the same specs, names. `kept` are those in force: certificates
        that are just being replaced stay what they were."""
        found: Secrets = {}
        for provider in gateway.providers:
            proxy, key = provider.egress.proxy, provider.auth or provider.signing
            named = (
                (key.secret if key is not None else None, self.own[provider.name]),
                (provider.auth.spare if provider.auth is not None else None, self.spares[provider.name]),
                (proxy.secret if proxy is not None else None, self.proxies[provider.name]),
                *((name, self.certificates.get(name)) for name in provider.certificates),
            )
            found |= {name: value.secret for name, value in named if name is not None and isinstance(value, Resolved)}
            found |= {name: kept[name] for name in provider.certificates if name not in found and name in kept}
        return found


def _certificates(provider: Provider) -> Iterator[tuple[str, Resolution]]:
    if (own := resolve_certificate(provider)) is not None:
        yield CLIENT_CERTIFICATE + provider.name, own
    for place, path in authority_files(provider):
        yield (PROXY_AUTHORITIES if "proxy" in place else AUTHORITIES) + provider.name, resolve_authorities(path)
