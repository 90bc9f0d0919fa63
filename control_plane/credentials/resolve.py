"""References to keys become keys. Nothing raises here, and no text that leaves this module holds a key."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from control_plane.credentials.secret import Secret, SigningKeys
from control_plane.spec.credential import SecretRef
from control_plane.spec.load import read_bytes
from control_plane.spec.models import Provider, SpecSet

MAX_SECRET_BYTES: Final = 8192  # a header's value; vendors' keys have 50 to 200


@dataclass(frozen=True, slots=True)
class Resolved:
    """A key or token. `source` says where it came from ("env OPENAI_API_KEY", "file /etc/keys/openai", "entra managed identity")."""

    secret: Secret | SigningKeys
    source: str


@dataclass(frozen=True, slots=True)
class Missing:
    """No usable key. `reason` completes "environment variable X …" or "secret file X …"; `fix` is what to do."""

    reason: str
    fix: str
    source: str


Resolution = Resolved | Missing


NO_TOKENS: Final[Mapping[str, Resolution]] = MappingProxyType({})
NO_TOKEN_YET: Final = Missing("no token has arrived yet", "wait, or see headgate get credentials", "sign-in")


def resolve_provider(
    provider: Provider, environ: Mapping[str, str] | None = None, tokens: Mapping[str, Resolution] = NO_TOKENS
) -> Resolution | None:
    """The key to use for a provider: its first credential. None for a provider without credentials.

    `tokens` are what sign-ins to clouds have brought so far, by provider.
    """
    if not provider.spec.credentials:
        return None
    ref = provider.spec.credentials[0].secret_ref
    return tokens.get(provider.name, NO_TOKEN_YET) if ref is None else resolve_ref(ref, provider, environ)


def resolve_pool(provider: Provider, environ: Mapping[str, str] | None = None) -> tuple[Resolution, ...]:
    """Every static key of a provider in the order of its spec; nothing where the first is a sign-in, which has no pool."""
    refs = [credential.secret_ref for credential in provider.spec.credentials]
    if not refs or refs[0] is None:
        return ()
    return tuple(resolve_ref(ref, provider, environ) for ref in refs if ref is not None)


def resolve_all(
    specs: SpecSet, environ: Mapping[str, str] | None = None, tokens: Mapping[str, Resolution] = NO_TOKENS
) -> dict[str, Resolution | None]:
    """`resolve_provider` for every provider of a set, by name."""
    return {provider.name: resolve_provider(provider, environ, tokens) for provider in specs.providers}


def resolve_ref(ref: SecretRef, provider: Provider, environ: Mapping[str, str] | None = None) -> Resolution:
    """Read one reference of `provider`, against whose file a relative path counts."""
    if ref.env is not None:
        value = (os.environ if environ is None else environ).get(ref.env)
        name = _shown(ref.env)
        subject, source, fix = f"environment variable {name}", f"env {name}", f"export {name}=..."
        return _examine(value, subject, source, fix) if value is not None else Missing(f"{subject} is not set", fix, source)
    path = provider.resolve_path(ref.file or "")
    subject, source, fix = f"secret file {path}", f"file {path}", f"write the key, and nothing else, into {path}"
    try:
        data = read_bytes(path, MAX_SECRET_BYTES)
    except FileNotFoundError:
        return Missing(f"{subject} does not exist", fix, source)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        return Missing(f"{subject} cannot be read: {(reason or 'not a regular file').lower()}", fix, source)
    if len(data) > MAX_SECRET_BYTES:
        return Missing(f"{subject} is longer than {MAX_SECRET_BYTES} bytes", fix, source)
    return _examine(data.decode("latin-1"), subject, source, fix)


def _shown(name: str) -> str:
    """A variable's name, unless it may be a key that was pasted instead: long, with small letters and digits."""
    pasted = len(name) >= 20 and any(c.islower() for c in name) and any(c.isdigit() for c in name)
    return "NAME" if pasted else name


def _examine(value: str, subject: str, source: str, fix: str) -> Resolution:
    """A key must survive as a header's value: printable ASCII. Envoy's answer to anything else is a 503 that never fails over."""
    text = value.rstrip("\r\n")
    if not text:
        return Missing(f"{subject} is empty", fix, source)
    if len(text) > MAX_SECRET_BYTES:
        return Missing(f"{subject} is longer than {MAX_SECRET_BYTES} bytes", fix, source)
    if "\n" in text or "\r" in text:
        return Missing(f"{subject} has more than one line", fix, source)
    if not (text.isascii() and text.isprintable()):
        return Missing(f"{subject} holds a character that is not printable ASCII", fix, source)
    if text != text.strip(" "):
        return Missing(f"{subject} begins or ends with a space", fix, source)
    return Resolved(Secret(text), source)


def secret_path(provider: Provider, ref: SecretRef) -> Path | None:
    """The file of a reference, or None when it is no file."""
    return provider.resolve_path(ref.file) if ref.file is not None else None
