"""TLS to providers and proxies, over TCP, QUIC or a tunnel."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from envoy_data_plane.envoy.config.core.v3 import (
    AggregatedConfigSource,
    ApiVersion,
    ConfigSource,
    DataSource,
    TransportSocket,
)
from envoy_data_plane.envoy.extensions.transport_sockets.internal_upstream.v3 import (
    InternalUpstreamTransport,
    InternalUpstreamTransportMetadataValueSource,
)
from envoy_data_plane.envoy.extensions.transport_sockets.quic.v3 import QuicUpstreamTransport
from envoy_data_plane.envoy.extensions.transport_sockets.raw_buffer.v3 import RawBuffer
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import (
    CertificateValidationContext,
    CommonTlsContext,
    CommonTlsContextCombinedCertificateValidationContext,
    SdsSecretConfig,
    SubjectAltNameMatcher,
    SubjectAltNameMatcherSanType,
    TlsParameters,
    TlsParametersTlsProtocol,
    UpstreamTlsContext,
)
from envoy_data_plane.envoy.type.matcher.v3 import StringMatcher
from envoy_data_plane.envoy.type.metadata.v3 import MetadataKind, MetadataKindHost
from envoy_data_plane.google.protobuf import Any

from control_plane.ir.model import Provider
from control_plane.xds.translate.filters.credentials import SECRET_WAIT_MS
from control_plane.xds.translate.lookup import is_address
from control_plane.xds.translate.names import TUNNEL_NAMESPACE

SYSTEM_CA: Final = "/etc/ssl/certs/ca-certificates.crt"
_VERSIONS: Final = {"1.2": TlsParametersTlsProtocol.TLSv1_2, "1.3": TlsParametersTlsProtocol.TLSv1_3}


def transport_socket(provider: Provider, *, by_sds: bool = True) -> TransportSocket | None:
    """What a provider's connections speak below HTTP; None for plain TCP. `by_sds`: see `tls_context`."""
    socket = None
    if provider.tls:
        context = tls_context(
            provider.server_name or provider.host,
            provider.authorities,
            provider.egress.client_certificate,
            provider.egress.min_tls,
            by_sds=by_sds,
        )
        if provider.egress.protocol == "http3":
            socket = TransportSocket(
                name="envoy.transport_sockets.quic", typed_config=Any.pack(QuicUpstreamTransport(upstream_tls_context=context))
            )
        else:
            socket = tls_socket(context)
    return _tunnelled(socket) if provider.egress.proxy else socket


def tls_context(
    name: str, authorities: str | None, certificate: str | None = None, lowest: str = "1.2", *, by_sds: bool = True
) -> UpstreamTlsContext:
    """SNI and the verified name are both `name`: the options must stand in the TLS context, since `auto_sni` among the HTTP
    options is silently ignored below an aggregate and any certificate would do.

    `authorities` and `certificate` name secrets; without `by_sds`, for the pre-flight, what they would bring is left out.
    """
    address = is_address(name)
    kind = SubjectAltNameMatcherSanType.IP_ADDRESS if address else SubjectAltNameMatcherSanType.DNS
    names = [SubjectAltNameMatcher(san_type=kind, matcher=StringMatcher(exact=name))]
    common = CommonTlsContext(alpn_protocols=[])
    if authorities is None:
        trusted = DataSource(filename=SYSTEM_CA)
        common.validation_context = CertificateValidationContext(trusted_ca=trusted, match_typed_subject_alt_names=names)
    elif by_sds:
        common.combined_validation_context = CommonTlsContextCombinedCertificateValidationContext(
            default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=names),
            validation_context_sds_secret_config=_secret(authorities),
        )
    if certificate is not None and by_sds:
        common.tls_certificate_sds_secret_configs = [_secret(certificate)]
    if lowest != "1.2":  # Envoy's own lowest
        common.tls_params = TlsParameters(
            tls_minimum_protocol_version=_VERSIONS[lowest], tls_maximum_protocol_version=TlsParametersTlsProtocol.TLSv1_3
        )
    return UpstreamTlsContext(sni="" if address else name, common_tls_context=common)


def _secret(name: str) -> SdsSecretConfig:
    wait = timedelta(milliseconds=SECRET_WAIT_MS)
    source = ConfigSource(ads=AggregatedConfigSource(), resource_api_version=ApiVersion.V3, initial_fetch_timeout=wait)
    return SdsSecretConfig(name=name, sds_config=source)


def tls_socket(context: UpstreamTlsContext) -> TransportSocket:
    """TLS over TCP."""
    return TransportSocket(name="envoy.transport_sockets.tls", typed_config=Any.pack(context))


def _tunnelled(inner: TransportSocket | None) -> TransportSocket:
    """Tells the tunnel's listener which proxy to ask, and for what; the endpoint's metadata says it."""
    told = InternalUpstreamTransportMetadataValueSource(kind=MetadataKind(host=MetadataKindHost()), name=TUNNEL_NAMESPACE)
    plain = TransportSocket(name="envoy.transport_sockets.raw_buffer", typed_config=Any.pack(RawBuffer()))
    transport = InternalUpstreamTransport(passthrough_metadata=[told], transport_socket=inner or plain)
    return TransportSocket(name="envoy.transport_sockets.internal_upstream", typed_config=Any.pack(transport))
