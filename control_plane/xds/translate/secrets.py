"""Provider keys as SDS secrets. The only resource that holds a secret value; it is never persisted."""

from __future__ import annotations

from control_plane.credentials.secret import Secret
from control_plane.pb.core_pb2 import DataSource
from control_plane.pb.secret_pb2 import GenericSecret
from control_plane.pb.secret_pb2 import Secret as EnvoySecret
from control_plane.xds.resource import SDS, Resource


def secret(name: str, value: Secret) -> Resource:
    """One generic secret."""
    body = EnvoySecret(name=name, generic_secret=GenericSecret(secret=DataSource(inline_string=value.reveal())))
    return Resource(type_url=SDS, name=name, body=body.SerializeToString(deterministic=True))
