"""Provider keys as resources: SDS secrets, and the configurations of signers. Nothing else holds a secret value; neither is persisted."""

from __future__ import annotations

from collections.abc import Container, Mapping

from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.ir.model import Gateway
from control_plane.pb.core_pb2 import DataSource
from control_plane.pb.secret_pb2 import GenericSecret
from control_plane.pb.secret_pb2 import Secret as EnvoySecret
from control_plane.xds.resource import SDS, Resource
from control_plane.xds.translate.filters.signer import signing_keys


def secret_resources(gateway: Gateway, values: Mapping[str, Secret | SigningKeys], used: Container[str]) -> list[Resource]:
    """Those of the providers in `used`. One without a value gets an empty secret: its vendor answers 401 or 403, which fails over,
    where a secret that never arrives would keep its targets warming and every plan that names them at 503."""
    found = []
    for provider in gateway.providers:
        if provider.name not in used:
            continue
        if provider.auth is not None:
            value = values.get(provider.auth.secret)
            found.append(secret(provider.auth.secret, value if isinstance(value, Secret) else Secret("")))
        if provider.signing is not None:
            keys = values.get(provider.signing.secret)
            found.append(signing_keys(provider.signing, keys if isinstance(keys, SigningKeys) else None))
    return found


def secret(name: str, value: Secret) -> Resource:
    """One generic secret."""
    body = EnvoySecret(name=name, generic_secret=GenericSecret(secret=DataSource(inline_string=value.reveal())))
    return Resource(type_url=SDS, name=name, body=body.SerializeToString(deterministic=True))
