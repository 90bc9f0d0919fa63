"""AWS, by botocore: keys for signatures out of references, profiles, metadata services, and roles taken with them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.credentials.sign_in.token import CONNECT_S, READ_S, Fetch, SignInError, Token, failed
from control_plane.spec.credential import AwsSignIn

MAX_TOKEN_FILE_BYTES: Final = 1 << 16
_PROVIDERS: Final = {"container": "container-role", "instance": "iam-role"}  # botocore's names for them


@dataclass(frozen=True, slots=True)
class AwsParts:
    """What the references and paths of an AWS sign-in stand for."""

    keys: SigningKeys | None = None
    credentials_file: Path | None = None
    config_file: Path | None = None
    token_file: Path | None = None


def aws(asked: AwsSignIn, parts: AwsParts) -> Fetch:
    """Finds keys as `asked`, and takes its role with them."""
    hidden = [s for s in (parts.keys.secret_access_key, parts.keys.session_token) if s is not None] if parts.keys else []

    def fetch() -> Token:
        from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

        try:
            found = _web_identity(asked, parts) if asked.web_identity is not None else _found(asked, parts)
            return _assumed(asked, found) if asked.assume_role is not None else found
        except (BotoCoreError, ClientError, HTTPClientError, OSError, ValueError, KeyError) as error:
            raise failed(error, hidden) from None

    return fetch


def _session(asked: AwsSignIn, parts: AwsParts) -> Any:
    import botocore.session

    session = botocore.session.Session(profile=asked.profile.name if asked.profile else None)
    session.set_config_variable("region", asked.region)
    session.set_config_variable("metadata_service_timeout", CONNECT_S)
    session.set_config_variable("metadata_service_num_attempts", 2)
    for name, file in (("credentials_file", parts.credentials_file), ("config_file", parts.config_file)):
        if file is not None:
            session.set_config_variable(name, str(file))
    return session


def _found(asked: AwsSignIn, parts: AwsParts) -> Token:
    if parts.keys is not None:
        return Token(parts.keys, None)
    session = _session(asked, parts)
    if asked.metadata is not None:
        credentials = session.get_component("credential_provider").get_provider(_PROVIDERS[asked.metadata]).load()
        missing = f"the {asked.metadata} metadata service gives no credentials"
    else:
        credentials = session.get_credentials()
        missing = (
            "AWS's default chain finds no credentials" if asked.profile is None else f"profile {asked.profile.name} has no credentials"
        )
    if credentials is None:
        raise SignInError(missing)
    frozen = credentials.get_frozen_credentials()
    expires = getattr(credentials, "_expiry_time", None)  # botocore has no public name for it; tests hold it to this one
    at = expires.timestamp() if isinstance(expires, datetime.datetime) else None
    return Token(_keys(frozen.access_key, frozen.secret_key, frozen.token), at)


def _web_identity(asked: AwsSignIn, parts: AwsParts) -> Token:
    from botocore import UNSIGNED

    assert asked.web_identity is not None
    assert parts.token_file is not None
    with parts.token_file.open("rb") as file:
        token = file.read(MAX_TOKEN_FILE_BYTES).decode("ascii").strip()
    try:
        with _sts(asked, signature_version=UNSIGNED) as sts:
            answer = sts.assume_role_with_web_identity(
                RoleArn=asked.web_identity.role_arn, RoleSessionName=asked.web_identity.session_name, WebIdentityToken=token
            )
    except Exception as error:
        raise failed(error, [Secret(token)]) from None
    return _from_sts(answer)


def _assumed(asked: AwsSignIn, held: Token) -> Token:
    assert asked.assume_role is not None
    assert isinstance(held.value, SigningKeys)
    keys, role = held.value, asked.assume_role
    extra = {"ExternalId": role.external_id} if role.external_id is not None else {}
    session_token = keys.session_token.reveal() if keys.session_token else None
    credentials = {
        "aws_access_key_id": keys.access_key_id,
        "aws_secret_access_key": keys.secret_access_key.reveal(),
        "aws_session_token": session_token,
    }
    with _sts(asked, credentials) as sts:
        return _from_sts(sts.assume_role(RoleArn=role.role_arn, RoleSessionName=role.session_name, **extra))


@contextmanager
def _sts(asked: AwsSignIn, credentials: dict[str, str | None] | None = None, **config: Any) -> Iterator[Any]:
    """The region's own token service; AWS_ENDPOINT_URL_STS names another one, as for all of AWS's tools."""
    import botocore.session
    from botocore.config import Config

    limits = Config(connect_timeout=CONNECT_S, read_timeout=READ_S, retries={"total_max_attempts": 2, "mode": "standard"}, **config)
    client = botocore.session.Session().create_client("sts", region_name=asked.region, config=limits, **(credentials or {}))
    try:
        yield client
    finally:
        client.close()


def _from_sts(answer: Any) -> Token:
    given = answer["Credentials"]
    expires: datetime.datetime = given["Expiration"]
    return Token(_keys(given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]), expires.timestamp())


def _keys(access_key: str, secret_key: str, token: str | None) -> SigningKeys:
    for text in (access_key, secret_key, token or "-"):
        if not text or not text.isascii() or not text.isprintable() or " " in text:
            raise SignInError("the keys that were found cannot be used in a signature")
    return SigningKeys(access_key, Secret(secret_key), Secret(token) if token else None)
