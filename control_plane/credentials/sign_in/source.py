"""A provider's sign-in as its spec says, with its references resolved: what to call, or why it cannot be called."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from control_plane.credentials.resolve import Missing, Resolved, resolve_ref
from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.credentials.sign_in.aws import AwsParts, aws
from control_plane.credentials.sign_in.entra import entra
from control_plane.credentials.sign_in.google import google
from control_plane.credentials.sign_in.token import Fetch
from control_plane.spec.credential import Credential, Step
from control_plane.spec.load import read_bytes
from control_plane.spec.models import Provider

MAX_FILE_BYTES: Final = 1 << 20  # of a file whose change means another sign-in

EXTRAS: Final[Mapping[str, tuple[str, tuple[str, ...]]]] = {
    "google": ("google", ("google.auth", "requests")),
    "entra": ("azure", ("azure.identity",)),
    "aws": ("aws", ("botocore",)),
}
"""By field of a credential: the extra of the headgate package, and the modules that it brings."""

READ_ANEW: Final = ("federatedTokenFile", "tokenFile")
"""Files that a platform renews every few minutes and that every sign-in reads again: a change of them is nothing new."""


@dataclass(frozen=True, slots=True)
class Source:
    """`description` for operators, without a secret. `digest` differs when another sign-in is meant; only within this process."""

    description: str
    digest: bytes
    fetch: Fetch


def sign_in_of(provider: Provider) -> Credential | None:
    """The credential of a provider that signs in to a cloud, if it has such a one."""
    first = provider.spec.credentials[:1]
    return first[0] if first and first[0].sign_in is not None else None


def missing_extra(credential: Credential) -> tuple[str, Missing] | None:
    """The field whose libraries are not installed, and what to do about it."""
    for kind, (extra, modules) in EXTRAS.items():
        if getattr(credential, kind) is None:
            continue
        absent = [module for module in modules if not _installed(module)]
        if absent:
            reason = f"signing in with {kind} needs {' and '.join(absent)}, which is not installed"
            return kind, Missing(reason, f"pip install 'headgate[{extra}]'", kind)
    return None


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent is not there either
        return False


def problems(provider: Provider, environ: Mapping[str, str] | None = None) -> list[tuple[Step, Missing]]:
    """What a sign-in refers to and is not there, with its path below the credential."""
    credential = sign_in_of(provider)
    if credential is None:
        return []
    found: list[tuple[Step, Missing]] = []
    for path, ref in credential.secret_refs():
        key = resolve_ref(ref, provider, environ)
        if isinstance(key, Missing):
            found.append(((*path, "env" if ref.env is not None else "file"), key))
    for path, written in credential.files():
        file = provider.resolve_path(written)
        if not file.is_file():
            found.append((path, Missing(f"file {file} does not exist", "write it, or correct the path", f"file {file}")))
    return found


def source_of(provider: Provider, environ: Mapping[str, str] | None = None) -> Source | Missing | None:
    """How to sign in for a provider; None where its credential is no sign-in."""
    credential = sign_in_of(provider)
    if credential is None:
        return None
    if (absent := missing_extra(credential)) is not None:
        return absent[1]
    if lacking := problems(provider, environ):
        return lacking[0][1]
    digest = digest_of(provider, environ)
    files = {path[-1]: provider.resolve_path(written) for path, written in credential.files()}
    secrets = {
        path[-1]: key.secret
        for path, ref in credential.secret_refs()
        if isinstance(key := resolve_ref(ref, provider, environ), Resolved) and isinstance(key.secret, Secret)
    }
    if credential.google is not None:
        account, federation = files.get("serviceAccountFile"), files.get("workloadIdentityFile")
        which = (
            f"service account file {account}"
            if account
            else f"workload identity file {federation}"
            if federation
            else "default credentials"
        )
        return Source(f"google {which}", digest, google(credential.google, account, federation))
    if credential.entra is not None:
        how, secret, token_file = credential.entra, secrets.get("clientSecret"), files.get("federatedTokenFile")
        which = f"application {how.client_id}" if how.managed_identity is None else "managed identity"
        return Source(f"entra {which}", digest, entra(how, secret, token_file))
    assert credential.aws is not None
    keys = None
    if credential.aws.access_key is not None:
        keys = SigningKeys(secrets["accessKeyId"].reveal(), secrets["secretAccessKey"], secrets.get("sessionToken"))
    parts = AwsParts(keys, files.get("credentialsFile"), files.get("configFile"), files.get("tokenFile"))
    return Source(f"aws {_aws_way(credential)}", digest, aws(credential.aws, parts))


def _aws_way(credential: Credential) -> str:
    asked = credential.aws
    assert asked is not None
    if asked.access_key is not None:
        way = "access key"
    elif asked.profile is not None:
        way = f"profile {asked.profile.name}"
    elif asked.web_identity is not None:
        way = f"web identity {asked.web_identity.role_arn}"
    else:
        way = f"{asked.metadata} metadata" if asked.metadata else "default chain"
    return f"{way}, role {asked.assume_role.role_arn}" if asked.assume_role else way


def digest_of(provider: Provider, environ: Mapping[str, str] | None = None) -> bytes:
    """Stands for all that a sign-in is made of; empty where there is none."""
    credential = sign_in_of(provider)
    if credential is None:
        return b""
    digest = hashlib.sha256(credential.model_dump_json().encode())
    for _, ref in credential.secret_refs():
        key = resolve_ref(ref, provider, environ)
        digest.update(key.secret.fingerprint() if isinstance(key, Resolved) else repr(key).encode())
    for path, written in credential.files():
        file = provider.resolve_path(written)
        digest.update(str(file).encode())
        if path[-1] not in READ_ANEW:
            digest.update(hashlib.sha256(_content(file)).digest())
    return digest.digest()


def _content(file: Path) -> bytes:
    try:
        return read_bytes(file, MAX_FILE_BYTES)
    except (OSError, ValueError):
        return b""
