"""Signs a CONNECT request in at the proxy. The value comes as a secret, so that no config dump holds it."""

from __future__ import annotations

from control_plane.pb.core_pb2 import TypedExtensionConfig
from control_plane.pb.generic_secret_pb2 import GenericSecret
from control_plane.pb.header_mutation_pb2 import HeaderMutation as HeaderMutationFilter
from control_plane.pb.header_mutation_pb2 import Mutations
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.xds.translate.filters.credentials import OVERWRITE, secret_reference, set_header
from control_plane.xds.translate.packing import pack


def proxy_authorization(secret: str) -> HttpFilter:
    """`secret` names what goes after "Basic "."""
    source = GenericSecret(secret_configs={"key": secret_reference(secret)})
    config = HeaderMutationFilter(
        mutations=Mutations(
            request_mutations=[set_header("proxy-authorization", "Basic %SECRET(key)%", OVERWRITE)],
            formatters=[TypedExtensionConfig(name="envoy.formatter.generic_secret", typed_config=pack(source))],
        )
    )
    return HttpFilter(name="envoy.filters.http.header_mutation", typed_config=pack(config))
