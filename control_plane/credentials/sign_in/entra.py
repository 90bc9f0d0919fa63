"""Microsoft Entra ID, by azure-identity: a client secret, a federated token (workload identity), a managed identity."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from control_plane.credentials.secret import Secret
from control_plane.credentials.sign_in.token import CONNECT_S, READ_S, Fetch, Token, failed, header_value
from control_plane.spec.credential import ENTRA_AUTHORITY, EntraSignIn

if TYPE_CHECKING:
    from azure.identity import ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential

LIMITS: Final[dict[str, Any]] = {
    "connection_timeout": CONNECT_S,
    "read_timeout": READ_S,
    "retry_total": 1,
    "retry_backoff_max": 2,
    "logging_enable": False,
}
"""One quick repetition: longer pauses are the refresher's, which knows how long the old token is good."""


def entra(asked: EntraSignIn, client_secret: Secret | None, token_file: Path | None) -> Fetch:
    """Signs in as `asked`; secret and file are its own, resolved."""

    def fetch() -> Token:
        try:
            with _credential(asked, client_secret, token_file) as credential:
                token = credential.get_token(asked.scope)
        except Exception as error:  # the common base of its errors is in a package that only azure-identity depends on
            raise failed(error, [client_secret] if client_secret else ()) from None
        return Token(header_value(token.token), float(token.expires_on))

    return fetch


def _credential(
    asked: EntraSignIn, client_secret: Secret | None, token_file: Path | None
) -> ClientSecretCredential | WorkloadIdentityCredential | ManagedIdentityCredential:
    """A new one each time: they keep tokens, and a refresh must bring a new one."""
    from azure.identity import ClientSecretCredential, ManagedIdentityCredential, WorkloadIdentityCredential

    if asked.managed_identity is not None:
        return ManagedIdentityCredential(client_id=asked.managed_identity.client_id, **LIMITS)
    assert asked.tenant_id is not None
    assert asked.client_id is not None
    # An authority that the operator names is trusted; asking Microsoft's public cloud about it would fail where there is no way there.
    where: dict[str, Any] = {
        "authority": asked.authority_host,
        "disable_instance_discovery": asked.authority_host != ENTRA_AUTHORITY,
        **LIMITS,
    }
    if token_file is not None:
        return WorkloadIdentityCredential(tenant_id=asked.tenant_id, client_id=asked.client_id, token_file_path=str(token_file), **where)
    assert client_secret is not None
    return ClientSecretCredential(asked.tenant_id, asked.client_id, client_secret.reveal(), **where)
