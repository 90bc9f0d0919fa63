"""Keys and certificates as resources: SDS secrets, and the configurations of signers.

Nothing else holds a secret value; neither is persisted."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from envoy_data_plane.envoy.config.core.v3 import DataSource as TlsData
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import CertificateValidationContext, TlsCertificate
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret as TlsSecret

from control_plane.credentials.connection import split_certificate
from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.ir.egress import AUTHORITIES, CLIENT_CERTIFICATE, PROXY_AUTHORITIES
from control_plane.ir.model import Gateway, Provider
from control_plane.pb.core_pb2 import DataSource
from control_plane.pb.secret_pb2 import GenericSecret
from control_plane.pb.secret_pb2 import Secret as EnvoySecret
from control_plane.xds.resource import ECDS, SDS, Ref, Resource
from control_plane.xds.translate.filters.signer import signing_keys
from control_plane.xds.translate.names import signer_config


def secret_resources(providers: Iterable[Provider], values: Mapping[str, Secret | SigningKeys]) -> list[Resource]:
    """What the connections and requests of `providers` sign in with. A static key without a value, the provider's or its proxy's, becomes
    an empty secret: its vendor answers 401 (a proxy 407), which fails over, where a secret that never arrives would keep its targets
    warming and every plan that names them at 503. What a sign-in has not brought yet, and certificates that cannot be read, are left
    out: an Envoy may still hold one that is good, from before the control plane was started again."""
    found = []
    for provider in providers:
        found += known_secrets([provider], values)
        found += [secret(name, Secret("")) for name, static in _by_sds(provider) if static and name not in values]
    return found


def known_secrets(providers: Iterable[Provider], values: Mapping[str, Secret | SigningKeys]) -> list[Resource]:
    """Those whose values are at hand."""
    found = []
    for provider in providers:
        if provider.signing is not None and isinstance(keys := values.get(provider.signing.secret), SigningKeys):
            found.append(signing_keys(provider.signing, keys))
        found += [secret(name, value) for name, _ in _by_sds(provider) if isinstance(value := values.get(name), Secret)]
    return found


def absent_secrets(gateway: Gateway, values: Mapping[str, Secret | SigningKeys]) -> frozenset[Ref]:
    """What `secret_resources` leaves out for now."""
    found: set[Ref] = set()
    for provider in gateway.providers:
        if provider.signing is not None and provider.signing.secret not in values:
            found.add((ECDS, signer_config(provider.signing)))
        found |= {(SDS, name) for name, static in _by_sds(provider) if not static and name not in values}
    return frozenset(found)


def _by_sds(provider: Provider) -> Iterator[tuple[str, bool]]:
    """The names of a provider's SDS secrets, and whether each is a static key."""
    proxy = provider.egress.proxy
    if provider.auth is not None:
        yield provider.auth.secret, not provider.auth.signed_in
        if provider.auth.spare is not None:
            yield provider.auth.spare, True
    if proxy is not None and proxy.secret is not None:
        yield proxy.secret, True
    for name in provider.certificates:
        yield name, False


def secret(name: str, value: Secret) -> Resource:
    """One secret: a client certificate with its key, or authorities, where the name says so, else a generic one."""
    if name.startswith(CLIENT_CERTIFICATE):
        return Resource(type_url=SDS, name=name, body=_certificate(name, value))
    if name.startswith((AUTHORITIES, PROXY_AUTHORITIES)):
        return Resource(type_url=SDS, name=name, body=_authorities(name, value))
    body = EnvoySecret(name=name, generic_secret=GenericSecret(secret=DataSource(inline_string=value.reveal())))
    return Resource(type_url=SDS, name=name, body=body.SerializeToString(deterministic=True))


def _certificate(name: str, value: Secret) -> bytes:
    chain, key = split_certificate(value)
    pair = TlsCertificate(certificate_chain=TlsData(inline_string=chain), private_key=TlsData(inline_string=key.reveal()))
    return bytes(TlsSecret(name=name, tls_certificate=pair))


def _authorities(name: str, value: Secret) -> bytes:
    """No secret, but it comes the same way, so that other certificates in the same file reach Envoy without a change of a cluster."""
    trusted = TlsData(inline_bytes=value.reveal().encode("latin-1"))
    return bytes(TlsSecret(name=name, validation_context=CertificateValidationContext(trusted_ca=trusted)))
