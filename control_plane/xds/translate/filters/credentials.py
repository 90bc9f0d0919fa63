"""First filter of every target: wipe what the client or an earlier attempt left, then set what this provider needs.

`header_mutation` with the `%SECRET()%` formatter, and not `credential_injector`: one filter does the wiping and the
setting, and a key that has not arrived becomes the vendor's own 401, which fails over, where the injector answers 401
itself, which Envoy never retries.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from control_plane.ir.model import Provider
from control_plane.kit.headers import CALL_HEADER, MODEL_HEADER, TARGET_HEADER
from control_plane.pb.core_pb2 import HeaderValue, HeaderValueOption, TypedExtensionConfig
from control_plane.pb.generic_secret_pb2 import GenericSecret
from control_plane.pb.header_mutation_pb2 import HeaderMutation as HeaderMutationFilter
from control_plane.pb.header_mutation_pb2 import Mutations
from control_plane.pb.http_filter_pb2 import HttpFilter
from control_plane.pb.mutation_rules_pb2 import HeaderMutation
from control_plane.pb.secret_pb2 import SdsSecretConfig
from control_plane.xds.translate.filters.rate_limit_names import repeated
from control_plane.xds.translate.packing import by_ads, pack, pack_more

CREDENTIAL_HEADERS: Final = (
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "cookie",
    "proxy-authorization",
    "x-amz-security-token",
)
"""Everything that may carry a secret, under any vendor's name: removed before every attempt."""

TRACES: Final = (
    "x-forwarded-for",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-envoy-external-address",
    "x-real-ip",
    "forwarded",
    "accept-encoding",
    "x-amz-date",
    "x-amz-content-sha256",
    "amz-sdk-invocation-id",
    "amz-sdk-request",
    MODEL_HEADER,
)
"""What vendors have no business to see, and what a signature of the client or of an earlier attempt left; compressed answers
could not be metered. `x-request-id` and `x-envoy-attempt-count` stay, since the journal reads them from the same headers."""

OVERWRITE: Final = HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD

SECRET_WAIT_MS: Final = 2_000
"""How long a target may warm up for its key. Never 0 (= for ever): a plan that names a warming target is a 503."""


def credentials(provider: Provider, target: str, *, translated: bool, spare: bool = False) -> HttpFilter:
    """The filter for one target of a provider; on the way back it names the target to the client.

    `translated`: the translator is told what the path said, where clients name the model there. Written anew from what the edge
    filter noted, since the attempt before may have changed every header. `spare`: with the next key of the pool.
    """
    named = Mutations(response_mutations=[set_header(TARGET_HEADER, target.replace("%", "%%"), OVERWRITE)])
    config = pack_more(_shared(provider, translated, spare), HeaderMutationFilter(mutations=named))
    return HttpFilter(name="envoy.filters.http.header_mutation", typed_config=config)


@lru_cache(maxsize=4096)
def _shared(provider: Provider, translated: bool, spare: bool) -> bytes:
    """What all targets of a provider have: the changes of requests, and the names of its rate-limit headers, serialised."""
    mutations = [HeaderMutation(remove=name) for name in (*CREDENTIAL_HEADERS, *TRACES)]
    if translated:
        mutations.append(set_header(CALL_HEADER, "%DYNAMIC_METADATA(headgate.model:call)%", OVERWRITE))
    mutations += [set_header(name, value.replace("%", "%%"), HeaderValueOption.ADD_IF_ABSENT) for name, value in provider.headers]
    formatters = []
    if provider.auth is not None:
        mutations.append(set_header(provider.auth.header, f"{provider.auth.prefix}%SECRET(key)%", OVERWRITE))
        source = GenericSecret(secret_configs={"key": secret_reference((provider.auth.spare if spare else None) or provider.auth.secret)})
        formatters.append(TypedExtensionConfig(name="envoy.formatter.generic_secret", typed_config=pack(source)))
    limits = repeated(provider.rate_limits)
    config = HeaderMutationFilter(mutations=Mutations(request_mutations=mutations, response_mutations=limits, formatters=formatters))
    return config.SerializeToString(deterministic=True)


def set_header(name: str, value: str, action: HeaderValueOption.HeaderAppendAction) -> HeaderMutation:
    """The mutation that sets a header; `value` is a format."""
    return HeaderMutation(append=HeaderValueOption(header=HeaderValue(key=name, value=value), append_action=action))


def secret_reference(name: str) -> SdsSecretConfig:
    """A secret over ADS, by name."""
    return SdsSecretConfig(name=name, sds_config=by_ads(SECRET_WAIT_MS))
