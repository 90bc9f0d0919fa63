"""Provider keys as resources: SDS secrets, and the configurations of signers. Nothing else holds a secret value; neither is persisted."""

from __future__ import annotations

from collections.abc import Container, Mapping

from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.ir.model import Gateway
from control_plane.pb.core_pb2 import DataSource
from control_plane.pb.secret_pb2 import GenericSecret
from control_plane.pb.secret_pb2 import Secret as EnvoySecret
from control_plane.xds.resource import ECDS, SDS, Ref, Resource
from control_plane.xds.translate.filters.signer import signing_keys
from control_plane.xds.translate.names import signer_config


def secret_resources(gateway: Gateway, values: Mapping[str, Secret | SigningKeys], used: Container[str]) -> list[Resource]:
    """Those of the providers in `used`. A static key without a value becomes an empty secret: its vendor answers 401, which fails over,
    where a secret that never arrives would keep its targets warming and every plan that names them at 503. What a sign-in has not
    brought yet is left out: an Envoy may still hold a token that is good, from before the control plane was started again."""
    found = []
    for provider in gateway.providers:
        named = provider.auth or provider.signing
        if provider.name not in used or named is None:
            continue
        value = values.get(named.secret)
        if provider.signing is not None:
            found += [signing_keys(provider.signing, value)] if isinstance(value, SigningKeys) else []
        elif isinstance(value, Secret):
            found.append(secret(named.secret, value))
        elif provider.auth is not None and not provider.auth.signed_in:
            found.append(secret(named.secret, Secret("")))
    return found


def absent_secrets(gateway: Gateway, values: Mapping[str, Secret | SigningKeys]) -> frozenset[Ref]:
    """What `secret_resources` leaves out for now."""
    found: set[Ref] = set()
    for provider in gateway.providers:
        if provider.signing is not None and provider.signing.secret not in values:
            found.add((ECDS, signer_config(provider.signing)))
        if provider.auth is not None and provider.auth.signed_in and provider.auth.secret not in values:
            found.add((SDS, provider.auth.secret))
    return frozenset(found)


def secret(name: str, value: Secret) -> Resource:
    """One generic secret."""
    body = EnvoySecret(name=name, generic_secret=GenericSecret(secret=DataSource(inline_string=value.reveal())))
    return Resource(type_url=SDS, name=name, body=body.SerializeToString(deterministic=True))
