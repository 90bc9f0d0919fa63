"""Google Cloud, by google-auth: application default credentials, a service account's key, workload identity federation."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from control_plane.credentials.sign_in.token import CONNECT_S, READ_S, Fetch, SignInError, Token, failed, header_value
from control_plane.spec.credential import GoogleSignIn

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

MAX_FILE_BYTES = 1 << 20


def google(asked: GoogleSignIn, service_account: Path | None, workload_identity: Path | None) -> Fetch:
    """Signs in as `asked`; the files are its own, resolved."""
    scopes = list(asked.scopes)

    def fetch() -> Token:
        import requests
        from google.auth.exceptions import GoogleAuthError
        from google.auth.transport.requests import Request

        class Bounded(Request):
            """google-auth waits up to two minutes by itself."""

            def __call__(self, *args: Any, **kwargs: Any) -> Any:
                return super().__call__(*args, **{**kwargs, "timeout": (CONNECT_S, READ_S)})  # type: ignore[no-untyped-call]

        try:
            with requests.Session() as session:
                request = Bounded(session)
                credentials = _credentials(service_account, workload_identity, scopes, request)
                credentials.refresh(request)  # type: ignore[no-untyped-call]
        except (GoogleAuthError, requests.RequestException, OSError, ValueError, KeyError, TypeError) as error:
            raise failed(error) from None
        expiry: datetime.datetime | None = credentials.expiry
        return Token(header_value(credentials.token), None if expiry is None else expiry.replace(tzinfo=datetime.UTC).timestamp())

    return fetch


def _credentials(service_account: Path | None, workload_identity: Path | None, scopes: list[str], request: Any) -> Credentials:
    if service_account is not None:
        from google.oauth2.service_account import Credentials as ServiceAccount

        info = _json(service_account, "service_account")
        return ServiceAccount.from_service_account_info(info, scopes=scopes)  # type: ignore[no-any-return, no-untyped-call]
    if workload_identity is not None:
        from google.auth import aws, identity_pool, pluggable

        info = _json(workload_identity, "external_account")
        if info.get("subject_token_type") == "urn:ietf:params:aws:token-type:aws4_request":
            kind: Any = aws.Credentials
        else:
            source = info.get("credential_source")
            kind = pluggable.Credentials if isinstance(source, dict) and "executable" in source else identity_pool.Credentials
        return kind.from_info(info, scopes=scopes)  # type: ignore[no-any-return]
    import google.auth

    credentials, _ = google.auth.default(scopes=scopes, request=request)
    return credentials


def _json(path: Path, kind: str) -> dict[str, Any]:
    """A credential file of one type; Google's own loader would take any type, and so be sent to any token service."""
    with path.open("rb") as file:
        data = file.read(MAX_FILE_BYTES)
    try:
        info = json.loads(data)
    except ValueError:
        raise SignInError(f"{path} is not JSON") from None
    if not isinstance(info, dict) or info.get("type") != kind:
        raise SignInError(f'{path} is not a file of type "{kind}"')
    return info
