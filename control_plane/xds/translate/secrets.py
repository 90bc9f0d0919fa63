"""Keys and certificates as SDS secrets. The only resources that hold a secret value; they are never persisted."""

from __future__ import annotations

from envoy_data_plane.envoy.config.core.v3 import DataSource as TlsData
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret as TlsSecret
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import TlsCertificate

from control_plane.credentials.connection import split_certificate
from control_plane.credentials.secret import Secret
from control_plane.ir.egress import CLIENT_CERTIFICATE
from control_plane.pb.core_pb2 import DataSource
from control_plane.pb.secret_pb2 import GenericSecret
from control_plane.pb.secret_pb2 import Secret as EnvoySecret
from control_plane.xds.resource import SDS, Resource


def secret(name: str, value: Secret) -> Resource:
    """One secret: a client certificate with its key where the name says so, else a generic one."""
    if name.startswith(CLIENT_CERTIFICATE):
        return Resource(type_url=SDS, name=name, body=_certificate(name, value))
    body = EnvoySecret(name=name, generic_secret=GenericSecret(secret=DataSource(inline_string=value.reveal())))
    return Resource(type_url=SDS, name=name, body=body.SerializeToString(deterministic=True))


def _certificate(name: str, value: Secret) -> bytes:
    chain, key = split_certificate(value)
    pair = TlsCertificate(certificate_chain=TlsData(inline_string=chain), private_key=TlsData(inline_string=key.reveal()))
    return bytes(TlsSecret(name=name, tls_certificate=pair))
