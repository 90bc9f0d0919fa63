"""AWS's signature version 4, as the last of a target's filters: nothing after it may change what was signed.

Envoy's own signer, in an extension configuration of its own (ECDS) for each provider, because its keys cannot come by SDS: new keys
reach the filter without a change of any cluster, and Envoy redacts them in its dumps. See the README for what else was measured.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from control_plane.credentials.secret import SigningKeys
from control_plane.ir.model import Signing
from control_plane.pb.aws_credentials_pb2 import AwsCredentialProvider, InlineCredentialProvider
from control_plane.pb.aws_signing_pb2 import AwsRequestSigning
from control_plane.pb.core_pb2 import TypedExtensionConfig
from control_plane.pb.extension_pb2 import ExtensionConfigSource
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.pb.matcher_pb2 import StringMatcher
from control_plane.xds.resource import ECDS, Resource
from control_plane.xds.translate.names import signer_config
from control_plane.xds.translate.packing import PREFIX, by_ads, pack

SIGNED_HEADERS: Final = ("content-type",)
"""Beside host and the signature's own x-amz-* headers, which are always signed. The fewer the better: a proxy on the way may
add, merge or drop the others."""

KEYS_WAIT_MS: Final = 2_000
"""How long a target may warm up for its keys. Never 0 (= for ever): a plan that names a warming target is a 503."""


@lru_cache(maxsize=4096)
def signer(signing: Signing) -> HttpFilter:
    """The filter for every target of a provider."""
    type_url = PREFIX + AwsRequestSigning.DESCRIPTOR.full_name
    return HttpFilter(
        name=signer_config(signing), config_discovery=ExtensionConfigSource(config_source=by_ads(KEYS_WAIT_MS), type_urls=[type_url])
    )


def signing_keys(signing: Signing, keys: SigningKeys) -> Resource:
    """The signer's configuration with its keys."""
    inline = InlineCredentialProvider(
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key.reveal(),
        session_token=keys.session_token.reveal() if keys.session_token is not None else "",
    )
    config = AwsRequestSigning(
        service_name=signing.service,
        region=signing.region,
        # The router sets the host when it has a connection, and the filters of an attempt run before that if it must be opened first.
        host_rewrite=signing.host,
        # Only these keys: otherwise Envoy would go on to its own environment, files and metadata services.
        credential_provider=AwsCredentialProvider(inline_credential=inline, custom_credential_provider_chain=True),
        match_included_headers=[StringMatcher(exact=name) for name in SIGNED_HEADERS],
    )
    body = TypedExtensionConfig(name=signer_config(signing), typed_config=pack(config))
    return Resource(ECDS, signer_config(signing), body.SerializeToString(deterministic=True), secret=True)
